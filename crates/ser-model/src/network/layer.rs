//! One decoder layer over packed rows.

use tch::Tensor;

use super::attention::{Attention, AttentionInputs, Rows};
use super::kernels::{rms_norm, swiglu};
use super::linear::{ForwardMode, Linear};
use super::rope::Rotation;
use crate::ModelError;
use crate::checkpoint::TensorSource;
use crate::config::{NetworkConfig, Projection, projections};

/// One decoder layer.
#[derive(Debug)]
pub(crate) struct Layer {
    input_norm: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: Option<Tensor>,
    k_norm: Option<Tensor>,
    post_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
    /// Sliding-window size in tokens.
    window: Option<i64>,
}

impl Layer {
    pub(crate) fn new(config: &NetworkConfig, index: i64, source: &mut dyn TensorSource) -> Result<Self, ModelError> {
        let hidden = config.hidden_size;
        let mut tensor = |name: &str, shape: &[i64]| source.tensor(&format!("layers.{index}.{name}"), shape);
        let input_norm = tensor("input_layernorm.weight", &[hidden])?;
        let post_norm = tensor("post_attention_layernorm.weight", &[hidden])?;
        let mut norm = |name: &str| config.qk_norm.then(|| tensor(name, &[config.head_dim])).transpose();
        let (q_norm, k_norm) = (norm("self_attn.q_norm.weight")?, norm("self_attn.k_norm.weight")?);
        let mut linear = |map: Projection| -> Result<Linear, ModelError> {
            let weight = tensor(&format!("{}.weight", map.path), &[map.out, map.input])?;
            let bias = map.bias.then(|| tensor(&format!("{}.bias", map.path), &[map.out])).transpose()?;
            Ok(Linear::new(weight, bias))
        };
        let [q, k, v, o, gate, up, down] = projections(config);
        Ok(Layer {
            q: linear(q)?,
            k: linear(k)?,
            v: linear(v)?,
            o: linear(o)?,
            gate: linear(gate)?,
            up: linear(up)?,
            down: linear(down)?,
            input_norm,
            q_norm,
            k_norm,
            post_norm,
            window: config.window(index as usize),
        })
    }

    /// The linear maps, each with its path within the layer.
    pub(crate) fn linears(&self) -> [(&'static str, &Linear); 7] {
        [
            ("self_attn.q_proj", &self.q),
            ("self_attn.k_proj", &self.k),
            ("self_attn.v_proj", &self.v),
            ("self_attn.o_proj", &self.o),
            ("mlp.gate_proj", &self.gate),
            ("mlp.up_proj", &self.up),
            ("mlp.down_proj", &self.down),
        ]
    }

    pub(crate) fn linears_mut(&mut self) -> [(&'static str, &mut Linear); 7] {
        [
            ("self_attn.q_proj", &mut self.q),
            ("self_attn.k_proj", &mut self.k),
            ("self_attn.v_proj", &mut self.v),
            ("self_attn.o_proj", &mut self.o),
            ("mlp.gate_proj", &mut self.gate),
            ("mlp.up_proj", &mut self.up),
            ("mlp.down_proj", &mut self.down),
        ]
    }

    /// The device of its weights.
    pub(crate) fn device(&self) -> tch::Device {
        self.input_norm.device()
    }

    /// The norms, each with its path within the layer.
    pub(crate) fn norms(&self) -> Vec<(&'static str, &Tensor)> {
        let mut norms = vec![("input_layernorm", &self.input_norm), ("post_attention_layernorm", &self.post_norm)];
        norms.extend(self.q_norm.as_ref().map(|n| ("self_attn.q_norm", n)));
        norms.extend(self.k_norm.as_ref().map(|n| ("self_attn.k_norm", n)));
        norms
    }

    /// [rows, hidden] -> [rows, hidden]. With `last`, keys and values are computed for all rows, and everything else for the
    /// rows `last` only.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        attention: &mut dyn Attention,
        last: Option<&Tensor>,
        rotation: &Rotation,
        config: &NetworkConfig,
        mode: ForwardMode<'_>,
    ) -> Result<Tensor, ModelError> {
        let (heads, kv_heads, dim, eps) = (config.heads, config.kv_heads, config.head_dim, config.rms_norm_eps);
        let normed = rms_norm(x, &self.input_norm, eps)?;
        // [rows, heads * dim] -> [rows, heads, dim], with Qwen 3's norm per head.
        let split = |y: Tensor, heads: i64, norm: &Option<Tensor>| -> Result<Tensor, ModelError> {
            let y = y.f_view([-1, heads, dim])?;
            norm.as_ref().map_or_else(|| Ok(y.shallow_clone()), |weight| rms_norm(&y, weight, eps))
        };
        let k = rotation.apply(&split(self.k.forward(&normed, mode)?, kv_heads, &self.k_norm)?)?;
        let v = self.v.forward(&normed, mode)?.f_view([-1, kv_heads, dim])?;
        let (residual, q) = match last {
            None => {
                let q = rotation.apply(&split(self.q.forward(&normed, mode)?, heads, &self.q_norm)?)?;
                (x.shallow_clone(), q)
            }
            Some(rows) => {
                let queries = normed.f_index_select(0, rows)?;
                let q = split(self.q.forward(&queries, mode)?, heads, &self.q_norm)?;
                (x.f_index_select(0, rows)?, rotation.select(rows)?.apply(&q)?)
            }
        };
        let queries = if last.is_some() { Rows::Last } else { Rows::All };
        let inputs = AttentionInputs { q: &q, k: &k, v: &v, queries, window: self.window };
        let attended = attention.attend(inputs)?;
        let x = residual.f_add(&self.o.forward(&attended.f_view([-1, heads * dim])?, mode)?)?;
        let normed = rms_norm(&x, &self.post_norm, eps)?;
        let gated = swiglu(&self.gate.forward(&normed, mode)?, &self.up.forward(&normed, mode)?)?;
        Ok(x.f_add(&self.down.forward(&gated, mode)?)?)
    }
}
