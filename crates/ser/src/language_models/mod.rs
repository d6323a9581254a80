//! Language models of folders, as the models of a procedure.

mod bench;
mod checks;
mod reward;
mod reward_model;
mod texts;

use std::path::{Path, PathBuf};

use ser_core::{Context, FitSummary, Preference, Stage};
use ser_loss::DpoSettings;
use ser_model::{
    AnyRewardModel, CausalExample, CausalLm, Device, DpoTraining, PolicyModel, SftTraining, Workers, fresh_base,
    make_base, merge_adapter,
};

use crate::config::Config;
use crate::observe::Observers;
use crate::procedure::{Models, ProcedureData};
use crate::{Error, RunFolder, SerData, train_in};

pub use bench::{BenchReport, BenchSettings, Work, WorkResult, bench};
pub use reward::{ConfiguredReward, reward_of, trained_reward};
pub use reward_model::{prepare_reward, untrained_reward};
pub use texts::{adapter_folder, fetched, prompts_that_fit, trained_language_model};

/// Size limit of a weight file in bytes.
const SHARD: u64 = 5_000_000_000;

/// Models made from a [`Config`]: a base model from a folder, its supervised fine-tuning, policies as adapters on it, and reward
/// models as adapters or, with `reward_model.kind = "linear"`, as linear heads over its hidden states.
///
/// Without `run.model`, a small base model is made for the built-in corpus in the run folder.
pub struct LanguageModels {
    config: Config,
    device: Device,
    /// Which device was chosen, and why.
    device_note: String,
    /// Folder of the base model; none if it is made in the run folder.
    base: Option<PathBuf>,
    /// Folder of the model that reward models and policies start from, once it is made.
    start: Option<PathBuf>,
    /// A reward model that was made for a check and starts from the right folder, or one that is prepared.
    reward: Option<AnyRewardModel>,
    /// Tokenized texts of supervised fine-tuning.
    sft: Vec<CausalExample>,
    /// The processes that compute the reward model with this one.
    workers: Option<Workers>,
}

impl LanguageModels {
    /// Sets the number of threads, chooses the device, and fetches `run.model` if it is an address `hf://owner/name`.
    ///
    /// # Errors
    /// A device that does not exist; an address that cannot be fetched.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let mut config = config.clone();
        if config.run.data.is_none() && config.run.model.is_none() {
            // SFT of an untrained model includes its pre-training.
            config.sft.training = config.base.training.clone();
        }
        ser_model::set_threads(config.run.threads);
        let (device, device_note) = Device::choose(config.model.device)?;
        let base = config.run.model.as_deref().map(fetched).transpose()?;
        Ok(LanguageModels {
            config,
            device,
            device_note,
            base,
            start: None,
            reward: None,
            sft: Vec::new(),
            workers: None,
        })
    }

    /// Shares all trainings, scoring and PPO's rollouts with these processes.
    #[must_use]
    pub fn workers(mut self, workers: Workers) -> Self {
        self.workers = Some(workers);
        self
    }

    /// The device that models are computed on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Folder of the model that reward models and policies start from; known once [`Models::start`] is done.
    ///
    /// # Errors
    /// [`Error::NoModel`] before that.
    pub fn start_folder(&self) -> Result<&Path, Error> {
        self.start.as_deref().ok_or(Error::NoModel)
    }

    fn untrained_reward(&mut self) -> Result<AnyRewardModel, Error> {
        match self.reward.take() {
            Some(model) => Ok(model),
            None => self.make_reward(self.start_folder()?),
        }
    }

    /// A reward model over a folder that is not trained yet, shared with the workers.
    fn make_reward(&self, folder: &Path) -> Result<AnyRewardModel, Error> {
        let mut model = untrained_reward(&self.config, folder, self.device)?;
        if let Some(workers) = &self.workers {
            model.share_with(workers)?;
        }
        Ok(model)
    }

    fn causal_lm(&self, folder: &Path) -> Result<CausalLm, Error> {
        Ok(CausalLm::from_folder(folder, &self.config.causal_lm(), self.device)?)
    }

    /// A language model to be trained, shared with the workers.
    fn trained_causal_lm(&self, folder: &Path) -> Result<CausalLm, Error> {
        let mut model = self.causal_lm(folder)?;
        if let Some(workers) = &self.workers {
            model.share_with(workers)?;
        }
        Ok(model)
    }

    /// Makes the built-in corpus's base model in the run folder. It is pre-trained, unless SFT follows.
    fn make_base(
        &self,
        data: &ProcedureData,
        texts: &[String],
        policies: bool,
        run: &mut RunFolder,
        observers: &mut Observers<'_>,
    ) -> Result<PathBuf, Error> {
        let LanguageModels { config, device, .. } = self;
        run.record_or_verify_settings("base", &config.base)?;
        run.record_or_verify_settings("corpus", &config.corpus)?;
        run.record_or_verify_settings("policies", &config.policies)?;
        let (seed, sft) = (config.run.seed, data.prepared.sft.read_all().map_err(Error::store)?);
        run.folder_stage("base", |folder| {
            let texts = texts.iter().map(String::as_str);
            if policies {
                fresh_base(folder, texts, &config.text, &config.base, seed, *device)?;
                return Ok::<Option<FitSummary>, Error>(None);
            }
            let mut cx = Context::new(Stage::Pretrain, observers);
            let fit = make_base(folder, texts, &sft, &config.text, &config.base, seed, *device, &mut cx)?;
            cx.finish();
            Ok(Some(fit))
        })?;
        Ok(run.stage_path("base"))
    }

    /// Fine-tunes the base model on chosen answers; the folder of the result, with its adapter merged.
    fn fine_tune(&mut self, base: &Path, run: &mut RunFolder, observers: &mut Observers<'_>) -> Result<PathBuf, Error> {
        run.record_or_verify_settings("sft", &self.config.sft)?;
        let mut model = self.trained_causal_lm(base)?;
        let mut examples = std::mem::take(&mut self.sft);
        // The last tenth is for validation.
        let held_out = examples.split_off(examples.len() - examples.len() / 10);
        let (settings, seed) = (&self.config.sft, self.config.run.seed);
        let mut training = SftTraining::new(&mut model, examples, held_out, settings, seed)?;
        train_in(&mut training, run, "sft", observers)?;
        let trained = run.stage_path("sft/model");
        if settings.lora.is_none() {
            return Ok(trained);
        }
        run.folder_stage("sft/merged", |folder| {
            merge_adapter(base, &trained, folder, SHARD)?;
            Ok::<(), Error>(())
        })?;
        Ok(run.stage_path("sft/merged"))
    }
}

