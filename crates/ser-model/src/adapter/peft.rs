//! Adapter folders in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::ModelError;
use crate::checkpoint::{AdapterSource, Fields, Initial, Weights, save, write_json};
use crate::config::{LoraSettings, TargetModules};
use crate::network::Network;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";
/// PEFT's name of a fully trained head, and its in-memory name, which some files have.
const SCORES: [&str; 2] = ["base_model.model.score.weight", "base_model.model.score.modules_to_save.default.weight"];
/// The base's head, which files with in-memory names contain too. It is not used while the adapter is active.
const ORIGINAL_SCORE: &str = "base_model.model.score.original_module.weight";
/// Embeddings, which PEFT saves with an adapter if they may have changed.
const EMBEDDINGS: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

/// Fields that change an adapter's computation and are not supported: they must be null, false or empty.
const NOT_READ: [&str; 12] = [
    "alora_invocation_tokens",
    "arrow_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
    "megatron_config",
];

/// Writes an adapter in PEFT's layout: for sequence classification if there is a head, else for causal modelling.
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
        "use_dora": lora.use_dora, "rank_pattern": lora.rank_pattern, "alpha_pattern": lora.alpha_pattern,
        "exclude_modules": lora.exclude_modules, "layers_to_transform": null_if_empty(&lora.layers_to_transform),
        "layers_pattern": null_if_empty(&lora.layers_pattern),
    });
    let mut tensors: Vec<(String, Tensor)> =
        network.adapter_tensors(name)?.into_iter().map(|(n, t)| (format!("{PREFIX}{n}"), t.shallow_clone())).collect();
    tensors.extend(score.map(|head| (SCORES[0].to_owned(), head.shallow_clone())));
    save(&folder.join(WEIGHTS), &tensors)?;
    write_json(&folder.join(CONFIG), &config)
}

/// PEFT writes null instead of an empty list.
fn null_if_empty<T: serde::Serialize>(list: &[T]) -> Value {
    if list.is_empty() { Value::Null } else { serde_json::json!(list) }
}

/// The settings of an adapter folder. Absent fields have PEFT's defaults.
pub(crate) fn read_settings(folder: &Path) -> Result<LoraSettings, ModelError> {
    let path = folder.join(CONFIG);
    let file = Fields::read(&path)?;
    let refuse = |problem: String| Err(ModelError::Adapter { path: path.clone(), problem });
    if let Some(other) = file.text("peft_type")?.filter(|&t| t != "LORA") {
        return refuse(format!("peft_type is {other:?}; only LORA adapters are supported"));
    }
    let set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    for name in NOT_READ {
        if let Some(value) = file.get(name).filter(|value| set(value)) {
            return refuse(format!("{name} is {value}; adapters with this field are not supported"));
        }
    }
    // These methods change the base's weights at initialization.
    let initialization = file.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    if ["pissa", "olora", "corda", "loftq", "lora_ga"].iter().any(|kind| initialization.starts_with(kind)) {
        return refuse(format!(
            "init_lora_weights is {initialization:?}, which changes the base; convert the adapter with PEFT"
        ));
    }
    // PEFT adds "classifier" to every sequence classifier's list, whether the model has one or not.
    let whole = file.texts("modules_to_save")?;
    if let Some(other) = whole.iter().find(|m| !matches!(m.as_str(), "score" | "classifier")) {
        return refuse(format!("modules_to_save names {other:?}; only the head \"score\" is supported there"));
    }
    let modules = "a list of module names, or a pattern";
    let patterns = "an object of patterns and numbers";
    let default = LoraSettings::default();
    let settings = LoraSettings {
        rank: file.integer("r")?.unwrap_or(8),
        alpha: file.number("lora_alpha")?.unwrap_or(8.0),
        dropout: file.number("lora_dropout")?.unwrap_or(0.0),
        // PEFT's default for these families is q_proj and v_proj.
        target_modules: file.parsed("target_modules", modules)?.unwrap_or(default.target_modules),
        use_rslora: file.flag("use_rslora")?.unwrap_or(false),
        rank_pattern: file.parsed::<BTreeMap<String, f64>>("rank_pattern", patterns)?.map_or_else(
            || Ok(BTreeMap::new()),
            |map| map.into_iter().map(|(key, rank)| whole_rank(&file, key, rank)).collect(),
        )?,
        alpha_pattern: file.parsed("alpha_pattern", patterns)?.unwrap_or_default(),
        bias: file.parsed("bias", "none, all or lora_only")?.unwrap_or_default(),
        lora_bias: file.flag("lora_bias")?.unwrap_or(false),
        exclude_modules: file.parsed("exclude_modules", modules)?.filter(|modules| match modules {
            TargetModules::Names(names) => !names.is_empty(),
            TargetModules::Pattern(pattern) => !pattern.is_empty(),
        }),
        layers: None,
        layers_to_transform: file.integers("layers_to_transform")?,
        layers_pattern: file.texts("layers_pattern")?.into_iter().filter(|pattern| !pattern.is_empty()).collect(),
        use_dora: file.flag("use_dora")?.unwrap_or(false),
    };
    match settings.check() {
        Ok(()) => Ok(settings),
        Err(error) => refuse(error.to_string()),
    }
}

fn whole_rank(file: &Fields, key: String, rank: f64) -> Result<(String, i64), ModelError> {
    if rank.fract() != 0.0 || !(1.0..=1e9).contains(&rank) {
        return Err(file.wrong("rank_pattern", "an object of patterns and whole numbers over 0"));
    }
    Ok((key, rank as i64))
}

