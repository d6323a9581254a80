//! The flags that programs share. Each stands for a key of a settings file.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use toml::{Table, Value};

use super::tables::{config, merge, put, read, value_of};
use super::{Config, fetched};

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
    /// How pairs become texts: raw, script or chat [default: script]
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
        let mut all: Table = defaults.parse().context("built-in settings")?;
        let mut table = Table::new();
        for path in &self.config {
            merge(&mut table, read(path)?);
        }
        let path = |path: &Option<PathBuf>| path.as_deref().map(|p: &Path| Value::from(p.display().to_string()));
        let number = |n: Option<u64>| n.map(|n| Value::Integer(n.cast_signed()));
        let flags = [
            ("run.data", path(&self.data)),
            ("run.model", path(&self.model)),
            ("run.seed", number(self.seed)),
            ("run.threads", number(self.threads.map(|n| n as u64))),
            ("text.template", self.template.clone().map(Value::from)),
            ("text.max_length", number(self.max_length.map(|n| n as u64))),
            ("data.on_bad_row", self.on_bad_row.clone().map(Value::from)),
            ("model.precision", self.precision.clone().map(Value::from)),
            ("model.device", self.device.clone().map(Value::from)),
        ];
        for (key, value) in flags {
            if let Some(value) = value {
                put(&mut table, key, value);
            }
        }
        for setting in &self.set {
            let Some((key, value)) = setting.split_once('=') else {
                bail!("--set {setting}: give KEY=VALUE, such as training.learning_rate=1e-4");
            };
            put(&mut table, key.trim(), value_of(value.trim()));
        }
        let text = table.get("text").cloned();
        merge(&mut all, table);
        let mut config: Config = config(all)?;
        if let Some(text) = text {
            config.text_request = text.try_into().context("setting text")?;
        }
        config.check()?;
        if let Some(model) = &config.run.model {
            config.run.model = Some(fetched(model)?);
        }
        // One seed for all, unless a file gives a part its own.
        for seed in [
            &mut config.split.seed,
            &mut config.evolution.seed,
            &mut config.corpus.seed,
            &mut config.prompts.answers.sampling.seed,
            &mut config.policies.sampling.seed,
            &mut config.policy.seed,
            &mut config.ppo.seed,
        ] {
            if *seed == 0 {
                *seed = config.run.seed;
            }
        }
        Ok(config)
    }
}
