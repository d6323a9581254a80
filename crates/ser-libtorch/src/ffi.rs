//! The C entry points of `cpp/shim.cpp`.

use std::ffi::{CStr, c_char, c_int, c_void};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::Error;

unsafe extern "C" {
    pub(crate) fn ser_free(message: *mut c_char);
    pub(crate) fn ser_load_cuda() -> c_int;
    pub(crate) fn ser_free_memory(index: i64, out: *mut u64) -> *mut c_char;
    pub(crate) fn ser_synchronize(index: i64) -> *mut c_char;
    pub(crate) fn ser_reset_peak_memory(index: i64) -> *mut c_char;
    pub(crate) fn ser_peak_memory(index: i64, out: *mut u64) -> *mut c_char;
    pub(crate) fn ser_threads() -> i64;
    pub(crate) fn ser_end_process() -> !;
    pub(crate) fn ser_oversized_team() -> i64;
    pub(crate) fn ser_instruction_set() -> *const c_char;
    pub(crate) fn ser_packed_attention(
        q: *const C_tensor,
        k: *const C_tensor,
        v: *const C_tensor,
        table: *const C_tensor,
        scale: f64,
        window: i64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_varlen_attention(
        q: *const C_tensor,
        k: *const C_tensor,
        v: *const C_tensor,
        sequences: *const *const C_tensor,
        gather: *const *const C_tensor,
        longest_query: i64,
        longest_key: i64,
        scale: f64,
        window: i64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_decode_attention(
        q: *const C_tensor,
        k: *const C_tensor,
        v: *const C_tensor,
        runs: *const i64,
        ends: *const i64,
        scale: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_linear(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_lora_linear(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        a: *const C_tensor,
        b: *const C_tensor,
        scale: f64,
        p: f64,
        seed: u64,
        rows: *const i64,
        ranges: i64,
        kernels: bool,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_upload(
        values: *const i64,
        count: i64,
        device_type: c_int,
        device_index: c_int,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_gradients_norm(grads: *const *const C_tensor, count: i64, out: *mut f64) -> *mut c_char;
    pub(crate) fn ser_scale(tensors: *const *const C_tensor, count: i64, factor: f64) -> *mut c_char;
    pub(crate) fn ser_clear_gradients(tensors: *const *const C_tensor, count: i64) -> *mut c_char;
    pub(crate) fn ser_rms_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        eps: f64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_swiglu(gate: *const C_tensor, up: *const C_tensor, out: *mut *mut C_tensor) -> *mut c_char;
    pub(crate) fn ser_rotate(
        x: *const C_tensor,
        cos: *const C_tensor,
        sin: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_load_gpu_kernels(index: i64) -> *mut c_char;
    pub(crate) fn ser_compile_gpu_kernels(architecture: *const c_char, log: *mut *mut c_char) -> *mut c_char;
    pub(crate) fn ser_log_probs(
        logits: *const C_tensor,
        targets: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_dropout(
        x: *const C_tensor,
        p: f64,
        seed: u64,
        rows: *const i64,
        ranges: i64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_fill_uniform(x: *const C_tensor, low: f64, high: f64, seed: u64) -> *mut c_char;
    pub(crate) fn ser_fill_normal(x: *const C_tensor, mean: f64, std: f64, seed: u64) -> *mut c_char;
    pub(crate) fn ser_fused_adamw(
        params: *const *const C_tensor,
        grads: *const *const C_tensor,
        first: *const *const C_tensor,
        second: *const *const C_tensor,
        steps: *const *const C_tensor,
        count: i64,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
    ) -> *mut c_char;
    pub(crate) fn ser_group_connect(
        host: *const c_char,
        port: u16,
        serve: bool,
        prefix: *const c_char,
        interface: *const c_char,
        rank: c_int,
        size: c_int,
        timeout_ms: i64,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    pub(crate) fn ser_group_free(group: *mut c_void);
    pub(crate) fn ser_group_all_reduce_sum(group: *mut c_void, tensor: *const C_tensor) -> *mut c_char;
    pub(crate) fn ser_group_broadcast(group: *mut c_void, tensor: *const C_tensor, root: i64) -> *mut c_char;
    pub(crate) fn ser_group_all_gather(
        group: *mut c_void,
        tensor: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    pub(crate) fn ser_group_barrier(group: *mut c_void) -> *mut c_char;
}

/// Turns a returned message into an error, and frees it.
pub(crate) fn check(message: *mut c_char) -> Result<(), Error> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns null or a null-terminated string on the heap, which is not used again.
    Err(Error::Torch(unsafe { owned(message) }))
}

/// Copies a string of the shim, and frees it.
///
/// # Safety
/// It is a null-terminated string that the shim allocated, and is not used afterwards.
pub(crate) unsafe fn owned(text: *mut c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe {
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        ser_free(text);
        copy
    }
}

/// Runs a call that returns a tensor.
pub(crate) fn produced(call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char) -> Result<Tensor, Error> {
    let [tensor] = all_produced(call)?;
    Ok(tensor)
}

/// Runs a call that returns N tensors.
pub(crate) fn all_produced<const N: usize>(
    call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char,
) -> Result<[Tensor; N], Error> {
    let mut out = [std::ptr::null_mut(); N];
    check(call(out.as_mut_ptr()))?;
    // SAFETY: without a message, the pointers are new tensors, which are owned from here on.
    Ok(out.map(|tensor| unsafe { Tensor::from_ptr(tensor) }))
}
