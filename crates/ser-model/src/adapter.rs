//! Adapter folders in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use std::path::Path;

use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use crate::ModelError;
use crate::lora::{LoraSettings, PROJECTIONS};
use crate::network::Network;
use crate::weights::{Weights, save, write_whole};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
/// Where PEFT puts a module that is trained whole.
const SCORE: &str = "base_model.model.score.weight";

/// The fields of `adapter_config.json` that matter here.
#[derive(Deserialize)]
struct File {
    peft_type: Option<String>,
    r: i64,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    target_modules: Option<Targets>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    rank_pattern: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    alpha_pattern: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Targets {
    List(Vec<String>),
    One(String),
}

/// Writes a reward model's adapter and head so that PEFT loads them.
pub(crate) fn save_adapter(
    folder: &Path,
    network: &Network,
    name: &str,
    score: &Tensor,
    base: &str,
) -> Result<(), ModelError> {
    let lora = network.adapters.settings(name)?;
    let config = serde_json::json!({
        "peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": base, "r": lora.rank,
        "lora_alpha": lora.alpha, "lora_dropout": lora.dropout, "target_modules": lora.target_modules,
        "modules_to_save": ["score"], "bias": "none", "fan_in_fan_out": false, "inference_mode": true,
        "init_lora_weights": true, "use_rslora": false, "use_dora": false, "rank_pattern": {}, "alpha_pattern": {},
    });
    let mut tensors: Vec<(String, Tensor)> =
        network.lora_tensors(name)?.into_iter().map(|(n, t)| (format!("{PREFIX}{n}"), t.shallow_clone())).collect();
    tensors.push((SCORE.into(), score.shallow_clone()));
    save(&folder.join(WEIGHTS), &tensors)?;
    let text = serde_json::to_string_pretty(&config).map_err(|e| ModelError::json(&folder.join(CONFIG), e))?;
    write_whole(&folder.join(CONFIG), (text + "\n").as_bytes())
}

/// The settings an adapter folder was made with.
pub(crate) fn read_settings(folder: &Path) -> Result<LoraSettings, ModelError> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))?;
    let file: File = serde_json::from_str(&text).map_err(|e| ModelError::json(&path, e))?;
    let refuse = |problem: &str| ModelError::Adapter { path: path.clone(), problem: problem.to_owned() };
    if file.peft_type.as_deref().is_some_and(|t| t != "LORA") {
        return Err(refuse("peft_type is not LORA; only LoRA adapters are read"));
    }
    if file.use_dora {
        return Err(refuse("use_dora is true; DoRA adapters are not read"));
    }
    if !file.rank_pattern.is_empty() || !file.alpha_pattern.is_empty() {
        return Err(refuse("rank_pattern and alpha_pattern are not read; use one rank and alpha"));
    }
    let all = || PROJECTIONS.iter().map(|&p| p.to_owned()).collect();
    let target_modules = match file.target_modules {
        None => return Err(refuse("target_modules is missing")),
        Some(Targets::One(name)) if name == "all-linear" => all(),
        Some(Targets::One(pattern)) => {
            return Err(refuse(&format!("target_modules {pattern:?} is a pattern; give a list of projections")));
        }
        Some(Targets::List(names)) => names,
    };
    // rsLoRA scales by alpha / sqrt(r); with the scale kept as alpha / r, alpha grows by sqrt(r).
    let alpha = if file.use_rslora { file.lora_alpha * (file.r as f64).sqrt() } else { file.lora_alpha };
    let settings = LoraSettings { rank: file.r, alpha, dropout: file.lora_dropout, target_modules };
    settings.check()?;
    Ok(settings)
}

/// Fills the network's adapter `name`, which has the folder's settings, and returns the head if the folder holds one.
pub(crate) fn load_adapter(folder: &Path, network: &Network, name: &str) -> Result<Option<Tensor>, ModelError> {
    let path = folder.join(WEIGHTS);
    let weights = Weights::from_file(&path)?;
    let mut unused: std::collections::BTreeSet<String> = weights.names().map(str::to_owned).collect();
    let device = network.device;
    for (name, tensor) in network.lora_tensors(name)? {
        let name = format!("{PREFIX}{name}");
        let loaded = weights.load(&name, &tensor.size(), Kind::Float, device)?;
        unused.remove(&name);
        tch::no_grad(|| tensor.shallow_clone().f_copy_(&loaded))?;
    }
    // PEFT writes the plain name; its in-memory one is met in the wild too.
    let score = [SCORE, "base_model.model.score.modules_to_save.default.weight"].into_iter().find(|n| weights.has(n));
    let score = match score {
        Some(name) => {
            unused.remove(name);
            Some(weights.load(name, &[1, network.config.hidden_size], Kind::Float, device)?)
        }
        None => None,
    };
    match unused.first() {
        None => Ok(score),
        Some(name) => Err(ModelError::Adapter {
            path,
            problem: format!("tensor {name} has no place in this network with its target_modules"),
        }),
    }
}

/// Loads a head from a base folder's weights where it has one (`score.weight`).
pub(crate) fn base_head(weights: &Weights, hidden: i64, device: Device) -> Result<Option<Tensor>, ModelError> {
    if !weights.has("score.weight") {
        return Ok(None);
    }
    weights.load("score.weight", &[1, hidden], Kind::Float, device).map(Some)
}
