//! The flags that commands share. Each sets a key of the settings.

use std::path::{Path, PathBuf};

use clap::Args;
use ser::config::Config;

/// The shared flags.
#[derive(Args)]
pub(crate) struct Flags {
    /// Settings file; may be given several times, a later one wins. Keys that no file and no flag names are the paper's,
    /// which `ser config --paper` prints
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
    /// Action at a row that cannot be used: stop or skip [default: stop]
    #[arg(long)]
    pub(crate) on_bad_row: Option<String>,
    /// float32, bfloat16 or float16 [default: float32]
    #[cfg(feature = "libtorch")]
    #[arg(long)]
    pub(crate) precision: Option<String>,
    /// auto, cpu or cuda [default: auto]
    #[cfg(feature = "libtorch")]
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Threads on the CPU; 0 means one for each core [default: 0]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Seed of all random numbers [default: 0]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

impl Flags {
    /// The settings of `presets`, the files, and the flags, with every table checked.
    pub(crate) fn load(&self, presets: &[&str]) -> anyhow::Result<Config> {
        let mut builder = Config::builder();
        for preset in presets {
            builder = builder.preset(preset)?;
        }
        for path in &self.config {
            builder = builder.file(path)?;
        }
        let path = |path: &Option<PathBuf>| path.as_deref().map(|p: &Path| p.display().to_string());
        let texts = [
            ("run.data", path(&self.data)),
            ("run.model", path(&self.model)),
            ("text.template", self.template.clone()),
            ("data.on_bad_row", self.on_bad_row.clone()),
            #[cfg(feature = "libtorch")]
            ("model.precision", self.precision.clone()),
            #[cfg(feature = "libtorch")]
            ("model.device", self.device.clone()),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                builder = builder.value(key, value)?;
            }
        }
        let numbers = [
            ("run.seed", self.seed),
            ("run.threads", self.threads.map(|n| n as u64)),
            ("text.max_length", self.max_length.map(|n| n as u64)),
        ];
        for (key, value) in numbers {
            if let Some(value) = value {
                builder = builder.value(key, value)?;
            }
        }
        for setting in &self.set {
            builder = builder.set(setting)?;
        }
        Ok(builder.build()?)
    }

    /// Like [`load`](Flags::load), for a command that computes with a model: sets the threads, chooses the device, and
    /// fetches the base model if it is an address.
    #[cfg(feature = "libtorch")]
    pub(crate) fn load_with_device(&self, presets: &[&str]) -> anyhow::Result<(Config, ser::model::Device)> {
        let mut config = self.load(presets)?;
        if let Some(model) = &config.run.model {
            config.run.model = Some(ser::fetched(model)?);
        }
        ser::model::set_threads(config.run.threads);
        let (device, why) = ser::model::Device::choose(config.model.device)?;
        crate::output::note(why);
        Ok((config, device))
    }
}

/// The flags of a run folder.
#[cfg(feature = "libtorch")]
#[derive(Args)]
pub(crate) struct RunFlags {
    /// The run's folder
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Continues the run in that folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Continues the run after comparing every file with its checksum; damaged stages are made again from those before them
    #[arg(long)]
    pub(crate) repair: bool,
    /// Prints the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Printed after Ctrl-C by commands that have `--resume`.
#[cfg(feature = "libtorch")]
pub(crate) const RESUME: &str = "Run the same command with --resume to continue.";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn help_shows_the_defaults() {
        let help = Program::command().render_long_help().to_string();
        let name = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let config = serde_json::to_value(Config::paper()).unwrap();
        for (flag, key) in [
            ("--template", "/text/template"),
            ("--max-length", "/text/max_length"),
            ("--on-bad-row", "/data/on_bad_row"),
            #[cfg(feature = "libtorch")]
            ("--precision", "/model/precision"),
            #[cfg(feature = "libtorch")]
            ("--device", "/model/device"),
            ("--threads", "/run/threads"),
            ("--seed", "/run/seed"),
        ] {
            let default = name(config.pointer(key).unwrap().clone());
            let (_, of_flag) = help.split_once(&format!("      {flag} ")).unwrap();
            let of_flag = of_flag.split("\n\n").next().unwrap();
            assert!(of_flag.contains(&format!("[default: {default}]")), "{flag}: {of_flag}");
        }
    }

    #[test]
    fn a_flag_wins_over_a_file_and_a_key_over_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, "[text]\nmax_length = 7\n[run]\nseed = 3\n").unwrap();
        let file = path.to_str().unwrap();
        let load = |arguments: &[&str]| {
            let arguments = [&["program", "--config", file], arguments].concat();
            Program::try_parse_from(arguments).unwrap().flags.load(&[]).unwrap()
        };
        assert_eq!(load(&[]).text.max_length, Some(7));
        assert_eq!(load(&["--max-length", "8"]).text.max_length, Some(8));
        let config = load(&["--set", "text.max_length=9", "--max-length", "8", "--seed", "0"]);
        assert_eq!((config.text.max_length, config.run.seed, config.split.seed), (Some(9), 0, 0));
    }
}
