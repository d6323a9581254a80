//! The decoder network: one way through it, over packed batches, for every family.

use tch::{Device, Kind, Tensor};

use crate::lora::{Linear, LoraSettings};
use crate::packed::PackedBatch;
use crate::rope::Rotation;
use crate::seeds::Seeds;
use crate::weights::Weights;
use crate::{ModelError, NetworkConfig};

/// Which rows of the last layer are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// All of them: [rows, hidden].
    All,
    /// Each text's last token: [texts, hidden]. The last layer then computes nothing for the others but keys and values.
    Last,
}

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
}

/// Embedding, layers and final norm, without a head.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) config: NetworkConfig,
    pub(crate) device: Device,
    pub(crate) kind: Kind,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    /// The output embedding where it is not the input's.
    lm_head: Option<Tensor>,
}

/// Where a network's tensors come from: a checkpoint, or nothing.
pub(crate) trait TensorSource {
    /// The tensor of that name and shape.
    fn tensor(&mut self, name: &str, shape: &[i64]) -> Result<Tensor, ModelError>;
}

/// Tensors of a checkpoint; its names may or may not begin with `model.`.
pub(crate) struct Checkpoint<'a> {
    weights: &'a Weights,
    prefix: &'static str,
    kind: Kind,
    device: Device,
}

impl<'a> Checkpoint<'a> {
    pub(crate) fn new(weights: &'a Weights, kind: Kind, device: Device) -> Self {
        let prefix = if weights.has("embed_tokens.weight") { "" } else { "model." };
        Checkpoint { weights, prefix, kind, device }
    }
}

impl TensorSource for Checkpoint<'_> {
    fn tensor(&mut self, name: &str, shape: &[i64]) -> Result<Tensor, ModelError> {
        let full = if name == "lm_head.weight" { name.to_owned() } else { format!("{}{name}", self.prefix) };
        self.weights.load(&full, shape, self.kind, self.device)
    }
}

/// Fresh tensors as transformers makes them: norms 1, biases 0, the rest normal.
pub(crate) struct Fresh {
    pub(crate) std: f64,
    pub(crate) seeds: Seeds,
    pub(crate) device: Device,
}

impl TensorSource for Fresh {
    fn tensor(&mut self, name: &str, shape: &[i64]) -> Result<Tensor, ModelError> {
        let cpu = (Kind::Float, Device::Cpu);
        let tensor = if name.ends_with("norm.weight") {
            Tensor::f_ones(shape, cpu)?
        } else if name.ends_with(".bias") {
            Tensor::f_zeros(shape, cpu)?
        } else {
            let mut tensor = Tensor::f_empty(shape, cpu)?;
            ser_libtorch::fill_normal(&mut tensor, 0.0, self.std, self.seeds.draw())?;
            tensor
        };
        Ok(tensor.f_to_device(self.device)?)
    }
}

