/// Loads CUDA's half of libtorch if it lies beside the CPU's; says whether it did.
///
/// Binaries are linked against the CPU half alone, so one binary serves both. Call it **before any other use of
/// libtorch in the process**: which devices exist is settled at the first use.
pub fn load_cuda() -> bool {
    // SAFETY: takes nothing, and dlopen may be called from any thread.
    unsafe { crate::ffi::ser_load_cuda() == 1 }
}

/// The free memory of a GPU in bytes.
pub fn free_memory(gpu: usize) -> Result<u64, crate::Error> {
    let mut free = 0;
    // SAFETY: the place for the answer lives through the call; a GPU that is not there is an error.
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
