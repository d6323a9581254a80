use crate::ffi;

/// How many threads this crate's kernels run on: libtorch's (`tch::set_num_threads`), or 1 if the shim was compiled
/// without OpenMP.
pub fn threads() -> i64 {
    // SAFETY: takes nothing and returns a number.
    unsafe { ffi::ser_threads() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_run_on_libtorchs_threads() {
        tch::set_num_threads(2);
        assert_eq!(threads(), 2);
    }
}
