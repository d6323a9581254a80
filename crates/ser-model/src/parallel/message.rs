//! The messages of rank 0.

use std::ops::Range;
use std::path::PathBuf;

use ser_core::Sampling;
use ser_data::TokenizedPair;
use ser_libtorch::ProcessGroup;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::seeds::SeedsState;
use crate::{ActivationSettings, LoraSettings, ModelError};

/// A message of rank 0 to all others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Rank 0 is alive and has nothing to compute yet.
    Wait,
    /// There is no more work.
    End,
    /// Load a reward model. Followed by a comparison of the base models.
    LoadReward(ModelToLoad),
    /// Take over adapter and head. Followed by a broadcast of their numbers.
    Weights {
        /// The active adapter.
        adapter: Option<String>,
        /// Whether it is merged for scoring.
        merged: bool,
    },
    /// Score pairs. Followed by their tokens and a sum of the scores.
    Score(ScoreRequest),
    /// The passes of a part of a training step. Followed by the tokens, a sum of the scores, and the gradient by them.
    Step(StepRequest),
    /// Add up the gradients of a training step. Followed by the sum.
    Gradients,
    /// Load a language model. Followed by a comparison of the base models.
    LoadCausal(ModelToLoad),
    /// Take over what is trained of the language model. Followed by a broadcast of its numbers.
    CausalWeights(TrainedPart),
    /// The passes of SFT over texts. Followed by their tokens and the metrics of all processes.
    Sft {
        request: TextRequest,
        /// The factor of the loss; `None` for an evaluation.
        weight: Option<f64>,
    },
    /// Log-probabilities of the answers of pairs, for DPO. Followed by the tokens, a sum of the log-probabilities, and the gradient by
    /// them if there is a backward pass.
    Dpo {
        request: TextRequest,
        /// Means over tokens instead of sums.
        average: bool,
        backward: bool,
    },
    /// As `Gradients`, of the language model.
    CausalGradients(TrainedPart),
    /// Load a policy. Followed by a comparison of the base models.
    LoadPolicy(ModelToLoad),
    /// As `Weights`, of the policy's adapter and value head.
    PolicyWeights,
    /// Answer prompts. Followed by the rollouts of all processes.
    Rollout(RolloutRequest),
    /// The passes of a mini-batch of PPO. Followed by the tokens, a sum of the evaluations, and the gradient by them.
    MiniBatch {
        request: TextRequest,
        /// The number of each answer's first tokens that could not be end tokens.
        min_new_tokens: Vec<usize>,
    },
    /// As `Gradients`, of the policy.
    PolicyGradients,
}

/// Prompts to answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RolloutRequest {
    pub(crate) prompts: Vec<Vec<u32>>,
    /// The number of equal prompts before each one.
    pub(crate) occurrences: Vec<u64>,
    /// The rank of each prompt.
    pub(crate) ranks: Vec<usize>,
    pub(crate) sampling: Sampling,
    pub(crate) full_kl: bool,
}

/// The trained part of a language model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum TrainedPart {
    /// An adapter, which is the active one.
    Adapter { name: String, settings: Box<LoraSettings> },
    /// All weights.
    Whole,
    /// Nothing: the base model computes.
    Nothing,
}

/// Texts of a training, and how they are computed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TextRequest {
    /// The number of tokens of each text, and the ranges of those that carry loss.
    pub(crate) texts: Vec<(usize, Vec<Range<usize>>)>,
    /// The rank of each text.
    pub(crate) ranks: Vec<usize>,
    /// The seeds of the dropouts; `None` outside of training.
    pub(crate) seeds: Option<SeedsState>,
    pub(crate) checkpointing: bool,
}

/// A model, before its training.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ModelToLoad {
    /// The base model.
    pub(crate) folder: PathBuf,
    /// [`RewardModelSettings`](crate::RewardModelSettings), [`CausalLmSettings`](crate::CausalLmSettings), or those and
    /// [`PolicySettings`](crate::PolicySettings).
    pub(crate) settings: Value,
    /// Whole, unlike in the settings.
    pub(crate) activations: ActivationSettings,
}

