use tch::{Device, Kind, Tensor};

use crate::{Error, Segment, ffi, upload};

/// The sequences of an attention over packed pairs, on one device: for each segment the chain prompt + a, and b after its
/// prompt. It is made once per batch and serves every layer.
///
/// A prompt that two chains share is copied as keys of the second one, so that one call of flash attention computes both. The
/// copies are of keys and values only, which are small beside a layer's products.
#[derive(Debug)]
pub struct VarlenSequences {
    /// [sequences + 1] in int32: the first query and the first key of each sequence, then the end of the last.
    ends: [Tensor; 2],
    /// [2, sequences + 1] in int64 on the CPU: the same.
    host: Tensor,
    /// In int64: the row of each key, the first key of each row, the second keys, and the rows that have a second key; `None`
    /// if every row is one key.
    gather: Option<[Tensor; 4]>,
    longest_query: i64,
    longest_key: i64,
    /// Rows of q, and rows of k and v.
    rows: [i64; 2],
}

impl VarlenSequences {
    /// The sequences of segments that cover the rows of q, k and v without gaps and in order.
    ///
    /// # Errors
    /// [`Error::Argument`] for other segments.
    pub fn new(segments: &[Segment], device: Device) -> Result<Self, Error> {
        let (mut queries, mut keys) = (vec![0], vec![0]);
        let (mut gather, mut own, mut copies, mut copied) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut query, mut row) = (0, 0);
        for (i, s) in segments.iter().enumerate() {
            let (a, b) = s.queries();
            let parts = [s.prompt, s.a, s.b, a, b];
            let ordered = s.start == row && (a == 0 || s.row_a == query) && (b == 0 || s.row_b == query + a);
            if parts.iter().any(|n| *n < 0) || !ordered {
                let problem = format!("segment {i} {s:?} does not follow {row} rows of k and {query} rows of q");
                return Err(Error::Argument { function: "varlen_attention", problem });
            }
            let chain = s.prompt + s.a;
            let first = gather.len() as i64;
            gather.extend(row..row + chain);
            own.extend(first..first + chain);
            queries.push(query + a);
            keys.push(gather.len() as i64);
            if s.b > 0 {
                copies.extend(first + chain..first + chain + s.prompt);
                copied.extend(row..row + s.prompt);
                gather.extend((row..row + s.prompt).chain(row + chain..row + chain + s.b));
                own.extend(first + chain + s.prompt..first + chain + s.prompt + s.b);
                queries.push(query + a + b);
                keys.push(gather.len() as i64);
            }
            query += a + b;
            row += s.rows();
        }
        let longest = |ends: &[i64]| ends.iter().zip(ends.iter().skip(1)).map(|(from, to)| to - from).max();
        let (longest_query, longest_key) = (longest(&queries).unwrap_or(0), longest(&keys).unwrap_or(0));
        let host = [queries.as_slice(), &keys].concat();
        let gather = if copies.is_empty() {
            None
        } else {
            Some([upload(&gather, device)?, upload(&own, device)?, upload(&copies, device)?, upload(&copied, device)?])
        };
        let torch = |error: tch::TchError| Error::Torch(error.to_string());
        let int = |ends: &[i64]| upload(ends, device)?.f_to_kind(Kind::Int).map_err(torch);
        Ok(VarlenSequences {
            ends: [int(&queries)?, int(&keys)?],
            host: Tensor::f_from_slice(&host).and_then(|t| t.f_view([2, -1])).map_err(torch)?,
            gather,
            longest_query,
            longest_key,
            rows: [query, row],
        })
    }

    /// The same sequences on another device.
    pub fn on(&self, device: Device) -> Result<Self, Error> {
        let moved = |x: &Tensor| x.f_to_device(device).map_err(|error| Error::Torch(error.to_string()));
        let [queries, keys] = &self.ends;
        let gather = match &self.gather {
            Some([rows, own, copies, copied]) => Some([moved(rows)?, moved(own)?, moved(copies)?, moved(copied)?]),
            None => None,
        };
        Ok(VarlenSequences { ends: [moved(queries)?, moved(keys)?], host: self.host.shallow_clone(), gather, ..*self })
    }

    /// The device of its tensors.
    pub fn device(&self) -> Device {
        self.ends[0].device()
    }
}

