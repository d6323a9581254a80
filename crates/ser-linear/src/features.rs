//! Features of pairs, from anywhere.

use std::sync::Arc;

use ndarray::Array3;
use ser_core::{BoxError, Context, Pair, Screening};

/// Computes features of both answers of pairs.
///
/// An implementation over a language model gives hidden states; others may give embeddings of another service or hand-made
/// numbers. The same pair must get the same features, whatever pairs stand beside it.
///
/// ```
/// use std::sync::Arc;
///
/// use ndarray::Array3;
/// use ser_core::{BoxError, Context, Pair, Side};
/// use ser_linear::Features;
///
/// /// One view: the answer's length and its number of commas.
/// struct Counts;
///
/// impl Features for Counts {
///     type Error = BoxError;
///
///     fn view_sizes(&self) -> Vec<usize> {
///         vec![2]
///     }
///
///     fn identity(&self) -> String {
///         "length and commas, version 1".to_owned()
///     }
///
///     fn features(&mut self, pairs: &[Arc<Pair>], _: &mut Context<'_>) -> Result<Array3<f32>, BoxError> {
///         Ok(Array3::from_shape_fn((pairs.len(), 2, 2), |(pair, answer, feature)| {
///             let text = pairs[pair].response([Side::A, Side::B][answer]);
///             let count = if feature == 0 { text.chars().count() } else { text.matches(',').count() };
///             count as f32
///         }))
///     }
/// }
/// ```
pub trait Features: Send {
    /// The error of an implementation.
    type Error: Into<BoxError> + Send + 'static;

    /// The number of features in each view. Their sum is the number of features of an answer.
    fn view_sizes(&self) -> Vec<usize>;

    /// A text that identifies everything the features depend on: the model's weights, the template, the precision. Stored features of
    /// another identity are not used.
    fn identity(&self) -> String;

    /// Features of the shape `[pairs, 2, features]`: answer A, then answer B; views one after another.
    ///
    /// # Errors
    /// The implementation's own.
    fn features(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Array3<f32>, Self::Error>;

    /// Which pairs features can be computed of. By default, all.
    ///
    /// # Errors
    /// The implementation's own.
    fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, Self::Error> {
        Ok(vec![Screening::Usable; pairs.len()])
    }
}

macro_rules! delegate {
    ($pointer:ty) => {
        impl<F: Features + ?Sized> Features for $pointer {
            type Error = F::Error;

            fn view_sizes(&self) -> Vec<usize> {
                (**self).view_sizes()
            }

            fn identity(&self) -> String {
                (**self).identity()
            }

            fn features(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Array3<f32>, Self::Error> {
                (**self).features(pairs, cx)
            }

            fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, Self::Error> {
                (**self).screen(pairs)
            }
        }
    };
}

delegate!(Box<F>);
delegate!(&mut F);