impl Models for LanguageModels {
    type Error = Error;
    type Learner = AnyRewardModel;
    type Generator = CausalLm;
    type Policy = PolicyModel;

    fn check(&mut self, data: &mut ProcedureData, observers: &mut Observers<'_>) -> Result<(), Error> {
        observers.note(&self.device_note);
        self.check_all(data, observers)
    }

    fn start(
        &mut self,
        data: &ProcedureData,
        policies: bool,
        run: &mut RunFolder,
        observers: &mut Observers<'_>,
    ) -> Result<(), Error> {
        let base = match (&self.base, &data.corpus_texts) {
            (Some(folder), _) => folder.clone(),
            (None, Some(texts)) => self.make_base(data, texts, policies, run, observers)?,
            (None, None) => return Err(Error::NoModel),
        };
        self.start = Some(if policies { self.fine_tune(&base, run, observers)? } else { base });
        let model = self.untrained_reward()?;
        let SerData { seed, pool, .. } = &data.prepared.data;
        let pairs = seed.pairs().chain(pool.clone());
        self.reward = Some(prepare_reward(model, &pairs, &self.config, run, observers)?);
        Ok(())
    }

    /// The reward model that [`Models::start`] prepared.
    fn learner(&mut self, _: &mut RunFolder) -> Result<AnyRewardModel, Error> {
        self.reward.take().ok_or(Error::NoModel)
    }

    fn pool_generator(&mut self) -> Result<CausalLm, Error> {
        match &self.config.prompts.generator {
            Some(folder) => {
                let (model, _) = trained_language_model(&self.config, &fetched(folder)?, false, self.device)?;
                Ok(model)
            }
            None => self.generator(),
        }
    }

    fn generator(&mut self) -> Result<CausalLm, Error> {
        self.causal_lm(self.start_folder()?)
    }

    fn policy(&mut self, run: &mut RunFolder) -> Result<PolicyModel, Error> {
        run.record_or_verify_settings("policy", &self.config.policy)?;
        let mut policy = PolicyModel::new(self.generator()?, &self.config.policy)?;
        if let Some(workers) = &self.workers {
            policy.share_with(workers)?;
        }
        Ok(policy)
    }

    fn dpo(
        &mut self,
        preferences: &[Preference],
        run: &mut RunFolder,
        observers: &mut Observers<'_>,
    ) -> Result<Option<CausalLm>, Error> {
        let mut model = self.trained_causal_lm(self.start_folder()?)?;
        train_dpo(&mut model, preferences, &self.config, run, observers)?;
        Ok(Some(model))
    }
}

/// Trains a language model by DPO as the stage `dpo` of a run; returns the number of preferences left out because they
/// are too long or empty.
///
/// # Errors
/// Settings that cannot be used, no preference that can be trained on, [`Error::Interrupted`].
pub fn train_dpo(
    model: &mut CausalLm,
    preferences: &[Preference],
    config: &Config,
    run: &mut RunFolder,
    observers: &mut Observers<'_>,
) -> Result<usize, Error> {
    run.record_or_verify_settings("dpo", &config.dpo)?;
    let loss = DpoSettings { beta: config.dpo.beta, ..DpoSettings::default() };
    let loss = loss.check().map_err(Error::stage("reading the settings"))?;
    let mut training = DpoTraining::new(model, &preferences, &loss, &config.dpo, config.run.seed)?;
    let left_out = training.left_out();
    if left_out > 0 {
        observers.note(&format!("DPO leaves out {left_out} preferences: too long, or empty"));
    }
    train_in(&mut training, run, "dpo", observers)?;
    Ok(left_out)
}
