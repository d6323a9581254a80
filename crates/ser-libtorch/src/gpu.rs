use std::ffi::CString;

use crate::{Error, ffi};

/// Compiles this crate's kernels for a GPU, and loads them, unless that is done. They are those of
/// [`swiglu`](crate::swiglu) and [`rotate`](crate::rotate).
///
/// # Errors
/// [`Error::Torch`] with the reason if NVRTC (CUDA's compiler, which PyTorch's packages have) or the driver is not found, or if
/// NVRTC does not know the GPU.
pub fn load_gpu_kernels(gpu: usize) -> Result<(), Error> {
    // SAFETY: takes no pointer; a missing GPU is an error.
    ffi::check(unsafe { ffi::ser_load_gpu_kernels(gpu as i64) })
}

/// Compiles the kernels for an architecture, such as `sm_90`, which needs NVRTC and no GPU. Returns the compiler's log, which
/// has the registers and the spilled bytes of each kernel; it is empty if NVRTC has the result in its cache.
///
/// # Errors
/// [`Error::Torch`] if NVRTC is not found or does not know the architecture.
pub fn compile_gpu_kernels(architecture: &str) -> Result<String, Error> {
    let name = CString::new(architecture).map_err(|error| {
        let problem = format!("the architecture {architecture:?} is not a name: {error}");
        Error::Argument { function: "compile_gpu_kernels", problem }
    })?;
    let mut log = std::ptr::null_mut();
    // SAFETY: the name ends with a null and outlives the call, which sets `log` unless it returns a message.
    ffi::check(unsafe { ffi::ser_compile_gpu_kernels(name.as_ptr(), &mut log) })?;
    // SAFETY: a new string of the shim.
    Ok(unsafe { ffi::owned(log) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn without_a_gpu_loading_is_an_error() {
        if !tch::Cuda::is_available() {
            assert!(load_gpu_kernels(0).is_err());
        }
        assert!(compile_gpu_kernels("sm_\090").is_err());
        assert!(compile_gpu_kernels("sm_1").is_err());
    }

    /// Runs the source of the kernels on the CPU, under the compiler's checks of addresses and alignment.
    #[test]
    fn the_kernels_are_right_on_the_cpu() {
        if std::env::var_os("SER_KERNELS").is_some() {
            // These kernels do not depend on the processor's instruction set.
            return;
        }
        let program = std::env::temp_dir().join(format!("ser-gpu-rows-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/cpp/gpu_rows_check.cpp");
        let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
        let flags = ["-std=c++17", "-O1", "-fno-strict-aliasing", "-Wno-unknown-pragmas"];
        let checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
        let mut compile = Command::new(compiler);
        let output = compile.args(flags).args(checks).arg(source).arg("-o").arg(&program).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let output = Command::new(&program).output().unwrap();
        std::fs::remove_file(&program).unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    }
}
