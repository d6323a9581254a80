//! The messages of rank 0.

use std::ops::Range;
use std::path::{Path, PathBuf};

use ser_core::Sampling;
use ser_data::TokenizedPair;
use ser_libtorch::ProcessGroup;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::network::Network;
use crate::seeds::SeedsState;
use crate::{ActivationSettings, LoraSettings, ModelError};

/// A message of rank 0 to all others. Models are told apart by the numbers that rank 0 gives them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message<W = Work> {
    /// Rank 0 is alive and has nothing to compute yet.
    Wait,
    /// There is no more work.
    End,
    /// Load a model. Followed by a comparison of the base models.
    Load(u64, ModelToLoad),
    /// Drop a model.
    Drop(u64),
    /// Take part in the work of a model.
    Work(u64, W),
}

/// A part of a model's work, and the operations that follow its message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Take over the weights that can change: a broadcast.
    Weights {
        part: TrainedPart,
        /// Whether the adapter is merged for scoring.
        merged: bool,
    },
    /// Add up the gradients of a training step: a sum.
    Gradients(TrainedPart),
    /// Score pairs with a reward model: their tokens, and a sum of the scores.
    Score(ScoreRequest),
    /// The passes of a part of a reward model's training step: the tokens, a sum of the scores, and the gradient by them.
    Step(StepRequest),
    /// The passes of SFT over texts: their tokens, and the metrics of all processes.
    Sft {
        request: TextRequest,
        /// The factor of the loss; `None` for an evaluation.
        weight: Option<f64>,
    },
    /// Log-probabilities of the answers of pairs, for DPO: the tokens, a sum of the log-probabilities, and the gradient by them if
    /// there is a backward pass.
    Dpo {
        request: TextRequest,
        /// Means over tokens instead of sums.
        average: bool,
        backward: bool,
    },
    /// Answer prompts with a policy: the rollouts of all processes.
    Rollout(RolloutRequest),
    /// The passes of a mini-batch of PPO: the tokens, a sum of the evaluations, and the gradient by them.
    MiniBatch {
        request: TextRequest,
        /// The number of each answer's first tokens that could not be end tokens.
        min_new_tokens: Vec<usize>,
    },
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

/// The part of a model that is trained, with its head if it has one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum TrainedPart {
    /// An adapter, which is the active one.
    Adapter { name: String, settings: Box<LoraSettings> },
    /// All weights.
    Whole,
    /// No weights of the network: no adapter is active.
    Nothing,
}

impl TrainedPart {
    /// The active adapter of a network.
    pub(crate) fn active(network: &Network) -> Result<Self, ModelError> {
        let Some(name) = network.adapters.active_name() else { return Ok(TrainedPart::Nothing) };
        let settings = Box::new(network.adapters.settings(name)?.clone());
        Ok(TrainedPart::Adapter { name: name.to_owned(), settings })
    }
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
    pub(crate) kind: ModelKind,
    /// The base model.
    pub(crate) folder: PathBuf,
    settings: Value,
    /// Whole, unlike in the settings.
    pub(crate) activations: ActivationSettings,
}

/// The kinds of models whose work is shared.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum ModelKind {
    /// A reward model.
    Reward,
    /// A language model.
    Causal,
    /// A policy.
    Policy,
}

impl ModelToLoad {
    pub(crate) fn new(
        kind: ModelKind,
        folder: &Path,
        settings: &impl Serialize,
        activations: &ActivationSettings,
    ) -> Result<Self, ModelError> {
        let settings = serde_json::to_value(settings)
            .map_err(|error| ModelError::json(folder, format!("settings cannot be written: {error}")))?;
        Ok(ModelToLoad { kind, folder: folder.to_owned(), settings, activations: activations.clone() })
    }

    /// The settings of rank 0.
    pub(crate) fn settings<S: DeserializeOwned>(&self) -> Result<S, ModelError> {
        serde_json::from_value(self.settings.clone()).map_err(|error| {
            ModelError::Workers(format!(
                "the settings of rank 0 cannot be read; do all ranks run this version? ({error})"
            ))
        })
    }
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
pub(super) fn send(group: &ProcessGroup, message: &Message<&Work>) -> Result<(), ModelError> {
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
