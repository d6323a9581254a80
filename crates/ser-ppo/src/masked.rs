//! Means, variances and whitening over rows of unequal length with masked entries.

use crate::PpoError;
use ndarray::{Array1, ArrayView1};

/// The per-token numbers of one rollout, and the mask that selects some of them.
#[derive(Clone, Copy, Debug)]
pub struct MaskedRow<'a> {
    values: ArrayView1<'a, f64>,
    mask: Option<&'a [bool]>,
}

impl<'a> MaskedRow<'a> {
    /// A row without a mask: all its numbers count.
    pub fn whole(values: impl Into<ArrayView1<'a, f64>>) -> Self {
        MaskedRow { values: values.into(), mask: None }
    }

    /// A row of shape `[T]`, and a mask of as many entries: `false` where a number does not count.
    ///
    /// # Errors
    /// [`PpoError::UnequalArrays`] if the mask has another length.
    pub fn new(values: impl Into<ArrayView1<'a, f64>>, mask: Option<&'a [bool]>) -> Result<Self, PpoError> {
        let values = values.into();
        match mask {
            Some(m) if m.len() != values.len() => {
                Err(PpoError::UnequalArrays { what: "the mask", len: m.len(), tokens: values.len() })
            }
            _ => Ok(MaskedRow { values, mask }),
        }
    }

    /// A row whose mask is known to have its length.
    pub(crate) fn fitting(values: &'a Array1<f64>, mask: Option<&'a [bool]>) -> Self {
        MaskedRow { values: values.view(), mask }
    }

    /// The numbers that count, in order.
    pub fn selected(self) -> impl Iterator<Item = f64> + 'a {
        self.values.into_iter().enumerate().filter(move |(t, _)| counts(self.mask, *t)).map(|(_, value)| *value)
    }
}

/// Whether a token counts under a mask; without a mask all do.
pub(crate) fn counts(mask: Option<&[bool]>, token: usize) -> bool {
    mask.is_none_or(|m| m.get(token).copied().unwrap_or(false))
}

/// Mean of the numbers that count, over all rows together (TRL's `masked_mean`); `None` if there are none.
pub fn masked_mean(rows: &[MaskedRow<'_>]) -> Option<f64> {
    mean(|| rows.iter().flat_map(|row| row.selected()))
}

/// Variance of the numbers that count with Bessel's correction (TRL's `masked_var`); `None` if there are under two.
pub fn masked_var(rows: &[MaskedRow<'_>]) -> Option<f64> {
    variance(|| rows.iter().flat_map(|row| row.selected()))
}

/// (x - mean) / sqrt(variance + 1e-8), plus the mean again unless `shift_mean` (TRL's `masked_whiten`).
///
/// Entries that do not count become 0. The variance of a single number is taken as 0: the number becomes 0, and is
/// unchanged without the shift. The result has the shape of the rows.
///
/// ```
/// use ser_core::ndarray::array;
/// use ser_ppo::{MaskedRow, masked_whiten};
///
/// let (first, second) = (array![1.0, 2.0], array![3.0, 99.0]);
/// let rows = [MaskedRow::whole(&first), MaskedRow::new(&second, Some(&[true, false]))?];
/// let white = masked_whiten(&rows, true); // mean 2, variance 1
/// approx::assert_abs_diff_eq!(white[0][0], -1.0, epsilon = 1e-7);
/// approx::assert_abs_diff_eq!(white[1][0], 1.0, epsilon = 1e-7);
/// assert_eq!((white[0][1], white[1][1]), (0.0, 0.0));
/// # Ok::<(), ser_ppo::PpoError>(())
/// ```
pub fn masked_whiten(rows: &[MaskedRow<'_>], shift_mean: bool) -> Vec<Array1<f64>> {
    let mean = masked_mean(rows).unwrap_or(0.0);
    let scale = 1.0 / (masked_var(rows).unwrap_or(0.0) + 1e-8).sqrt();
    let back = if shift_mean { 0.0 } else { mean };
    let whiten = |row: &MaskedRow<'_>| {
        let entries = row.values.iter().enumerate();
        entries.map(|(t, x)| if counts(row.mask, t) { (x - mean) * scale + back } else { 0.0 }).collect()
    };
    rows.iter().map(whiten).collect()
}

/// Mean of the numbers of an iterator; `None` for none.
pub(crate) fn mean<I: Iterator<Item = f64>>(numbers: impl Fn() -> I) -> Option<f64> {
    let (count, sum) = numbers().fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + x));
    (count > 0.0).then(|| sum / count)
}

/// Variance with Bessel's correction; `None` for under two numbers.
pub(crate) fn variance<I: Iterator<Item = f64>>(numbers: impl Fn() -> I) -> Option<f64> {
    let mean = mean(&numbers)?;
    let (count, squares) = numbers().fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + (x - mean) * (x - mean)));
    (count > 1.0).then(|| squares / (count - 1.0))
}