/// Attention of packed pairs on any device and in any floating-point kind, with gradients by q, k and v.
///
/// Shapes, scale and window as in [`packed_attention`](crate::packed_attention), whose segments the sequences are made of. On a
/// GPU in half precision with heads of a multiple of 8 and at most 256 entries it is one call of flash attention (Dao, 2023);
/// elsewhere each sequence is computed by itself, half precision in f32. Flash attention's gradients by q are sums in no fixed
/// order.
pub fn varlen_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    sequences: &VarlenSequences,
    window: Option<i64>,
) -> Result<Tensor, Error> {
    let bad = |problem: String| Err(Error::Argument { function: "varlen_attention", problem });
    let (Ok((queries, heads, dim)), Ok((rows, kv_heads, key_dim))) = (q.size3(), k.size3()) else {
        return bad(format!("q and k have three dimensions, not {:?} and {:?}", q.size(), k.size()));
    };
    if v.size() != k.size() || dim != key_dim || kv_heads == 0 || heads % kv_heads != 0 {
        return bad(format!("q {:?}, k {:?} and v {:?} have incompatible shapes", q.size(), k.size(), v.size()));
    }
    if [queries, rows] != sequences.rows {
        return bad(format!("q and k have {queries} and {rows} rows, the sequences {:?}", sequences.rows));
    }
    for (name, tensor) in [("q", q), ("k", k), ("v", v)] {
        if tensor.device() != sequences.device() || tensor.kind() != q.kind() || !tensor.is_floating_point() {
            let (kind, device) = (tensor.kind(), tensor.device());
            return bad(format!("{name} is {kind:?} on {device:?}, the sequences are on {:?}", sequences.device()));
        }
    }
    if window.is_some_and(|w| w <= 0) {
        return bad("the window is at least 1".into());
    }
    let scale = 1.0 / (dim as f64).sqrt();
    let [query_ends, key_ends] = &sequences.ends;
    let tensors = [query_ends.as_ptr(), key_ends.as_ptr(), sequences.host.as_ptr()];
    let gather = sequences.gather.as_ref().map(|gather| gather.each_ref().map(|x| x.as_ptr()));
    let gather = gather.as_ref().map_or(std::ptr::null(), |gather| gather.as_ptr());
    // SAFETY: live tensors of the shapes that the function takes, and sequences inside them: checked above and when the
    // sequences were made. `gather` may be null.
    ffi::produced(|out| unsafe {
        ffi::ser_varlen_attention(
            q.as_ptr(),
            k.as_ptr(),
            v.as_ptr(),
            tensors.as_ptr(),
            gather,
            sequences.longest_query,
            sequences.longest_key,
            scale,
            window.unwrap_or(0),
            out,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incompatible_arguments_are_refused() {
        let gap = [Segment::single(0, 2), Segment::single(3, 1)];
        assert!(VarlenSequences::new(&gap, Device::Cpu).unwrap_err().to_string().contains("segment 1"));
        let sequences = VarlenSequences::new(&[Segment::pair(0, 2, 1, 1)], Device::Cpu).unwrap();
        let x = |rows: i64, kind: Kind| Tensor::ones([rows, 1, 8], (kind, Device::Cpu));
        let refused = |q: &Tensor, k: &Tensor| varlen_attention(q, k, k, &sequences, None).unwrap_err().to_string();
        assert!(refused(&x(3, Kind::Float), &x(4, Kind::Float)).contains("3 and 4 rows"));
        assert!(refused(&x(4, Kind::Float), &x(4, Kind::Double)).contains("k is Double"));
        assert!(
            varlen_attention(&x(4, Kind::Float), &x(4, Kind::Float), &x(4, Kind::Float), &sequences, Some(0)).is_err()
        );
    }
}
