//! The differences between model families.

/// The attention biases of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttentionBias {
    /// None; the configuration is ignored.
    Never,
    /// On q, k, v and the output, if `attention_bias` is true.
    Setting,
    /// On q, k and v; the configuration is ignored.
    Qkv,
}

/// The layers of a family that have a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// None.
    Never,
    /// All, if `sliding_window` is a number.
    Always,
    /// If `use_sliding_window`, those that `layer_types` names, else those from `max_window_layers` on.
    ByLayer,
}

/// The properties in which a model family differs from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) model_type: &'static str,
    /// The prefix of its classes in transformers.
    pub(crate) class: &'static str,
    pub(crate) attention_bias: AttentionBias,
    /// Whether `mlp_bias` applies.
    pub(crate) mlp_bias: bool,
    /// RMS norms on each head's q and k.
    pub(crate) qk_norm: bool,
    pub(crate) window: Window,
    /// transformers' default for an absent `num_key_value_heads`; `None`: the number of query heads.
    pub(crate) kv_heads: Option<i64>,
    /// transformers' default for an absent `head_dim`; `None`: hidden size / query heads.
    pub(crate) head_dim: Option<i64>,
    /// transformers' default for an absent `max_position_embeddings`.
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
/// transformers' default for an absent `sliding_window`, in families that have one.
pub(crate) const WINDOW: i64 = 4096;
