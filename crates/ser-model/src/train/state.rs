//! `trainer_state.json`: the state of a training besides weights and optimizer.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ModelError;
use crate::checkpoint::write_json;

/// The same name as in transformers' Trainer.
const FILE: &str = "trainer_state.json";

/// Writes the state into the folder of a training.
pub(crate) fn write_state<T: Serialize>(folder: &Path, state: &T) -> Result<(), ModelError> {
    let path = folder.join(FILE);
    let state = serde_json::to_value(state).map_err(|e| ModelError::json(&path, e))?;
    write_json(&path, &state)
}

/// Reads the state of a training's folder.
pub(crate) fn read_state<T: DeserializeOwned>(folder: &Path) -> Result<T, ModelError> {
    let path = folder.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))?;
    serde_json::from_str(&text).map_err(|e| ModelError::json(&path, e))
}
