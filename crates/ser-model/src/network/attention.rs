//! Attention within the texts of a packed batch: ser-libtorch's kernel on the CPU, libtorch's elsewhere.

use ser_libtorch::Segment;
use tch::{Device, Kind, Tensor};

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
        let segments = match queries {
            Rows::All => &self.segments,
            Rows::Last => &self.last_segments,
        };
        attend(q, k, v, segments, window)
    }
}

/// q: [query rows, heads, dim]; k, v: [rows, kv_heads, dim] -> as q.
pub(crate) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &[Segment],
    window: Option<i64>,
) -> Result<Tensor, ModelError> {
    if q.device() != Device::Cpu {
        return by_segment(q, k, v, segments, window);
    }
    let kind = q.kind();
    if kind == Kind::Float {
        return Ok(ser_libtorch::packed_attention(q, k, v, segments, window)?);
    }
    let float = |x: &Tensor| x.f_to_kind(Kind::Float);
    let out = ser_libtorch::packed_attention(&float(q)?, &float(k)?, &float(v)?, segments, window)?;
    Ok(out.f_to_kind(kind)?)
}

/// One masked call of `scaled_dot_product_attention` per segment. The queries in q must be in the order of the segments.
fn by_segment(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &[Segment],
    window: Option<i64>,
) -> Result<Tensor, ModelError> {
    let mut outputs = Vec::with_capacity(segments.len());
    for segment in segments {
        let (a, b) = segment.queries();
        let keys = segment.rows();
        // [rows, heads, dim] -> [1, heads, rows, dim]
        let take = |x: &Tensor, start: i64, rows: i64| x.f_narrow(0, start, rows)?.f_transpose(0, 1)?.f_unsqueeze(0);
        let mask = mask(segment, window, q.device())?;
        let out = Tensor::f_scaled_dot_product_attention(
            &take(q, segment.row_a, a + b)?,
            &take(k, segment.start, keys)?,
            &take(v, segment.start, keys)?,
            Some(&mask),
            0.0,
            false,
            None,
            true,
        )?;
        outputs.push(out.f_squeeze_dim(0)?.f_transpose(0, 1)?);
    }
    Ok(Tensor::f_cat(&outputs, 0)?)
}

/// [queries, keys], true where a query attends to a key.
fn mask(segment: &Segment, window: Option<i64>, device: Device) -> Result<Tensor, ModelError> {
    let options = (Kind::Int64, Device::Cpu);
    let chain = segment.prompt + segment.a;
    let range = |from: i64, to: i64| Tensor::f_arange_start(from, to, options);
    // The position of each key in its text, and its owner: 0 the prompt, 1 answer A, 2 answer B.
    let key_position = Tensor::f_cat(&[range(0, chain)?, range(segment.prompt, segment.prompt + segment.b)?], 0)?;
    let owner = |n: i64, value: i64| Tensor::f_full([n], value, options);
    let key_owner = Tensor::f_cat(&[owner(segment.prompt, 0)?, owner(segment.a, 1)?, owner(segment.b, 2)?], 0)?;
    let (a, b) = segment.queries();
    let first_b = segment.prompt + segment.query_b;
    let query_position = Tensor::f_cat(&[range(segment.query_a, chain)?, range(first_b, first_b + b)?], 0)?;
    let query_owner = Tensor::f_cat(&[owner(a, 1)?, owner(b, 2)?], 0)?;
    let (kp, qp) = (key_position.f_unsqueeze(0)?, query_position.f_unsqueeze(1)?);
    let (ko, qo) = (key_owner.f_unsqueeze(0)?, query_owner.f_unsqueeze(1)?);
    let mut visible = kp.f_le_tensor(&qp)?.f_logical_and(&ko.f_eq(0)?.f_logical_or(&ko.f_eq_tensor(&qo)?)?)?;
    if let Some(window) = window {
        visible = visible.f_logical_and(&kp.f_gt_tensor(&qp.f_sub_scalar(window)?)?)?;
    }
    Ok(visible.f_to_device(device)?)
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    #[test]
    fn the_kernel_agrees_with_libtorch() {
        tch::manual_seed(3);
        let random = |heads: i64| Tensor::randn([31, heads, 16], (Kind::Float, Device::Cpu));
        let (q, k, v) = (random(4), random(2), random(2));
        let segments = [Segment::pair(0, 5, 3, 4), Segment::single(12, 9), Segment::pair(21, 0, 4, 6)];
        for window in [None, Some(4)] {
            let ours = attend(&q, &k, &v, &segments, window).unwrap();
            let expected = by_segment(&q, &k, &v, &segments, window).unwrap();
            assert_abs_diff_eq!((ours - expected).abs().max().double_value(&[]), 0.0, epsilon = 1e-5);
        }
    }
}
