//! Datasets and models of a Hugging Face hub, fetched once into the cache of its own tools. Downloads go on
//! after an interruption; lengths, and the SHA-256 of large files, are compared with those that the hub tells.
//!
//! An address is `hf://owner/name`, with `@revision` for a branch, tag or commit other than `main`. `HF_ENDPOINT`,
//! `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT` and
//! `HF_HUB_DISABLE_PROGRESS_BARS` have the same meaning as in Python.

mod address;
mod client;
mod dataset;
mod download;
mod model;
mod repository;
mod settings;

pub use dataset::dataset_files;
pub use model::{model_folder, model_folder_with};
pub use settings::HubSettings;
