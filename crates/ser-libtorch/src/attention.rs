use tch::Tensor;

use crate::{Error, ffi};

/// The rows of a pair `[prompt | a | b]` in a packed batch, and its query rows.
///
/// Prompt and a form one causal chain, prompt and b another; b does not attend to a. The queries are the positions from
/// `query_a` on in the first chain, at rows `row_a..` of q, and from `query_b` on in b, at rows `row_b..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// The segment's first row in k and v.
    pub start: i64,
    /// The number of tokens of the prompt.
    pub prompt: i64,
    /// The number of tokens of a.
    pub a: i64,
    /// The number of tokens of b; 0 for a single text.
    pub b: i64,
    /// The first query position in the chain prompt + a.
    pub query_a: i64,
    /// The first query position in b.
    pub query_b: i64,
    /// The first row in q of the first chain's queries.
    pub row_a: i64,
    /// The first row in q of b's queries.
    pub row_b: i64,
}

impl Segment {
    /// A pair at rows `start..` of k and v. All rows are queries, at the same rows of q.
    pub fn pair(start: i64, prompt: i64, a: i64, b: i64) -> Self {
        Segment { start, prompt, a, b, query_a: 0, query_b: 0, row_a: start, row_b: start + prompt + a }
    }

    /// A single text.
    pub fn single(start: i64, length: i64) -> Self {
        Segment::pair(start, 0, length, 0)
    }

    /// The same rows of k and v, where the last token of each text alone is a query: at `row` of q, and for b at the row after
    /// it.
    pub fn with_last_queries(self, row: i64) -> Self {
        let query_a = self.prompt + self.a - 1;
        Segment { query_a, query_b: (self.b - 1).max(0), row_a: row, row_b: row + 1, ..self }
    }

    /// The number of its rows in k and v.
    pub fn rows(&self) -> i64 {
        self.prompt + self.a + self.b
    }

    /// The numbers of query rows in the first chain and in b.
    pub fn queries(&self) -> (i64, i64) {
        (self.prompt + self.a - self.query_a, self.b - self.query_b)
    }
}

/// Attention of packed pairs on the CPU in f32 or bf16, with gradients by q, k and v.
///
/// q: [rows, heads, dim]; k, v: [rows, kv_heads, dim], heads a multiple of kv_heads; result as q, scaled by
/// 1/sqrt(dim) before the softmax. With `window`, a token attends to itself and the window - 1 tokens before it (Mistral's
/// sliding window). Rows of the result that belong to no segment are uninitialized.
pub fn packed_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &[Segment],
    window: Option<i64>,
) -> Result<Tensor, Error> {
    let bad = |problem: String| Err(Error::Argument { function: "packed_attention", problem });
    let (Ok((rows, heads, dim)), Ok((keys, kv_heads, key_dim))) = (q.size3(), k.size3()) else {
        return bad(format!("q and k have three dimensions, not {:?} and {:?}", q.size(), k.size()));
    };
    if v.size() != k.size() || dim != key_dim || kv_heads == 0 || heads % kv_heads != 0 {
        return bad(format!("q {:?}, k {:?} and v {:?} have incompatible shapes", q.size(), k.size(), v.size()));
    }
    for (name, tensor) in [("q", q), ("k", k), ("v", v)] {
        Error::unless_like("packed_attention", q, name, tensor)?;
    }
    if window.is_some_and(|w| w <= 0) {
        return bad("the window is at least 1".into());
    }
    for (i, s) in segments.iter().enumerate() {
        let all = [s.start, s.prompt, s.a, s.b, s.query_a, s.query_b, s.row_a, s.row_b];
        if all.iter().any(|n| !(0..=rows.max(keys)).contains(n)) {
            return bad(format!("segment {i} {s:?} does not fit {rows} rows of q and {keys} of k"));
        }
        let (a, b) = s.queries();
        let sound = s.start + s.rows() <= keys
            && a >= 0
            && b >= 0
            && (a == 0 || s.row_a + a <= rows)
            && (b == 0 || s.row_b + b <= rows);
        if !sound {
            return bad(format!("segment {i} {s:?} does not fit {rows} rows of q and {keys} of k"));
        }
    }
    let key_ranges = segments.iter().map(|s| (s.start, s.rows()));
    let query_ranges = segments.iter().flat_map(|s| [(s.row_a, s.queries().0), (s.row_b, s.queries().1)]);
    if overlap(key_ranges.collect()) || overlap(query_ranges.collect()) {
        return bad("two segments share rows".into());
    }
    let table: Vec<i64> =
        segments.iter().flat_map(|s| [s.start, s.prompt, s.a, s.b, s.query_a, s.query_b, s.row_a, s.row_b]).collect();
    let table = Tensor::f_from_slice(&table)
        .and_then(|t| t.f_view([segments.len() as i64, 8]))
        .map_err(|e| Error::Torch(e.to_string()))?;
    let scale = 1.0 / (dim as f64).sqrt();
    // SAFETY: live tensors of the kind, device and shapes that the kernel takes, and segments inside them: checked above.
    ffi::produced(|out| unsafe {
        ffi::ser_packed_attention(q.as_ptr(), k.as_ptr(), v.as_ptr(), table.as_ptr(), scale, window.unwrap_or(0), out)
    })
}

