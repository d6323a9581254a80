//! The storage types of GGUF files, and the numbers of their blocks.
//!
//! Quantized numbers lie in blocks of 32 or 256, each with its own scale. Every operation is done in f32 and in the order
//! of Python's `gguf` package, so the numbers are the same bit by bit.

/// A storage type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Storage {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// Those that are read.
pub(super) const SUPPORTED: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K";

/// Names of the types that are not read, by their number in the file.
const OTHERS: [(u32, &str); 27] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

impl Storage {
    /// The type with this number in the file; the error names it.
    pub(super) fn of(id: u32) -> Result<Self, String> {
        Ok(match id {
            0 => Storage::F32,
            1 => Storage::F16,
            2 => Storage::Q4_0,
            3 => Storage::Q4_1,
            6 => Storage::Q5_0,
            7 => Storage::Q5_1,
            8 => Storage::Q8_0,
            10 => Storage::Q2K,
            11 => Storage::Q3K,
            12 => Storage::Q4K,
            13 => Storage::Q5K,
            14 => Storage::Q6K,
            30 => Storage::BF16,
            _ => {
                let name = OTHERS.iter().find(|(other, _)| *other == id).map(|(_, name)| *name);
                return Err(name.map_or_else(|| format!("the unknown type {id}"), |name| format!("type {name}")));
            }
        })
    }

    /// The name that the format's documentation has.
    pub(super) fn name(self) -> &'static str {
        match self {
            Storage::F32 => "F32",
            Storage::F16 => "F16",
            Storage::BF16 => "BF16",
            Storage::Q4_0 => "Q4_0",
            Storage::Q4_1 => "Q4_1",
            Storage::Q5_0 => "Q5_0",
            Storage::Q5_1 => "Q5_1",
            Storage::Q8_0 => "Q8_0",
            Storage::Q2K => "Q2_K",
            Storage::Q3K => "Q3_K",
            Storage::Q4K => "Q4_K",
            Storage::Q5K => "Q5_K",
            Storage::Q6K => "Q6_K",
        }
    }

    /// Numbers in a block, and its bytes.
    pub(crate) fn block(self) -> (usize, usize) {
        match self {
            Storage::F32 => (1, 4),
            Storage::F16 | Storage::BF16 => (1, 2),
            Storage::Q4_0 => (32, 18),
            Storage::Q4_1 => (32, 20),
            Storage::Q5_0 => (32, 22),
            Storage::Q5_1 => (32, 24),
            Storage::Q8_0 => (32, 34),
            Storage::Q2K => (256, 84),
            Storage::Q3K => (256, 110),
            Storage::Q4K => (256, 144),
            Storage::Q5K => (256, 176),
            Storage::Q6K => (256, 210),
        }
    }

    /// Turns whole blocks into numbers. `bytes` and `out` have equally many blocks.
    pub(crate) fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Storage::F32 => each(bytes, out, |&bytes: &[u8; 4], [x]: &mut [f32; 1]| *x = f32::from_le_bytes(bytes)),
            Storage::F16 => each(bytes, out, |bytes: &[u8; 2], [x]: &mut [f32; 1]| *x = f16(bytes, 0)),
            Storage::BF16 => each(bytes, out, |&bytes: &[u8; 2], [x]: &mut [f32; 1]| {
                *x = f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16);
            }),
            Storage::Q4_0 => each(bytes, out, q4_0),
            Storage::Q4_1 => each(bytes, out, q4_1),
            Storage::Q5_0 => each(bytes, out, q5_0),
            Storage::Q5_1 => each(bytes, out, q5_1),
            Storage::Q8_0 => each(bytes, out, q8_0),
            Storage::Q2K => each(bytes, out, q2_k),
            Storage::Q3K => each(bytes, out, q3_k),
            Storage::Q4K => each(bytes, out, q4_k),
            Storage::Q5K => each(bytes, out, q5_k),
            Storage::Q6K => each(bytes, out, q6_k),
        }
    }
}

/// Applies `block` to each block of `B` bytes and its `N` numbers.
fn each<const B: usize, const N: usize>(bytes: &[u8], out: &mut [f32], block: impl Fn(&[u8; B], &mut [f32; N])) {
    for (bytes, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        block(bytes, out);
    }
}

