//! Whether a reward model has a head at all.

use std::path::Path;

use super::RewardModel;
use crate::weights::Weights;
use crate::{Device, ModelError, RewardModelSettings};

impl RewardModel {
    /// Like [`with_adapter`](Self::with_adapter), for a model that is to score as it is.
    ///
    /// # Errors
    /// [`ModelError::NoHead`] if neither adapter nor base model has a head: a fresh one's scores are noise.
    pub fn for_scoring(
        folder: &Path,
        adapter: &Path,
        settings: &RewardModelSettings,
        device: Device,
    ) -> Result<Self, ModelError> {
        let saved = Weights::from_file(&adapter.join("adapter_model.safetensors"))?;
        let in_adapter = saved.names().any(|name| name.split('.').any(|part| part == "score"));
        if !in_adapter && !Weights::from_folder(folder)?.has("score.weight") {
            return Err(ModelError::NoHead { path: adapter.to_owned() });
        }
        Self::with_adapter(folder, adapter, settings, device)
    }
}
