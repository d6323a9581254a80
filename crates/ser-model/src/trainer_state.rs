//! What a training remembers beside weights and optimizer.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ModelError;
use crate::writer::write_json;

/// Hugging Face's trainers have a file of that name, too.
const FILE: &str = "trainer_state.json";
/// The optimizer's state, where a training is to go on.
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";

/// Writes the state into a training's folder.
pub(crate) fn write_state<T: Serialize>(folder: &Path, state: &T) -> Result<(), ModelError> {
    let path = folder.join(FILE);
    let state = serde_json::to_value(state).map_err(|e| ModelError::json(&path, e))?;
    write_json(&path, &state)
}

/// Reads it back.
pub(crate) fn read_state<T: DeserializeOwned>(folder: &Path) -> Result<T, ModelError> {
    let path = folder.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))?;
    serde_json::from_str(&text).map_err(|e| ModelError::json(&path, e))
}
