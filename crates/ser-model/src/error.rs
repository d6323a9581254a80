//! Why a model could not be loaded, trained or asked.

use std::path::{Path, PathBuf};

use ser_core::BoxError;

/// Why a model could not be loaded, trained or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file is not there.
    #[error("{path}: no such file; a model folder holds config.json, tokenizer.json and *.safetensors")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Only pickled weights are there.
    #[error(
        "{path}: pickled weights are not read, since reading them can run code; save the model again with \
         save_pretrained(safe_serialization=True)"
    )]
    Pickled {
        /// The pickle.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A JSON file does not hold what it should.
    #[error("{path}: {problem}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where known.
        problem: String,
    },
    /// The configuration names something that this crate has not.
    #[error("{path}: {what} {value:?} is not supported; supported: {supported}")]
    Unsupported {
        /// config.json.
        path: PathBuf,
        /// The field.
        what: &'static str,
        /// Its value.
        value: String,
        /// What is.
        supported: &'static str,
    },
    /// The configuration contradicts itself.
    #[error("{path}: {problem}")]
    Config {
        /// config.json.
        path: PathBuf,
        /// Which fields, with their values.
        problem: String,
    },
    /// A safetensors file is damaged.
    #[error("{path}: not a whole safetensors file ({problem}); fetch it again")]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        problem: String,
    },
    /// A GGUF file is damaged, or holds something that is not supported.
    #[error("{path}: {problem}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A tensor is not in the files.
    #[error("{path}: tensor {name} is missing")]
    MissingTensor {
        /// The folder or file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The decoder's weights hold a tensor that the network has no use for.
    #[error(
        "{path}: tensor {name} has no place in the network that config.json describes; a field of config.json is \
         missing or wrong (num_hidden_layers, attention_bias and mlp_bias decide which tensors there are)"
    )]
    UnusedTensor {
        /// The folder.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{path}: tensor {name} has shape {found:?}, but the configuration asks for {expected:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// As stored.
        found: Vec<i64>,
        /// As wanted.
        expected: Vec<i64>,
    },
    /// A tensor is stored in a kind that cannot be cast.
    #[error("{path}: tensor {name} is stored as {kind}, which is not read; supported: F64, F32, F16, BF16")]
    TensorKind {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// As stored.
        kind: String,
    },
    /// The index names a shard outside the folder.
    #[error("{path}: shard {shard:?} is not a plain file name; an index may only name files beside it")]
    ShardName {
        /// The index.
        path: PathBuf,
        /// The shard.
        shard: String,
    },
    /// The index and a shard contradict each other.
    #[error("{path}: tensor {tensor} is not in {shard}, where the index says it is; fetch the model again")]
    Index {
        /// The index.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A safetensors file could not be written.
    #[error("{path}: could not be written ({problem})")]
    Writing {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A setting is out of its range.
    #[error("{name} is {value}; {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A model is too large for the GPUs it is to be spread over.
    #[error("the weights take {needed:.1} GB but {gpus} GPUs have {free:.1} GB for them; choose bfloat16 or more GPUs")]
    NoRoom {
        /// Gigabytes of weights.
        needed: f64,
        /// Gigabytes free on all GPUs, a reserve for activations left out.
        free: f64,
        /// How many GPUs.
        gpus: usize,
    },
    /// An adapter does not fit the network.
    #[error("{path}: {problem}")]
    Adapter {
        /// The adapter's file or folder.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// No adapter has that name.
    #[error("there is no adapter {name:?}; adapters: {known}")]
    NoAdapter {
        /// As asked.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An adapter's target modules name nothing of the network.
    #[error("adapter {name:?}: its target_modules fit no projection of the network; name q_proj and v_proj, say")]
    NoTarget {
        /// The adapter.
        name: String,
    },
    /// The adapters are off.
    #[error("no adapter is active, so there is nothing to train or to write; choose one with set_adapter")]
    NoActiveAdapter,
    /// An adapter's name is taken.
    #[error("there is an adapter {name:?} already; choose another name")]
    AdapterExists {
        /// As asked.
        name: String,
    },
    /// A batch has more tokens in one text than the network has positions.
    #[error(
        "a text of {tokens} tokens is longer than the model's {limit} positions; set max_length to at most {limit}"
    )]
    TooLong {
        /// The text's tokens.
        tokens: usize,
        /// max_position_embeddings.
        limit: i64,
    },
    /// A token id has no embedding.
    #[error("token id {id} is outside the vocabulary of {vocab}")]
    TokenId {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocab: i64,
    },
    /// A text without tokens has no last token to score.
    #[error("a text of pair {pair} has no tokens at all; leave such pairs out")]
    EmptyText {
        /// The pair's place in the batch.
        pair: usize,
    },
    /// An empty prompt, and no token that begins a text.
    #[error("a prompt has no tokens, and neither config.json nor the tokenizer names a bos token; give it some text")]
    EmptyPrompt,
    /// A prompt that fills the model's positions.
    #[error(
        "prompt {prompt} (from 0) has {tokens} tokens and leaves no room for an answer in {limit} positions; shorten it or leave it out"
    )]
    LongPrompt {
        /// Its place among the prompts, from 0.
        prompt: usize,
        /// Its tokens.
        tokens: usize,
        /// The longest text.
        limit: usize,
    },
    /// The model's logits are no numbers.
    #[error(
        "the logits after prompt {prompt} (from 0) hold no finite number; the weights are damaged, or the precision is too low"
    )]
    NoToken {
        /// The prompt's place, from 0.
        prompt: usize,
    },
    /// A model without a score head cannot score.
    #[error(
        "{}: no score head (score.weight) is saved with this {what}, so its scores would be random; give a reward model \
         that was trained{}",
        path.display(),
        found.as_ref().map_or_else(String::new, |name| format!(
            "; it holds {name}, which is not read as a score head: only score.weight, one row without a bias, is"
        ))
    )]
    NoHead {
        /// The folder of the adapter, or of the model.
        path: PathBuf,
        /// What the folder holds: an adapter or a model.
        what: &'static str,
        /// Another tensor or file that looks like a head.
        found: Option<String>,
    },
    /// Texts are asked for that differ from those of a model's training.
    #[error(
        "{}: the model was trained with {setting} {recorded}, but {asked} is asked for; leave the setting out, or force \
         it (--force-text)",
        record.display()
    )]
    OtherText {
        /// The record of the training's texts.
        record: PathBuf,
        /// The setting.
        setting: &'static str,
        /// As recorded.
        recorded: String,
        /// As asked for.
        asked: String,
    },
    /// A model's tokenizer is not the one of its training.
    #[error(
        "{}: the model was trained with another tokenizer than the one in {}; give the base model it was trained on, or \
         force the use of this one (--force-text)",
        record.display(),
        tokenizer.display()
    )]
    OtherTokenizer {
        /// The record of the training's texts.
        record: PathBuf,
        /// The folder of the tokenizer.
        tokenizer: PathBuf,
    },
    /// There is nothing to train on.
    #[error("nothing to train on: {0}")]
    NoData(&'static str),
    /// A checkpoint was written by a training on other data or with other settings.
    #[error(
        "{path}: a checkpoint of a training with {examples} examples and {steps} steps cannot be resumed by one with {own_examples} examples and {own_steps} steps; resume with the same data and settings, or start anew"
    )]
    OtherTraining {
        /// The checkpoint.
        path: PathBuf,
        /// Examples of the training that wrote it.
        examples: usize,
        /// Its steps.
        steps: u64,
        /// Examples of this training.
        own_examples: usize,
        /// Its steps.
        own_steps: u64,
    },
    /// Training ran into NaN or infinity.
    #[error("step {step}: {what} is {value}; lower the learning rate (now {learning_rate:e}) or set max_grad_norm")]
    Diverged {
        /// The optimizer step.
        step: u64,
        /// Loss or gradient norm.
        what: &'static str,
        /// The value.
        value: f64,
        /// The rate in use.
        learning_rate: f64,
    },
    /// The work was stopped on request.
    #[error(transparent)]
    Stopped(#[from] ser_core::Stopped),
    /// The preferences could not be read from their store.
    #[error("the preferences cannot be read")]
    Store(#[source] BoxError),
    /// The data's texts could not be turned into tokens.
    #[error(transparent)]
    Data(#[from] ser_data::DataError),
    /// The loss refused its batch.
    #[error("the loss refused its batch")]
    Loss(#[source] BoxError),
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Torch(String),
}

impl ModelError {
    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            ModelError::Missing { path: path.to_owned() }
        } else {
            ModelError::File { path: path.to_owned(), source }
        }
    }

    pub(crate) fn json(path: &Path, error: impl std::fmt::Display) -> Self {
        ModelError::Json { path: path.to_owned(), problem: error.to_string() }
    }
}

// libtorch's messages carry a C++ stack after the first line; people need the first.
impl From<tch::TchError> for ModelError {
    fn from(error: tch::TchError) -> Self {
        let text = error.to_string();
        ModelError::Torch(text.lines().next().unwrap_or_default().to_owned())
    }
}

impl From<ser_libtorch::Error> for ModelError {
    fn from(error: ser_libtorch::Error) -> Self {
        ModelError::Torch(error.to_string())
    }
}
