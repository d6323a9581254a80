//! LoRA adapters: added to a network, read and written in PEFT's layout, merged into a base model.

mod attach;
mod merge;
mod peft;

pub use merge::{Merged, merge_adapter};

pub(crate) use peft::{SavedAdapter, base_head, load_adapter, read_settings, restore_adapter, save_adapter};

/// The name an adapter has where none is given, as in PEFT.
pub(crate) const DEFAULT_ADAPTER: &str = "default";
