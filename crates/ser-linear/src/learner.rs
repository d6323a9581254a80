//! The linear reward model as a learner.

use std::path::Path;
use std::sync::Arc;

use ndarray::{Array3, ArrayView3, s};
use ser_core::{
    Context, FitSummary, Learner, Pair, PairLoss, PairScores, PairTarget, Preference, PreferenceStore, Scorer,
    Screening, Side,
};

use crate::committee::Committee;
use crate::{CheckedLinearSettings, Features, LinearError, files};

/// Pairs whose features are asked for at once.
const BATCH: usize = 256;

/// A reward model of linear heads over features, see the [crate's page](crate).
///
/// ```
/// use std::sync::Arc;
///
/// use ndarray::Array3;
/// use ser_core::{BoxError, Context, Learner, Pair, PairId, Preference, Scorer, Side};
/// use ser_linear::{Features, LinearReward, LinearSettings};
/// use ser_loss::{LossKind, LossSettings};
///
/// struct Length;
///
/// impl Features for Length {
///     type Error = BoxError;
///     fn view_sizes(&self) -> Vec<usize> {
///         vec![1]
///     }
///     fn identity(&self) -> String {
///         "length".to_owned()
///     }
///     fn features(&mut self, pairs: &[Arc<Pair>], _: &mut Context<'_>) -> Result<Array3<f32>, BoxError> {
///         Ok(Array3::from_shape_fn((pairs.len(), 2, 1), |(i, side, _)| pairs[i].responses[side].len() as f32))
///     }
/// }
///
/// # fn main() -> Result<(), BoxError> {
/// let pair = |id, short: &str, long: &str| Arc::new(Pair::from_text(PairId(id), "Why?", short, long));
/// let data = vec![
///     Preference::human(pair(0, "So.", "Because it rains."), Side::B),
///     Preference::human(pair(1, "No.", "It depends on the sea."), Side::B),
/// ];
/// let loss = LossSettings { kind: LossKind::BradleyTerry, ..Default::default() }.check()?;
/// let mut model = LinearReward::new(Length, LinearSettings { l2: 0.1, ..Default::default() }.check()?);
/// model.fit(&data, &loss, &mut Context::silent())?;
/// let scores = model.score(&[pair(2, "Yes.", "Yes, since the wind turned.")], &mut Context::silent())?;
/// assert!(scores[0].b > scores[0].a);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LinearReward<F> {
    features: F,
    settings: CheckedLinearSettings,
    committee: Option<Committee>,
}

impl<F: Features> LinearReward<F> {
    /// A model that is not fitted.
    pub fn new(features: F, settings: CheckedLinearSettings) -> Self {
        LinearReward { features, settings, committee: None }
    }

