//! Tensors in the kind that the network computes in, dequantized piece by piece: beside the tensor itself, no more than a
//! piece of it is in memory.

use std::borrow::Cow;

use safetensors::Dtype;
use tch::{Device, Kind, Tensor};

use super::{RowOrder, Storage};
use crate::ModelError;

/// Numbers of a piece.
const PIECE: usize = 1 << 20;

/// How a tensor's bytes are to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding {
    pub(crate) storage: Storage,
    pub(crate) order: RowOrder,
}

/// Rows of a tensor as they lie in the file.
struct StoredRows<'a> {
    bytes: &'a [u8],
    /// Numbers in a row.
    numbers: usize,
    /// Bytes of a row.
    size: usize,
    order: RowOrder,
}

impl<'a> StoredRows<'a> {
    fn new(bytes: &'a [u8], shape: &[i64], Encoding { storage, order }: Encoding) -> Self {
        let last = shape.last().and_then(|&n| usize::try_from(n).ok()).unwrap_or(1);
        // The numbers of an interleaved bias are rows of one.
        let numbers = if shape.len() == 1 && order != RowOrder::Same { 1 } else { last };
        let (block, size) = storage.block();
        StoredRows { bytes, numbers, size: numbers / block * size, order }
    }

    fn count(&self) -> usize {
        self.bytes.len().checked_div(self.size).unwrap_or(0)
    }

    /// The bytes of a row of the checkpoint.
    fn row(&self, row: usize) -> &'a [u8] {
        let start = self.order.stored(row) * self.size;
        self.bytes.get(start..start + self.size).unwrap_or_default()
    }
}

impl Encoding {
    /// The type of safetensors that represents such numbers exactly.
    pub(crate) fn dtype(self) -> Dtype {
        match self.storage {
            Storage::F16 => Dtype::F16,
            Storage::BF16 => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    /// Whether the bytes are those that safetensors would have.
    pub(crate) fn is_plain(self) -> bool {
        self.storage.block().0 == 1 && self.order == RowOrder::Same
    }

    /// The bytes that safetensors would have.
    pub(crate) fn plain_bytes<'a>(self, bytes: &'a [u8], shape: &[i64]) -> Cow<'a, [u8]> {
        if self.is_plain() {
            return bytes.into();
        }
        let rows = StoredRows::new(bytes, shape, self);
        if self.storage.block().0 == 1 {
            return (0..rows.count()).flat_map(|row| rows.row(row)).copied().collect::<Vec<u8>>().into();
        }
        let mut out = Vec::with_capacity(rows.count() * rows.numbers * 4);
        let mut numbers = vec![0.0; rows.numbers];
        for row in 0..rows.count() {
            self.storage.dequantize(rows.row(row), &mut numbers);
            out.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        }
        out.into()
    }

    /// The tensor as `kind` on `device`.
    pub(crate) fn tensor(self, bytes: &[u8], shape: &[i64], kind: Kind, device: Device) -> Result<Tensor, ModelError> {
        let rows = StoredRows::new(bytes, shape, self);
        let tensor = Tensor::f_empty(shape, (kind, device))?;
        let table = tensor.f_view([rows.count() as i64, rows.numbers as i64])?;
        let piece = (PIECE / rows.numbers.max(1)).max(1);
        let mut numbers = vec![0.0f32; piece.min(rows.count()) * rows.numbers];
        for first in (0..rows.count()).step_by(piece) {
            let count = piece.min(rows.count() - first);
            let numbers = numbers.get_mut(..count * rows.numbers).unwrap_or_default();
            if self.order == RowOrder::Same {
                let bytes = bytes.get(first * rows.size..(first + count) * rows.size).unwrap_or_default();
                self.storage.dequantize(bytes, numbers);
            } else {
                for (row, numbers) in (first..).zip(numbers.chunks_exact_mut(rows.numbers)) {
                    self.storage.dequantize(rows.row(row), numbers);
                }
            }
            let read = Tensor::f_from_slice(numbers)?.f_view([count as i64, rows.numbers as i64])?;
            table.f_narrow(0, first as i64, count as i64)?.f_copy_(&read)?;
        }
        Ok(tensor)
    }
}
