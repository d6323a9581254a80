use tch::{Device, Tensor};

use crate::{Error, ffi};

/// Copies numbers to a device. A GPU's copy is queued, so that the caller goes on while the GPU computes.
pub fn upload(values: &[i64], device: Device) -> Result<Tensor, Error> {
    // c10::DeviceType's numbers.
    let (kind, index) = match device {
        Device::Cpu => (0, -1),
        Device::Cuda(index) => (1, index as i32),
        other => {
            return Err(Error::Argument { function: "upload", problem: format!("{other:?} is no CPU or CUDA GPU") });
        }
    };
    // SAFETY: `values.len()` numbers that live through the call, which copies them.
    ffi::produced(|out| unsafe { ffi::ser_upload(values.as_ptr(), values.len() as i64, kind, index, out) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_arrive_in_order() {
        for values in [vec![], vec![7, i64::MIN, -1, i64::MAX]] {
            assert_eq!(Vec::<i64>::try_from(upload(&values, Device::Cpu).unwrap()).unwrap(), values);
        }
        assert!(upload(&[1], Device::Mps).unwrap_err().to_string().contains("Mps"));
    }
}
