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

#[cfg(test)]
mod tests {
    #[test]
    fn memory_of_no_gpu_is_an_error() {
        if !tch::Cuda::is_available() {
            assert!(super::free_memory(0).is_err());
        }
    }
}
