//! Merging an adapter into its base: writes a model folder that transformers loads.

use std::collections::BTreeMap;
use std::path::Path;

use ser_core::durable;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::peft::{SavedAdapter, read_settings};
use crate::ModelError;
use crate::checkpoint::{
    Bytes, ModelFiles, TextRecord, Weights, plan_shards, save_bytes, save_index, shard_name, weight_prefix, write_json,
};
use crate::config::{NetworkConfig, Targets, projections};
use crate::network::{AdapterDelta, BaseLinear};

/// Files of a model folder that are copied unchanged.
const COMPANIONS: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
];

/// The result of [`merge_adapter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The class of transformers that loads it, such as `LlamaForSequenceClassification`.
    pub architecture: String,
    /// The number of linear maps that the adapter changed.
    pub changed: usize,
    /// The number of safetensors files.
    pub shards: usize,
}

/// Merges the adapter in folder `adapter` into the base model in folder `model` and writes the result into the empty folder
/// `out`: a sequence classifier with one output if the adapter has a head, else a causal model.
///
/// Weights keep their stored kind; sums are computed in f32. A file has at most `max_shard_bytes`, or one tensor. At most
/// one file's tensors are in memory at a time. The folder appears complete or not at all: until then it is beside `out`, under a
/// name that begins with `.tmp-`, and a merge that was killed is begun anew.
pub fn merge_adapter(model: &Path, adapter: &Path, out: &Path, max_shard_bytes: u64) -> Result<Merged, ModelError> {
    let _span = tracing::debug_span!("merge_adapter", model = %model.display(), adapter = %adapter.display()).entered();
    let config = NetworkConfig::from_folder(model)?;
    let weights = Weights::from_folder(model)?;
    let (deltas, score) = read_deltas(&config, &weights, adapter)?;
    if score.is_none() && !config.tied && !weights.has("lm_head.weight") {
        return Err(ModelError::MissingTensor { path: model.to_owned(), name: "lm_head.weight".into() });
    }
    let failed = |source| ModelError::File { path: out.to_owned(), source };
    must_be_free(out)?;
    let making = durable::incomplete(out);
    if making.exists() {
        std::fs::remove_dir_all(&making).map_err(failed)?;
    }
    durable::create_folders(&making).map_err(failed)?;
    let parts = Parts { config, weights, deltas, score };
    let merged = parts.write(model, adapter, &making, max_shard_bytes).inspect_err(|_| {
        // It may take the space that is missing. The first error tells why.
        let _ = std::fs::remove_dir_all(&making);
    })?;
    durable::sync_tree(&making).map_err(failed)?;
    if out.exists() {
        std::fs::remove_dir(out).map_err(failed)?;
    }
    durable::rename(&making, out).map_err(failed)?;
    Ok(merged)
}

/// What is merged.
struct Parts {
    config: NetworkConfig,
    weights: Weights,
    deltas: BTreeMap<String, AdapterDelta>,
    score: Option<Tensor>,
}

