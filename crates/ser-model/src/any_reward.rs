//! A reward model of either kind: an adapter, or linear heads.

use std::path::Path;
use std::sync::Arc;

use ser_core::{
    BoxedTraining, Context, FitSummary, Learner, Pair, PairLoss, PairScores, PreferenceStore, Scorer, Screening,
};
use ser_data::PairTokenizer;
use ser_linear::is_linear_reward;

use crate::{Device, HiddenStatesSettings, LinearRewardModel, ModelError, RewardModel, RewardModelSettings, Workers};

/// A reward model of either kind.
pub enum AnyRewardModel {
    /// A network with a LoRA adapter and a head.
    Adapter(Box<RewardModel>),
    /// Linear heads over the hidden states of a frozen network.
    Linear(Box<LinearRewardModel>),
}

/// Evaluates the body with the model of either kind.
macro_rules! either {
    ($self:expr, $model:ident => $body:expr) => {
        match $self {
            AnyRewardModel::Adapter($model) => $body,
            AnyRewardModel::Linear($model) => $body,
        }
    };
}

impl AnyRewardModel {
    /// Loads a trained model. `folder` has an adapter or linear heads; without it, `base` is the reward model. Linear heads name
    /// their base model; `base` replaces it.
    ///
    /// # Errors
    /// As of [`RewardModel::for_scoring`] and [`LinearRewardModel::for_scoring`]; [`ModelError::NoBase`] for an adapter without
    /// `base`.
    pub fn for_scoring(
        base: Option<&Path>,
        folder: Option<&Path>,
        settings: &RewardModelSettings,
        device: Device,
    ) -> Result<Self, ModelError> {
        let (linear, base) = match (folder, base) {
            (Some(folder), base) => (is_linear_reward(folder).then_some(folder), base),
            (None, Some(base)) if is_linear_reward(base) => (Some(base), None),
            (None, base) => (None, base),
        };
        if let Some(folder) = linear {
            let RewardModelSettings { text, token_budget, .. } = settings.clone();
            let states = HiddenStatesSettings { text, token_budget, ..HiddenStatesSettings::default() };
            let model = LinearRewardModel::for_scoring(folder, base, &states, device)?;
            return Ok(AnyRewardModel::Linear(Box::new(model)));
        }
        let base = base.ok_or(ModelError::NoBase)?;
        Ok(AnyRewardModel::Adapter(Box::new(RewardModel::for_scoring(base, folder, settings, device)?)))
    }

    /// As [`RewardModel::share_with`].
    ///
    /// # Errors
    /// As of [`RewardModel::share_with`]; a linear reward model, which one process computes.
    pub fn share_with(&mut self, workers: &Workers) -> Result<(), ModelError> {
        match self {
            AnyRewardModel::Adapter(model) => model.share_with(workers),
            AnyRewardModel::Linear(_) => Err(ModelError::Workers(
                "a linear reward model is computed by one process; start the command once, without torchrun and `ser launch`"
                    .into(),
            )),
        }
    }

    /// The tokenizer, with its text settings.
    pub fn tokenizer(&self) -> &PairTokenizer {
        either!(self, model => model.tokenizer())
    }

    /// As [`RewardModel::score_written`].
    ///
    /// # Errors
    /// A text without tokens, or one that the tokenizer refuses.
    pub fn score_written(&mut self, texts: &[&str], cx: &mut Context<'_>) -> Result<(Vec<f64>, usize), ModelError> {
        either!(self, model => model.score_written(texts, cx))
    }
}

impl From<RewardModel> for AnyRewardModel {
    fn from(model: RewardModel) -> Self {
        AnyRewardModel::Adapter(Box::new(model))
    }
}

impl From<LinearRewardModel> for AnyRewardModel {
    fn from(model: LinearRewardModel) -> Self {
        AnyRewardModel::Linear(Box::new(model))
    }
}

impl Scorer for AnyRewardModel {
    type Error = ModelError;

    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, ModelError> {
        either!(self, model => model.score(pairs, cx))
    }

    fn screen(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Screening>, ModelError> {
        either!(self, model => model.screen(pairs, cx))
    }

    fn score_truncated(
        &mut self,
        pairs: &[Arc<Pair>],
        cx: &mut Context<'_>,
    ) -> Result<(Vec<PairScores>, usize), ModelError> {
        either!(self, model => model.score_truncated(pairs, cx))
    }
}

impl Learner for AnyRewardModel {
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, ModelError> {
        either!(self, model => model.fit(data, loss, cx))
    }

    fn training<'a>(
        &'a mut self,
        data: &'a dyn PreferenceStore,
        loss: &'a dyn PairLoss,
        seed: u64,
    ) -> Result<Option<BoxedTraining<'a, ModelError>>, ModelError> {
        either!(self, model => model.training(data, loss, seed))
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), ModelError> {
        either!(self, model => model.snapshot(folder))
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        either!(self, model => model.restore(folder))
    }
}
