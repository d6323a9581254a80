//! The flags that programs share. Each stands for a key of a settings file.

use std::path::{Path, PathBuf};

use clap::Args;
use ser::config::Config;

use super::fetched;

/// The shared flags.
#[derive(Args)]
pub(crate) struct Flags {
    /// Settings file; may be given several times, a later one wins. Keys that no file and no flag names are the paper's,
    /// which examples/paper/paper.toml spells out
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Vec<PathBuf>,
    /// Any setting by its key, such as training.learning_rate=1e-4; may be given several times, wins over all
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Preferences: a file (JSON lines, JSON array, parquet; .gz, .zst), a folder of shards, a glob, or hf://owner/name
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Folder of the base model: config.json, tokenizer.json, *.safetensors; or hf://owner/name
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// How pairs become texts: raw, authors_code or chat [default: authors_code]
    #[arg(long)]
    pub(crate) template: Option<String>,
    /// Longest text in tokens; pairs with a longer one are left out and counted [default: 512]
    #[arg(long)]
    pub(crate) max_length: Option<usize>,
    /// What to do about a row that cannot be used: stop or skip [default: stop]
    #[arg(long)]
    pub(crate) on_bad_row: Option<String>,
    /// float32, bfloat16 or float16 [default: float32]
    #[arg(long)]
    pub(crate) precision: Option<String>,
    /// auto, cpu or cuda [default: auto]
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Threads on the CPU; 0 means one for each core [default: 0]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Seed of all that is random [default: 0]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

impl Flags {
    /// Reads `defaults` (the text of a settings file), the files, then the flags, and checks every table.
    ///
    /// # Errors
    /// The first key that is unknown or cannot be used, in one sentence.
    pub(crate) fn load(&self, defaults: &str) -> anyhow::Result<Config> {
        let mut builder = Config::builder().preset(defaults)?;
        for path in &self.config {
            builder = builder.file(path)?;
        }
        let path = |path: &Option<PathBuf>| path.as_deref().map(|p: &Path| p.display().to_string());
        for (key, value) in [
            ("run.data", path(&self.data)),
            ("run.model", path(&self.model)),
            ("text.template", self.template.clone()),
            ("data.on_bad_row", self.on_bad_row.clone()),
            ("model.precision", self.precision.clone()),
            ("model.device", self.device.clone()),
        ] {
            if let Some(value) = value {
                builder = builder.value(key, value)?;
            }
        }
        for (key, value) in [
            ("run.seed", self.seed),
            ("run.threads", self.threads.map(|n| n as u64)),
            ("text.max_length", self.max_length.map(|n| n as u64)),
        ] {
            if let Some(value) = value {
                builder = builder.value(key, value)?;
            }
        }
        for setting in &self.set {
            builder = builder.set(setting)?;
        }
        let mut config = builder.build()?;
        if let Some(model) = &config.run.model {
            config.run.model = Some(fetched(model)?);
        }
        Ok(config)
    }
}
