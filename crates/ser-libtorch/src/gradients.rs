//! The gradients of a list of tensors, handled together: on a GPU a call for each would cost more than its work.

use tch::Tensor;
use torch_sys::C_tensor;

use crate::{Error, ffi};

fn pointers(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}

/// The Euclidean norm of all entries of `grads`. On a GPU it waits for their computation.
pub fn gradients_norm(grads: &[Tensor]) -> Result<f64, Error> {
    let mut norm = 0.0;
    // SAFETY: `grads.len()` live tensors; the result lives through the call.
    ffi::check(unsafe { ffi::ser_gradients_norm(pointers(grads).as_ptr(), grads.len() as i64, &mut norm) })?;
    Ok(norm)
}

/// Multiplies all entries of `tensors` by a factor.
pub fn scale(tensors: &mut [Tensor], factor: f64) -> Result<(), Error> {
    // SAFETY: live tensors, borrowed exclusively.
    ffi::check(unsafe { ffi::ser_scale(pointers(tensors).as_ptr(), tensors.len() as i64, factor) })
}

/// Removes the gradients of `tensors`. The next backward pass stores its own instead of adding to zeros.
pub fn clear_gradients(tensors: &mut [Tensor]) -> Result<(), Error> {
    // SAFETY: live tensors, borrowed exclusively.
    ffi::check(unsafe { ffi::ser_clear_gradients(pointers(tensors).as_ptr(), tensors.len() as i64) })
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    #[test]
    fn norm_scale_and_clearing() {
        let mut leaves = [[3.0f32, 0.0], [0.0, 4.0]].map(|x| Tensor::from_slice(&x).set_requires_grad(true));
        leaves.iter().for_each(|leaf| leaf.square().sum(tch::Kind::Float).backward());
        let mut grads: Vec<Tensor> = leaves.iter().map(Tensor::grad).collect();
        assert_abs_diff_eq!(gradients_norm(&grads).unwrap(), 10.0, epsilon = 1e-6);
        scale(&mut grads, 0.5).unwrap();
        assert_eq!(Vec::<f32>::try_from(leaves[1].grad()).unwrap(), [0.0, 4.0]);
        clear_gradients(&mut leaves).unwrap();
        assert!(leaves.iter().all(|leaf| !leaf.grad().defined()));
        assert_eq!(gradients_norm(&[]).unwrap(), 0.0);
    }
}
