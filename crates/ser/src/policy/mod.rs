//! PPO over any policy and any reward (step 8 of the method).

mod prompts;
mod report;
mod reward;
mod settings;
mod state;
mod step;

use std::mem::discriminant;
use std::path::Path;

use ser_core::{Message, Observer, Policy, Reward, Saving, StepOutcome, Training};
use ser_eval::{PolicyStage, PolicyTraining};
use ser_ppo::{KlControl, Ppo, PpoSettings, StepStatistics, Warning, diagnose};

pub use report::write_policy_report;
pub use reward::ScorerReward;
pub use settings::PolicyRunSettings;
pub use state::{KeptAnswer, PolicyStep};

use crate::Error;
use crate::policy::prompts::PromptOrder;
use crate::policy::state::State;
use crate::run_folder::RunFolder;
use crate::training::train_in;

/// PPO as a training that goes step by step.
///
/// One step is: as many prompts as the batch has rollouts, one answer each, their rewards, advantages over all of them
/// together, the epochs of optimizer steps, and the KL controller's move. Which prompts, which draws and which order:
/// all follow from the seed and the step's number, so the state is the policy's, the controller's, the running
/// moments', and the number of steps.
///
/// ```
/// use ser::core::testing::TablePolicy;
/// use ser::core::{Message, Training};
/// use ser::ppo::PpoSettings;
/// use ser::{PolicyRunSettings, PpoTraining};
///
/// let mut policy = TablePolicy::new(8);
/// let mut reward = |_prompt: &[Message], answer: &str| answer.matches('c').count() as f64;
/// let prompts = vec![vec![Message::user("Which letter?")]];
/// // The reward is a count and no probability, so it is not scaled by Eq. 7.
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
pub struct PpoTraining<'a, P, R> {
    ppo: Ppo,
    settings: PolicyRunSettings,
    policy: &'a mut P,
    reward: &'a mut R,
    prompts: PromptOrder,
    total: u64,
    state: State,
}

impl<'a, P: Policy, R: Reward> PpoTraining<'a, P, R> {
    /// A training of `policy`, which learns in place.
    ///
    /// # Errors
    /// Settings that cannot be used, and a set of no prompts.
    pub fn new(
        ppo: PpoSettings,
        settings: PolicyRunSettings,
        policy: &'a mut P,
        reward: &'a mut R,
        prompts: Vec<Vec<Message>>,
    ) -> Result<Self, Error> {
        let ppo = ppo.build().map_err(Error::stage("reading the settings"))?;
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

    /// Trains as the stage `{name}/model` of a run (see [`train_in`]), and keeps answers for people to read in
    /// `{name}/answers.jsonl`. In a resumed run, settings and prompts must be the ones it began with.
    pub fn run_in(&mut self, run: &mut RunFolder, name: &str, observer: &mut dyn Observer) -> Result<(), Error> {
        run.agree_on_settings(&format!("{name}.ppo"), self.ppo.settings())?;
        run.agree_on_settings(&format!("{name}.run"), &self.settings)?;
        run.agree_on_data(&format!("{name}.prompts"), &self.prompts.fingerprint())?;
        let trained = train_in(self, run, name, observer);
        // Also of a run that was stopped: they are the quickest way to see what is going wrong.
        self.state.write_answers(run, &format!("{name}/answers.jsonl"))?;
        trained
    }

    /// The steps done, oldest first.
    pub fn steps(&self) -> &[PolicyStep] {
        &self.state.steps
    }

    /// The answers that were kept.
    pub fn answers(&self) -> &[KeptAnswer] {
        &self.state.answers
    }

    /// The training as a report shows it.
    pub fn stage(&self, name: &str) -> PolicyStage {
        let mut stage = PolicyStage::new(name, PolicyTraining::Ppo);
        if let KlControl::Adaptive(control) = self.ppo.settings().kl_control {
            stage.target_kl = Some(control.target);
        }
        for (step, figures) in (1..).zip(&self.state.steps) {
            stage.record(step, &figures.metrics());
        }
        stage
    }

    /// What went wrong, with the step that showed it first.
    pub fn warnings(&self) -> Vec<(u64, Warning)> {
        let steps = self.statistics();
        let after = |n: usize| self.new_warnings(steps.get(..n).unwrap_or_default()).map(move |w| (n as u64, w));
        (1..=steps.len()).flat_map(after).collect()
    }

    fn statistics(&self) -> Vec<StepStatistics> {
        self.state.steps.iter().map(|step| step.statistics).collect()
    }

    /// The warnings of the last of `steps` that the one before did not give.
    fn new_warnings(&self, steps: &[StepStatistics]) -> impl Iterator<Item = Warning> + use<P, R> {
        let of = |steps| diagnose(steps, &self.settings.diagnosis);
        let before = steps.split_last().map_or_else(Vec::new, |(_, before)| of(before));
        of(steps).into_iter().filter(move |w| !before.iter().any(|b| discriminant(b) == discriminant(w)))
    }
}

impl<P: Policy, R: Reward> Training for PpoTraining<'_, P, R> {
    type Error = Error;

    fn done(&self) -> u64 {
        self.state.steps.len() as u64
    }

    fn total(&self) -> u64 {
        self.total
    }

    /// One step of PPO. Reports TRL's figures, and `env/reward_mean` and `env/reward_std` of the rewards as they came.
    fn step(&mut self) -> Result<StepOutcome, Error> {
        let (values, left_out) = self.take_step()?;
        let mut notes: Vec<String> = self.new_warnings(&self.statistics()).map(|warning| warning.to_string()).collect();
        if left_out > 0 {
            let step = self.done();
            notes.push(format!("step {step} leaves out {left_out} optimizer steps: gradients overflowed float16"));
        }
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
