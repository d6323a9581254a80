//! What a decoder computes token by token: our kernels for f32 on the CPU, libtorch elsewhere and where the weights
//! themselves are trained.

use tch::{Device, Kind, Tensor};

use crate::ModelError;

fn plain(x: &Tensor) -> bool {
    x.kind() == Kind::Float && x.device() == Device::Cpu
}

fn frozen(weight: &Tensor) -> bool {
    plain(weight) && weight.is_contiguous() && !weight.requires_grad()
}

/// x W^T + bias: [rows, in] -> [rows, out].
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, ModelError> {
    if plain(x) && frozen(weight) && bias.is_none_or(|bias| plain(bias) && bias.is_contiguous()) {
        return Ok(ser_libtorch::linear(x, weight, bias)?);
    }
    Ok(x.f_linear(weight, bias)?)
}

/// x / rms(x) * weight over the last dimension, in f32 as transformers computes it (Zhang and Sennrich, 2019).
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor, ModelError> {
    if plain(x) && frozen(weight) {
        return Ok(ser_libtorch::rms_norm(x, weight, eps)?);
    }
    Ok(x.f_rms_norm(weight.size(), Some(weight), eps)?)
}

/// silu(gate) * up (Shazeer, 2020).
pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor, ModelError> {
    if plain(gate) && plain(up) {
        return Ok(ser_libtorch::swiglu(gate, up)?);
    }
    Ok(gate.f_silu()?.f_mul(up)?)
}

/// x * cos + swap(x) * sin, the halves of each head changed over by `swap`; x: [rows, heads, dim], the others
/// [rows, 1, dim].
pub(crate) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor, ModelError> {
    if plain(x) && frozen(cos) && frozen(sin) {
        return Ok(ser_libtorch::rotate(x, cos, sin)?);
    }
    let half = x.size3()?.2 / 2;
    let mut swapped = Tensor::f_cat(&[x.f_narrow(2, half, half)?, x.f_narrow(2, 0, half)?], 2)?;
    Ok(x.f_mul(cos)?.f_add(&swapped.f_mul_(sin)?)?)
}

/// log p of the targets, [n], and the entropies in nats, [n], of logits [n, vocab], in f32.
///
/// Both have gradients; without `train_entropies` the entropies need not, which spares memory on a GPU.
pub(crate) fn log_probs(
    logits: &Tensor,
    targets: &Tensor,
    train_entropies: bool,
) -> Result<(Tensor, Tensor), ModelError> {
    if plain(logits) {
        return Ok(ser_libtorch::log_probs(logits, targets)?);
    }
    let all = logits.f_log_softmax(-1, Kind::Float)?;
    let chosen = all.f_gather(1, &targets.f_unsqueeze(1)?, false)?.f_view([-1])?;
    let entropies = |all: &Tensor| all.f_exp()?.f_mul(all)?.f_sum_dim_intlist(-1, false, Kind::Float)?.f_neg();
    let entropies = if train_entropies { entropies(&all) } else { tch::no_grad(|| entropies(&all)) };
    Ok((chosen, entropies?))
}
