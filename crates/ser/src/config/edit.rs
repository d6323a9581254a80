//! Reading, changing and writing a configuration.

use std::path::Path;

use serde_json::Value;

use super::builder::ConfigBuilder;
use super::{Config, ConfigError, read, tables};

impl Config {
    /// Layers of settings, a later one over an earlier one, key by key.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::new()
    }

    /// Reads and checks the text of a settings file.
    ///
    /// # Errors
    /// The first key that is unknown or has a value that cannot be used, with its line.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Config::builder().toml(text)?.build()
    }

    /// Reads and checks settings files; of several, a later one wins key by key.
    ///
    /// # Errors
    /// The first key that is unknown or has a value that cannot be used, with its file and line.
    pub fn from_files<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Result<Self, ConfigError> {
        let mut builder = Config::builder();
        for file in files {
            builder = builder.file(file)?;
        }
        builder.build()
    }

    /// Sets one key, written `key=value`: `training.learning_rate=1e-4`. The value is TOML; text needs no quotes.
    ///
    /// Whether the settings fit together is left to [`check`](Config::check), so that several keys can change in turn.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let (key, value) = tables::assignment(assignment)?;
        self.put(&key, value)
    }

    /// The settings as the text of a settings file, which reads back as the same settings. A part that takes the run's
    /// seed has no `seed` of its own in it; options without a value are left out.
    ///
    /// # Errors
    /// A number that TOML cannot represent.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        read::to_toml(self)
    }

    fn put(&mut self, key: &str, value: Value) -> Result<(), ConfigError> {
        let given = tables::with_present_names(tables::nested(key.split('.'), value));
        read::config(&given)?;
        let mut all = read::object(self)?;
        tables::merge(&mut all, given.clone());
        let was = std::mem::take(&mut self.given);
        *self = read::config(&all)?;
        self.given = was;
        tables::merge(&mut self.given.0, given);
        self.fill_seeds();
        Ok(())
    }
}
