use tch::{Device, Kind, Tensor};

use crate::Error;

/// A new tensor of `kind` on `device` from bytes of the kind `stored`, in row-major order and the machine's byte order. The
/// bytes are cast while they are copied. Misaligned bytes are copied once more.
pub fn tensor_from_bytes(
    bytes: &[u8],
    shape: &[i64],
    stored: Kind,
    kind: Kind,
    device: Device,
) -> Result<Tensor, Error> {
    let entry = stored.elt_size_in_bytes();
    let size = shape.iter().try_fold(entry, |size, &n| size.checked_mul(usize::try_from(n).ok()?));
    if size != Some(bytes.len()) {
        let problem = format!("{} bytes do not make a tensor of shape {shape:?} and kind {stored:?}", bytes.len());
        return Err(Error::Argument { function: "tensor_from_bytes", problem });
    }
    let torch = |error: tch::TchError| Error::Torch(error.to_string());
    let mut tensor = Tensor::f_empty(shape, (kind, device)).map_err(torch)?;
    let source = if bytes.as_ptr().align_offset(entry) == 0 {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        // SAFETY: the bytes are aligned, have as many entries as the shape, and outlive this view of them, which is
        // dropped at the end of this function and only read.
        unsafe { Tensor::f_from_blob(bytes.as_ptr(), shape, &strides, stored, Device::Cpu) }
    } else {
        Tensor::f_from_data_size(bytes, shape, stored)
    };
    tensor.f_copy_(&source.map_err(torch)?).map_err(torch)?;
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_numbers_at_any_address() {
        let numbers: Vec<f32> = (0..24).map(|i| i as f32 - 7.5).collect();
        let mut bytes: Vec<u8> = vec![0];
        bytes.extend(numbers.iter().flat_map(|x| x.to_ne_bytes()));
        let expected = Tensor::from_slice(&numbers).view([2, 3, 4]);
        let moved = bytes[1..].to_vec();
        // One of the two addresses is odd.
        for bytes in [&bytes[1..], &moved] {
            let same = tensor_from_bytes(bytes, &[2, 3, 4], Kind::Float, Kind::Float, Device::Cpu).unwrap();
            assert_eq!(same, expected);
            let cast = tensor_from_bytes(bytes, &[2, 3, 4], Kind::Float, Kind::BFloat16, Device::Cpu).unwrap();
            assert_eq!(cast, expected.to_kind(Kind::BFloat16));
        }
        let one = tensor_from_bytes(&1.5f64.to_ne_bytes(), &[], Kind::Double, Kind::Float, Device::Cpu).unwrap();
        assert_eq!(one.double_value(&[]), 1.5);
        let error = tensor_from_bytes(&bytes, &[2, 3, 4], Kind::Float, Kind::Float, Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("97 bytes"), "{error}");
    }
}