    /// Fits standardization and principal components on unlabelled pairs, such as the pool and the labelled seed together. Heads
    /// become 0. Without this call, the first training fits them on its own pairs.
    ///
    /// # Errors
    /// Errors of the features; [`LinearError::NoPairs`]; [`LinearError::Stopped`].
    pub fn fit_representation(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<(), LinearError> {
        let features = self.all_features(pairs, cx)?;
        self.represent(&features)
    }

    /// The settings.
    pub fn settings(&self) -> &CheckedLinearSettings {
        &self.settings
    }

    /// The source of features.
    pub fn features(&self) -> &F {
        &self.features
    }

    /// The source of features, to compute some.
    pub fn features_mut(&mut self) -> &mut F {
        &mut self.features
    }

    /// The source of features, without the model.
    pub fn into_features(self) -> F {
        self.features
    }

    /// Scores of features that were computed elsewhere, `[pairs, 2, features]`.
    ///
    /// # Errors
    /// [`LinearError::Shape`]; [`LinearError::Unfitted`].
    pub fn score_features(&self, features: ArrayView3<'_, f32>) -> Result<Vec<PairScores>, LinearError> {
        let expected = [features.dim().0, 2, self.features.view_sizes().iter().sum()];
        if features.shape() != expected {
            return Err(LinearError::Shape { found: features.shape().to_vec(), expected });
        }
        let committee = self.committee.as_ref().ok_or(LinearError::Unfitted)?;
        let scores = committee.score(features);
        Ok(scores.outer_iter().map(|row| PairScores::new(row[0], row[1])).collect())
    }

    /// Loads a model that [`Learner::snapshot`] saved.
    ///
    /// # Errors
    /// A file that is missing or damaged, or that was saved over features of another identity or size.
    pub fn load(features: F, folder: &Path) -> Result<Self, LinearError> {
        let (committee, settings) = files::load(folder, &features.identity(), &features.view_sizes())?;
        Ok(LinearReward { features, settings, committee: Some(committee) })
    }

    fn represent(&mut self, features: &Array3<f32>) -> Result<(), LinearError> {
        if features.dim().0 == 0 {
            return Err(LinearError::NoPairs { what: "the representation" });
        }
        let sizes = self.features.view_sizes();
        self.committee = Some(Committee::represent(features.view(), &sizes, self.settings.get()));
        Ok(())
    }

    /// Features of all pairs, checked.
    fn all_features(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Array3<f32>, LinearError> {
        let size = self.features.view_sizes().iter().sum();
        let mut all = Array3::zeros((pairs.len(), 2, size));
        for (start, batch) in (0..).step_by(BATCH).zip(pairs.chunks(BATCH)) {
            let features = self.features.features(batch, cx).map_err(|error| LinearError::Features(error.into()))?;
            let expected = [batch.len(), 2, size];
            if features.shape() != expected {
                return Err(LinearError::Shape { found: features.shape().to_vec(), expected });
            }
            if let Some(((pair, _, feature), &value)) = features.indexed_iter().find(|(_, x)| !x.is_finite()) {
                let pair = batch.get(pair).map_or(0, |pair| pair.id.0);
                return Err(LinearError::NotFinite { pair, feature, value });
            }
            all.slice_mut(s![start..start + batch.len(), .., ..]).assign(&features);
        }
        Ok(all)
    }

    /// The training pairs' features, those of the preferred answers first.
    fn training_features(&mut self, data: &[Preference], cx: &mut Context<'_>) -> Result<Array3<f32>, LinearError> {
        let pairs: Vec<_> = data.iter().map(|preference| preference.pair.clone()).collect();
        let mut features = self.all_features(&pairs, cx)?;
        for (mut row, _) in features.outer_iter_mut().zip(data).filter(|(_, p)| p.preferred == Side::B) {
            let (a, b) = row.multi_slice_mut((s![0, ..], s![1, ..]));
            ndarray::Zip::from(a).and(b).for_each(std::mem::swap);
        }
        Ok(features)
    }
}

impl<F: Features> Scorer for LinearReward<F> {
    type Error = LinearError;

    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, LinearError> {
        let features = self.all_features(pairs, cx)?;
        self.score_features(features.view())
    }

    fn screen(&mut self, pairs: &[Arc<Pair>], _: &mut Context<'_>) -> Result<Vec<Screening>, LinearError> {
        self.features.screen(pairs).map_err(|error| LinearError::Features(error.into()))
    }
}

impl<F: Features> Learner for LinearReward<F> {
    /// Fits the heads. The minimum is the same from wherever the search starts, so the result does not depend on earlier
    /// trainings, and the seed of `cx` is not used.
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, LinearError> {
        let data = data.read_range(0..data.len()).map_err(LinearError::Preferences)?;
        if data.is_empty() {
            return Err(LinearError::NoPairs { what: "the heads" });
        }
        let features = self.training_features(&data, cx)?;
        if self.committee.is_none() {
            cx.note("the representation is fitted on the training pairs; fit_representation takes unlabelled ones");
            self.represent(&features)?;
        }
        let committee = self.committee.as_mut().ok_or(LinearError::Unfitted)?;
        let targets: Vec<PairTarget> = data.iter().map(PairTarget::from).collect();
        let fitted = committee.fit(features.view(), &targets, loss, self.settings.get())?;
        let scores = committee.score(features.view());
        let loss = loss.evaluate(scores.view(), &targets).map_err(LinearError::Loss)?.value;
        let right = scores.outer_iter().filter(|row| row[0] > row[1]).count();
        Ok(FitSummary { steps: fitted.iterations as u64, loss, accuracy: right as f64 / data.len() as f64 })
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), LinearError> {
        let committee = self.committee.as_ref().ok_or(LinearError::Unfitted)?;
        files::save(committee, self.settings.get(), &self.features.identity(), folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), LinearError> {
        let (committee, _) = files::load(folder, &self.features.identity(), &self.features.view_sizes())?;
        self.committee = Some(committee);
        Ok(())
    }
}
