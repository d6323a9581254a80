/// Loads CUDA's half of libtorch if it lies beside the CPU's; says whether it did.
///
/// Binaries are linked against the CPU half alone, so one binary serves both. Call it **before any other use of
/// libtorch in the process**: which devices exist is settled at the first use.
pub fn load_cuda() -> bool {
    // SAFETY: takes nothing, and dlopen may be called from any thread.
    unsafe { crate::ffi::ser_load_cuda() == 1 }
}
