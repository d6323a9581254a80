use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use crate::{Error, ffi};

/// Settings of one AdamW step (Loshchilov and Hutter, 2019), under PyTorch's names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// The learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The term added to the square root of the second moment.
    pub epsilon: f64,
}

/// Updates `params` in place by their gradients. `first` and `second` are the moments, in the shapes of the parameters.
/// `steps` has the number of the step of each parameter, one f32 scalar, which is 1 at the first step.
pub fn fused_adamw(
    params: &[Tensor],
    grads: &[Tensor],
    first: &[Tensor],
    second: &[Tensor],
    steps: &[Tensor],
    step: AdamWStep,
) -> Result<(), Error> {
    let bad = |problem: String| Err(Error::Argument { function: "fused_adamw", problem });
    for (name, list) in [("grads", grads), ("first", first), ("second", second)] {
        if list.len() != params.len() {
            return bad(format!("{} params but {} {name}", params.len(), list.len()));
        }
        for (i, (param, tensor)) in params.iter().zip(list).enumerate() {
            if param.size() != tensor.size() {
                return bad(format!("param {i} is {:?} but {name} {i} is {:?}", param.size(), tensor.size()));
            }
        }
    }
    if steps.len() != params.len() || steps.iter().any(|s| s.numel() != 1 || s.kind() != Kind::Float) {
        return bad(format!("needs one f32 scalar in steps for each of {} params", params.len()));
    }
    let raw = |list: &[Tensor]| list.iter().map(Tensor::as_ptr).collect::<Vec<*const C_tensor>>();
    let (p, g, m, v, s) = (raw(params), raw(grads), raw(first), raw(second), raw(steps));
    // SAFETY: five arrays of `params.len()` live tensors of matching shapes, checked above.
    ffi::check(unsafe {
        ffi::ser_fused_adamw(
            p.as_ptr(),
            g.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            s.as_ptr(),
            params.len() as i64,
            step.learning_rate,
            step.beta1,
            step.beta2,
            step.weight_decay,
            step.epsilon,
        )
    })
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// One step, computed by hand: m = 0.1 g, v = 0.001 g^2, both corrected to g and g^2, so the step is lr * sign(g).
    #[test]
    fn first_step_by_hand() {
        let param = Tensor::from_slice(&[1.0f32, -2.0]);
        let grad = Tensor::from_slice(&[0.5f32, -3.0]);
        let zeros = || vec![Tensor::from_slice(&[0.0f32, 0.0])];
        let (first, second, steps) = (zeros(), zeros(), [Tensor::from_slice(&[1.0f32])]);
        let step = AdamWStep { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, weight_decay: 0.01, epsilon: 1e-8 };
        fused_adamw(&[param.shallow_clone()], &[grad], &first, &second, &steps, step).unwrap();
        let got = Vec::<f32>::try_from(param).unwrap();
        for (got, want) in got.iter().zip([1.0 * (1.0 - 0.001) - 0.1, -2.0 * (1.0 - 0.001) + 0.1]) {
            assert_abs_diff_eq!(f64::from(*got), want, epsilon = 1e-6);
        }
        assert_abs_diff_eq!(first[0].double_value(&[0]), 0.05, epsilon = 1e-7);
    }

    #[test]
    fn shapes_are_checked() {
        let one = || vec![Tensor::from_slice(&[0.0f32])];
        let two = vec![Tensor::from_slice(&[0.0f32, 1.0])];
        let step = AdamWStep { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, weight_decay: 0.0, epsilon: 1e-8 };
        let error = fused_adamw(&one(), &two, &one(), &one(), &one(), step).unwrap_err();
        assert!(error.to_string().contains("grads 0 is [2]"), "{error}");
    }
}
