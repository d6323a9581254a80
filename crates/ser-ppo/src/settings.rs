//! The settings of PPO, and their checks.

use serde::{Deserialize, Serialize};

use crate::plan::shuffled;
use crate::scaling::none_or_table;
use crate::{
    KlControl, KlController, KlPenalty, LearningRateScheduler, PpoError, ResponseLength, RewardScaling,
    ScoreNormalization,
};

/// Unchecked settings; the default is that of the paper, and of TRL 0.11 where the paper gives none.
///
/// ```
/// use ser_ppo::PpoSettings;
/// assert!(PpoSettings::default().check().is_ok());
/// let error = PpoSettings { mini_batch_size: 16, ..Default::default() }.check().unwrap_err();
/// assert_eq!(error.to_string(), "mini_batch_size is 16, more than batch_size, 8; make it at most that");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PpoSettings {
    /// The learning rate of the optimizer; with a scheduler, that of the first step.
    pub learning_rate: f64,
    /// The schedule of the learning rate. The paper gives none; the authors' code has `linear`.
    pub scheduler: LearningRateScheduler,
    /// Rollouts of one step.
    pub batch_size: usize,
    /// Rollouts over which a loss is averaged.
    pub mini_batch_size: usize,
    /// Mini-batches of one optimizer step.
    pub gradient_accumulation_steps: usize,
    /// Passes over a step's rollouts.
    pub ppo_epochs: usize,
    /// Discount, in [0, 1].
    pub gamma: f64,
    /// GAE's lambda, in [0, 1].
    pub lambda: f64,
    /// Whether advantages are whitened over the batch.
    pub whiten_advantages: bool,
    /// Whether per-token rewards are whitened over the batch, their mean kept.
    pub whiten_rewards: bool,
    /// The penalty of each token for its divergence from the reference.
    pub kl_penalty: KlPenalty,
    /// The KL coefficient of the first step, at least 0.
    pub initial_kl_coefficient: f64,
    /// The controller of the KL coefficient.
    pub kl_control: KlControl,
    /// Whether the epochs of a step end early once the policy has moved more than 1.5 times `target_kl`.
    pub early_stopping: bool,
    /// The largest divergence within a step, KL(old || new) in nats per token, over 0.
    pub target_kl: f64,
    /// epsilon of the clipped surrogate (Eq. 6), in (0, 1).
    pub clip_range: f64,
    /// The distance of a value from that of the rollout at which its loss is clipped, over 0.
    pub value_clip_range: f64,
    /// Weight of the value loss, at least 0.
    pub value_coefficient: f64,
    /// Weight of the entropy bonus, at least 0.
    pub entropy_coefficient: f64,
    /// A mini-batch whose mean probability ratio is over this is skipped; over 1.
    pub ratio_threshold: f64,
    /// Reward scaling (Eq. 7) of scores that are probabilities, as the paper does it. `None`, in a file `"none"`: scores
    /// are not scaled and may be any finite numbers, such as raw scores.
    #[serde(with = "none_or_table")]
    pub reward_scaling: Option<RewardScaling>,
    /// Whether scores are divided by their running standard deviation.
    pub score_normalization: ScoreNormalization,
    /// Scores are clipped to [-c, c], c over 0. `None`: no clip.
    pub score_clip: Option<f64>,
    /// The penalty of a response that does not end with an end token or stop text, at least 0.
    pub missing_eos_penalty: f64,
    /// The length limit of responses.
    pub response_length: ResponseLength,
    /// Seed of response lengths and of the rollouts' order.
    pub seed: u64,
}

impl Default for PpoSettings {
    fn default() -> Self {
        PpoSettings {
            learning_rate: 1.4e-5,
            scheduler: LearningRateScheduler::Constant,
            batch_size: 8,
            mini_batch_size: 1,
            gradient_accumulation_steps: 1,
            ppo_epochs: 4,
            gamma: 1.0,
            lambda: 0.95,
            whiten_advantages: true,
            whiten_rewards: false,
            kl_penalty: KlPenalty::Kl,
            initial_kl_coefficient: 0.2,
            kl_control: KlControl::default(),
            early_stopping: true,
            target_kl: 0.1,
            clip_range: 0.2,
            value_clip_range: 0.2,
            value_coefficient: 0.1,
            entropy_coefficient: 0.0,
            ratio_threshold: 10.0,
            reward_scaling: Some(RewardScaling::default()),
            score_normalization: ScoreNormalization::None,
            score_clip: None,
            missing_eos_penalty: 0.0,
            response_length: ResponseLength::default(),
            seed: 0,
        }
    }
}