impl Parts {
    /// Writes the merged model's files into an empty folder.
    fn write(&self, model: &Path, adapter: &Path, out: &Path, max_shard_bytes: u64) -> Result<Merged, ModelError> {
        let Parts { config, weights, deltas, score } = self;
        let prefix = weight_prefix(weights);
        // Names in the base's files, by the names that are written.
        let names: BTreeMap<String, &str> = weights
            .names()
            .filter(|&name| name != "score.weight" && (score.is_none() || name != "lm_head.weight"))
            .map(|name| {
                if name == "lm_head.weight" || !prefix.is_empty() {
                    (name.into(), name)
                } else {
                    (format!("model.{name}"), name)
                }
            })
            .collect();
        let head = score.as_ref().map(Bytes::of).transpose()?;
        let mut sizes = Vec::with_capacity(names.len() + 1);
        for (name, stored) in &names {
            sizes.push((name.clone(), weights.stored_size(stored)?));
        }
        sizes.extend(head.iter().map(|head| ("score.weight".to_owned(), head.data.len() as u64)));
        let shards = plan_shards(&sizes, max_shard_bytes);
        for (i, shard) in shards.iter().enumerate() {
            let mut tensors: Vec<(String, Bytes<'_>)> = Vec::with_capacity(shard.len());
            for name in shard {
                let bytes = match (names.get(name), &head) {
                    (Some(stored), _) => merged_or_stored(weights, stored, name, deltas)?,
                    (None, Some(head)) => head.borrowed(),
                    (None, None) => continue,
                };
                tensors.push((name.clone(), bytes));
            }
            save_bytes(&out.join(shard_name(i, shards.len())), &tensors)?;
            shard.iter().filter_map(|name| names.get(name)).for_each(|stored| weights.release(stored));
        }
        if shards.len() > 1 {
            save_index(out, &shards, sizes.iter().map(|(_, size)| size).sum())?;
        }
        ModelFiles::open(model)?.copy(&COMPANIONS, out)?;
        // The adapter's record replaces the base's.
        TextRecord::copy(model, out)?;
        TextRecord::copy(adapter, out)?;
        let architecture =
            config.architecture(if score.is_some() { "ForSequenceClassification" } else { "ForCausalLM" });
        write_config(model, out, config, &architecture, score.is_some())?;
        let changed = deltas.values().filter(|delta| delta.lora.is_some()).count();
        Ok(Merged { architecture, changed, shards: shards.len() })
    }
}

/// The adapter's deltas by module, and its head.
#[allow(clippy::type_complexity)]
fn read_deltas(
    config: &NetworkConfig,
    weights: &Weights,
    adapter: &Path,
) -> Result<(BTreeMap<String, AdapterDelta>, Option<Tensor>), ModelError> {
    let settings = read_settings(adapter)?;
    let targets = Targets::new(&settings)?;
    let mut saved = SavedAdapter::open(adapter, Device::Cpu)?;
    let prefix = weight_prefix(weights);
    let mut deltas = BTreeMap::new();
    for layer in 0..config.layers {
        for map in projections(config) {
            let (module, stored) =
                (format!("model.layers.{layer}.{}", map.path), format!("{prefix}layers.{layer}.{}", map.path));
            let kind = weights.stored_kind(&format!("{stored}.weight"))?;
            let own = map.bias.then(|| weights.load(&format!("{stored}.bias"), &[map.out], kind, Device::Cpu));
            let (own, spec) = (own.transpose()?, targets.spec(&module)?);
            if own.is_none() && spec.is_some() && settings.lora_bias {
                return Err(ModelError::Adapter {
                    path: adapter.to_owned(),
                    problem: format!("lora_bias cannot be merged, because {module} has no bias"),
                });
            }
            // Fresh magnitudes are computed from the base's weights.
            let weight = (settings.use_dora && spec.is_some())
                .then(|| weights.load(&format!("{stored}.weight"), &[map.out, map.input], Kind::Float, Device::Cpu));
            let weight = weight.transpose()?;
            let base = BaseLinear {
                shape: [map.out, map.input],
                device: Device::Cpu,
                weight: weight.as_ref(),
                bias: own.as_ref(),
            };
            let delta = AdapterDelta::new(&module, &base, spec, &settings, &mut saved)?;
            if delta.lora.is_some() || delta.bias.is_some() {
                deltas.insert(module, delta);
            }
        }
    }
    let embedding = |name: &str| -> Result<Option<Tensor>, ModelError> {
        let stored = if name == "lm_head.weight" { name.to_owned() } else { name.replacen("model.", prefix, 1) };
        if weights.has(&stored) { weights.stored(&stored)?.tensor().map(Some) } else { Ok(None) }
    };
    let score = saved.finish(adapter, config.hidden_size, &embedding)?;
    Ok((deltas, score))
}

/// The tensor `stored` of the base, which is written as `name`, with its module's delta added.
fn merged_or_stored<'a>(
    weights: &'a Weights,
    stored: &str,
    name: &str,
    deltas: &BTreeMap<String, AdapterDelta>,
) -> Result<Bytes<'a>, ModelError> {
    let tensor = weights.stored(stored)?;
    let delta = name.rsplit_once('.').and_then(|(module, part)| Some((deltas.get(module)?, part)));
    let merged = match delta {
        Some((delta, "weight")) if delta.lora.is_some() => Some(delta.merged(&tensor.tensor()?)?),
        Some((delta, "bias")) => {
            let bias = delta.merged_bias(Some(&tensor.tensor()?))?;
            bias.map(|bias| bias.f_to_kind(tensor.kind)).transpose()?
        }
        _ => None,
    };
    match merged {
        Some(merged) => Bytes::of(&merged),
        None => Ok(Bytes {
            dtype: tensor.dtype,
            shape: tensor.shape.iter().map(|&n| n as usize).collect(),
            data: tensor.bytes,
        }),
    }
}

/// Writes the base's `config.json` with the fields that differ for a merged model.
fn write_config(
    model: &Path,
    out: &Path,
    config: &NetworkConfig,
    architecture: &str,
    classifier: bool,
) -> Result<(), ModelError> {
    let files = ModelFiles::open(model)?;
    let text = files.required("config.json")?;
    let mut value: Value =
        serde_json::from_str(&text).map_err(|e| ModelError::json(&files.path_of("config.json"), e))?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("architectures".into(), json!([architecture]));
        if classifier {
            fields.insert("num_labels".into(), json!(1));
            fields.insert("id2label".into(), json!({"0": "LABEL_0"}));
            fields.insert("label2id".into(), json!({"LABEL_0": 0}));
            // transformers' classifiers need a pad token to take batches.
            if config.pad_token_id.is_none() {
                fields.insert("pad_token_id".into(), config.eos_token_ids.first().copied().into());
            }
        }
    }
    write_json(&out.join("config.json"), &value)
}

/// An existing folder must be empty.
fn must_be_free(folder: &Path) -> Result<(), ModelError> {
    let failed = |source| ModelError::File { path: folder.to_owned(), source };
    match std::fs::read_dir(folder).map(|mut entries| entries.next()) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(failed(std::io::ErrorKind::DirectoryNotEmpty.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
