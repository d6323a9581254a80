//! Adapter folders in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use crate::ModelError;
use crate::lora::{LoraBias, LoraSettings};
use crate::network::Network;
use crate::source::{AdapterSource, Initial};
use crate::targets::TargetModules;
use crate::weights::Weights;
use crate::writer::{save, write_json};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
/// Where PEFT writes a head that is trained whole, and its in-memory name, which is met in files too.
const SCORES: [&str; 2] = ["base_model.model.score.weight", "base_model.model.score.modules_to_save.default.weight"];

/// The fields of `adapter_config.json` that mean something here.
#[derive(Deserialize)]
struct File {
    peft_type: Option<String>,
    r: i64,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    target_modules: Option<TargetModules>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    bias: LoraBias,
    #[serde(default)]
    lora_bias: bool,
    #[serde(default)]
    rank_pattern: BTreeMap<String, i64>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Fields that change what an adapter computes in ways that are not read: they must be null, false or empty.
const NOT_READ: [&str; 15] = [
    "alora_invocation_tokens",
    "arrow_config",
    "exclude_modules",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "layers_to_transform",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
    "megatron_config",
];

/// Writes an adapter so that PEFT loads it: for sequence classification with its head, else for causal modelling.
pub(crate) fn save_adapter(
    folder: &Path,
    network: &Network,
    name: &str,
    score: Option<&Tensor>,
    base: &str,
) -> Result<(), ModelError> {
    std::fs::create_dir_all(folder).map_err(|e| ModelError::file(folder, e))?;
    let lora = network.adapters.settings(name)?;
    let task = if score.is_some() { "SEQ_CLS" } else { "CAUSAL_LM" };
    let config = serde_json::json!({
        "peft_type": "LORA", "task_type": task, "base_model_name_or_path": base, "r": lora.rank,
        "lora_alpha": lora.alpha, "lora_dropout": lora.dropout, "target_modules": lora.target_modules.spelled_out(),
        "modules_to_save": score.map(|_| ["score"]), "bias": lora.bias, "lora_bias": lora.lora_bias,
        "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true, "use_rslora": lora.use_rslora,
        "use_dora": false, "rank_pattern": lora.rank_pattern, "alpha_pattern": lora.alpha_pattern,
    });
    let mut tensors: Vec<(String, Tensor)> =
        network.adapter_tensors(name)?.into_iter().map(|(n, t)| (format!("{PREFIX}{n}"), t.shallow_clone())).collect();
    tensors.extend(score.map(|head| (SCORES[0].to_owned(), head.shallow_clone())));
    save(&folder.join(WEIGHTS), &tensors)?;
    write_json(&folder.join(CONFIG), &config)
}

/// The settings an adapter folder was made with.
pub(crate) fn read_settings(folder: &Path) -> Result<LoraSettings, ModelError> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))?;
    let file: File = serde_json::from_str(&text).map_err(|e| ModelError::json(&path, e))?;
    let refuse = |problem: String| Err(ModelError::Adapter { path: path.clone(), problem });
    if let Some(other) = file.peft_type.filter(|t| t != "LORA") {
        return refuse(format!("peft_type is {other:?}; only LORA adapters are read"));
    }
    let set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    for name in NOT_READ {
        if let Some(value) = file.rest.get(name).filter(|value| set(value)) {
            return refuse(format!("{name} is {value}; adapters with it are not read"));
        }
    }
    // These change the base's weights when they begin.
    let begun = file.init_lora_weights.as_str().unwrap_or_default();
    if ["pissa", "olora", "corda", "loftq", "lora_ga"].iter().any(|kind| begun.starts_with(kind)) {
        return refuse(format!(
            "init_lora_weights is {begun:?}, which changes the base; convert the adapter with PEFT"
        ));
    }
    // PEFT adds "classifier" to every sequence classifier's list, whether the model has one or not.
    let whole = file.modules_to_save.unwrap_or_default();
    if let Some(other) = whole.iter().find(|m| !matches!(m.as_str(), "score" | "classifier")) {
        return refuse(format!("modules_to_save names {other:?}; only the head score can be trained whole"));
    }
    let Some(target_modules) = file.target_modules else { return refuse("target_modules is missing".into()) };
    let settings = LoraSettings {
        rank: file.r,
        alpha: file.lora_alpha,
        dropout: file.lora_dropout,
        target_modules,
        use_rslora: file.use_rslora,
        rank_pattern: file.rank_pattern,
        alpha_pattern: file.alpha_pattern,
        bias: file.bias,
        lora_bias: file.lora_bias,
    };
    match settings.check() {
        Ok(()) => Ok(settings),
        Err(error) => refuse(error.to_string()),
    }
}

