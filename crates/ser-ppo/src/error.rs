//! What can go wrong in PPO's arithmetic.

/// Why settings were refused or numbers could not be worked with. Rollouts are named by their place in the batch,
/// from 0, and tokens by their place in the response, from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PpoError {
    /// A number in the settings that makes no sense there.
    #[error("ppo.{setting} is {value}; it must be {allowed}")]
    OutOfRange {
        /// The setting's name.
        setting: &'static str,
        /// The number given.
        value: f64,
        /// Which numbers make sense.
        allowed: &'static str,
    },
    /// A range in the settings whose end lies before its start.
    #[error("ppo.{setting} goes from {min} to {max}; its end must not lie before its start")]
    ReversedRange {
        /// The setting's name.
        setting: &'static str,
        /// The start given.
        min: f64,
        /// The end given.
        max: f64,
    },
    /// A mini-batch that no batch can fill.
    #[error("ppo.mini_batch_size is {mini_batch_size}, more than ppo.batch_size, {batch_size}; make it at most that")]
    MiniBatchOverBatch {
        /// The mini-batch size given.
        mini_batch_size: usize,
        /// The batch size given.
        batch_size: usize,
    },
    /// Optimizer steps that would not be alike.
    #[error(
        "ppo.batch_size is {batch_size}, no multiple of ppo.mini_batch_size times ppo.gradient_accumulation_steps, \
         {mini_batch_size} times {accumulation}; the last optimizer step of an epoch would be smaller than the rest"
    )]
    UnevenBatch {
        /// The batch size given.
        batch_size: usize,
        /// The mini-batch size given.
        mini_batch_size: usize,
        /// The accumulation steps given.
        accumulation: usize,
    },
    /// A controller that one step could turn over.
    #[error(
        "ppo.kl_control.adaptive.horizon is {horizon}, too short for batches of {batch_size} rollouts: one step could \
         make the KL coefficient 0 or negative; make it more than a fifth of the batch size"
    )]
    ShortHorizon {
        /// The horizon given.
        horizon: f64,
        /// Rollouts of one step.
        batch_size: usize,
    },
    /// No rollouts.
    #[error("the batch holds no rollout")]
    EmptyBatch,
    /// A response without tokens, where no reward can stand.
    #[error("rollout {rollout} has no response token, so its reward has no place")]
    EmptyResponse {
        /// The rollout's place.
        rollout: usize,
    },
    /// A mask that leaves nothing.
    #[error("rollout {rollout}: the mask leaves none of its tokens, so its reward has no place")]
    AllMasked {
        /// The rollout's place.
        rollout: usize,
    },
    /// Arrays that belong to other tokens.
    #[error(
        "rollout {rollout}: there are {len} entries of {what} for {tokens} response tokens; there must be one each"
    )]
    LengthMismatch {
        /// The rollout's place.
        rollout: usize,
        /// Which array.
        what: &'static str,
        /// Its length.
        len: usize,
        /// How many tokens the response has.
        tokens: usize,
    },
    /// Two arrays of one response that do not fit together.
    #[error("there are {len} entries of {what}, but {tokens} tokens; there must be one each")]
    UnequalArrays {
        /// Which array.
        what: &'static str,
        /// Its length.
        len: usize,
        /// How many tokens there are.
        tokens: usize,
    },
    /// Lists that belong to other rollouts.
    #[error("there are {len} {what} for {rollouts} rollouts; there must be one each")]
    CountMismatch {
        /// Which list.
        what: &'static str,
        /// Its length.
        len: usize,
        /// How many rollouts there are.
        rollouts: usize,
    },
    /// A number of a token that is none.
    #[error("rollout {rollout}, token {token}: its {what} is {value}; training has diverged, or the model is broken")]
    NotFinite {
        /// The rollout's place.
        rollout: usize,
        /// The token's place.
        token: usize,
        /// Which number.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// A score that is no number.
    #[error("rollout {rollout}: its score is {value}; the reward must be finite")]
    BadScore {
        /// The rollout's place.
        rollout: usize,
        /// The score.
        value: f64,
    },
    /// A score outside Eq. 7's domain.
    #[error(
        "rollout {rollout}: its score is {value}, but ppo.reward_scaling (Eq. 7) is for probabilities in [0, 1]; \
         score with sigmoid(r), or leave reward_scaling out"
    )]
    NotAProbability {
        /// The rollout's place.
        rollout: usize,
        /// The score.
        value: f64,
    },
    /// The exact KL is asked for but was not handed over.
    #[error(
        "rollout {rollout}: ppo.kl_penalty is full, which needs the KL divergence of each token's whole distribution; \
         ask the policy for full_kl in its rollouts, or use another penalty"
    )]
    NoFullKl {
        /// The rollout's place.
        rollout: usize,
    },
    /// Distributions over different vocabularies.
    #[error("the policy's distribution has {policy} tokens, the reference's {reference}; they must be the same")]
    VocabularyMismatch {
        /// Size of the policy's vocabulary.
        policy: usize,
        /// Size of the reference's vocabulary.
        reference: usize,
    },
    /// A KL coefficient that would reward leaving the reference, or is none.
    #[error("the KL coefficient is {value}; it must be finite and at least 0")]
    BadKlCoefficient {
        /// The coefficient.
        value: f64,
    },
    /// A KL divergence that cannot steer anything.
    #[error("the KL divergence observed is {value}; it must be finite to steer the KL coefficient")]
    BadKl {
        /// The divergence.
        value: f64,
    },
}
