//! Linear maps with low-rank adapters.

use ser_libtorch::{Dropout, LoraUpdate, lora_linear};
use tch::Tensor;

use super::kernels::{in_kind_of, linear};
use super::lora::AdapterDelta;
use super::packed::BatchRows;
use crate::ModelError;
use crate::seeds::Seeds;

/// The adapter and the dropout of one forward pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForwardMode<'a> {
    /// The slot of the active adapter; `None` for the base model.
    pub(crate) adapter: Option<usize>,
    /// Seeds of the dropouts; `None` outside of training.
    pub(crate) dropout: Option<&'a Seeds>,
    /// The rows' places in a larger batch, whose draws the dropouts take; `None` if they are the whole batch.
    pub(crate) rows: Option<&'a BatchRows>,
}

impl ForwardMode<'_> {
    /// A pass outside of training.
    pub(crate) fn without_dropout(adapter: Option<usize>) -> Self {
        ForwardMode { adapter, dropout: None, rows: None }
    }
}

/// y = x W^T + bias, with the delta of the active adapter.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    /// One delta per adapter of the network, in the order of their slots.
    deltas: Vec<AdapterDelta>,
    merged: Option<MergedLinear>,
}

/// Weight and bias with the delta of one adapter added.
#[derive(Debug)]
struct MergedLinear {
    slot: usize,
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Linear { weight, bias, deltas: Vec::new(), merged: None }
    }

    /// `x`: [rows, in] -> [rows, out].
    pub(crate) fn forward(&self, x: &Tensor, mode: ForwardMode<'_>) -> Result<Tensor, ModelError> {
        let Some((slot, delta)) = mode.adapter.and_then(|slot| Some((slot, self.deltas.get(slot)?))) else {
            return linear(x, &self.weight, self.bias.as_ref());
        };
        if let Some(merged) = self.merged.as_ref().filter(|merged| merged.slot == slot) {
            return linear(x, &merged.weight, merged.bias.as_ref());
        }
        let kind = x.kind();
        let own = delta.bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
        let bias = own.as_ref().or(self.bias.as_ref());
        let Some(lora) = &delta.lora else { return linear(x, &self.weight, bias) };
        let seeds = mode.dropout.filter(|_| lora.dropout > 0.0);
        let rows = mode.rows.map_or(&[][..], |rows| rows.of(x));
        let dropout = seeds.map(|seeds| Dropout { p: lora.dropout, seed: seeds.draw(), rows });
        let y = match lora.row_scales(&self.weight)? {
            None => {
                let weight = in_kind_of(x, &self.weight)?;
                let bias = bias.map(|bias| in_kind_of(x, bias)).transpose()?;
                let update = LoraUpdate { a: &lora.a, b: &lora.b, scale: lora.scale, dropout };
                lora_linear(x, &weight, bias.as_ref(), update)?
            }
            Some(scales) => {
                // As in PEFT: y + (s - 1) * dropout(x) W^T + s * update, where s = m / |V|.
                let y = linear(x, &self.weight, bias)?;
                let dropped = dropout.map(|dropout| ser_libtorch::dropout(x, dropout)).transpose()?;
                let input = dropped.as_ref().unwrap_or(x);
                let transposed = |x: &Tensor| x.f_to_kind(kind)?.f_transpose(0, 1);
                let low = input.f_matmul(&transposed(&lora.a)?)?.f_mul_scalar(lora.scale)?;
                let scales = scales.f_to_kind(kind)?;
                let plain = linear(input, &self.weight, None)?.f_mul(&scales.f_sub_scalar(1.0)?)?;
                y.f_add(&plain)?.f_add(&low.f_matmul(&transposed(&lora.b)?)?.f_mul(&scales)?)?
            }
        };
        match &lora.bias {
            Some(bias) => Ok(y.f_add(&bias.f_mul_scalar(lora.scale)?.f_to_kind(kind)?)?),
            None => Ok(y),
        }
    }

    /// Whether it is trained, or its delta of the adapter in `slot` is.
    pub(super) fn is_trained(&self, slot: Option<usize>) -> bool {
        let own = [Some(&self.weight), self.bias.as_ref()].into_iter().flatten().any(Tensor::requires_grad);
        own || slot.and_then(|slot| self.delta(slot)).is_some_and(AdapterDelta::is_trained)
    }

    /// Adds the delta of a new adapter, in the next slot.
    pub(crate) fn add_delta(&mut self, delta: AdapterDelta) {
        self.deltas.push(delta);
    }

    /// Removes the delta of the last slot.
    pub(crate) fn remove_last_delta(&mut self) {
        self.deltas.pop();
    }

    /// The delta of the adapter in `slot`.
    pub(crate) fn delta(&self, slot: usize) -> Option<&AdapterDelta> {
        self.deltas.get(slot)
    }

    /// Whether it has the copies of [`merge`](Self::merge).
    pub(crate) fn is_merged(&self) -> bool {
        self.merged.is_some()
    }

    /// Stores weight and bias with the delta of the adapter in `slot` added, beside its own; `None` drops them.
    pub(crate) fn merge(&mut self, slot: Option<usize>) -> Result<(), ModelError> {
        self.merged = None;
        if let Some((slot, delta)) = slot.and_then(|slot| Some((slot, self.deltas.get(slot)?)))
            && delta.is_some()
        {
            let bias = delta.merged_bias(self.bias.as_ref())?;
            let bias = bias.map(|bias| bias.f_to_kind(self.weight.kind())).transpose()?;
            self.merged = Some(MergedLinear { slot, weight: delta.merged(&self.weight)?, bias });
        }
        Ok(())
    }
}
