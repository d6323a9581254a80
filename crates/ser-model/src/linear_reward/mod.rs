//! A reward model of linear heads over the hidden states of a frozen base model.

mod files;
mod settings;
#[cfg(test)]
mod tests;
mod views;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::{
    BoxError, Context, FitSummary, Learner, Pair, PairLoss, PairScores, PreferenceStore, Scorer, Screening,
};
use ser_data::PairTokenizer;
use ser_linear::{CachedFeatures, Features, LinearError, LinearReward};

pub use settings::LinearRewardModelSettings;

use crate::checkpoint::TextRecord;
use crate::{Device, HiddenStates, HiddenStatesSettings, ModelError, Precision};
use files::{BaseModel, recorded_base};
use views::{States, Views};

/// The most pairs that standardization and principal components are fitted on: the memory for their states is bounded, and
/// more pairs hardly change a few dozen components.
const REPRESENTED: usize = 4096;
/// Pairs whose states are asked for at once.
const BATCH: usize = 256;

/// A reward model of linear heads over the hidden states of a frozen base model: [`HiddenStates`] under a
/// [`LinearReward`], with files that name the base model.
///
/// Its folder has `linear_reward.json` and `linear_reward.safetensors` (the heads), `base_model.json` (the base model and the
/// depths of its states) and `ser.json` (the texts).
pub struct LinearRewardModel {
    base: PathBuf,
    reward: LinearReward<Views>,
}

impl LinearRewardModel {
    /// Loads a base model, without heads yet.
    ///
    /// # Errors
    /// Settings that cannot be used; a folder that holds no model.
    pub fn from_folder(base: &Path, settings: &LinearRewardModelSettings, device: Device) -> Result<Self, ModelError> {
        settings.check()?;
        let views = views(base, &settings.states, settings.committee, device)?;
        Ok(LinearRewardModel {
            base: base.to_owned(),
            reward: LinearReward::new(views, settings.heads.clone().check()?),
        })
    }

    /// Loads a model that was saved. Without `base`, the base model is the one that the folder names. `settings` has the texts and
    /// the token budget; depths and precision are those of the folder.
    ///
    /// # Errors
    /// [`ModelError::MissingBase`]; [`ModelError::OtherText`] and [`ModelError::OtherTokenizer`] if `ser.json` contradicts the texts;
    /// [`ModelError::Linear`] if the base model is another one than in the training.
    pub fn for_scoring(
        folder: &Path,
        base: Option<&Path>,
        settings: &HiddenStatesSettings,
        device: Device,
    ) -> Result<Self, ModelError> {
        let base = base.map_or_else(|| recorded_base(folder), |base| Ok(base.to_owned()))?;
        let BaseModel { last, mean, mean_tokens, precision, committee, .. } = BaseModel::read(folder)?;
        let settings = HiddenStatesSettings { last, mean, mean_tokens, precision, ..settings.clone() };
        let views = views(&base, &settings, committee, device)?;
        TextRecord::check(folder, views.hidden_states().tokenizer())?;
        Ok(LinearRewardModel { base, reward: LinearReward::load(views, folder)? })
    }

    /// The base model that the folder of a linear reward model names.
    ///
    /// # Errors
    /// A folder without that record; [`ModelError::MissingBase`].
    pub fn base_of(folder: &Path) -> Result<PathBuf, ModelError> {
        recorded_base(folder)
    }

    /// The precision of the hidden states that the model of a folder was fitted on.
    ///
    /// # Errors
    /// A folder without that record.
    pub fn precision_of(folder: &Path) -> Result<Precision, ModelError> {
        Ok(BaseModel::read(folder)?.precision)
    }

    /// The same model, not fitted, that keeps the states of pairs in a file and computes them only once. Several models and
    /// processes may share the file.
    ///
    /// # Errors
    /// [`ModelError::Linear`] for a file that is not one, or that holds the states of another model, template or precision.
    pub fn keep_states(self, path: &Path) -> Result<Self, ModelError> {
        let heads = self.reward.settings().clone();
        let Views { states, committee } = self.reward.into_features();
        let states = match states {
            States::Computed(states) => States::Kept(Box::new(CachedFeatures::open(*states, path)?)),
            kept @ States::Kept(_) => kept,
        };
        let reward = LinearReward::new(Views { states, committee }, heads);
        Ok(LinearRewardModel { base: self.base, reward })
    }

