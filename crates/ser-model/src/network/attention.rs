//! Attention within the texts of a packed batch: ser-libtorch's kernel on the CPU, libtorch's flash attention on GPUs.

use ser_libtorch::{Segment, VarlenSequences};
use tch::{Kind, Tensor};

use super::packed::PackedBatch;
use crate::ModelError;

/// The rows that leave the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// All rows: [rows, hidden].
    All,
    /// The last token of each text: [texts, hidden]. For all other rows the last layer computes only keys and values.
    Last,
}

/// The inputs of the attention of one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionInputs<'a> {
    /// [query rows, heads, dim]
    pub(crate) q: &'a Tensor,
    /// [rows, kv_heads, dim]
    pub(crate) k: &'a Tensor,
    /// [rows, kv_heads, dim]
    pub(crate) v: &'a Tensor,
    /// The query rows.
    pub(crate) queries: Rows,
    /// Sliding-window size: a token attends to itself and the `window` - 1 tokens before it.
    pub(crate) window: Option<i64>,
}

/// The attention of one forward pass. Called once per layer, in the order of the layers.
pub(crate) trait Attention {
    /// The attention of the next layer; the result has the shape of q.
    fn attend(&mut self, inputs: AttentionInputs<'_>) -> Result<Tensor, ModelError>;
}

/// Attention within the texts of the batch.
impl Attention for &PackedBatch {
    fn attend(&mut self, inputs: AttentionInputs<'_>) -> Result<Tensor, ModelError> {
        let AttentionInputs { q, k, v, queries, window } = inputs;
        match &self.sequences {
            Some([all, last]) => {
                let sequences = if queries == Rows::All { all } else { last };
                with_libtorch(q, k, v, sequences, window)
            }
            None => {
                with_kernel(q, k, v, if queries == Rows::All { &self.segments } else { &self.last_segments }, window)
            }
        }
    }
}

/// The kernel's attention. q: [query rows, heads, dim]; k, v: [rows, kv_heads, dim] -> as q.
fn with_kernel(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &[Segment],
    window: Option<i64>,
) -> Result<Tensor, ModelError> {
    let kind = q.kind();
    if [Kind::Float, Kind::BFloat16].contains(&kind) {
        return Ok(ser_libtorch::packed_attention(q, k, v, segments, window)?);
    }
    let float = |x: &Tensor| x.f_to_kind(Kind::Float);
    let out = ser_libtorch::packed_attention(&float(q)?, &float(k)?, &float(v)?, segments, window)?;
    Ok(out.f_to_kind(kind)?)
}

/// libtorch's attention, with the same shapes.
fn with_libtorch(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    sequences: &VarlenSequences,
    window: Option<i64>,
) -> Result<Tensor, ModelError> {
    if q.device() == sequences.device() {
        return Ok(ser_libtorch::varlen_attention(q, k, v, sequences, window)?);
    }
    // The layers are spread over several GPUs.
    Ok(ser_libtorch::varlen_attention(q, k, v, &sequences.on(q.device())?, window)?)
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use tch::Device;

    use super::*;

    #[test]
    fn the_kernel_agrees_with_libtorch() {
        tch::manual_seed(3);
        let random = |heads: i64| Tensor::randn([31, heads, 16], (Kind::Float, Device::Cpu));
        let (q, k, v) = (random(4), random(2), random(2));
        let segments = [Segment::pair(0, 5, 3, 4), Segment::single(12, 9), Segment::pair(21, 0, 4, 6)];
        let sequences = VarlenSequences::new(&segments, Device::Cpu).unwrap();
        for (window, (kind, bound)) in [None, Some(4)].into_iter().zip([(Kind::Float, 1e-5), (Kind::BFloat16, 2e-2)]) {
            let [q, k, v] = [&q, &k, &v].map(|x| x.to_kind(kind));
            let ours = with_kernel(&q, &k, &v, &segments, window).unwrap();
            let expected = with_libtorch(&q, &k, &v, &sequences, window).unwrap();
            assert_eq!((ours.kind(), expected.kind()), (kind, kind));
            assert_abs_diff_eq!((ours - expected).abs().max().double_value(&[]), 0.0, epsilon = bound);
        }
    }
}
