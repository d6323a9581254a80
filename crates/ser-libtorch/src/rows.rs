use tch::{Device, Kind, Tensor};

use crate::{Error, ffi};

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimension, on the CPU in f32 or bf16, with its gradient by x (RMSNorm;
/// Zhang and Sennrich, 2019). The weight is contiguous and gets no gradient.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor, Error> {
    if weight.dim() != 1 || x.size().last() != weight.size().last() {
        let problem = format!("x {:?} and weight {:?} have incompatible shapes", x.size(), weight.size());
        return Err(Error::Argument { function: "rms_norm", problem });
    }
    Error::unless_like("rms_norm", x, "x", x)?;
    Error::unless_like("rms_norm", x, "weight", weight)?;
    Error::unless_constant("rms_norm", "weight", weight)?;
    // SAFETY: live tensors of the kind, device, layout and shapes that the kernel takes: checked above.
    ffi::produced(|out| unsafe { ffi::ser_rms_norm(x.as_ptr(), weight.as_ptr(), eps, out) })
}

/// `silu(gate) * up` on the CPU in f32 or bf16, or on a GPU in f32, bf16 or f16, with its gradients (SwiGLU; Shazeer, 2020). Both
/// have one shape.
///
/// # Errors
/// [`Error::Argument`] for other tensors, and on a GPU what [`load_gpu_kernels`](crate::load_gpu_kernels) returns.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor, Error> {
    if gate.size() != up.size() {
        let problem = format!("gate {:?} and up {:?} have different shapes", gate.size(), up.size());
        return Err(Error::Argument { function: "swiglu", problem });
    }
    Error::unless_like_or_on_gpu("swiglu", gate, "gate", gate)?;
    Error::unless_like_or_on_gpu("swiglu", gate, "up", up)?;
    // SAFETY: live tensors of the kind, device and shapes that the kernel takes: checked above.
    ffi::produced(|out| unsafe { ffi::ser_swiglu(gate.as_ptr(), up.as_ptr(), out) })
}

/// `x * cos + swap(x) * sin` on the CPU in f32 or bf16, or on a GPU in f32, bf16 or f16, with its gradient by x (rotary position
/// embedding; Su et al., 2021). `swap` exchanges the two halves of the last dimension.
///
/// x: [rows, heads, dim], dim even; cos, sin: [rows, 1, dim], contiguous, without gradients.
///
/// # Errors
/// [`Error::Argument`] for other tensors, and on a GPU what [`load_gpu_kernels`](crate::load_gpu_kernels) returns.
pub fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor, Error> {
    let (rows, _, dim) = x.size3().unwrap_or_default();
    if x.dim() != 3 || dim % 2 != 0 || [cos, sin].iter().any(|t| t.size() != [rows, 1, dim]) {
        let problem =
            format!("x {:?}, cos {:?} and sin {:?} have incompatible shapes", x.size(), cos.size(), sin.size());
        return Err(Error::Argument { function: "rotate", problem });
    }
    for (name, tensor) in [("x", x), ("cos", cos), ("sin", sin)] {
        Error::unless_like_or_on_gpu("rotate", x, name, tensor)?;
    }
    Error::unless_constant("rotate", "cos", cos)?;
    Error::unless_constant("rotate", "sin", sin)?;
    // SAFETY: live tensors of the kind, device, layout and shapes that the kernel takes: checked above.
    ffi::produced(|out| unsafe { ffi::ser_rotate(x.as_ptr(), cos.as_ptr(), sin.as_ptr(), out) })
}

