//! The error of settings.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A setting that cannot be read or used.
///
/// The text is one sentence with file and line, if the setting comes from a file, the full key, the value and what it
/// must be.
#[derive(Debug)]
pub struct ConfigError {
    message: String,
    key: Option<String>,
    value: Option<String>,
    file: Option<PathBuf>,
    line: Option<usize>,
    source: Option<io::Error>,
}

impl ConfigError {
    /// The full key: `sft.training.learning_rate`.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The key's table: `sft.training`.
    pub fn table(&self) -> Option<&str> {
        self.key().and_then(|key| key.rsplit_once('.')).map(|(table, _)| table)
    }

    /// The key's value as text.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The file that gives the key.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The key's line in the file, from 1.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    pub(crate) fn new(message: impl Into<String>) -> Self {
        ConfigError { message: message.into(), key: None, value: None, file: None, line: None, source: None }
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let file = Some(path.to_owned());
        ConfigError { file, source: Some(source), ..ConfigError::new(format!("cannot read {}", path.display())) }
    }

    pub(crate) fn with_key(self, key: impl Into<String>) -> Self {
        ConfigError { key: Some(key.into()), ..self }
    }

    pub(crate) fn with_value(self, value: Option<&serde_json::Value>) -> Self {
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        ConfigError { value: value.map(text), ..self }
    }

    /// Writes the table before other keys of it that the text names.
    pub(crate) fn with_full_keys(self, table: &str, keys: &[&str]) -> Self {
        let full = |word: &str| match keys.contains(&word.trim_end_matches(',')) {
            true => format!("{table}.{word}"),
            false => word.to_owned(),
        };
        let message = self.message.split(' ').map(full).collect::<Vec<_>>().join(" ");
        ConfigError { message, ..self }
    }

    pub(crate) fn at(self, file: Option<&Path>, line: Option<usize>) -> Self {
        ConfigError { file: file.map(Path::to_owned), line, ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{} line {line}: {}", file.display(), self.message),
            (None, Some(line)) => write!(f, "line {line}: {}", self.message),
            (_, None) => f.write_str(&self.message),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
