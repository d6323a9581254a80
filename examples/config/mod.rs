//! Settings of the examples with a neural reward model: TOML files, then flags, later ones winning key by key.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use ser::core::Sampling;
use ser::data::corpus::CorpusSettings;
use ser::data::{ReadSettings, SplitSettings, TextSettings};
use ser::eval::JudgeSettings;
use ser::model::{
    BaseSettings, CausalLmSettings, Device, DeviceChoice, DpoTrainingSettings, LoraSettings, PolicySettings, Precision,
    RewardModelSettings, SftSettings, TextRequest, TrainingSettings,
};
use ser::ppo::PpoSettings;
use ser::{LoopSettings, PolicyRunSettings, PoolSampling};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// All that a file may say. The default is the paper's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// What the flags of the same names say.
    pub(crate) run: Run,
    /// How files are read.
    pub(crate) data: ReadSettings,
    /// Who gets which pairs.
    pub(crate) split: SplitSettings,
    /// Pairs to texts to tokens.
    pub(crate) text: TextSettings,
    /// The network.
    pub(crate) model: Model,
    /// The reward model's adapter.
    pub(crate) lora: LoraSettings,
    /// The reward model's training.
    pub(crate) training: TrainingSettings,
    /// The loop.
    #[serde(rename = "loop")]
    pub(crate) evolution: LoopSettings,
    /// A pool out of prompts alone.
    pub(crate) prompts: Prompts,
    /// Supervised fine-tuning.
    pub(crate) sft: SftSettings,
    /// The policy's adapter and optimizer.
    pub(crate) policy: PolicySettings,
    /// PPO.
    pub(crate) ppo: PpoSettings,
    /// How long PPO runs, and what is kept of it.
    pub(crate) policy_run: PolicyRunSettings,
    /// What PPO's answers are rewarded for.
    pub(crate) reward: Reward,
    /// DPO.
    pub(crate) dpo: DpoTrainingSettings,
    /// Which policies a run of the loop trains and compares.
    pub(crate) policies: Policies,
    /// Who compares them; the built-in corpus's truth if not given, which knows no other prompts.
    pub(crate) judge: Option<JudgeSettings>,
    /// The built-in corpus, where no data is given.
    pub(crate) corpus: CorpusSettings,
    /// Its base model.
    pub(crate) base: BaseSettings,
    /// The keys of `text` that files and flags give, without a program's own defaults: what is asked of the texts of a
    /// model that was trained before.
    #[serde(skip)]
    pub(crate) text_request: TextRequest,
}

/// Files, folders and the seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Run {
    /// Preferences; the built-in corpus if not given.
    pub(crate) data: Option<PathBuf>,
    /// Held-out preferences; a part of `data` if not given.
    pub(crate) test_data: Option<PathBuf>,
    /// Folder of the base model: config.json, tokenizer.json, *.safetensors.
    pub(crate) model: Option<PathBuf>,
    /// Folder of the run or the result.
    pub(crate) out: Option<PathBuf>,
    /// Seed of all that is random.
    pub(crate) seed: u64,
    /// Threads of libtorch on the CPU; all cores if 0.
    pub(crate) threads: usize,
}

/// Prompts that a generator answers twice each, for the pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Prompts {
    /// The prompts: JSON lines with `prompt`, or a prompt a line.
    pub(crate) file: Option<PathBuf>,
    /// Folder of the language model that answers; the base model if not given.
    pub(crate) generator: Option<PathBuf>,
    /// How it is asked.
    pub(crate) answers: PoolSampling,
}

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Reward {
    /// Words whose share among an answer's words is its reward, where no reward model is named.
    pub(crate) words: Vec<String>,
    /// Folder of a reward model's adapter, with its head.
    pub(crate) model: Option<PathBuf>,
    /// Folder of that adapter's base model; the policy's if not given.
    pub(crate) base: Option<PathBuf>,
    /// Whether the reward is sigmoid(r), which reward scaling (Eq. 7) is for, instead of the raw score r.
    pub(crate) probability: bool,
}

impl Default for Reward {
    fn default() -> Self {
        let words =
            "happy happily smile smiled smiles love loved loves friend friends fun nice kind good great laughed";
        let words = words.split(' ').map(str::to_owned).collect();
        Reward { words, model: None, base: None, probability: false }
    }
}

/// The policy half of a run of the loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Policies {
    /// Whether there is one: SFT, PPO with the evolved reward model, PPO with the full-data one, and their comparison.
    pub(crate) train: bool,
    /// Whether DPO on the labelled seed is held against them, too.
    pub(crate) dpo: bool,
    /// Test prompts that all policies answer.
    pub(crate) judged: usize,
    /// How they answer.
    pub(crate) sampling: Sampling,
}

impl Default for Policies {
    fn default() -> Self {
        Policies { train: false, dpo: true, judged: 200, sampling: Sampling::default() }
    }
}

/// How the network computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Model {
    /// Numbers of the frozen network.
    pub(crate) precision: Precision,
    /// Where it computes.
    pub(crate) device: DeviceChoice,
    /// Tokens in one forward when scoring.
    pub(crate) token_budget: usize,
}

