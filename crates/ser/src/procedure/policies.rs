//! The policies: SFT, PPO with each reward model, DPO.

use ser_core::Learner;
use ser_eval::{PolicyStage, PolicyTraining};

use super::answers::Trained;
use super::models::{Models, of_models};
use super::run::ProcedureRun;
use crate::observe::MetricsLog;
use crate::{Error, PpoTraining, ScorerReward};

/// The stage of the baseline Full, whose reward model PPO-Full is trained with.
const FULL: &str = "baselines/full/model";

impl<M: Models> ProcedureRun<'_, M> {
    /// Trains the policies: PPO with the evolved reward model and with the full-data one, and DPO; each answers the test
    /// prompts.
    ///
    /// # Errors
    /// The models' own; [`Error::Interrupted`].
    pub fn train_policies(&mut self) -> Result<(), Error> {
        if self.trained.is_none() {
            let mut evolved = self.take_evolved()?;
            let span = tracing::info_span!("train_policies").entered();
            let trained = Trained::train(self, &mut evolved.learner);
            drop(span);
            self.evolved = Some(evolved);
            self.trained = Some(trained?);
        }
        Ok(())
    }
}

impl Trained {
    fn train<M: Models>(run: &mut ProcedureRun<'_, M>, learner: &mut M::Learner) -> Result<Self, Error> {
        let mut trained = Trained::default();
        if run.run.is_done("sft/model") {
            trained.stages.push(stage(run, "sft", "SFT", PolicyTraining::Sft)?);
        }
        let mut sft = run.models.generator().map_err(of_models)?;
        trained.answers.push(run.answers("SFT", &mut sft)?);
        drop(sft);

        trained.with_reward(run, learner)?;
        if run.config.policies.dpo {
            let ProcedureRun { models, labelled, run: folder, observers, .. } = run;
            let labelled = labelled.read_all().map_err(Error::store)?;
            if let Some(mut dpo) = models.dpo(&labelled, folder, observers).map_err(of_models)? {
                trained.stages.push(stage(run, "dpo", "DPO", PolicyTraining::Dpo)?);
                trained.answers.push(run.answers("DPO", &mut dpo)?);
            }
        }
        Ok(trained)
    }

    /// PPO with the evolved reward model, then with the full-data one.
    fn with_reward<M: Models>(&mut self, run: &mut ProcedureRun<'_, M>, learner: &mut M::Learner) -> Result<(), Error> {
        self.ppo("PPO-SER", "ppo-ser", run, learner)?;
        if run.run.is_done(FULL) {
            let full = run.run.stage_path(FULL);
            learner.restore(&full).map_err(Error::stage(&format!("loading {FULL}")))?;
            self.ppo("PPO-Full", "ppo-full", run, learner)?;
        } else {
            let why = "PPO with a full-data reward model is skipped: loop.baselines.full is false, so there is none";
            run.observers.note(why);
        }
        Ok(())
    }

    /// PPO of the SFT model against a reward model's scores.
    fn ppo<M: Models>(
        &mut self,
        name: &'static str,
        stage: &str,
        run: &mut ProcedureRun<'_, M>,
        learner: &mut M::Learner,
    ) -> Result<(), Error> {
        let mut policy = run.models.policy(&mut run.run).map_err(of_models)?;
        let ProcedureRun { config, data, run: folder, observers, .. } = run;
        let probability = config.reward.probability;
        let mut reward =
            if probability { ScorerReward::probability(&mut *learner) } else { ScorerReward::raw(&mut *learner) };
        let (ppo, settings) = (config.ppo.clone(), config.policy_run.clone());
        let mut training = PpoTraining::new(ppo, settings, &mut policy, &mut reward, data.ppo_prompts.clone())?;
        training.run_in(folder, stage, observers)?;
        self.stages.push(training.stage(name));
        self.warnings
            .extend(training.warnings().into_iter().map(|(step, w)| format!("{name}, from step {step}: {w}.")));
        drop(training);
        if reward.truncated() > 0 {
            self.warnings.push(format!(
                "{name}: {} answers were too long for the reward model and were scored without their end.",
                reward.truncated()
            ));
        }
        self.answers.push(run.answers(name, &mut policy)?);
        Ok(())
    }
}

/// The curves of a stage, from the log of metrics.
fn stage<M: Models>(
    run: &ProcedureRun<'_, M>,
    stage: &str,
    name: &str,
    training: PolicyTraining,
) -> Result<PolicyStage, Error> {
    MetricsLog::stage(run.run.path().join("metrics.jsonl"), stage, name, training)
}