/// The tensors of an adapter folder, each of which must have its place.
pub(crate) struct SavedAdapter {
    weights: Weights,
    unused: BTreeSet<String>,
    device: Device,
}

impl SavedAdapter {
    pub(crate) fn open(folder: &Path, device: Device) -> Result<Self, ModelError> {
        let (path, pickle) = (folder.join(WEIGHTS), folder.join("adapter_model.bin"));
        if !path.exists() && pickle.exists() {
            return Err(ModelError::Pickled { path: pickle });
        }
        let weights = Weights::from_file(&path)?;
        let unused = weights.names().map(str::to_owned).collect();
        Ok(SavedAdapter { weights, unused, device })
    }

    fn load(&mut self, name: &str, shape: &[i64]) -> Result<Tensor, ModelError> {
        self.unused.remove(name);
        self.weights.load(name, shape, Kind::Float, self.device)
    }

    /// The head, if there is one. Nothing may be left over after it.
    pub(crate) fn finish(mut self, folder: &Path, hidden: i64) -> Result<Option<Tensor>, ModelError> {
        let score = SCORES.into_iter().find(|name| self.weights.has(name));
        let score = score.map(|name| self.load(name, &[1, hidden])).transpose()?;
        match self.unused.first() {
            None => Ok(score),
            Some(name) => Err(ModelError::Adapter {
                path: folder.join(WEIGHTS),
                problem: format!("tensor {name} has no place in this network with the adapter's target_modules"),
            }),
        }
    }
}

impl AdapterSource for SavedAdapter {
    fn tensor(&mut self, name: &str, shape: &[i64], _: Initial<'_>) -> Result<Tensor, ModelError> {
        self.load(&format!("{PREFIX}{name}"), shape)
    }
}

/// Adds a folder's adapter to the network under `name`, where it becomes the active one. Returns the head if the folder
/// holds one.
pub(crate) fn load_adapter(folder: &Path, network: &mut Network, name: &str) -> Result<Option<Tensor>, ModelError> {
    let settings = read_settings(folder)?;
    let mut saved = SavedAdapter::open(folder, network.device)?;
    let (hidden, before) = (network.config.hidden_size, network.adapters.active());
    network.add_adapter(name, &settings, &mut saved)?;
    saved.finish(folder, hidden).inspect_err(|_| network.remove_last_adapter(before))
}

/// Copies a folder's weights into the network's adapter `name`, which was made with the same settings. Returns the head
/// if the folder holds one.
pub(crate) fn restore_adapter(folder: &Path, network: &Network, name: &str) -> Result<Option<Tensor>, ModelError> {
    let (found, settings) = (read_settings(folder)?, network.adapters.settings(name)?);
    // The order of names means nothing, nor does PEFT's shorthand.
    let comparable = |s: &LoraSettings| {
        let target_modules = match s.target_modules.spelled_out() {
            TargetModules::Names(names) => TargetModules::Names(BTreeSet::from_iter(names).into_iter().collect()),
            pattern => pattern,
        };
        LoraSettings { dropout: 0.0, target_modules, ..s.clone() }
    };
    if comparable(&found) != comparable(settings) {
        return Err(ModelError::Adapter {
            path: folder.to_owned(),
            problem: format!("it was made with {found:?}, adapter {name:?} of this model with {settings:?}"),
        });
    }
    let mut saved = SavedAdapter::open(folder, network.device)?;
    for (name, tensor) in network.adapter_tensors(name)? {
        let loaded = saved.load(&format!("{PREFIX}{name}"), &tensor.size())?;
        tch::no_grad(|| tensor.shallow_clone().f_copy_(&loaded))?;
    }
    saved.finish(folder, network.config.hidden_size)
}

/// Loads a head from a base folder's weights where it has one (`score.weight`).
pub(crate) fn base_head(weights: &Weights, hidden: i64, device: Device) -> Result<Option<Tensor>, ModelError> {
    if !weights.has("score.weight") {
        return Ok(None);
    }
    weights.load("score.weight", &[1, hidden], Kind::Float, device).map(Some)
}