impl Default for Model {
    fn default() -> Self {
        let token_budget = RewardModelSettings::default().token_budget;
        Model { precision: Precision::default(), device: DeviceChoice::default(), token_budget }
    }
}

/// The flags that all examples share. Each stands for a key of a settings file.
#[derive(Args)]
pub(crate) struct Flags {
    /// Settings file; may be given several times, a later one wins
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
    /// How pairs become texts: raw, script or chat
    #[arg(long)]
    pub(crate) template: Option<String>,
    /// Longest text in tokens
    #[arg(long)]
    pub(crate) max_length: Option<usize>,
    /// What to do about a row that cannot be used: stop or skip
    #[arg(long)]
    pub(crate) on_bad_row: Option<String>,
    /// float32, bfloat16 or float16
    #[arg(long)]
    pub(crate) precision: Option<String>,
    /// auto, cpu or cuda
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Threads on the CPU
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Seed of all that is random
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

impl Flags {
    /// Reads `defaults` (the text of a settings file), the files, then the flags.
    pub(crate) fn load(&self, defaults: &str) -> anyhow::Result<Config> {
        let mut all: Table = defaults.parse().context("built-in settings")?;
        let mut table = Table::new();
        for path in &self.config {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            // As settings first: a key that nobody knows is reported with its file and line.
            toml::from_str::<Config>(&text).map_err(|error| located(path, &text, &error))?;
            merge(&mut table, text.parse().map_err(|error| located(path, &text, &error))?);
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
                put(&mut table, key, value)?;
            }
        }
        for setting in &self.set {
            let Some((key, value)) = setting.split_once('=') else {
                bail!("--set {setting}: give KEY=VALUE, such as training.learning_rate=1e-4");
            };
            put(&mut table, key.trim(), value_of(value.trim()))?;
        }
        let text = table.get("text").cloned();
        merge(&mut all, table);
        let mut config: Config =
            all.try_into().map_err(|error: toml::de::Error| anyhow!("settings: {}", error.message()))?;
        if let Some(text) = text {
            config.text_request = text.try_into().context("settings: text")?;
        }
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

impl Config {
    /// Sets the threads, chooses the device and says on stderr which and why.
    #[allow(dead_code, reason = "not every example computes with a network")]
    pub(crate) fn device(&self) -> anyhow::Result<Device> {
        ser::model::set_threads(self.run.threads);
        let (device, why) = Device::choose(self.model.device)?;
        eprintln!("{why}");
        Ok(device)
    }

    /// The parts of it that a reward model is made with.
    #[allow(dead_code, reason = "not every example has a reward model")]
    pub(crate) fn reward_model(&self) -> RewardModelSettings {
        RewardModelSettings {
            lora: self.lora.clone(),
            training: self.training.clone(),
            text: self.text.clone(),
            precision: self.model.precision,
            token_budget: self.model.token_budget,
            init_seed: self.run.seed,
            force_text: false,
        }
    }

    /// The parts of it that a language model is loaded with.
    #[allow(dead_code, reason = "not every example has a language model")]
    pub(crate) fn causal_lm(&self) -> CausalLmSettings {
        CausalLmSettings {
            text: self.text.clone(),
            precision: self.model.precision,
            token_budget: self.model.token_budget,
            ..CausalLmSettings::default()
        }
    }
}

/// The folder of an adapter, which may be given as the run folder of train_reward; or as an address `hf://owner/name`.
#[allow(dead_code, reason = "not every example loads an adapter")]
pub(crate) fn adapter_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = fetched(folder)?;
    let of_run = folder.join("reward/model");
    let holds_adapter = |folder: &Path| folder.join("adapter_config.json").exists();
    Ok(if !holds_adapter(&folder) && holds_adapter(&of_run) { of_run } else { folder })
}

/// The folder of a model or adapter: an address `hf://owner/name` becomes its folder in the Hugging Face cache.
pub(crate) fn fetched(folder: &Path) -> anyhow::Result<PathBuf> {
    match folder.to_str() {
        Some(address) if address.starts_with("hf://") => Ok(ser::data::hub::model_folder(address)?),
        _ => Ok(folder.to_path_buf()),
    }
}

/// One sentence with file and line.
fn located(path: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    anyhow!("{} line {}: {}", path.display(), before.matches('\n').count() + 1, error.message())
}

/// `later` over `table`, table by table. Where the `kind` changes, the fields of the other kind go.
fn merge(table: &mut Table, later: Table) {
    if later.get("kind").is_some_and(|kind| table.get("kind") != Some(kind)) {
        table.clear();
    }
    for (key, value) in later {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// Sets `a.b.c`.
fn put(table: &mut Table, key: &str, value: Value) -> anyhow::Result<()> {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((first, rest)) => match table.entry(first).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => put(inner, rest, value)?,
            _ => bail!("setting {key}: {first} is no table"),
        },
    }
    Ok(())
}

/// TOML where it is TOML, else a text: `--set lora.rank=4` and `--set loop.anchor=none` both work.
fn value_of(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
    parsed.unwrap_or_else(|| Value::from(text))
}