impl PpoSettings {
    /// PPO with these settings.
    ///
    /// # Errors
    /// The first setting outside its range, with its name and value.
    pub fn check(self) -> Result<Ppo, PpoError> {
        self.check_numbers()?;
        self.check_batches()?;
        if let Some(scaling) = self.reward_scaling {
            scaling.check()?;
        }
        self.response_length.check()?;
        KlController::new(self.initial_kl_coefficient, self.kl_control, self.batch_size)?;
        Ok(Ppo { settings: self })
    }

    fn check_numbers(&self) -> Result<(), PpoError> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let (over_0, from_0, within) = ("finite and over 0", "finite and at least 0", "in [0, 1]");
        let checks = [
            ("learning_rate", self.learning_rate, positive(self.learning_rate), over_0),
            ("gamma", self.gamma, share(self.gamma), within),
            ("lambda", self.lambda, share(self.lambda), within),
            ("target_kl", self.target_kl, positive(self.target_kl), over_0),
            ("clip_range", self.clip_range, self.clip_range > 0.0 && self.clip_range < 1.0, "over 0 and under 1"),
            ("value_clip_range", self.value_clip_range, positive(self.value_clip_range), over_0),
            ("value_coefficient", self.value_coefficient, not_negative(self.value_coefficient), from_0),
            ("entropy_coefficient", self.entropy_coefficient, not_negative(self.entropy_coefficient), from_0),
            (
                "ratio_threshold",
                self.ratio_threshold,
                self.ratio_threshold.is_finite() && self.ratio_threshold > 1.0,
                "finite and over 1",
            ),
            ("score_clip", self.score_clip.unwrap_or(1.0), self.score_clip.is_none_or(positive), over_0),
            ("missing_eos_penalty", self.missing_eos_penalty, not_negative(self.missing_eos_penalty), from_0),
        ];
        match checks.into_iter().find(|(_, _, fine, _)| !fine) {
            Some((setting, value, _, allowed)) => Err(PpoError::OutOfRange { setting, value, allowed }),
            None => Ok(()),
        }
    }

    fn check_batches(&self) -> Result<(), PpoError> {
        let PpoSettings { batch_size, mini_batch_size, gradient_accumulation_steps: accumulation, .. } = *self;
        for (setting, value) in [
            ("batch_size", batch_size),
            ("mini_batch_size", mini_batch_size),
            ("gradient_accumulation_steps", accumulation),
            ("ppo_epochs", self.ppo_epochs),
        ] {
            if value == 0 {
                return Err(PpoError::OutOfRange { setting, value: 0.0, allowed: "at least 1" });
            }
        }
        if mini_batch_size > batch_size {
            return Err(PpoError::MiniBatchOverBatch { mini_batch_size, batch_size });
        }
        let even = mini_batch_size.checked_mul(accumulation).is_some_and(|update| batch_size.is_multiple_of(update));
        if even { Ok(()) } else { Err(PpoError::UnevenBatch { batch_size, mini_batch_size, accumulation }) }
    }
}

/// PPO with checked settings, made by [`PpoSettings::check`].
#[derive(Clone, Debug, PartialEq)]
pub struct Ppo {
    settings: PpoSettings,
}

impl Ppo {
    /// The settings.
    pub fn settings(&self) -> &PpoSettings {
        &self.settings
    }

    /// The KL controller of a new run.
    pub fn controller(&self) -> Result<KlController, PpoError> {
        KlController::new(self.settings.initial_kl_coefficient, self.settings.kl_control, self.settings.batch_size)
    }

    /// The learning rate of `step` (from 0) of `total`.
    pub fn learning_rate(&self, step: u64, total: u64) -> f64 {
        self.settings().learning_rate * self.settings().scheduler.factor(step, total)
    }

    /// The length limit of the responses of `step`, in tokens.
    pub fn response_length(&self, step: u64) -> usize {
        self.settings().response_length.draw(self.settings().seed, step)
    }

    /// The indices 0..`rollouts` in the order of one epoch of one step, split into optimizer steps of
    /// `gradient_accumulation_steps` mini-batches of `mini_batch_size` rollouts (the last may have fewer).
    pub fn updates(&self, rollouts: usize, step: u64, epoch: u64) -> Vec<Vec<Vec<usize>>> {
        let settings = self.settings();
        let order = shuffled(rollouts, settings.seed, step, epoch);
        let mini_batches: Vec<Vec<usize>> = order.chunks(settings.mini_batch_size).map(<[usize]>::to_vec).collect();
        mini_batches.chunks(settings.gradient_accumulation_steps).map(<[Vec<usize>]>::to_vec).collect()
    }
}