/// The half-precision number at `at`.
fn f16(bytes: &[u8], at: usize) -> f32 {
    let bits = u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let (sign, exponent, fraction) = ((bits & 0x8000) << 16, (bits >> 10) & 0x1f, bits & 0x3ff);
    match exponent {
        // Subnormal: the fraction counts in units of 2^-24.
        0 => {
            let value = fraction as f32 * (1.0 / 16_777_216.0);
            if sign == 0 { value } else { -value }
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

fn low(byte: u8) -> u8 {
    byte & 0x0f
}

/// The 32-number blocks keep number `i` and number `i + 16` in one byte.
fn halves(qs: &[u8], out: &mut [f32; 32], value: impl Fn(usize, u8) -> f32) {
    for (i, &byte) in qs.iter().enumerate().take(16) {
        out[i] = value(i, low(byte));
        out[i + 16] = value(i + 16, byte >> 4);
    }
}

fn q4_0(b: &[u8; 18], out: &mut [f32; 32]) {
    let d = f16(b, 0);
    halves(&b[2..], out, |_, q| d * (f32::from(q) - 8.0));
}

fn q4_1(b: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (f16(b, 0), f16(b, 2));
    halves(&b[4..], out, |_, q| d * f32::from(q) + m);
}

fn q5_0(b: &[u8; 22], out: &mut [f32; 32]) {
    let (d, high) = (f16(b, 0), u32::from_le_bytes([b[2], b[3], b[4], b[5]]));
    halves(&b[6..], out, |i, q| d * (f32::from(q | (((high >> i) & 1) as u8 * 16)) - 16.0));
}

fn q5_1(b: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m, high) = (f16(b, 0), f16(b, 2), u32::from_le_bytes([b[4], b[5], b[6], b[7]]));
    halves(&b[8..], out, |i, q| d * f32::from(q | (((high >> i) & 1) as u8 * 16)) + m);
}

fn q8_0(b: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16(b, 0);
    for (x, &q) in out.iter_mut().zip(&b[2..]) {
        *x = f32::from(q as i8) * d;
    }
}

/// Two bits of number `i` of 256: four numbers, 32 apart, share a byte.
fn two_bits(qs: &[u8], i: usize) -> u8 {
    qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

fn q2_k(b: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, qs) = (&b[..16], &b[16..80]);
    let (d, min) = (f16(b, 80), f16(b, 82));
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (dl, ml) = (d * f32::from(low(scales[group])), min * f32::from(scales[group] >> 4));
        for (j, x) in out.iter_mut().enumerate() {
            *x = dl * f32::from(two_bits(qs, group * 16 + j)) - ml;
        }
    }
}

fn q3_k(b: &[u8; 110], out: &mut [f32; 256]) {
    let (mask, qs, scales, d) = (&b[..32], &b[32..96], &b[96..108], f16(b, 108));
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let bits = low(scales[group % 8] >> (group / 8 * 4)) | (scales[8 + group % 4] >> (group / 4 * 2) & 3) << 4;
        let dl = d * (f32::from(bits) - 32.0);
        for (j, x) in out.iter_mut().enumerate() {
            let i = group * 16 + j;
            // A mask bit of 1 means no offset.
            let offset = if mask[i % 32] >> (i / 32) & 1 == 1 { 0.0 } else { 4.0 };
            *x = dl * (f32::from(two_bits(qs, i)) - offset);
        }
    }
}

/// Scale and minimum of group `g` of 8, packed with 6 bits each.
fn scale_and_min(packed: &[u8], g: usize) -> (f32, f32) {
    let (scale, min) = if g < 4 {
        (packed[g] & 0x3f, packed[g + 4] & 0x3f)
    } else {
        (low(packed[g + 4]) | packed[g - 4] >> 2 & 0x30, packed[g + 4] >> 4 | packed[g] >> 2 & 0x30)
    };
    (f32::from(scale), f32::from(min))
}

fn q4_k(b: &[u8; 144], out: &mut [f32; 256]) {
    let (d, min, scales, qs) = (f16(b, 0), f16(b, 2), &b[4..16], &b[16..]);
    for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, least) = scale_and_min(scales, g);
        let (d, m) = (d * scale, min * least);
        for (x, &q) in out.iter_mut().zip(&qs[g / 2 * 32..]) {
            *x = d * f32::from(low(q >> (g % 2 * 4))) - m;
        }
    }
}

fn q5_k(b: &[u8; 176], out: &mut [f32; 256]) {
    let (d, min, scales, high, qs) = (f16(b, 0), f16(b, 2), &b[4..16], &b[16..48], &b[48..]);
    for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, least) = scale_and_min(scales, g);
        let (d, m) = (d * scale, min * least);
        for ((x, &q), &h) in out.iter_mut().zip(&qs[g / 2 * 32..]).zip(high) {
            *x = d * f32::from(low(q >> (g % 2 * 4)) | (h >> g & 1) << 4) - m;
        }
    }
}

fn q6_k(b: &[u8; 210], out: &mut [f32; 256]) {
    let (ql, qh, scales, d) = (&b[..128], &b[128..192], &b[192..208], f16(b, 208));
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let d = d * f32::from(scales[group] as i8);
        for (j, x) in out.iter_mut().enumerate() {
            let i = group * 16 + j;
            let bits = low(ql[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4)) | two_bits(qh, i) << 4;
            *x = d * (f32::from(bits) - 32.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_precision_number_is_read() {
        for bits in 0..=u16::MAX {
            let (got, bytes) = (f16(&bits.to_le_bytes(), 0), bits.to_le_bytes());
            let tensor = tch::Tensor::from_data_size(&bytes, &[1], tch::Kind::Half).to_kind(tch::Kind::Float);
            let want = tensor.double_value(&[0]) as f32;
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{bits:#x}: {got} {want}");
        }
    }

    #[test]
    fn blocks_and_numbers_go_by_the_type() {
        for id in 0..64 {
            let Ok(storage) = Storage::of(id) else { continue };
            let (numbers, size) = storage.block();
            let mut out = vec![f32::NAN; 3 * numbers];
            storage.dequantize(&vec![0; 3 * size], &mut out);
            assert!(out.iter().all(|x| *x == 0.0), "{}: {out:?}", storage.name());
            assert!(SUPPORTED.split(", ").any(|name| name == storage.name()));
        }
    }
}
