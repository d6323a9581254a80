//! Datasets and models of a Hugging Face hub, fetched once into the cache of its own tools.
//!
//! An address is `hf://owner/name`, with `@revision` for a branch, tag or commit other than `main`. `HF_ENDPOINT`,
//! `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE` and `HF_HUB_DISABLE_PROGRESS_BARS` have the
//! same meaning as in Python.

mod address;
mod dataset;
mod model;
mod repository;
mod settings;

pub use dataset::dataset_files;
pub use model::{model_folder, model_folder_with};
pub use settings::HubSettings;