/// Whether two of these ranges, first row and number of rows, have a row in common.
fn overlap(mut ranges: Vec<(i64, i64)>) -> bool {
    ranges.retain(|&(_, rows)| rows > 0);
    ranges.sort_unstable();
    ranges.windows(2).any(|pair| matches!(pair, [(a, rows), (b, _)] if a + rows > *b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{VarlenSequences, varlen_attention};
    use tch::{Device, Kind};

    /// The reference: one masked softmax over all keys, by libtorch and autograd.
    fn reference(q: &Tensor, k: &Tensor, v: &Tensor, segments: &[Segment], window: Option<i64>) -> Tensor {
        let (rows, heads, dim) = q.size3().unwrap();
        let (keys, kv_heads, _) = k.size3().unwrap();
        let mut mask = vec![f32::NEG_INFINITY; (rows * keys) as usize];
        for s in segments {
            let position = |key: i64| if key < s.prompt + s.a { key } else { key - s.a };
            let mut see = |row: i64, at: i64, b: bool| {
                for key in 0..s.rows() {
                    let other = if b { key >= s.prompt && key < s.prompt + s.a } else { key >= s.prompt + s.a };
                    if !other && position(key) <= at && window.is_none_or(|w| position(key) > at - w) {
                        mask[(row * keys + s.start + key) as usize] = 0.0;
                    }
                }
            };
            let (a, b) = s.queries();
            (0..a).for_each(|i| see(s.row_a + i, s.query_a + i, false));
            (0..b).for_each(|i| see(s.row_b + i, s.prompt + s.query_b + i, true));
        }
        let mask = Tensor::from_slice(&mask).view([rows, keys]).to_kind(q.kind());
        let wide = |x: &Tensor| x.repeat_interleave_self_int(heads / kv_heads, 1, None).transpose(0, 1);
        let scores = q.transpose(0, 1).matmul(&wide(k).transpose(1, 2)) / (dim as f64).sqrt() + mask;
        scores.softmax(-1, q.kind()).matmul(&wide(v)).transpose(0, 1)
    }

    fn check(segments: &[Segment], rows: i64, keys: i64, heads: i64, kv_heads: i64, dim: i64, window: Option<i64>) {
        tch::manual_seed(7);
        let random = |shape: [i64; 3]| Tensor::randn(shape, (Kind::Double, Device::Cpu));
        let (q, k, v) = (random([rows, heads, dim]), random([keys, kv_heads, dim]), random([keys, kv_heads, dim]));
        let slopes = random([rows, heads, dim]);
        // The result, and the gradients of its product with the slopes.
        let run = |kind: Kind, attention: &dyn Fn(&Tensor, &Tensor, &Tensor) -> Tensor| {
            let [q, k, v] = [&q, &k, &v].map(|x| x.to_kind(kind).set_requires_grad(true));
            let out = attention(&q, &k, &v);
            let sum = (&out * slopes.to_kind(kind)).sum(kind);
            let mut results = Tensor::run_backward(&[sum], &[&q, &k, &v], false, false);
            results.insert(0, out.detach());
            results
        };
        let sequences = VarlenSequences::new(segments, Device::Cpu).unwrap();
        let want = run(Kind::Double, &|q, k, v| reference(q, k, v, segments, window));
        let packed = |kind| run(kind, &|q, k, v| packed_attention(q, k, v, segments, window).unwrap());
        let varlen = |kind| run(kind, &|q, k, v| varlen_attention(q, k, v, &sequences, window).unwrap());
        let all = [
            ("packed f32", packed(Kind::Float), 2e-5),
            ("packed bf16", packed(Kind::BFloat16), 0.3),
            ("varlen f64", varlen(Kind::Double), 1e-12),
            ("varlen f32", varlen(Kind::Float), 2e-5),
            ("varlen bf16", varlen(Kind::BFloat16), 0.3),
        ];
        for (name, ours, bound) in &all {
            for ((x, y), what) in ours.iter().zip(&want).zip(["output", "grad q", "grad k", "grad v"]) {
                let gap = (x - y).abs().max().double_value(&[]);
                assert!(gap < *bound, "{name}: {what} differs by {gap} at heads {heads} dim {dim} window {window:?}");
            }
        }
    }

    #[test]
    fn equals_a_masked_softmax() {
        let pairs = [Segment::pair(0, 5, 3, 4), Segment::pair(12, 0, 1, 1), Segment::pair(14, 70, 40, 9)];
        for (heads, kv_heads, dim) in [(4, 2, 32), (3, 3, 8), (8, 1, 20), (2, 1, 64)] {
            check(&pairs, 133, 133, heads, kv_heads, dim, None);
            check(&pairs, 133, 133, heads, kv_heads, dim, Some(7));
            check(&[Segment::single(0, 133)], 133, 133, heads, kv_heads, dim, None);
            check(&[Segment::single(0, 133)], 133, 133, heads, kv_heads, dim, Some(50));
        }
    }

    #[test]
    fn last_tokens_alone_are_queries() {
        let segments =
            [Segment::pair(0, 40, 3, 14).with_last_queries(0), Segment::pair(57, 2, 1, 1).with_last_queries(2)];
        check(&segments, 4, 61, 4, 2, 16, None);
        check(&segments, 4, 61, 4, 2, 16, Some(6));
    }

    #[test]
    fn segments_outside_the_rows_are_refused() {
        let q = Tensor::ones([4, 1, 8], (Kind::Float, Device::Cpu));
        let error = packed_attention(&q, &q, &q, &[Segment::single(1, 4)], None).unwrap_err();
        assert!(error.to_string().contains("segment 0"), "{error}");
        let huge = Segment { prompt: i64::MAX, ..Segment::single(0, 4) };
        assert!(packed_attention(&q, &q, &q, &[huge], None).is_err());
        // Threads would write to the same rows.
        let shared = [Segment::single(0, 2), Segment::single(1, 3)];
        assert!(packed_attention(&q, &q, &q, &shared, None).unwrap_err().to_string().contains("share rows"));
        let asks_twice = Segment { query_b: 0, row_b: 1, ..Segment::pair(0, 0, 2, 2) };
        assert!(packed_attention(&q, &q, &q, &[asks_twice], None).is_err());
    }
}
