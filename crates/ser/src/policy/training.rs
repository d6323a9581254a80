//! PPO as a training that goes step by step.

use std::mem::discriminant;
use std::path::Path;

use ser_core::{Message, Observer, Policy, Reward, Saving, StepOutcome, Training};
use ser_eval::{PolicyStage, PolicyTraining};
use ser_ppo::{KlControl, Ppo, PpoSettings, StepStatistics, Warning, diagnose};

use super::prompts::PromptOrder;
use super::settings::PolicyRunSettings;
use super::state::{KeptAnswer, PolicyStep, State};
use crate::Error;
use crate::run_folder::RunFolder;
use crate::training::train_in;

/// PPO as a [`Training`].
///
/// One step samples one answer to each prompt of a batch, rewards the answers, computes advantages over the whole batch, runs
/// the epochs of optimizer steps and updates the KL controller. Prompts, samples and their order depend on the seed and the
/// step's number only. The state is that of the policy, the controller and the running moments, and the number of steps.
///
/// ```
/// use ser::testing::TablePolicy;
/// use ser::{Message, Training, reward_fn};
/// use ser::ppo::PpoSettings;
/// use ser::{PolicyRunSettings, PpoTraining};
///
/// let mut policy = TablePolicy::new(8);
/// let mut reward = reward_fn(|_prompt, answer| answer.matches('c').count() as f64);
/// let prompts = vec![vec![Message::user("Which letter?")]];
/// // The reward is a count, not a probability, so it is not scaled by Eq. 7.
/// let ppo =
///     PpoSettings { learning_rate: 0.5, batch_size: 16, mini_batch_size: 4, reward_scaling: None, ..Default::default() };
/// let settings = PolicyRunSettings { steps: Some(30), ..Default::default() };
/// let mut training = PpoTraining::new(ppo, settings, &mut policy, &mut reward, prompts)?;
/// while training.done() < training.total() {
///     training.step()?;
/// }
/// let steps = training.steps();
/// assert!(steps[29].reward_mean > steps[0].reward_mean);
/// # Ok::<(), ser::Error>(())
/// ```
pub struct PpoTraining<'a, P: ?Sized, R: ?Sized> {
    pub(super) ppo: Ppo,
    pub(super) settings: PolicyRunSettings,
    pub(super) policy: &'a mut P,
    pub(super) reward: &'a mut R,
    pub(super) prompts: PromptOrder,
    pub(super) total: u64,
    pub(super) state: State,
}

impl<'a, P: Policy + ?Sized, R: Reward + ?Sized> PpoTraining<'a, P, R> {
    /// A training of `policy`, which is changed in place.
    ///
    /// # Errors
    /// Settings that cannot be used; [`Error::NoPrompts`].
    pub fn new(
        ppo: PpoSettings,
        settings: PolicyRunSettings,
        policy: &'a mut P,
        reward: &'a mut R,
        prompts: Vec<Vec<Message>>,
    ) -> Result<Self, Error> {
        let ppo = ppo.check().map_err(Error::stage("reading the settings"))?;
        settings.check()?;
        if prompts.is_empty() {
            return Err(Error::NoPrompts);
        }
        let batch = ppo.settings().batch_size;
        let total = settings.steps.unwrap_or(prompts.len().div_ceil(batch) as u64);
        let state = State::new(&ppo).map_err(Error::stage("reading the settings"))?;
        let prompts = PromptOrder::new(prompts, ppo.settings().seed);
        Ok(PpoTraining { ppo, settings, policy, reward, prompts, total, state })
    }

    /// Trains as the stage `{name}/model` of a run (see [`train_in`]), and keeps answers in `{name}/answers.jsonl`. In a
    /// resumed run, settings and prompts must be those that it started with.
    ///
    /// # Errors
    /// [`Error::OtherSettings`] and [`Error::OtherData`] in a resumed run; the errors of [`train_in`].
    pub fn run_in(&mut self, run: &mut RunFolder, name: &str, observer: &mut dyn Observer) -> Result<(), Error> {
        run.record_or_verify_settings(&format!("{name}.ppo"), self.ppo.settings())?;
        run.record_or_verify_settings(&format!("{name}.run"), &self.settings)?;
        run.record_or_verify_data(&format!("{name}.prompts"), &self.prompts.fingerprint())?;
        let trained = train_in(self, run, name, observer);
        // Also if the training failed or was stopped: the answers show most problems first.
        self.state.write_answers(run, &format!("{name}/answers.jsonl"))?;
        trained
    }

    /// The finished steps, oldest first.
    pub fn steps(&self) -> &[PolicyStep] {
        &self.state.steps
    }

    /// The kept answers.
    pub fn answers(&self) -> &[KeptAnswer] {
        &self.state.answers
    }

    /// The training's curves for a report.
    pub fn stage(&self, name: &str) -> PolicyStage {
        let mut stage = PolicyStage::new(name, PolicyTraining::Ppo);
        if let KlControl::Adaptive(control) = self.ppo.settings().kl_control {
            stage.target_kl = Some(control.target);
        }
        for (step, metrics) in (1..).zip(&self.state.steps) {
            stage.record(step, &metrics.metrics());
        }
        stage
    }

    /// The warnings, each with the step that first showed it.
    pub fn warnings(&self) -> Vec<(u64, Warning)> {
        let steps = self.statistics();
        let after = |n: usize| self.new_warnings(steps.get(..n).unwrap_or_default()).map(move |w| (n as u64, w));
        (1..=steps.len()).flat_map(after).collect()
    }

    fn statistics(&self) -> Vec<StepStatistics> {
        self.state.steps.iter().map(|step| step.statistics).collect()
    }

    /// The warnings that the last of `steps` adds to those before it.
    fn new_warnings(&self, steps: &[StepStatistics]) -> impl Iterator<Item = Warning> + use<P, R> {
        let of = |steps| diagnose(steps, &self.settings.diagnosis);
        let before = steps.split_last().map_or_else(Vec::new, |(_, before)| of(before));
        of(steps).into_iter().filter(move |w| !before.iter().any(|b| discriminant(b) == discriminant(w)))
    }
}

impl<P: Policy + ?Sized, R: Reward + ?Sized> Training for PpoTraining<'_, P, R> {
    type Error = Error;

    fn done(&self) -> u64 {
        self.state.steps.len() as u64
    }

    fn total(&self) -> u64 {
        self.total
    }

    /// One step of PPO. Reports TRL's metrics, and `env/reward_mean` and `env/reward_std` of the rewards before scaling.
    fn step(&mut self) -> Result<StepOutcome, Error> {
        let (values, skipped, mut notes) = self.take_step()?;
        notes.extend(self.new_warnings(&self.statistics()).map(|warning| warning.to_string()));
        if skipped > 0 {
            let step = self.done();
            notes.push(format!("step {step} skips {skipped} optimizer steps: gradients overflowed float16"));
        }
        notes.iter().for_each(|note| tracing::info!(step = self.done(), "{note}"));
        Ok(StepOutcome { values, notes })
    }

    fn saving(&self) -> Saving {
        Saving { save_steps: self.settings.save_steps, save_total_limit: self.settings.save_total_limit }
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), Error> {
        self.policy.snapshot(folder).map_err(Error::stage("saving the policy"))?;
        self.state.write(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), Error> {
        self.policy.restore(folder).map_err(Error::stage("loading the policy"))?;
        self.state = State::read(folder)?;
        Ok(())
    }
}
