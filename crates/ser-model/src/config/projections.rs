//! The linear maps of a decoder layer.

use tch::Kind;

use super::network_config::NetworkConfig;
use crate::checkpoint::WeightSizes;

/// A layer's linear map as the configuration has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Projection {
    /// Its path within the layer.
    pub(crate) path: &'static str,
    pub(crate) out: i64,
    pub(crate) input: i64,
    pub(crate) bias: bool,
}

/// The seven maps of a layer, in the order of [`Layer::linears`].
pub(crate) fn projections(config: &NetworkConfig) -> [Projection; 7] {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let map = |path, out, input, bias| Projection { path, out, input, bias };
    [
        map("self_attn.q_proj", q, hidden, config.qkv_bias),
        map("self_attn.k_proj", kv, hidden, config.qkv_bias),
        map("self_attn.v_proj", kv, hidden, config.qkv_bias),
        map("self_attn.o_proj", hidden, q, config.o_bias),
        map("mlp.gate_proj", inner, hidden, config.mlp_bias),
        map("mlp.up_proj", inner, hidden, config.mlp_bias),
        map("mlp.down_proj", hidden, inner, config.mlp_bias),
    ]
}

impl NetworkConfig {
    /// The bytes of the weights of a network that computes in `kind`, biases and norms aside.
    pub(crate) fn weight_sizes(&self, kind: Kind) -> WeightSizes {
        let width = if kind == Kind::Float { 4.0 } else { 2.0 };
        let layer = projections(self).into_iter().map(|map| map.out as f64 * map.input as f64).sum::<f64>() * width;
        let ends = self.vocab_size as f64 * self.hidden_size as f64 * width * if self.tied { 1.0 } else { 2.0 };
        WeightSizes { layers: self.layers as usize, layer, ends }
    }
}
