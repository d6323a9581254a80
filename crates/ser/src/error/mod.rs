//! Errors of runs and of configurations.

#[cfg(feature = "config")]
mod config;

use std::io;
use std::path::{Path, PathBuf};

use ser_core::BoxError;

#[cfg(feature = "config")]
pub use config::ConfigError;

/// Why a run did not start, or did not end. The cause, where there is one, is the error's `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be worked on.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `write`, `rename`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the run does not hold what this version writes.
    #[error("{} is not what a run writes: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line where there are lines.
        message: String,
    },
    /// Another process works in the folder.
    #[error("the run folder {} is held by another process: wait for it to end, or choose another folder", path.display())]
    Held {
        /// The run folder.
        path: PathBuf,
    },
    /// The folder holds something that is no run.
    #[error("{} is not empty and holds no run: choose a new or an empty folder", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds a run, and nobody asked to resume it.
    #[error("{} already holds a run: resume it, or choose another folder", path.display())]
    Exists {
        /// The run folder.
        path: PathBuf,
    },
    /// The run was made by another version, which may compute something else.
    #[error("{} was made by ser {theirs} and this is ser {ours}: resume with that version, or start a new run", path.display())]
    Version {
        /// The run folder.
        path: PathBuf,
        /// The version that made the run.
        theirs: String,
        /// This version.
        ours: &'static str,
    },
    /// A resumed run was started with other settings.
    #[error("cannot resume with other settings: `{field}` was {was} and is now {is}")]
    OtherSettings {
        /// The first field that differs, as a dotted path.
        field: String,
        /// Its value in the run.
        was: String,
        /// Its value now.
        is: String,
    },
    /// A resumed run was started on other data.
    #[error("cannot resume on other data: `{field}` was {was} and is now {is}")]
    OtherData {
        /// The first fact that differs, as a dotted path.
        field: String,
        /// What it was in the run.
        was: String,
        /// What it is now.
        is: String,
    },
    /// A finished stage is not as it was left.
    #[error("{} was changed or damaged since the run wrote it: start a new run", path.display())]
    Damaged {
        /// The stage's file or folder.
        path: PathBuf,
    },
    /// A finished stage's result is needed that was removed to save space.
    #[error("{} was removed by `prune_models` and is needed again: start a new run without it", path.display())]
    Pruned {
        /// The stage's folder.
        path: PathBuf,
    },
    /// A setting that cannot be used.
    #[error("the setting `{field}` is {value}, but must be {expected}")]
    Setting {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A part of the data that the run needs has no usable pair.
    #[error("no pair is left in the {part}: {hint}")]
    NoPairs {
        /// The part: `labelled seed`.
        part: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// PPO has nothing to answer.
    #[error("the set of prompts is empty: PPO needs at least one")]
    NoPrompts,
    /// The data could not be read or split.
    #[error(transparent)]
    Data(#[from] ser_data::DataError),
    /// A setting of a configuration cannot be read or used.
    #[cfg(feature = "config")]
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The models of a procedure could not be made or checked.
    #[error(transparent)]
    Models(BoxError),
    /// Data on which nothing can be trained, or a setting that leaves none.
    #[error("{0}")]
    Unusable(String),
    /// A setting of a table does not fit the model.
    #[error("{table}")]
    Table {
        /// The table: `policy.lora`.
        table: String,
        /// What does not fit.
        source: BoxError,
    },
    /// There is no base model: none is named, or it is not made yet.
    #[error("there is no base model: name its folder (run.model), with config.json, tokenizer.json and *.safetensors")]
    NoModel,
    /// A feature of this crate is needed.
    #[error("{what} needs the feature `{feature}` of ser")]
    Feature {
        /// What needs it.
        what: &'static str,
        /// The feature.
        feature: &'static str,
    },
    /// A language model or reward model failed.
    #[cfg(feature = "libtorch")]
    #[error(transparent)]
    Model(#[from] ser_model::ModelError),
    /// A judge or a measurement failed.
    #[error(transparent)]
    Eval(#[from] ser_eval::EvalError),
    /// Two pairs of a run have the same number.
    #[error("two pairs have the id {id}: ids must be unique among all pairs of a run")]
    DuplicateId {
        /// The number.
        id: u64,
    },
    /// An implementation of a trait answered for another number of pairs than it was asked about.
    #[error("{stage}: {expected} answers were asked for and {got} came")]
    Count {
        /// The stage.
        stage: String,
        /// How many were asked for.
        expected: usize,
        /// How many came.
        got: usize,
    },
    /// A training came to no finite loss.
    #[error("{stage} diverged: its last mean loss is {loss}; lower the learning rate, or look at the data")]
    Diverged {
        /// The stage.
        stage: String,
        /// The loss.
        loss: f64,
    },
    /// A model, rule or loss failed.
    #[error("{stage} failed")]
    Stage {
        /// The stage: `train loop 1`.
        stage: String,
        /// Its own error.
        source: BoxError,
    },
    /// An observer said stop. Every finished stage is saved.
    #[error("stopped during `{stage}`: everything finished is saved, resume the run in {} to go on", path.display())]
    Interrupted {
        /// The stage that was under way.
        stage: String,
        /// The run folder.
        path: PathBuf,
    },
}

impl Error {
    /// Whether the work was stopped on request, for example by Ctrl-C.
    pub fn is_interrupted(&self) -> bool {
        match self {
            Error::Interrupted { .. } | Error::Eval(ser_eval::EvalError::Stopped(_)) => true,
            #[cfg(feature = "libtorch")]
            Error::Model(ser_model::ModelError::Stopped(_)) => true,
            _ => false,
        }
    }

    /// Makes an I/O error into ours, for `map_err`.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }

    /// Whether an implementation answered for as many as it was asked about.
    pub(crate) fn count(stage: &str, expected: usize, got: usize) -> Result<(), Error> {
        if expected == got { Ok(()) } else { Err(Error::Count { stage: stage.to_owned(), expected, got }) }
    }

    /// Makes an implementation's error into ours, for `map_err`.
    pub(crate) fn stage<E: Into<BoxError>>(stage: &str) -> impl FnOnce(E) -> Error + '_ {
        move |source| Error::Stage { stage: stage.to_owned(), source: source.into() }
    }
}
