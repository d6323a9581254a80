//! The error of this crate.

/// Why settings were refused or a computation failed. Rollouts are given by their index in the batch and tokens by
/// their index in the response, both from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PpoError {
    /// A setting outside its range.
    #[error("{setting} is {value}; it must be {allowed}")]
    OutOfRange {
        /// The setting's name.
        setting: &'static str,
        /// The number given.
        value: f64,
        /// The range in words.
        allowed: &'static str,
    },
    /// A range in the settings with its end before its start.
    #[error("{setting} goes from {min} to {max}; its end must be at least its start")]
    ReversedRange {
        /// The setting's name.
        setting: &'static str,
        /// The start given.
        min: f64,
        /// The end given.
        max: f64,
    },
    /// A mini-batch larger than the batch.
    #[error("mini_batch_size is {mini_batch_size}, more than batch_size, {batch_size}; make it at most that")]
    MiniBatchOverBatch {
        /// The mini-batch size given.
        mini_batch_size: usize,
        /// The batch size given.
        batch_size: usize,
    },
    /// A batch that does not divide into equal optimizer steps.
    #[error(
        "batch_size is {batch_size}; it must be a multiple of mini_batch_size times gradient_accumulation_steps, \
         {mini_batch_size} times {accumulation}"
    )]
    UnevenBatch {
        /// The batch size given.
        batch_size: usize,
        /// The mini-batch size given.
        mini_batch_size: usize,
        /// The accumulation steps given.
        accumulation: usize,
    },
    /// A horizon so short that one step could reverse the sign of the KL coefficient.
    #[error(
        "kl_control.adaptive.horizon is {horizon}, too short for batches of {batch_size} rollouts: one step could \
         make the KL coefficient 0 or negative; make it more than a fifth of the batch size"
    )]
    ShortHorizon {
        /// The horizon given.
        horizon: f64,
        /// Rollouts of one step.
        batch_size: usize,
    },
    /// A batch without rollouts.
    #[error("the batch has no rollout")]
    EmptyBatch,
    /// A response without tokens.
    #[error("rollout {rollout} has no response token to which its reward could be given")]
    EmptyResponse {
        /// The rollout's index.
        rollout: usize,
    },
    /// A mask without any token that counts.
    #[error("rollout {rollout}: its mask selects no token to which its reward could be given")]
    AllMasked {
        /// The rollout's index.
        rollout: usize,
    },
    /// An array whose length is not that of the response.
    #[error(
        "rollout {rollout}: there are {len} entries of {what} for {tokens} response tokens; there must be one each"
    )]
    LengthMismatch {
        /// The rollout's index.
        rollout: usize,
        /// The name of the array.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The number of response tokens.
        tokens: usize,
    },
    /// Two arrays of one response with different lengths.
    #[error("there are {len} entries of {what}, but {tokens} tokens; there must be one each")]
    UnequalArrays {
        /// The name of the array.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The number of tokens.
        tokens: usize,
    },
    /// A list whose length is not the number of rollouts.
    #[error("there are {len} {what} for {rollouts} rollouts; there must be one each")]
    CountMismatch {
        /// The name of the list.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The number of rollouts.
        rollouts: usize,
    },
    /// A number of a token that is not finite.
    #[error("rollout {rollout}, token {token}: its {what} is {value}; training has diverged, or the model is broken")]
    NotFinite {
        /// The rollout's index.
        rollout: usize,
        /// The token's index.
        token: usize,
        /// The name of the number.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// A score that is not finite.
    #[error("rollout {rollout}: its score is {value}; the reward must be finite")]
    BadScore {
        /// The rollout's index.
        rollout: usize,
        /// The score.
        value: f64,
    },
    /// A score outside the domain of Eq. 7.
    #[error(
        "rollout {rollout}: its score is {value}, but reward_scaling (Eq. 7) is for probabilities in [0, 1]; \
         score with sigmoid(r), or set reward_scaling to \"none\""
    )]
    NotAProbability {
        /// The rollout's index.
        rollout: usize,
        /// The score.
        value: f64,
    },
    /// The penalty is the exact KL, but the rollout has none.
    #[error(
        "rollout {rollout}: kl_penalty is full, which needs the KL divergence of each token's whole distribution; \
         call the policy's rollout with full_kl, or use another penalty"
    )]
    NoFullKl {
        /// The rollout's index.
        rollout: usize,
    },
    /// Distributions over different vocabularies.
    #[error(
        "the distribution of the policy has {policy} tokens and that of the reference {reference}; they must have the same"
    )]
    VocabularyMismatch {
        /// Size of the policy's vocabulary.
        policy: usize,
        /// Size of the reference's vocabulary.
        reference: usize,
    },
    /// A KL coefficient that is negative or not finite.
    #[error("the KL coefficient is {value}; it must be finite and at least 0")]
    BadKlCoefficient {
        /// The coefficient.
        value: f64,
    },
    /// A KL divergence that is not finite.
    #[error("the KL divergence observed is {value}; it must be finite")]
    BadKl {
        /// The divergence.
        value: f64,
    },
}
