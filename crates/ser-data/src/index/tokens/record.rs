//! The record of a pair, 56 bytes.

use ser_core::{PairId, Side};

use crate::PromptKey;

/// Bytes of a record.
pub(crate) const RECORD: u64 = 56;

/// A pair without its tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// Offset of its tokens, in tokens.
    pub(crate) start: u64,
    /// P, A, B.
    pub(crate) lengths: [u32; 3],
    pub(crate) preferred: Side,
    pub(crate) margin: Option<f64>,
    pub(crate) id: PairId,
    pub(crate) prompt: PromptKey,
}

impl Record {
    /// Appends the record, little-endian: start, P, A, B, side, prompt key, id, margin (NaN for none).
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.start.to_le_bytes());
        for length in self.lengths {
            out.extend(length.to_le_bytes());
        }
        out.extend((self.preferred.index() as u32).to_le_bytes());
        out.extend(self.prompt.to_bits().to_le_bytes());
        out.extend(self.id.0.to_le_bytes());
        out.extend(self.margin.unwrap_or(f64::NAN).to_le_bytes());
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (start, bytes) = bytes.split_first_chunk()?;
        let (p, bytes) = bytes.split_first_chunk()?;
        let (a, bytes) = bytes.split_first_chunk()?;
        let (b, bytes) = bytes.split_first_chunk()?;
        let (side, bytes) = bytes.split_first_chunk()?;
        let (prompt, bytes) = bytes.split_first_chunk()?;
        let (id, bytes) = bytes.split_first_chunk()?;
        let (margin, _) = bytes.split_first_chunk()?;
        let margin = f64::from_le_bytes(*margin);
        Some(Record {
            start: u64::from_le_bytes(*start),
            lengths: [*p, *a, *b].map(u32::from_le_bytes),
            preferred: if u32::from_le_bytes(*side) == 0 { Side::A } else { Side::B },
            margin: (!margin.is_nan()).then_some(margin),
            id: PairId(u64::from_le_bytes(*id)),
            prompt: PromptKey::from_bits(u128::from_le_bytes(*prompt)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let record = Record {
            start: 1 << 40,
            lengths: [1, u32::MAX, 3],
            preferred: Side::B,
            margin: None,
            id: PairId(9),
            prompt: PromptKey::from_bits(u128::MAX - 5),
        };
        let other = Record { margin: Some(-0.5), preferred: Side::A, ..record.clone() };
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        other.write(&mut bytes);
        assert_eq!(bytes.len() as u64, 2 * RECORD);
        let (first, second) = bytes.split_at(RECORD as usize);
        assert_eq!((Record::read(first), Record::read(second)), (Some(record), Some(other)));
        assert_eq!(Record::read(&first[..55]), None);
    }
}