/// The tensors of an adapter folder. Every one of them must be used.
pub(crate) struct SavedAdapter {
    weights: Weights,
    /// The names in the file of tensors that are not used yet.
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

    /// The names of its tensors, as in the file.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.weights.names()
    }

    /// Whether it contains a score head.
    pub(crate) fn has_head(&self) -> bool {
        SCORES.into_iter().any(|name| self.weights.has(name))
    }

    /// The tensor `name`. The file may have its in-memory name: `lora_A.default.weight` for `lora_A.weight`.
    fn load(&mut self, name: &str, shape: &[i64]) -> Result<Tensor, ModelError> {
        let in_memory = match name.rsplit_once('.') {
            Some((module, "lora_magnitude_vector")) => format!("{module}.lora_magnitude_vector.default.weight"),
            Some((module, part)) => format!("{module}.default.{part}"),
            None => String::new(),
        };
        let stored = if !self.weights.has(name) && self.weights.has(&in_memory) { &in_memory } else { name };
        self.unused.remove(stored);
        self.weights.load(stored, shape, Kind::Float, self.device)
    }

    /// The head, if there is one. The only unused tensors allowed are the base's head and embeddings equal to those of the
    /// base, which `embedding` returns if the network has them.
    pub(crate) fn finish(
        mut self,
        folder: &Path,
        hidden: i64,
        embedding: &dyn Fn(&str) -> Result<Option<Tensor>, ModelError>,
    ) -> Result<Option<Tensor>, ModelError> {
        let refuse = |problem| Err(ModelError::Adapter { path: folder.join(WEIGHTS), problem });
        let score = SCORES.into_iter().find(|name| self.weights.has(name));
        let score = score.map(|name| self.load(name, &[1, hidden])).transpose()?;
        if score.is_some() {
            self.unused.remove(ORIGINAL_SCORE);
        }
        for name in EMBEDDINGS {
            let stored = format!("{PREFIX}{name}");
            if self.unused.remove(&stored)
                && let Some(own) = embedding(name)?
                && !self.equals(&stored, &own)?
            {
                return refuse(format!(
                    "{stored} differs from the base's embeddings; adapters that trained or extended them are not \
                     supported; merge this one into its base with PEFT"
                ));
            }
        }
        match self.unused.first() {
            None => Ok(score),
            Some(name) if name.contains("score.") => refuse(format!(
                "it contains {name}; a score head is read as score.weight alone, one row without a bias"
            )),
            Some(name) => refuse(format!("this network with the adapter's target_modules does not use tensor {name}")),
        }
    }

    /// Whether a tensor in the file, cast to the kind of `own`, equals `own`.
    fn equals(&self, name: &str, own: &Tensor) -> Result<bool, ModelError> {
        let stored = self.weights.stored(name)?;
        if stored.shape != own.size() {
            return Ok(false);
        }
        let own = own.f_to_device(Device::Cpu)?;
        Ok(stored.tensor()?.f_to_kind(own.kind())?.f_equal(&own)?)
    }
}

impl AdapterSource for SavedAdapter {
    fn tensor(&mut self, name: &str, shape: &[i64], _: Initial<'_>) -> Result<Tensor, ModelError> {
        self.load(&format!("{PREFIX}{name}"), shape)
    }
}

/// The network's tensor of that name, if there is one.
fn tensor_of(network: &Network, name: &str) -> Option<Tensor> {
    network.tensors().into_iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor.shallow_clone())
}

/// Adds the adapter of a folder to the network under `name` and makes it the active one. Returns the head if the folder
/// has one.
pub(crate) fn load_adapter(folder: &Path, network: &mut Network, name: &str) -> Result<Option<Tensor>, ModelError> {
    let settings = read_settings(folder)?;
    let mut saved = SavedAdapter::open(folder, network.device)?;
    let (hidden, before) = (network.config.hidden_size, network.adapters.active());
    network.add_adapter(name, &settings, &mut saved)?;
    let finished = saved.finish(folder, hidden, &|name| Ok(tensor_of(network, name)));
    finished.inspect_err(|_| network.remove_last_adapter(before))
}

/// Copies the weights of a folder into the network's adapter `name`, which must have the same settings. Returns the head if
/// the folder has one.
pub(crate) fn restore_adapter(folder: &Path, network: &Network, name: &str) -> Result<Option<Tensor>, ModelError> {
    let (found, settings) = (read_settings(folder)?, network.adapters.settings(name)?);
    // Compared without the order of names, PEFT's shorthand and the dropout.
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
            problem: format!("its settings are {found:?}, those of this model's adapter {name:?} are {settings:?}"),
        });
    }
    let mut saved = SavedAdapter::open(folder, network.device)?;
    for (name, tensor) in network.adapter_tensors(name)? {
        let loaded = saved.load(&format!("{PREFIX}{name}"), &tensor.size())?;
        tch::no_grad(|| tensor.shallow_clone().f_copy_(&loaded))?;
    }
    saved.finish(folder, network.config.hidden_size, &|name| Ok(tensor_of(network, name)))
}

/// The head of a base folder's weights (`score.weight`); `None` if there is none.
pub(crate) fn base_head(weights: &Weights, hidden: i64, device: Device) -> Result<Option<Tensor>, ModelError> {
    if weights.has("score.bias") {
        let problem =
            "it contains score.bias; a score head is read as score.weight alone, one row without a bias".to_owned();
        return Err(ModelError::Adapter { path: weights.path().to_owned(), problem });
    }
    if !weights.has("score.weight") {
        return Ok(None);
    }
    weights.load("score.weight", &[1, hidden], Kind::Float, device).map(Some)
}
