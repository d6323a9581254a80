//! The flags of the examples, and what they tell on stderr, over `ser::config`.

mod flags;

use std::path::{Path, PathBuf};

use ser::Message;
use ser::data::ReadSummary;
use ser::model::{CausalLm, CausalLmSettings, Device, TextRequest};

#[allow(unused_imports, reason = "not every example names it")]
pub(crate) use ser::config::Config;

pub(crate) use flags::Flags;

/// Sets the threads, chooses the device and says on stderr which and why.
#[allow(dead_code, reason = "not every example computes with a network")]
pub(crate) fn device(config: &Config) -> anyhow::Result<Device> {
    ser::model::set_threads(config.run.threads);
    let (device, why) = Device::choose(config.model.device)?;
    eprintln!("{why}");
    Ok(device)
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
    let request = TextRequest { force, ..config.text_request() };
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
