//! The file that names the base model of a linear reward model: `base_model.json`, beside the heads.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::write_json;
use crate::{ModelError, Precision};

const FILE: &str = "base_model.json";

/// The base model and how its hidden states are taken; the texts are in `ser.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BaseModel {
    /// The folder or file that the base model was loaded from.
    pub(super) base_model_name_or_path: PathBuf,
    pub(super) last: Vec<usize>,
    pub(super) mean: Vec<usize>,
    pub(super) mean_tokens: usize,
    pub(super) precision: Precision,
    pub(super) committee: bool,
}

impl BaseModel {
    pub(super) fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| ModelError::file(&path, error))?;
        serde_json::from_str(&text).map_err(|error| ModelError::json(&path, error))
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), ModelError> {
        let path = folder.join(FILE);
        write_json(&path, &serde_json::to_value(self).map_err(|error| ModelError::json(&path, error))?)
    }
}

/// The base model that the folder of a linear reward model names.
///
/// # Errors
/// A folder without that record; [`ModelError::MissingBase`] if the base model is not there.
pub(super) fn recorded_base(folder: &Path) -> Result<PathBuf, ModelError> {
    let base = BaseModel::read(folder)?.base_model_name_or_path;
    if base.exists() { Ok(base) } else { Err(ModelError::MissingBase { record: folder.join(FILE), base }) }
}
