//! Operations on single tokens. f32 and bf16 tensors on the CPU use ser-libtorch's kernels if the weights are frozen, except
//! products of more than 16 rows in bf16; on a GPU SwiGLU and rotations use its kernels; everything else uses libtorch.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

use crate::ModelError;

/// Whether ser-libtorch's kernels take the tensor.
fn has_kernel(x: &Tensor) -> bool {
    [Kind::Float, Kind::BFloat16].contains(&x.kind()) && x.device() == Device::Cpu && ser_libtorch::kernels_enabled()
}

/// Whether ser-libtorch has kernels for the tensor on its GPU. They are compiled at the first use of a GPU; why that failed is
/// logged once.
fn has_gpu_kernel(x: &Tensor) -> bool {
    static USABLE: Mutex<BTreeMap<usize, bool>> = Mutex::new(BTreeMap::new());
    let Device::Cuda(gpu) = x.device() else { return false };
    if ![Kind::Float, Kind::BFloat16, Kind::Half].contains(&x.kind()) || !ser_libtorch::kernels_enabled() {
        return false;
    }
    let mut usable = USABLE.lock().unwrap_or_else(PoisonError::into_inner);
    *usable.entry(gpu).or_insert_with(|| match ser_libtorch::load_gpu_kernels(gpu) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(gpu, %error, "no kernels for SwiGLU and rotations on this GPU; libtorch's operations are used");
            false
        }
    })
}

/// Whether the kernels take the tensor as the weight of `x`.
fn frozen(weight: &Tensor, x: &Tensor) -> bool {
    weight.kind() == x.kind() && weight.is_contiguous() && !weight.requires_grad()
}

/// `tensor` in the kind of `x`, without a copy if the kinds are the same. Trained weights are f32 even if the network
/// computes in half precision.
pub(super) fn in_kind_of(x: &Tensor, tensor: &Tensor) -> Result<Tensor, ModelError> {
    if tensor.kind() == x.kind() { Ok(tensor.shallow_clone()) } else { Ok(tensor.f_to_kind(x.kind())?) }
}

/// x W^T + bias: [rows, in] -> [rows, out].
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, ModelError> {
    if has_kernel(x) && frozen(weight, x) && bias.is_none_or(|bias| bias.kind() == x.kind() && bias.is_contiguous()) {
        return Ok(ser_libtorch::linear(x, weight, bias)?);
    }
    let bias = bias.map(|bias| in_kind_of(x, bias)).transpose()?;
    Ok(x.f_linear(&in_kind_of(x, weight)?, bias.as_ref())?)
}

/// x / rms(x) * weight over the last dimension, in f32 as transformers computes it (Zhang and Sennrich, 2019).
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor, ModelError> {
    if has_kernel(x) && frozen(weight, x) {
        return Ok(ser_libtorch::rms_norm(x, weight, eps)?);
    }
    Ok(x.f_rms_norm(weight.size(), Some(in_kind_of(x, weight)?), eps)?)
}

/// silu(gate) * up (Shazeer, 2020).
pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor, ModelError> {
    if (has_kernel(gate) || has_gpu_kernel(gate)) && up.kind() == gate.kind() {
        return Ok(ser_libtorch::swiglu(gate, up)?);
    }
    Ok(gate.f_silu()?.f_mul(up)?)
}

/// x * cos + swap(x) * sin, where `swap` exchanges the two halves of each head; x: [rows, heads, dim], cos and sin:
/// [rows, 1, dim].
pub(crate) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor, ModelError> {
    if (has_kernel(x) || has_gpu_kernel(x)) && frozen(cos, x) && frozen(sin, x) {
        return Ok(ser_libtorch::rotate(x, cos, sin)?);
    }
    let half = x.size3()?.2 / 2;
    let mut swapped = Tensor::f_cat(&[x.f_narrow(2, half, half)?, x.f_narrow(2, 0, half)?], 2)?;
    Ok(x.f_mul(cos)?.f_add(&swapped.f_mul_(sin)?)?)
}

/// Target log-probabilities and entropies.
pub(crate) struct TokenLogProbs {
    /// log p of the targets, [n], in f32.
    pub(crate) log_probs: Tensor,
    entropies: Entropies,
}

/// ser-libtorch's kernel computes entropies with the log-probabilities; with libtorch they take two more tensors
/// [n, vocab], so they are computed on demand.
enum Entropies {
    Computed(Tensor),
    /// log p of the whole vocabulary, [n, vocab].
    FromLogProbs(Tensor),
}

impl TokenLogProbs {
    /// From logits [n, vocab] and targets [n].
    pub(crate) fn new(logits: &Tensor, targets: &Tensor) -> Result<Self, ModelError> {
        if has_kernel(logits) {
            let (log_probs, entropies) = ser_libtorch::log_probs(logits, targets)?;
            return Ok(TokenLogProbs { log_probs, entropies: Entropies::Computed(entropies) });
        }
        let all = logits.f_log_softmax(-1, Kind::Float)?;
        let log_probs = all.f_gather(1, &targets.f_unsqueeze(1)?, false)?.f_view([-1])?;
        Ok(TokenLogProbs { log_probs, entropies: Entropies::FromLogProbs(all) })
    }

    /// Entropies in nats, [n]. They carry a gradient unless gradients are disabled.
    pub(crate) fn entropies(&self) -> Result<Tensor, ModelError> {
        match &self.entropies {
            Entropies::Computed(entropies) => Ok(entropies.shallow_clone()),
            Entropies::FromLogProbs(all) => {
                // p log p is 0 where p is 0 and log p is -inf.
                let finite = all.f_clamp_min(f64::from(f32::MIN))?;
                Ok(all.f_exp()?.f_mul(&finite)?.f_sum_dim_intlist(-1, false, Kind::Float)?.f_neg()?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// Runs all unit tests of this crate again, in a process of its own, with the operations that a GPU takes.
    #[test]
    fn libtorchs_operations_pass_the_tests() {
        if !ser_libtorch::kernels_enabled() {
            return;
        }
        let tests = std::env::current_exe().unwrap();
        let output = Command::new(tests).env("SER_KERNELS", "libtorch").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
