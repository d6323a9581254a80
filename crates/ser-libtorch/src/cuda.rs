/// Loads libtorch_cuda if it is beside libtorch_cpu. Returns whether it was loaded.
///
/// Binaries are linked against libtorch_cpu only, so one binary works with and without GPUs. Call it **before any other use
/// of libtorch in the process**: libtorch registers its devices at the first use.
pub fn load_cuda() -> bool {
    // SAFETY: takes nothing, and dlopen may be called from any thread.
    unsafe { crate::ffi::ser_load_cuda() == 1 }
}

/// The free memory of a GPU in bytes.
pub fn free_memory(gpu: usize) -> Result<u64, crate::Error> {
    let mut free = 0;
    // SAFETY: the result lives through the call; a missing GPU is an error.
    crate::ffi::check(unsafe { crate::ffi::ser_free_memory(gpu as i64, &mut free) })?;
    Ok(free)
}

/// Waits until a GPU has done all work that was queued on it.
pub fn synchronize(gpu: usize) -> Result<(), crate::Error> {
    // SAFETY: takes no pointer; a missing GPU is an error.
    crate::ffi::check(unsafe { crate::ffi::ser_synchronize(gpu as i64) })
}

/// Restarts the peak that [`peak_memory`] returns at the memory that is allocated now.
pub fn reset_peak_memory(gpu: usize) -> Result<(), crate::Error> {
    // SAFETY: takes no pointer; a missing GPU is an error.
    crate::ffi::check(unsafe { crate::ffi::ser_reset_peak_memory(gpu as i64) })
}

/// The most bytes that tensors of this process have taken on a GPU since [`reset_peak_memory`], or since its start. Memory that
/// libtorch's allocator has reserved without a tensor in it does not count.
pub fn peak_memory(gpu: usize) -> Result<u64, crate::Error> {
    let mut peak = 0;
    // SAFETY: the result lives through the call; a missing GPU is an error.
    crate::ffi::check(unsafe { crate::ffi::ser_peak_memory(gpu as i64, &mut peak) })?;
    Ok(peak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_gpu_its_functions_are_errors() {
        if !tch::Cuda::is_available() {
            assert!(free_memory(0).is_err());
            assert!(synchronize(0).is_err());
            assert!(reset_peak_memory(0).is_err());
            assert!(peak_memory(0).is_err());
        }
    }
}