    /// Computes the states of all pairs that are usable, and fits standardization and principal components on them; of more than
    /// 4,096 pairs, on that many, evenly spaced. No label is used. Heads become 0.
    ///
    /// # Errors
    /// Pairs that cannot be tokenized; no usable pair; [`ModelError::Stopped`].
    pub fn represent(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<(), ModelError> {
        let screened = self.screen(pairs, cx)?;
        let usable = pairs.iter().zip(screened).filter(|(_, screening)| *screening == Screening::Usable);
        let usable: Vec<Arc<Pair>> = usable.map(|(pair, _)| Arc::clone(pair)).collect();
        let views = self.reward.features_mut();
        if let States::Kept(states) = &mut views.states {
            cx.start(Some(usable.len() as u64), "pairs")?;
            for batch in usable.chunks(BATCH) {
                states.features(batch, cx).map_err(LinearError::Features)?;
            }
        }
        let step = usable.len().div_ceil(REPRESENTED).max(1);
        let represented: Vec<_> = usable.into_iter().step_by(step).collect();
        Ok(self.reward.fit_representation(&represented, cx)?)
    }

    /// The tokenizer, with its text settings.
    pub fn tokenizer(&self) -> &PairTokenizer {
        self.reward.features().hidden_states().tokenizer()
    }

    /// The raw scores of whole texts that a template has already written, in order, and the number of texts that were cut at
    /// their end. Progress is in texts.
    ///
    /// # Errors
    /// A text without tokens, or one that the tokenizer refuses.
    pub fn score_written(&mut self, texts: &[&str], cx: &mut Context<'_>) -> Result<(Vec<f64>, usize), ModelError> {
        cx.start(Some(texts.len() as u64), "texts")?;
        let (states, cut) = self.reward.features().hidden_states().features_of_texts(texts, cx)?;
        let scores = self.reward.score_features(states.view())?;
        Ok((scores.iter().map(|scores| scores.a.0).collect(), cut))
    }
}

fn views(base: &Path, settings: &HiddenStatesSettings, committee: bool, device: Device) -> Result<Views, ModelError> {
    let states = States::Computed(Box::new(HiddenStates::from_folder(base, settings, device)?));
    Ok(Views { states, committee })
}

impl Scorer for LinearRewardModel {
    type Error = ModelError;

    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, ModelError> {
        cx.start(Some(pairs.len() as u64), "pairs")?;
        Ok(self.reward.score(pairs, cx)?)
    }

    fn screen(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Screening>, ModelError> {
        Ok(self.reward.screen(pairs, cx)?)
    }

    /// Computes states that are not kept: a policy's answers are scored once.
    fn score_truncated(
        &mut self,
        pairs: &[Arc<Pair>],
        cx: &mut Context<'_>,
    ) -> Result<(Vec<PairScores>, usize), ModelError> {
        cx.start(Some(pairs.len() as u64), "pairs")?;
        let (states, cut) = self.reward.features().hidden_states().features_truncated(pairs, cx)?;
        Ok((self.reward.score_features(states.view())?, cut))
    }
}

impl Learner for LinearRewardModel {
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, ModelError> {
        Ok(self.reward.fit(data, loss, cx)?)
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.reward.snapshot(folder)?;
        let Views { committee, .. } = self.reward.features();
        let states = self.reward.features().hidden_states();
        let HiddenStatesSettings { last, mean, mean_tokens, precision, .. } = states.settings().clone();
        let base = std::path::absolute(&self.base).map_err(|error| ModelError::file(&self.base, error))?;
        let record =
            BaseModel { base_model_name_or_path: base, last, mean, mean_tokens, precision, committee: *committee };
        record.write(folder)?;
        TextRecord::new(states.tokenizer())?.write(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        Ok(self.reward.restore(folder)?)
    }
}

impl From<LinearError> for ModelError {
    /// An error of the network stays what it is.
    fn from(error: LinearError) -> Self {
        match error {
            LinearError::Features(source) => match source.downcast::<ModelError>() {
                Ok(error) => *error,
                Err(source) => of_linear(source),
            },
            LinearError::Stopped(stopped) => ModelError::Stopped(stopped),
            other => ModelError::Linear(other),
        }
    }
}

/// The error of a file of states is a [`LinearError`] behind a box.
fn of_linear(source: BoxError) -> ModelError {
    match source.downcast::<LinearError>() {
        Ok(error) => ModelError::Linear(*error),
        Err(source) => ModelError::Linear(LinearError::Features(source)),
    }
}
