//! Errors of runs and of configurations.

#[cfg(feature = "config")]
mod config;
mod label;

use std::io;
use std::path::{Path, PathBuf};

use ser_core::BoxError;

#[cfg(feature = "config")]
pub use config::ConfigError;
pub use label::LabelError;

/// Why a run did not start, or did not end. The cause, where there is one, is the error's `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be worked on.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The operation: `write`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file of the run is not in the format that this version writes.
    #[error("{} is not in the format of a run: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The problem, with the line if the file has lines.
        message: String,
    },
    /// Another process has the folder open.
    #[error("the run folder {} is locked by another process: wait for it to end, or choose another folder", path.display())]
    Held {
        /// The run folder.
        path: PathBuf,
    },
    /// The folder is not empty and does not contain a run.
    #[error("{} is not empty and does not contain a run: choose a new or an empty folder", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// The folder contains a run, and `resume` is false.
    #[error("{} already contains a run: resume it, or choose another folder", path.display())]
    Exists {
        /// The run folder.
        path: PathBuf,
    },
    /// Another version made the run; its results may differ.
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
        /// Its recorded value.
        was: String,
        /// Its value now.
        is: String,
    },
    /// A resumed run was started on other data.
    #[error("cannot resume on other data: `{field}` was {was} and is now {is}")]
    OtherData {
        /// The first value that differs, as a dotted path.
        field: String,
        /// Its recorded value.
        was: String,
        /// Its value now.
        is: String,
    },
    /// A file of the run was changed, damaged or removed.
    #[error("{} was changed, damaged or removed since the run wrote it: repair the run (`--repair`), or start a new one", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
    },
    /// The folder is not there any more, or is another one.
    #[error("the run folder {} was removed or replaced while the run wrote into it: start the run again", path.display())]
    Gone {
        /// The run folder.
        path: PathBuf,
    },
    /// The folder cannot be locked.
    #[error("cannot lock {}, and two processes could write into one run: choose a folder on a file system with locks", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The result of a finished stage is needed, but was removed to save space.
    #[error("{} was removed by `prune_models` and is needed again: start a new run without it", path.display())]
    Pruned {
        /// The stage's folder.
        path: PathBuf,
    },
    /// A setting outside its range.
    #[error("the setting `{field}` is {value}, but must be {expected}")]
    Setting {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: String,
        /// The values that it may have.
        expected: &'static str,
    },
    /// A part of the data has no usable pair.
    #[error("no pair is left in the {part}: {hint}")]
    NoPairs {
        /// The part: `labelled seed`.
        part: &'static str,
        /// The remedy.
        hint: &'static str,
    },
    /// The set of prompts is empty.
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
    /// The data leaves nothing to train on, under these settings.
    #[error("{0}")]
    Unusable(String),
    /// A setting of a table does not fit the model.
    #[error("{table}")]
    Table {
        /// The table: `policy.lora`.
        table: String,
        /// The reason.
        source: BoxError,
    },
    /// No base model is named, or it does not exist yet.
    #[error("there is no base model: name its folder (run.model), with config.json, tokenizer.json and *.safetensors")]
    NoModel,
    /// A feature of this crate is needed.
    #[error("{what} needs the feature `{feature}` of ser")]
    Feature {
        /// The function or setting that needs the feature.
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
    /// Two pairs of a run have the same id.
    #[error("two pairs have the id {id}: ids must be unique among all pairs of a run")]
    DuplicateId {
        /// The id.
        id: u64,
    },
    /// An implementation of a trait returned the wrong number of results.
    #[error("{stage}: {expected} results were expected, but {got} were returned")]
    Count {
        /// The stage.
        stage: String,
        /// The expected number.
        expected: usize,
        /// The returned number.
        got: usize,
    },
    /// A training ended with a loss that is not finite.
    #[error("{stage} diverged: its last mean loss is {loss}; lower the learning rate, or check the data")]
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
        /// The cause.
        source: BoxError,
    },
    /// An observer requested a stop. Every finished stage is saved.
    #[error("stopped during `{stage}`: everything finished is saved, resume the run in {} to continue", path.display())]
    Interrupted {
        /// The interrupted stage.
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
            Error::Data(ser_data::DataError::Stopped { .. }) => true,
            #[cfg(feature = "libtorch")]
            Error::Model(ser_model::ModelError::Stopped(_)) => true,
            _ => false,
        }
    }

    /// Converts an I/O error, for `map_err`.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }

    /// Converts an error of a store of pairs, for `map_err`.
    pub(crate) fn store(error: BoxError) -> Error {
        match error.downcast::<ser_data::DataError>() {
            Ok(error) => Error::Data(*error),
            Err(source) => Error::Stage { stage: "reading pairs".to_owned(), source },
        }
    }

    /// Checks the number of results of an implementation.
    pub(crate) fn count(stage: &str, expected: usize, got: usize) -> Result<(), Error> {
        if expected == got { Ok(()) } else { Err(Error::Count { stage: stage.to_owned(), expected, got }) }
    }

    /// Converts an implementation's error, for `map_err`.
    pub(crate) fn stage<E: Into<BoxError>>(stage: &str) -> impl FnOnce(E) -> Error + '_ {
        move |source| Error::Stage { stage: stage.to_owned(), source: source.into() }
    }
}
