//! What is measured of the machine: the rate of a plain matrix product, and peak memory.

use std::time::Instant;

use tch::Tensor;

use crate::{Device, ModelError, Precision};

/// The rate of a plain product of two random square matrices by libtorch.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct MatrixRate {
    /// Rows of the matrices.
    pub size: i64,
    /// Floating-point operations per second, 2 * size^3 for each product.
    pub flops_per_s: f64,
}

/// Products before those that are measured.
const WARM_UP: usize = 3;
/// Products that are measured.
const PRODUCTS: usize = 10;

impl MatrixRate {
    /// Measures the mean of ten products after three others: of 8192 rows on a GPU, of 2048 rows on the CPU.
    ///
    /// # Errors
    /// Too little memory on the device.
    pub fn measure(device: Device, precision: Precision) -> Result<Self, ModelError> {
        let size = if device.0 == tch::Device::Cpu { 2048 } else { 8192 };
        let random = || Tensor::f_randn([size, size], (precision.kind(), device.0));
        let (a, b) = (random()?, random()?);
        let product = || a.f_mm(&b);
        for _ in 0..WARM_UP {
            let _ = product()?;
        }
        device.synchronize()?;
        let start = Instant::now();
        for _ in 0..PRODUCTS {
            let _ = product()?;
        }
        device.synchronize()?;
        let flops = PRODUCTS as f64 * 2.0 * (size as f64).powi(3);
        Ok(MatrixRate { size, flops_per_s: flops / start.elapsed().as_secs_f64() })
    }
}

impl Device {
    fn gpus(self) -> usize {
        if self.0 == tch::Device::Cpu { 0 } else { self.1 }
    }

    /// Waits until all GPUs of the device have done their work.
    pub(super) fn synchronize(self) -> Result<(), ModelError> {
        (0..self.gpus()).try_for_each(|gpu| Ok(ser_libtorch::synchronize(gpu)?))
    }

    /// Restarts the peak of [`peak_memory`](Self::peak_memory) where that is possible: on GPUs.
    pub(super) fn reset_peak_memory(self) -> Result<(), ModelError> {
        (0..self.gpus()).try_for_each(|gpu| Ok(ser_libtorch::reset_peak_memory(gpu)?))
    }

    /// The most bytes of tensors on all GPUs; on the CPU of the whole process since its start, `None` where `/proc` does not
    /// tell it.
    pub(super) fn peak_memory(self) -> Result<Option<u64>, ModelError> {
        if self.gpus() == 0 {
            return Ok(process_peak());
        }
        let peaks = (0..self.gpus()).map(|gpu| Ok(ser_libtorch::peak_memory(gpu)?));
        Ok(Some(peaks.collect::<Result<Vec<u64>, ModelError>>()?.iter().sum()))
    }
}

/// The most bytes of main memory that the process has taken (VmHWM).
fn process_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_a_product_is_that_of_its_time() {
        let start = Instant::now();
        let rate = MatrixRate::measure(Device::cpu(), Precision::F32).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(rate.size, 2048);
        // Ten products of 2 * 2048^3 operations in less than the whole time.
        assert!(rate.flops_per_s > 10.0 * 17_179_869_184.0 / seconds && rate.flops_per_s < 1e14, "{rate:?}");
    }

    #[test]
    fn peak_memory_of_the_process_covers_what_it_has_allocated() {
        let Some(before) = process_peak() else {
            ser_core::testing::Requirement::Proc.missing("/proc/self/status has no VmHWM");
            return;
        };
        let held = vec![1u8; before as usize / 2 + (64 << 20)];
        assert!(held.iter().step_by(4096).all(|&byte| byte == 1));
        assert!(Device::cpu().peak_memory().unwrap().is_some());
        assert!(process_peak().unwrap() >= held.len() as u64);
    }
}
