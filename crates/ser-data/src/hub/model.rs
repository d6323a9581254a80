//! Folders of models and adapters.

use std::path::PathBuf;

use serde_json::Value;

use super::address::Address;
use super::repository::{Kind, Repository};
use super::settings::HubSettings;
use crate::DataError;

/// Files of a model folder besides its weights; each is optional.
const FILES: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

const INDEX: &str = "model.safetensors.index.json";
const WHOLE: &str = "model.safetensors";

/// Fetches a model or an adapter, `owner/name` or `hf://owner/name@revision`, with the hub settings of the environment.
/// Returns its folder in the cache, in the layout of `save_pretrained`.
///
/// # Errors
/// Those of [`model_folder_with`].
pub fn model_folder(name: &str) -> Result<PathBuf, DataError> {
    model_folder_with(name, &HubSettings::from_env())
}

/// Fetches config, tokenizer and safetensors of a model or an adapter unless they are in the cache, and returns their
/// folder. If the repository has the weights twice (`consolidated.safetensors`), those of `save_pretrained` are taken.
///
/// # Errors
/// An invalid address; a repository that does not exist or needs a token; one with only pickled weights
/// ([`DataError::OnlyPickles`]) or without weights.
pub fn model_folder_with(name: &str, settings: &HubSettings) -> Result<PathBuf, DataError> {
    let address = Address::parse(name, "models")?;
    if !address.path.is_empty() {
        return Err(DataError::HubAddress { address: name.to_string() });
    }
    let repository = Repository::open(&address, Kind::Model, settings)?;
    let files = repository.files();
    let has = |name: &str| files.iter().any(|file| file == name);
    let weights = weights(&repository, &address.name)?;
    for file in FILES.into_iter().filter(|file| has(file)) {
        repository.fetch(file)?;
    }
    for file in weights {
        repository.fetch(&file)?;
    }
    Ok(repository.snapshot().to_path_buf())
}

/// The weight files to fetch; the index decides if there is one.
fn weights(repository: &Repository, name: &str) -> Result<Vec<String>, DataError> {
    // Subfolders contain the same weights for other programs (onnx/, original/).
    let top: Vec<&String> = repository.files().iter().filter(|file| !file.contains('/')).collect();
    let has = |name: &str| top.iter().any(|file| *file == name);
    let mut weights = if has(INDEX) {
        let path = repository.fetch(INDEX)?;
        let bad = |problem: &str| DataError::ModelFile { path: path.clone(), problem: problem.to_string() };
        let text = std::fs::read_to_string(&path).map_err(|error| DataError::io("read", &path, error))?;
        let index: Value = serde_json::from_str(&text).map_err(|error| bad(&error.to_string()))?;
        let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| bad("it has no weight_map"))?;
        let mut shards: Vec<String> = map.values().filter_map(Value::as_str).map(str::to_string).collect();
        shards.sort();
        shards.dedup();
        if let Some(shard) = shards.iter().find(|shard| shard.contains(['/', '\\'])) {
            return Err(bad(&format!("it names the shard {shard}, which is not a file beside it")));
        }
        shards
    } else if has(WHOLE) {
        vec![WHOLE.to_string()]
    } else {
        top.iter().filter(|file| file.ends_with(".safetensors")).map(|file| (*file).clone()).collect()
    };
    let adapter = "adapter_model.safetensors";
    if has(adapter) && !weights.iter().any(|file| file == adapter) {
        weights.push(adapter.to_string());
    }
    if !weights.is_empty() {
        return Ok(weights);
    }
    let pickle = |file: &&&String| [".bin", ".pt", ".pth", ".ckpt", ".pkl"].iter().any(|end| file.ends_with(end));
    Err(match top.iter().find(pickle) {
        Some(file) => DataError::OnlyPickles { name: name.to_string(), file: (*file).clone() },
        None => DataError::NoWeights { name: name.to_string() },
    })
}
