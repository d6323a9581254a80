use tch::Tensor;

use crate::{Error, ffi};

/// Consecutive slots of a key/value cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SlotRange {
    /// The first slot.
    pub start: i64,
    /// The number of slots.
    pub length: i64,
}

/// Attention of a decoding step on the CPU in f32 or bf16: one query per row, against the row's own ranges of cached keys. It
/// computes in f32.
///
/// q: [rows, heads, dim]; k, v: [slots, kv_heads, dim], contiguous, heads a multiple of kv_heads; result as q, scaled by
/// 1/sqrt(dim) before the softmax. Row i attends to the slots of the ranges from `ends[i - 1]` (0 for the first row) up to
/// `ends[i]`, at least one. Ranges may overlap. The result of a row does not depend on other rows. No gradients.
pub fn decode_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    ranges: &[SlotRange],
    ends: &[i64],
) -> Result<Tensor, Error> {
    let bad = |problem: String| Err(Error::Argument { function: "decode_attention", problem });
    let (Ok((rows, heads, dim)), Ok((slots, kv_heads, key_dim))) = (q.size3(), k.size3()) else {
        return bad(format!("q and k have three dimensions, not {:?} and {:?}", q.size(), k.size()));
    };
    if v.size() != k.size() || dim != key_dim || kv_heads == 0 || heads % kv_heads != 0 {
        return bad(format!("q {:?}, k {:?} and v {:?} have incompatible shapes", q.size(), k.size(), v.size()));
    }
    for (name, tensor) in [("q", q), ("k", k), ("v", v)] {
        Error::unless_like("decode_attention", q, name, tensor)?;
    }
    if !(k.is_contiguous() && v.is_contiguous()) {
        return bad("k and v must be contiguous".into());
    }
    let mut first = 0;
    for (row, &end) in ends.iter().enumerate() {
        if end <= first || end > ranges.len() as i64 {
            return bad(format!("the ranges of row {row} are {first} up to {end} of {}", ranges.len()));
        }
        first = end;
    }
    if ends.len() as i64 != rows {
        return bad(format!("{rows} rows of q, but ranges of {} rows", ends.len()));
    }
    let inside = |range: &SlotRange| {
        range.start >= 0 && range.length >= 1 && range.length <= slots && range.start <= slots - range.length
    };
    if let Some(range) = ranges.iter().find(|range| !inside(range)) {
        return bad(format!("{range:?} is not inside {slots} slots"));
    }
    let scale = 1.0 / (dim as f64).sqrt();
    // SAFETY: live tensors of the kind, device, layout and shapes that the kernel takes, as many ends as rows, and ranges
    // inside the slots: checked above. `SlotRange` is two i64 in C's layout.
    ffi::produced(|out| unsafe {
        ffi::ser_decode_attention(q.as_ptr(), k.as_ptr(), v.as_ptr(), ranges.as_ptr().cast(), ends.as_ptr(), scale, out)
    })
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn equals_a_softmax_over_the_given_slots() {
        tch::manual_seed(5);
        for (heads, kv_heads, dim) in [(4, 2, 32), (3, 3, 8), (8, 1, 20), (2, 1, 64), (6, 2, 10)] {
            let random = |shape: [i64; 3]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
            let (q, k, v) = (random([3, heads, dim]), random([90, kv_heads, dim]), random([90, kv_heads, dim]));
            let range = |start, length| SlotRange { start, length };
            let ranges = [range(0, 40), range(50, 7), range(0, 40), range(89, 1), range(60, 3)];
            let ends = [2, 4, 5];
            let ours = decode_attention(&q, &k, &v, &ranges, &ends).unwrap();
            let mut from = 0;
            for (row, &end) in ends.iter().enumerate() {
                let slots: Vec<i64> =
                    ranges[from..end as usize].iter().flat_map(|r| r.start..r.start + r.length).collect();
                from = end as usize;
                let pick = |x: &Tensor| {
                    let x = x.index_select(0, &Tensor::from_slice(&slots));
                    x.repeat_interleave_self_int(heads / kv_heads, 1, None).transpose(0, 1)
                };
                let query = q.get(row as i64).unsqueeze(1);
                let p = (query.matmul(&pick(&k).transpose(1, 2)) / (dim as f64).sqrt()).softmax(-1, Kind::Float);
                let want = p.matmul(&pick(&v)).squeeze_dim(1);
                let gap = (ours.get(row as i64) - want).abs().max().double_value(&[]);
                assert_abs_diff_eq!(gap, 0.0, epsilon = 1e-5);
            }
            // bf16 differs by the rounding of the result.
            let half = [&q, &k, &v].map(|x| x.to_kind(Kind::BFloat16));
            let ours = decode_attention(&half[0], &half[1], &half[2], &ranges, &ends).unwrap();
            let [q, k, v] = half.map(|x| x.to_kind(Kind::Float));
            let want = decode_attention(&q, &k, &v, &ranges, &ends).unwrap();
            let over = (ours.to_kind(Kind::Float) - &want).abs() - want.abs() * 0.5f64.powi(8);
            assert!(over.max().double_value(&[]) < 1e-5, "{heads} heads of {dim}");
        }
    }

    #[test]
    fn invalid_arguments_are_errors() {
        let q = Tensor::ones([2, 1, 8], (Kind::Float, Device::Cpu));
        let refused =
            |ranges: &[SlotRange], ends: &[i64]| decode_attention(&q, &q, &q, ranges, ends).unwrap_err().to_string();
        let range = |start, length| SlotRange { start, length };
        assert!(refused(&[range(0, 1), range(1, 2)], &[1, 2]).contains("not inside 2 slots"));
        assert!(refused(&[range(0, 1), range(i64::MAX, 2)], &[1, 2]).contains("not inside"));
        assert!(refused(&[range(0, 1)], &[1, 1]).contains("row 1"));
        assert!(refused(&[range(0, 1)], &[1]).contains("2 rows"));
    }
}