/// The log-probability of the target and the entropy in nats of the softmax of each row of logits: `[n]` each, in f32, on the CPU,
/// with their gradients by the logits.
///
/// logits: [n, vocab] in f32 or bf16; targets: `[n]` i64, each from 0 up to vocab.
pub fn log_probs(logits: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor), Error> {
    let bad = |problem: String| Err(Error::Argument { function: "log_probs", problem });
    Error::unless_like("log_probs", logits, "logits", logits)?;
    let (rows, vocab) = logits.size2().unwrap_or_default();
    if logits.dim() != 2 || targets.size() != [rows] || targets.kind() != Kind::Int64 {
        let (logits, kind, targets) = (logits.size(), targets.kind(), targets.size());
        return bad(format!("logits {logits:?} and targets {targets:?} of {kind:?} are incompatible"));
    }
    if targets.device() != Device::Cpu || !targets.is_contiguous() {
        return bad(format!("the targets are on {:?}; they must be on the CPU, contiguous", targets.device()));
    }
    let ids = Vec::<i64>::try_from(targets).map_err(|e| Error::Torch(e.to_string()))?;
    if let Some(id) = ids.iter().find(|id| !(0..vocab).contains(*id)) {
        return bad(format!("target {id} is not from 0 up to {vocab}"));
    }
    // SAFETY: live tensors of the kind, device, layout and shapes that the kernel takes, targets inside the vocabulary:
    // checked above. The call returns two tensors.
    let [log_probs, entropies] =
        ffi::all_produced(|out| unsafe { ffi::ser_log_probs(logits.as_ptr(), targets.as_ptr(), out) })?;
    Ok((log_probs, entropies))
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// In f32; every entry is also one of bf16.
    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::BFloat16, Device::Cpu)).to_kind(Kind::Float)
    }

    /// Compares outputs and gradients of two implementations at the same random slopes, ours in f32 and in bf16, theirs in f32.
    /// Inputs and gradients have transposed memory layouts.
    fn agree(inputs: &[Tensor], ours: impl Fn(&[Tensor]) -> Vec<Tensor>, theirs: impl Fn(&[Tensor]) -> Vec<Tensor>) {
        let turned = |x: &Tensor| x.transpose(0, -1).contiguous().transpose(0, -1);
        let slopes: Vec<Tensor> = theirs(inputs).iter().map(|y| turned(&random(&y.size()))).collect();
        let run = |way: &dyn Fn(&[Tensor]) -> Vec<Tensor>, kind: Kind| {
            let inputs: Vec<Tensor> = inputs.iter().map(|x| turned(&x.to_kind(kind)).set_requires_grad(true)).collect();
            let outputs = way(&inputs);
            let sums = outputs.iter().zip(&slopes).map(|(y, slopes)| (y * slopes).sum(Kind::Float));
            sums.reduce(|a, b| a + b).unwrap().backward();
            outputs.into_iter().map(|y| y.detach()).chain(inputs.iter().map(Tensor::grad)).collect::<Vec<_>>()
        };
        let expected = run(&theirs, Kind::Float);
        for (kind, bound) in [(Kind::Float, 2e-6), (Kind::BFloat16, 1.0 / 256.0)] {
            for (i, (a, b)) in run(&ours, kind).iter().zip(&expected).enumerate().filter(|(_, (a, _))| a.numel() > 0) {
                let (gap, size) = ((a - b).abs().max().double_value(&[]), b.abs().max().double_value(&[]));
                let shape = inputs[0].size();
                assert!(gap <= bound * size.max(1.0), "result {i} of {shape:?} in {kind:?}: {gap} of {size}");
            }
        }
    }

    #[test]
    fn rms_norm_equals_libtorchs() {
        tch::manual_seed(1);
        for shape in [vec![5, 256], vec![200, 100], vec![3, 4, 10], vec![2, 1], vec![0, 8]] {
            let weight = random(&shape[shape.len() - 1..]);
            for (eps, scale) in [(1e-5, 3.0), (0.1, 0.5), (0.1, 0.0)] {
                agree(
                    &[(random(&shape) * scale).to_kind(Kind::BFloat16).to_kind(Kind::Float)],
                    |x| vec![rms_norm(&x[0], &weight.to_kind(x[0].kind()), eps).unwrap()],
                    |x| vec![x[0].rms_norm(weight.size(), Some(&weight), eps)],
                );
            }
        }
        let x = random(&[2, 8]);
        assert!(rms_norm(&x, &random(&[4]), 1e-5).is_err());
        assert!(rms_norm(&x, &random(&[8]).set_requires_grad(true), 1e-5).is_err());
    }

    #[test]
    fn swiglu_equals_libtorchs() {
        tch::manual_seed(2);
        for shape in [[5, 688], [200, 37], [1, 1]] {
            // Large entries test that neither half of the sigmoid overflows.
            let inputs = [random(&shape) * 32, random(&shape)];
            let ours = |x: &[Tensor]| vec![swiglu(&x[0], &x[1]).unwrap()];
            agree(&inputs, ours, |x| vec![x[0].silu() * &x[1]]);
        }
        assert!(swiglu(&random(&[2, 3]), &random(&[3, 2])).is_err());
        assert!(swiglu(&random(&[2, 3]), &random(&[2, 3]).to_kind(Kind::BFloat16)).is_err());
    }

    #[test]
    fn rotation_equals_libtorchs() {
        tch::manual_seed(3);
        for (rows, heads, dim) in [(7, 4, 64), (300, 2, 20), (2, 3, 40), (1, 1, 2)] {
            let (cos, sin) = (random(&[rows, 1, dim]), random(&[rows, 1, dim]));
            let swap = |x: &Tensor| Tensor::cat(&[x.narrow(2, dim / 2, dim / 2), x.narrow(2, 0, dim / 2)], 2);
            agree(
                &[random(&[rows, heads, dim])],
                |x| vec![rotate(&x[0], &cos.to_kind(x[0].kind()), &sin.to_kind(x[0].kind())).unwrap()],
                |x| vec![&x[0] * &cos + swap(&x[0]) * &sin],
            );
        }
        let (x, cos) = (random(&[2, 1, 4]), random(&[2, 1, 4]));
        assert!(rotate(&x, &cos, &random(&[2, 1, 2])).is_err());
        assert!(rotate(&random(&[2, 1, 3]), &random(&[2, 1, 3]), &random(&[2, 1, 3])).is_err());
    }

    #[test]
    fn log_probs_equal_libtorchs() {
        tch::manual_seed(4);
        for (rows, vocab, size) in [(6, 8192, 1.0), (70, 301, 8.0), (2, 3, 1.0), (1, 1, 1.0), (3, 50, 60.0)] {
            let targets = Tensor::randint(vocab, [rows], (Kind::Int64, Device::Cpu));
            agree(
                &[(random(&[rows, vocab]) * size).to_kind(Kind::BFloat16).to_kind(Kind::Float)],
                |x| {
                    let (log_probs, entropies) = log_probs(&x[0], &targets).unwrap();
                    vec![log_probs, entropies]
                },
                |x| {
                    let all = x[0].log_softmax(-1, Kind::Float);
                    let entropies = -(all.exp() * &all).sum_dim_intlist(-1, false, Kind::Float);
                    vec![all.gather(1, &targets.unsqueeze(1), false).squeeze_dim(1), entropies]
                },
            );
        }
        // Each of the two alone, and a logit of -inf.
        let logits = Tensor::from_slice(&[0.5f32, f32::NEG_INFINITY, -1.0]).view([1, 3]).set_requires_grad(true);
        let (chosen, entropy) = log_probs(&logits, &Tensor::from_slice(&[0i64])).unwrap();
        let p = (1.0 / (1.0 + (-1.5f64).exp()), 1.0 / (1.0 + 1.5f64.exp()));
        assert_abs_diff_eq!(entropy.double_value(&[0]), -p.0 * p.0.ln() - p.1 * p.1.ln(), epsilon = 1e-6);
        chosen.backward();
        let want = Tensor::from_slice(&[1.0 - p.0, 0.0, -p.1]).view([1, 3]);
        assert_abs_diff_eq!((logits.grad() - want).abs().max().double_value(&[]), 0.0, epsilon = 1e-6);
        let targets = |id: i64| Tensor::from_slice(&[0, id]);
        assert!(log_probs(&random(&[2, 3]), &targets(3)).unwrap_err().to_string().contains("target 3"));
        assert!(log_probs(&random(&[2, 3]), &targets(-1)).is_err());
        assert!(log_probs(&random(&[3, 3]), &targets(1)).is_err());
    }
}
