//! What each model family changes; everything else is shared.

/// Where a family's attention has biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttentionBias {
    /// Nowhere, whatever the configuration says.
    Never,
    /// On q, k, v and the output, if `attention_bias` says so.
    Setting,
    /// On q, k and v, whatever the configuration says.
    Qkv,
}

/// Which of a family's layers have a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// None.
    Never,
    /// All, if `sliding_window` is a number.
    Always,
    /// If `use_sliding_window`, those that `layer_types` names, else those from `max_window_layers` on.
    ByLayer,
}

/// What differs from one model family to the next; everything else is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) model_type: &'static str,
    /// What its classes in transformers begin with.
    pub(crate) class: &'static str,
    pub(crate) attention_bias: AttentionBias,
    /// Whether `mlp_bias` is heeded.
    pub(crate) mlp_bias: bool,
    /// RMS norms on each head's q and k.
    pub(crate) qk_norm: bool,
    pub(crate) window: Window,
    /// What fields that are not there mean, as in transformers; none: as many as query heads, hidden size over heads.
    pub(crate) kv_heads: Option<i64>,
    pub(crate) head_dim: Option<i64>,
    pub(crate) max_positions: i64,
}

const LLAMA: Family = Family {
    model_type: "llama",
    class: "Llama",
    attention_bias: AttentionBias::Setting,
    mlp_bias: true,
    qk_norm: false,
    window: Window::Never,
    kv_heads: None,
    head_dim: None,
    max_positions: 2048,
};
const MISTRAL: Family = Family {
    model_type: "mistral",
    class: "Mistral",
    attention_bias: AttentionBias::Never,
    mlp_bias: false,
    window: Window::Always,
    kv_heads: Some(8),
    max_positions: 131_072,
    ..LLAMA
};
const QWEN2: Family = Family {
    model_type: "qwen2",
    class: "Qwen2",
    attention_bias: AttentionBias::Qkv,
    mlp_bias: false,
    window: Window::ByLayer,
    kv_heads: Some(32),
    max_positions: 32_768,
    ..LLAMA
};
const QWEN3: Family = Family {
    model_type: "qwen3",
    class: "Qwen3",
    attention_bias: AttentionBias::Setting,
    qk_norm: true,
    head_dim: Some(128),
    ..QWEN2
};
pub(crate) const FAMILIES: [Family; 4] = [LLAMA, MISTRAL, QWEN2, QWEN3];
pub(crate) const SUPPORTED: &str = "llama, mistral, qwen2, qwen3";
/// The window of families that have one and do not say how wide.
pub(crate) const WINDOW: i64 = 4096;
