//! Layers of settings.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Config, ConfigError, Given, read, tables};

/// Layers of settings: presets, then files, then single keys; a later one wins key by key.
///
/// ```
/// use ser::config::{Config, DEMO};
/// # #[cfg(feature = "libtorch")]
/// let config = Config::builder().preset(DEMO)?.set("training.epochs=1")?.value("run.seed", 3u64)?.build()?;
/// # Ok::<(), ser::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ConfigBuilder {
    presets: Map<String, Value>,
    given: Map<String, Value>,
    /// The texts that keys come from, to name file and line of a key that cannot be used.
    sources: Vec<Source>,
}

#[derive(Clone, Debug)]
struct Source {
    path: Option<PathBuf>,
    /// None for keys that come from no text.
    text: Option<String>,
    keys: Map<String, Value>,
}

impl ConfigBuilder {
    /// No layer: the paper's settings.
    pub fn new() -> Self {
        ConfigBuilder::default()
    }

    /// A text whose keys are under those of all files and keys, wherever in the chain it is named. Keys of a preset do not
    /// count as given ([`Config::set`] and the seeds tell the difference).
    ///
    /// # Errors
    /// A key that is unknown or a value of the wrong type.
    pub fn preset(mut self, text: &str) -> Result<Self, ConfigError> {
        tables::merge(&mut self.presets, read::parse(text, None)?);
        Ok(self)
    }

    /// The text of a settings file.
    ///
    /// # Errors
    /// The first key that is unknown or has a value of the wrong type, with its line.
    pub fn toml(self, text: &str) -> Result<Self, ConfigError> {
        self.text(text.to_owned(), None)
    }

    /// A settings file.
    ///
    /// # Errors
    /// A file that cannot be read; the first key that is unknown or has a value of the wrong type, with file and line.
    pub fn file(self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::io(path, error))?;
        self.text(text, Some(path.to_owned()))
    }

    /// One key, written `key=value`; see [`Config::set`].
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    pub fn set(self, assignment: &str) -> Result<Self, ConfigError> {
        let (key, value) = tables::assignment(assignment)?;
        self.value(&key, value)
    }

    /// One key and its value.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    pub fn value(self, key: &str, value: impl Into<Value>) -> Result<Self, ConfigError> {
        let keys = tables::with_present_names(tables::nested(key.split('.'), value.into()));
        read::config(&keys)?;
        Ok(self.layer(Source { path: None, text: None, keys }))
    }

    /// The settings of all layers, every table checked.
    ///
    /// # Errors
    /// The first value that cannot be used, with its full key, and with file and line if a file gives it.
    pub fn build(self) -> Result<Config, ConfigError> {
        let config = self.clone().build_unchecked()?;
        config.check().map_err(|error| self.locate(error))?;
        Ok(config)
    }

    /// The settings of all layers, for programs that change some before they [check](Config::check).
    ///
    /// # Errors
    /// Layers that together have a value of the wrong type.
    pub fn build_unchecked(self) -> Result<Config, ConfigError> {
        let mut all = self.presets;
        tables::merge(&mut all, self.given.clone());
        let mut config = read::config(&all)?;
        config.given = Given(self.given);
        config.fill_seeds();
        Ok(config)
    }

    fn text(self, text: String, path: Option<PathBuf>) -> Result<Self, ConfigError> {
        let keys = read::parse(&text, path.as_deref())?;
        Ok(self.layer(Source { path, text: Some(text), keys }))
    }

    fn layer(mut self, source: Source) -> Self {
        tables::merge(&mut self.given, source.keys.clone());
        self.sources.push(source);
        self
    }

    /// Adds file and line of the text that the key's value comes from.
    fn locate(&self, error: ConfigError) -> ConfigError {
        let Some(key) = error.key().map(str::to_owned) else { return error };
        let source = self.sources.iter().rfind(|source| tables::lookup(&source.keys, &key).is_some());
        let Some(Source { path, text: Some(text), .. }) = source else { return error };
        error.at(path.as_deref(), tables::line_of(text, &key))
    }
}
