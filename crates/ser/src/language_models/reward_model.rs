//! The reward model that is trained, of the kind that settings name.

use std::path::Path;

use ser_core::{Learner, PairStore, Stage};
use ser_model::{AnyRewardModel, Device, LinearRewardModel, RewardModel};

use crate::config::{Config, RewardModelKind};
use crate::observe::Observers;
use crate::{Error, RunFolder};

/// The file of hidden states in a run folder.
const STATES: &str = "hidden_states.bin";
/// The stage of the linear model before its heads are fitted.
const REPRESENTATION: &str = "representation";

/// The untrained reward model of `reward_model.kind` over a base model.
///
/// # Errors
/// A folder that contains no model; settings that do not fit it.
pub fn untrained_reward(config: &Config, base: &Path, device: Device) -> Result<AnyRewardModel, Error> {
    Ok(match config.reward_model.kind {
        RewardModelKind::Adapter => RewardModel::from_folder(base, &config.reward_model(), device)?.into(),
        RewardModelKind::Linear => LinearRewardModel::from_folder(base, &config.linear_reward(), device)?.into(),
    })
}

/// Prepares an untrained reward model for its training in a run, and records its settings there. A linear model computes the
/// hidden states of all `pairs`, which it keeps in the file `linear.states` or in the run folder, and fits its principal
/// components on them, as a stage; no label is used.
///
/// # Errors
/// [`Error::OtherSettings`] in a resumed run; a file of states that cannot be used; [`Error::Interrupted`].
pub fn prepare_reward(
    model: AnyRewardModel,
    pairs: &dyn PairStore,
    config: &Config,
    run: &mut RunFolder,
    observers: &mut Observers<'_>,
) -> Result<AnyRewardModel, Error> {
    let model = match model {
        AnyRewardModel::Adapter(model) => {
            run.record_or_verify_settings("model", &config.reward_model())?;
            return Ok(AnyRewardModel::Adapter(model));
        }
        AnyRewardModel::Linear(model) => model,
    };
    run.record_or_verify_settings("model", &config.linear_reward())?;
    let states = config.linear.states.clone().unwrap_or_else(|| run.stage_path(STATES));
    let mut model = model.keep_states(&states)?;
    let path = run.path().to_owned();
    let done = run.is_done(REPRESENTATION);
    run.folder_stage(REPRESENTATION, |folder| {
        let stage = Stage::from("hidden states");
        let pairs = pairs.read_range(0..pairs.len()).map_err(Error::store)?;
        observers.run_stage(&path, &stage, 0, |cx| Ok(model.represent(&pairs, cx)?))?;
        model.snapshot(folder)?;
        Ok::<(), Error>(())
    })?;
    if done {
        model.restore(&run.stage_path(REPRESENTATION))?;
    }
    Ok(model.into())
}
