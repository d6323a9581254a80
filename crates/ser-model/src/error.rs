//! Errors of loading, training, scoring and generation.

use std::path::{Path, PathBuf};

use ser_core::BoxError;

/// An error of loading, training, scoring or generation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file is missing.
    #[error("{path}: no such file; a model folder contains config.json, tokenizer.json and *.safetensors")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The folder contains only pickled weights.
    #[error(
        "{path}: pickled weights are not read, since reading them can run code; save the model again with \
         save_pretrained(safe_serialization=True)"
    )]
    Pickled {
        /// The pickle.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{path}: reading or writing failed")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A JSON file is malformed.
    #[error("{path}: {problem}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The problem, with line and column where known.
        problem: String,
    },
    /// The configuration asks for something that this crate does not support.
    #[error("{path}: {what} {value:?} is not supported; supported: {supported}")]
    Unsupported {
        /// config.json.
        path: PathBuf,
        /// The field.
        what: &'static str,
        /// Its value.
        value: String,
        /// The supported values.
        supported: &'static str,
    },
    /// The configuration is inconsistent.
    #[error("{path}: {problem}")]
    Config {
        /// config.json.
        path: PathBuf,
        /// The fields, with their values.
        problem: String,
    },
    /// A safetensors file is damaged.
    #[error("{path}: not a complete safetensors file ({problem}); download it again")]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// The reader's error.
        problem: String,
    },
    /// A GGUF file is damaged, or contains something that is not supported.
    #[error("{path}: {problem}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// The problem, and what is expected.
        problem: String,
    },
    /// A tensor is missing from the files.
    #[error("{path}: tensor {name} is missing")]
    MissingTensor {
        /// The folder or file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The decoder's weights contain a tensor that the network does not use.
    #[error(
        "{path}: the network that config.json describes does not use tensor {name}; a field of config.json is missing or \
         wrong (num_hidden_layers, attention_bias and mlp_bias decide which tensors a network has)"
    )]
    UnusedTensor {
        /// The folder.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{path}: tensor {name} has shape {found:?}, but the configuration needs {expected:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The stored shape.
        found: Vec<i64>,
        /// The shape that the configuration needs.
        expected: Vec<i64>,
    },
    /// A tensor is stored in a kind that cannot be cast.
    #[error("{path}: tensor {name} is stored as {kind}, which is not supported; supported: F64, F32, F16, BF16")]
    TensorKind {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The stored kind.
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
    /// The index and a shard are inconsistent.
    #[error("{path}: tensor {tensor} is missing from {shard}, which the index names for it; download the model again")]
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
        /// The problem.
        problem: String,
    },
    /// A file in the folder of kept activations is something else.
    #[error("{path} is not a file of activations; remove it, or set model.activations.folder to another folder")]
    ActivationFile {
        /// The file.
        path: PathBuf,
    },
    /// A setting is out of its range.
    #[error("{name} is {value}; {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// The values that it may have.
        expected: &'static str,
    },
    /// A model is too large for the GPUs that its layers are spread over.
    #[error("the weights need {needed:.1} GB but {gpus} GPUs have {free:.1} GB for them; choose bfloat16 or more GPUs")]
    TooLarge {
        /// Gigabytes of weights.
        needed: f64,
        /// Gigabytes free on all GPUs, less a reserve for activations.
        free: f64,
        /// The number of GPUs.
        gpus: usize,
    },
    /// An adapter does not fit the network.
    #[error("{path}: {problem}")]
    Adapter {
        /// The adapter's file or folder.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// No adapter has that name.
    #[error("there is no adapter {name:?}; adapters: {known}")]
    NoAdapter {
        /// The requested name.
        name: String,
        /// The names of the adapters.
        known: String,
    },
    /// A setting names layers that the network does not have.
    #[error("{name} is {value}; the network has {layers} layers, numbered from 0")]
    Layers {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// The number of the network's layers.
        layers: i64,
    },
    /// An adapter's target modules match no projection of the network.
    #[error("adapter {name:?}: its target_modules match no projection of the network; try q_proj and v_proj")]
    NoTarget {
        /// The adapter.
        name: String,
    },
    /// The adapters are disabled.
    #[error("no adapter is active, so nothing can be trained or written; choose one with set_adapter")]
    NoActiveAdapter,
    /// An adapter's name is taken.
    #[error("an adapter {name:?} exists already; choose another name")]
    AdapterExists {
        /// The requested name.
        name: String,
    },
    /// A text has more tokens than the network has positions.
    #[error(
        "a text of {tokens} tokens is longer than the model's {limit} positions; set max_length to at most {limit}"
    )]
    TooLong {
        /// The text's tokens.
        tokens: usize,
        /// The longest text, `max_position_embeddings`.
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
    #[error("a text of pair {pair} has no tokens; leave such pairs out")]
    EmptyText {
        /// The pair's index in the batch.
        pair: usize,
    },
    /// An empty prompt, and no token that starts a text.
    #[error("a prompt has no tokens, and neither config.json nor the tokenizer names a bos token; give it some text")]
    EmptyPrompt,
    /// A prompt that fills the model's positions.
    #[error(
        "prompt {prompt} (from 0) has {tokens} tokens, and the model's {limit} positions leave none for an answer; shorten it or leave it out"
    )]
    LongPrompt {
        /// Its index among the prompts, from 0.
        prompt: usize,
        /// Its tokens.
        tokens: usize,
        /// The longest text.
        limit: usize,
    },
    /// The model's logits are not finite.
    #[error("no logit after prompt {prompt} (from 0) is finite; the weights are damaged, or the precision is too low")]
    NoToken {
        /// The prompt's index, from 0.
        prompt: usize,
    },
    /// A model without a score head cannot score.
    #[error(
        "{}: this {what} has no score head (score.weight), so its scores would be random; give a trained reward model{}",
        path.display(),
        found.as_ref().map_or_else(String::new, |name| format!(
            "; it contains {name}, but a score head is read only as score.weight, one row without a bias"
        ))
    )]
    NoHead {
        /// The folder of the adapter, or of the model.
        path: PathBuf,
        /// The kind of folder: an adapter or a model.
        what: &'static str,
        /// Another tensor or file that looks like a head.
        found: Option<String>,
    },
    /// The requested texts differ from those of the model's training.
    #[error(
        "{}: the model was trained with {setting} {recorded}, but {asked} was requested; leave the setting out, or \
         force it (--force-text)",
        record.display()
    )]
    OtherText {
        /// The record of the training's texts.
        record: PathBuf,
        /// The setting.
        setting: &'static str,
        /// The recorded value.
        recorded: String,
        /// The requested value.
        asked: String,
    },
    /// The tokenizer differs from the one of the model's training.
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
    /// There is no data to train on.
    #[error("nothing to train on: {0}")]
    NoData(&'static str),
    /// A checkpoint was written by a training on other data or with other settings.
    #[error(
        "{path}: a checkpoint of a training with {examples} examples and {steps} steps cannot be resumed by one with {own_examples} examples and {own_steps} steps; resume with the same data and settings, or start a new run"
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
    /// A loss or a gradient became NaN or infinite.
    #[error("step {step}: {what} is {value}; lower the learning rate (now {learning_rate:e}) or set max_grad_norm")]
    Diverged {
        /// The optimizer step.
        step: u64,
        /// Loss or gradient norm.
        what: &'static str,
        /// The value.
        value: f64,
        /// The current learning rate.
        learning_rate: f64,
    },
    /// A linear reward model, or its file of hidden states, cannot be used.
    #[error(transparent)]
    Linear(ser_linear::LinearError),
    /// An adapter was given without its base model.
    #[error("an adapter needs its base model; give that model's folder or file too")]
    NoBase,
    /// The base model that a reward model's folder names is not there.
    #[error("{record} names the base model {base}, which does not exist; give the base model's folder or file")]
    MissingBase {
        /// The file that names it.
        record: PathBuf,
        /// The base model.
        base: PathBuf,
    },
    /// The work was stopped on request.
    #[error(transparent)]
    Stopped(#[from] ser_core::Stopped),
    /// The preferences could not be read from their store.
    #[error("the preferences cannot be read")]
    Store(#[source] BoxError),
    /// A text could not be tokenized.
    #[error(transparent)]
    Data(#[from] ser_data::DataError),
    /// The loss returned an error.
    #[error("computing the loss failed")]
    Loss(#[source] BoxError),
    /// An operation among the processes of a run failed.
    #[error(transparent)]
    Group(ser_libtorch::Error),
    /// Work that cannot be shared among processes, or processes that share none any more.
    #[error("{0}")]
    Workers(String),
    /// libtorch returned an error.
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

// The first line of libtorch's message says the problem; a C++ stack follows.
impl From<tch::TchError> for ModelError {
    fn from(error: tch::TchError) -> Self {
        let text = error.to_string();
        ModelError::Torch(text.lines().next().unwrap_or_default().to_owned())
    }
}

impl From<ser_libtorch::Error> for ModelError {
    fn from(error: ser_libtorch::Error) -> Self {
        match error {
            ser_libtorch::Error::Group { .. } => ModelError::Group(error),
            other => ModelError::Torch(other.to_string()),
        }
    }
}
