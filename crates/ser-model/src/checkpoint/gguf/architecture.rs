//! The architectures of GGUF files.

use super::metadata::Keys;

/// The architectures that are read. Mistral's models are written as `llama`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
}

impl Architecture {
    pub(super) fn of(keys: Keys<'_>) -> Result<Self, String> {
        if let Some(kind) = keys.text("general.type")?.filter(|kind| *kind != "model") {
            return Err(format!("it contains {kind:?} instead of a model (general.type)"));
        }
        if let Some(count) = keys.integer("split.count")?.filter(|&count| count > 1) {
            return Err(format!("it is one of {count} parts of a model; join them with llama-gguf-split --merge"));
        }
        match keys.text("general.architecture")? {
            Some("llama") => Ok(Architecture::Llama),
            Some("qwen2") => Ok(Architecture::Qwen2),
            Some("qwen3") => Ok(Architecture::Qwen3),
            Some(other) => {
                Err(format!("general.architecture {other:?} is not supported; supported: llama, qwen2, qwen3"))
            }
            None => Err("metadata key general.architecture is missing".to_owned()),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }

    /// A key of this architecture.
    pub(super) fn key(self, rest: &str) -> String {
        format!("{}.{rest}", self.name())
    }
}