impl Layer {
    fn new(config: &NetworkConfig, index: i64, source: &mut dyn TensorSource) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (q_width, kv_width) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let mut tensor = |name: &str, shape: &[i64]| source.tensor(&format!("layers.{index}.{name}"), shape);
        let input_norm = tensor("input_layernorm.weight", &[hidden])?;
        let post_norm = tensor("post_attention_layernorm.weight", &[hidden])?;
        let mut norm = |name: &str| config.qk_norm.then(|| tensor(name, &[config.head_dim])).transpose();
        let (q_norm, k_norm) = (norm("self_attn.q_norm.weight")?, norm("self_attn.k_norm.weight")?);
        let mut linear = |name: &str, out: i64, input: i64, bias: bool| -> Result<Linear, ModelError> {
            let weight = tensor(&format!("{name}.weight"), &[out, input])?;
            let bias = bias.then(|| tensor(&format!("{name}.bias"), &[out])).transpose()?;
            Ok(Linear { weight, bias, lora: None })
        };
        Ok(Layer {
            q: linear("self_attn.q_proj", q_width, hidden, config.qkv_bias)?,
            k: linear("self_attn.k_proj", kv_width, hidden, config.qkv_bias)?,
            v: linear("self_attn.v_proj", kv_width, hidden, config.qkv_bias)?,
            o: linear("self_attn.o_proj", hidden, q_width, config.o_bias)?,
            gate: linear("mlp.gate_proj", inner, hidden, config.mlp_bias)?,
            up: linear("mlp.up_proj", inner, hidden, config.mlp_bias)?,
            down: linear("mlp.down_proj", hidden, inner, config.mlp_bias)?,
            input_norm,
            q_norm,
            k_norm,
            post_norm,
        })
    }

    /// The layer's linear maps: path within the layer and PEFT's short name.
    fn linears(&self) -> [(&'static str, &Linear); 7] {
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

    fn linears_mut(&mut self) -> [(&'static str, &mut Linear); 7] {
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

    /// The norms, by path within the layer.
    fn norms(&self) -> Vec<(&'static str, &Tensor)> {
        let mut norms = vec![("input_layernorm", &self.input_norm), ("post_attention_layernorm", &self.post_norm)];
        norms.extend(self.q_norm.as_ref().map(|n| ("self_attn.q_norm", n)));
        norms.extend(self.k_norm.as_ref().map(|n| ("self_attn.k_norm", n)));
        norms
    }

    /// One layer over packed rows. With `last`, keys and values are computed for all rows, the rest for those alone.
    fn forward(
        &self,
        x: &Tensor,
        batch: &PackedBatch,
        last: Option<&Tensor>,
        rotation: &Rotation,
        config: &NetworkConfig,
        dropout: Option<&Seeds>,
    ) -> Result<Tensor, ModelError> {
        let (heads, kv_heads, dim, eps) = (config.heads, config.kv_heads, config.head_dim, config.rms_norm_eps);
        let normed = rms_norm(x, &self.input_norm, eps)?;
        // [rows, heads * dim] -> [rows, heads, dim], with Qwen 3's norm per head.
        let split = |y: Tensor, heads: i64, norm: &Option<Tensor>| -> Result<Tensor, ModelError> {
            let y = y.f_view([-1, heads, dim])?;
            norm.as_ref().map_or_else(|| Ok(y.shallow_clone()), |weight| rms_norm(&y, weight, eps))
        };
        let k = rotation.turn(&split(self.k.forward(&normed, dropout)?, kv_heads, &self.k_norm)?)?;
        let v = self.v.forward(&normed, dropout)?.f_view([-1, kv_heads, dim])?;
        let (residual, q, segments) = match last {
            None => {
                let q = rotation.turn(&split(self.q.forward(&normed, dropout)?, heads, &self.q_norm)?)?;
                (x.shallow_clone(), q, &batch.segments)
            }
            Some(rows) => {
                let asking = normed.f_index_select(0, rows)?;
                let q = split(self.q.forward(&asking, dropout)?, heads, &self.q_norm)?;
                (x.f_index_select(0, rows)?, rotation.select(rows)?.turn(&q)?, &batch.last_segments)
            }
        };
        let attended = crate::attention::attend(&q, &k, &v, segments, config.sliding_window)?;
        let x = residual.f_add(&self.o.forward(&attended.f_view([-1, heads * dim])?, dropout)?)?;
        let normed = rms_norm(&x, &self.post_norm, eps)?;
        let gated = self.gate.forward(&normed, dropout)?.f_silu()?.f_mul(&self.up.forward(&normed, dropout)?)?;
        Ok(x.f_add(&self.down.forward(&gated, dropout)?)?)
    }
}

/// x / rms(x) * weight over the last dimension, in f32 as transformers computes it (Zhang and Sennrich, 2019).
fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor, ModelError> {
    Ok(x.f_rms_norm(weight.size(), Some(weight), eps)?)
}

impl Network {
    pub(crate) fn new(
        config: NetworkConfig,
        source: &mut dyn TensorSource,
        with_lm_head: bool,
        kind: Kind,
        device: Device,
    ) -> Result<Self, ModelError> {
        let embedding = source.tensor("embed_tokens.weight", &[config.vocab_size, config.hidden_size])?;
        let layers = (0..config.layers).map(|i| Layer::new(&config, i, source)).collect::<Result<_, _>>()?;
        let norm = source.tensor("norm.weight", &[config.hidden_size])?;
        let lm_head = (with_lm_head && !config.tied)
            .then(|| source.tensor("lm_head.weight", &[config.vocab_size, config.hidden_size]))
            .transpose()?;
        Ok(Network { config, device, kind, embedding, layers, norm, lm_head })
    }

    /// The final norm's output: [rows, hidden] or [texts, hidden].
    pub(crate) fn forward(
        &self,
        batch: &PackedBatch,
        rows: Rows,
        dropout: Option<&Seeds>,
    ) -> Result<Tensor, ModelError> {
        let config = &self.config;
        let rotation = Rotation::new(
            &config.rope_scaling,
            config.rope_theta,
            config.head_dim,
            &batch.positions,
            self.kind,
            self.device,
        )?;
        let last = Tensor::f_from_slice(&batch.last_rows)?.f_to_device(self.device)?;
        let mut x = Tensor::f_embedding(&self.embedding, &batch.tokens, -1, false, false)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let prune = rows == Rows::Last && i + 1 == self.layers.len();
            x = layer.forward(&x, batch, prune.then_some(&last), &rotation, config, dropout)?;
        }
        rms_norm(&x, &self.norm, config.rms_norm_eps)
    }

    /// Next-token logits of hidden rows: [rows, hidden] -> [rows, vocab].
    pub(crate) fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(hidden.f_linear(self.lm_head.as_ref().unwrap_or(&self.embedding), None::<&Tensor>)?)
    }

    /// Gives the projections that the settings name a fresh adapter.
    pub(crate) fn add_lora(&mut self, settings: &LoraSettings, seeds: &Seeds) -> Result<(), ModelError> {
        for (path, linear) in self.layers.iter_mut().flat_map(Layer::linears_mut) {
            if settings.covers(path) {
                linear.add_lora(settings, seeds)?;
            }
        }
        Ok(())
    }

    /// Every adapter's A and B under PEFT's names, without the `base_model.model.` in front.
    pub(crate) fn lora_tensors(&self) -> Vec<(String, &Tensor)> {
        let mut tensors = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            for (path, linear) in layer.linears() {
                if let Some(lora) = &linear.lora {
                    tensors.push((format!("model.layers.{i}.{path}.lora_A.weight"), &lora.a));
                    tensors.push((format!("model.layers.{i}.{path}.lora_B.weight"), &lora.b));
                }
            }
        }
        tensors
    }

    /// All of the network's own tensors under Hugging Face's names.
    pub(crate) fn tensors(&self) -> Vec<(String, &Tensor)> {
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), &self.embedding)];
        for (i, layer) in self.layers.iter().enumerate() {
            for (path, linear) in layer.linears() {
                tensors.push((format!("model.layers.{i}.{path}.weight"), &linear.weight));
                tensors.extend(linear.bias.as_ref().map(|b| (format!("model.layers.{i}.{path}.bias"), b)));
            }
            for (path, norm) in layer.norms() {
                tensors.push((format!("model.layers.{i}.{path}.weight"), norm));
            }
        }
        tensors.push(("model.norm.weight".to_owned(), &self.norm));
        tensors.extend(self.lm_head.as_ref().map(|head| ("lm_head.weight".to_owned(), head)));
        tensors
    }
}
