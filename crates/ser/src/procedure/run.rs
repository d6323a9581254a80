//! A procedure in its run folder, stage by stage.

use ser_core::PreferenceSet;

use super::answers::{Answers, Trained};
use super::data::ProcedureData;
use super::judge::Comparer;
use super::models::{Models, of_models};
use crate::config::Config;
use crate::observe::Observers;
use crate::pool::sample_pool;
use crate::{Error, Outcome, RunFolder, SelfEvolution};

/// The reward model at the end of the loop.
pub(super) struct Evolved<L> {
    pub(super) learner: L,
    pub(super) outcome: Outcome,
}

/// A [`Procedure`](crate::Procedure) in its open run folder.
///
/// Each method is a stage. It first does the stages that it needs; stages that are done already, in this process or an
/// earlier one, are read from the folder.
pub struct ProcedureRun<'a, M: Models> {
    pub(super) config: Config,
    pub(super) models: M,
    pub(super) data: ProcedureData,
    pub(super) run: RunFolder,
    pub(super) observers: Observers<'a>,
    pub(super) judge: Option<Comparer<'a>>,
    /// The labelled seed, which DPO is trained on.
    pub(super) labelled: PreferenceSet,
    pub(super) evolved: Option<Evolved<M::Learner>>,
    pub(super) trained: Option<Trained>,
    pub(super) started: bool,
    pub(super) compared: bool,
}

impl<M: Models> ProcedureRun<'_, M> {
    /// The run folder.
    pub fn folder(&self) -> &RunFolder {
        &self.run
    }

    /// Makes the model that all others start from: the base model and, if policies are trained, its supervised
    /// fine-tuning.
    ///
    /// # Errors
    /// The models' own; [`Error::Interrupted`].
    pub fn sft(&mut self) -> Result<(), Error> {
        if !self.started {
            let _span = tracing::info_span!("sft").entered();
            let policies = self.config.policies.train;
            self.models.start(&self.data, policies, &mut self.run, &mut self.observers).map_err(of_models)?;
            self.started = true;
        }
        Ok(())
    }

    /// Runs the loop; at its end, writes the report.
    ///
    /// # Errors
    /// See [`SelfEvolution::run`].
    pub fn evolve(&mut self) -> Result<&Outcome, Error> {
        let evolved = self.take_evolved()?;
        Ok(&self.evolved.insert(evolved).outcome)
    }

    /// The evolved model; runs the loop first if that is not done in this process.
    pub(super) fn take_evolved(&mut self) -> Result<Evolved<M::Learner>, Error> {
        if let Some(evolved) = self.evolved.take() {
            return Ok(evolved);
        }
        self.sft()?;
        let _span = tracing::info_span!("evolve").entered();
        let mut learner = self.models.learner(&mut self.run).map_err(of_models)?;
        self.fill_pool()?;
        let data = std::mem::take(&mut self.data.prepared.data);
        let ProcedureRun { config, observers, run, data: ProcedureData { title, .. }, .. } = self;
        let outcome = SelfEvolution::new(config.evolution.clone())
            .title(title.as_str())
            .observer(&mut *observers)
            .run_in(&mut learner, data, run)?;
        Ok(Evolved { learner, outcome })
    }

    /// Adds two sampled answers per prompt to the pool.
    fn fill_pool(&mut self) -> Result<(), Error> {
        if self.data.pool_prompts.is_empty() {
            return Ok(());
        }
        let ProcedureRun { config, models, data, run, observers, .. } = self;
        let first_id = data.prepared.data.free_id()?;
        let make = || models.pool_generator().map_err(of_models);
        let pool = sample_pool(make, &data.pool_prompts, &config.prompts.answers, first_id, run, observers)?;
        data.prepared.data.add_to_pool(pool)
    }

    /// The answers of a policy to the test prompts, as a stage.
    pub(super) fn answers<G: ser_core::Generator>(
        &mut self,
        name: &'static str,
        policy: &mut G,
    ) -> Result<Answers, Error> {
        let ProcedureRun { config, data, run, observers, .. } = self;
        run.record_or_verify_settings("policies", &config.policies)?;
        Answers::of(name, policy, &data.test_prompts, &config.policies.sampling, run, observers)
    }
}
