//! Settings of the examples with a neural reward model: TOML files, then flags, later ones winning key by key.

mod check;
mod flags;
mod tables;

use std::path::{Path, PathBuf};

use ser::core::{Message, Sampling};
use ser::data::corpus::CorpusSettings;
use ser::data::{ReadSettings, ReadSummary, SplitSettings, TextSettings};
use ser::eval::JudgeSettings;
use ser::model::{
    BaseSettings, CausalLm, CausalLmSettings, Device, DeviceChoice, DpoTrainingSettings, LoraSettings, PolicySettings,
    Precision, RewardModelSettings, SftSettings, TextRequest, TrainingSettings,
};
use ser::ppo::PpoSettings;
use ser::{LoopSettings, PolicyRunSettings, PoolSampling};
use serde::{Deserialize, Serialize};

pub(crate) use flags::Flags;

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
    /// Whether a reward model's reward is sigmoid(r), as in the paper, which scales it by Eq. 7; else it is the raw score r.
    pub(crate) probability: bool,
}

impl Default for Reward {
    fn default() -> Self {
        let words =
            "happy happily smile smiled smiles love loved loves friend friends fun nice kind good great laughed";
        let words = words.split(' ').map(str::to_owned).collect();
        Reward { words, model: None, base: None, probability: true }
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

/// Loads a trained language model. Its texts are those of its training where `ser.json` beside it records them, else those
/// of the settings; which of the two is told on stderr after `name`. `force` lets the settings win.
#[allow(dead_code, reason = "not every example loads a trained language model")]
pub(crate) fn trained_lm(
    config: &Config,
    folder: &Path,
    force: bool,
    name: &str,
    device: Device,
) -> anyhow::Result<CausalLm> {
    let request = TextRequest { force, ..config.text_request.clone() };
    let text = request.resolve(&[folder], &config.text)?;
    eprintln!("{name}, {text}");
    let model =
        CausalLm::from_folder(folder, &CausalLmSettings { text: text.settings.clone(), ..config.causal_lm() }, device)?;
    text.check_tokenizer(model.tokenizer())?;
    Ok(model)
}

/// Says on stderr what was left out of files, or does not fit together in them.
#[allow(dead_code, reason = "not every example reads a file")]
pub(crate) fn tell(read: &ReadSummary) {
    read.notes().iter().for_each(|note| eprintln!("note: {note}"));
}

/// The prompts after which an answer of `longest` tokens has room in the model's positions, in their order, and how many
/// were left out.
#[allow(dead_code, reason = "not every example has prompts")]
pub(crate) fn prompts_with_room(
    model: &CausalLm,
    prompts: Vec<Vec<Message>>,
    longest: usize,
) -> anyhow::Result<(Vec<Vec<Message>>, usize)> {
    let (all, limit) = (prompts.len(), model.generation_limit());
    let mut fit = Vec::with_capacity(all);
    for prompt in prompts {
        if model.tokenize_prompt(&prompt)?.len().saturating_add(longest) <= limit {
            fit.push(prompt);
        }
    }
    let left_out = all - fit.len();
    Ok((fit, left_out))
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
