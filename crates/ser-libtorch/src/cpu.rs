use std::ffi::CStr;
use std::sync::LazyLock;

use crate::ffi;

/// The number of threads of this crate's kernels: libtorch's (`tch::set_num_threads`), or 1 if the shim was not compiled
/// with GCC.
pub fn threads() -> i64 {
    // SAFETY: takes nothing and returns a number.
    unsafe { ffi::ser_threads() }
}

/// Ends the process with exit code 0, standard output flushed. libtorch does not take its tables of operators apart, which
/// would take as long as scoring a pair. Call it last, when everything else is written.
pub fn end_process() -> ! {
    // The reader of standard output may have ended.
    let _ = std::io::Write::flush(&mut std::io::stdout());
    // SAFETY: takes nothing and does not return.
    unsafe { ffi::ser_end_process() }
}

/// Whether this crate's kernels are used where they can be, on the CPU and on GPUs. The environment variable
/// `SER_KERNELS=libtorch` replaces them by libtorch's operations.
pub fn kernels_enabled() -> bool {
    static ENABLED: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("SER_KERNELS").is_none_or(|set| set != "libtorch"));
    *ENABLED
}

/// The instruction set of the kernels: `avx512bf16`, `avx512`, `avx2` or `baseline`. It is the best that the processor supports,
/// limited by the environment variable `SER_KERNELS`. `libtorch` if the kernels are not used.
pub fn instruction_set() -> &'static str {
    if !kernels_enabled() {
        return "libtorch";
    }
    // SAFETY: the shim returns a literal that ends with a null.
    unsafe { CStr::from_ptr(ffi::ser_instruction_set()) }.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn kernels_run_on_libtorchs_threads() {
        tch::set_num_threads(4);
        assert_eq!(threads(), if cfg!(ser_openmp) { 4 } else { 1 });
    }

    /// Runs all tests of this crate again with each lower instruction set, in processes of their own.
    #[test]
    fn all_instruction_sets_pass_the_tests() {
        let asked = std::env::var("SER_KERNELS");
        if let Ok(asked) = asked {
            assert!(instruction_set() == asked || instruction_set() == "baseline");
            return;
        }
        let sets = ["avx512bf16", "avx512", "avx2", "baseline"];
        let best = sets.iter().position(|&set| set == instruction_set()).unwrap();
        for set in &sets[best + 1..] {
            let tests = std::env::current_exe().unwrap();
            let output = Command::new(tests).env("SER_KERNELS", set).output().unwrap();
            assert!(output.status.success(), "{set}:\n{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}