/// Batches of pairs to score.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScoreRequest {
    pub(crate) pairs: Vec<PairShape>,
    /// The rank and the pairs of each batch.
    pub(crate) batches: Vec<(usize, Vec<usize>)>,
    /// Whether activations are kept.
    pub(crate) keep: bool,
}

/// Pairs of one part of a training step.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepRequest {
    pub(crate) pairs: Vec<PairShape>,
    /// The rank of each pair.
    pub(crate) ranks: Vec<usize>,
    /// The seeds of the dropouts.
    pub(crate) seeds: SeedsState,
    pub(crate) checkpointing: bool,
}

/// The number of tokens of a pair's prompt and answers.
pub(crate) type PairShape = [usize; 3];

/// Sends a message. Only for rank 0.
pub(super) fn send(group: &ProcessGroup, message: &Message) -> Result<(), ModelError> {
    let bytes = serde_json::to_vec(message).map_err(|error| ModelError::Workers(error.to_string()))?;
    group.broadcast(&mut Tensor::from_slice(&[bytes.len() as i64]), 0)?;
    Ok(group.broadcast(&mut Tensor::from_slice(&bytes), 0)?)
}

/// The next message of rank 0.
pub(crate) fn receive(group: &ProcessGroup) -> Result<Message, ModelError> {
    let mut length = Tensor::from_slice(&[0i64]);
    group.broadcast(&mut length, 0)?;
    let mut bytes = Tensor::f_zeros([length.f_int64_value(&[0])?], (Kind::Uint8, tch::Device::Cpu))?;
    group.broadcast(&mut bytes, 0)?;
    serde_json::from_slice(&Vec::<u8>::try_from(&bytes)?).map_err(|error| ModelError::Workers(error.to_string()))
}

/// Shapes and tokens of pairs, for a message and the broadcast after it.
pub(crate) fn tokens_of(pairs: &[&TokenizedPair]) -> (Vec<PairShape>, Tensor) {
    let shapes = pairs.iter().map(|pair| <[usize; 3]>::from(pair.lengths())).collect();
    let parts = pairs.iter().flat_map(|pair| [&pair.prompt].into_iter().chain(&pair.answers));
    let tokens: Vec<i64> = parts.flatten().map(|&token| i64::from(token)).collect();
    (shapes, Tensor::from_slice(&tokens))
}

/// Receives the tokens of pairs of these shapes.
pub(crate) fn pairs_of(group: &ProcessGroup, shapes: &[PairShape]) -> Result<Vec<TokenizedPair>, ModelError> {
    let total: usize = shapes.iter().flatten().sum();
    let mut tokens = Tensor::f_zeros([total as i64], (Kind::Int64, tch::Device::Cpu))?;
    group.broadcast(&mut tokens, 0)?;
    let tokens = Vec::<i64>::try_from(&tokens)?;
    let mut rest = tokens.iter().map(|&token| u32::try_from(token).unwrap_or(u32::MAX));
    let mut take = |count: usize| rest.by_ref().take(count).collect();
    Ok(shapes
        .iter()
        .map(|&[prompt, a, b]| TokenizedPair { prompt: take(prompt), answers: [take(a), take(b)] })
        .collect())
}

/// The bytes of all processes, in the order of their ranks.
pub(crate) fn gather_bytes(group: &ProcessGroup, bytes: &[u8]) -> Result<Vec<Vec<u8>>, ModelError> {
    let lengths = group.all_gather(&Tensor::from_slice(&[bytes.len() as i64]))?;
    let lengths = lengths.iter().map(|length| length.f_int64_value(&[0])).collect::<Result<Vec<i64>, _>>()?;
    let longest = lengths.iter().max().map_or(0, |&length| length as usize);
    let mut padded = bytes.to_vec();
    padded.resize(longest, 0);
    let all = group.all_gather(&Tensor::from_slice(&padded))?;
    let cut = |(bytes, length): (&Tensor, &i64)| {
        let mut bytes = Vec::<u8>::try_from(bytes)?;
        bytes.truncate(*length as usize);
        Ok(bytes)
    };
    all.iter().zip(&lengths).map(cut).collect()
}
