use tch::Tensor;

use crate::{Dropout, Error, ffi};

/// x W^T + bias on the CPU in f32 or bf16, with gradients by x and bias. The weight gets no gradient.
///
/// x: `[rows, depth]`; weight: `[width, depth]`, contiguous; bias: `[width]`; result `[rows, width]`, all of one kind. It is
/// faster than libtorch's product; in bf16, which is summed in f32, it is libtorch's product for more than 16 rows. The result
/// of a row is the same bit for bit in every batch of at most 16 rows, and in f32 in every batch of more than 16 rows.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, Error> {
    let bad = |problem: String| Err(Error::Argument { function: "linear", problem });
    let (Ok((_, depth)), Ok((width, weight_depth))) = (x.size2(), weight.size2()) else {
        return bad(format!("x and weight have two dimensions, not {:?} and {:?}", x.size(), weight.size()));
    };
    if depth != weight_depth || bias.is_some_and(|b| b.size() != [width]) {
        return bad(format!("x {:?}, weight {:?} and bias have incompatible shapes", x.size(), weight.size()));
    }
    Error::unless_like("linear", x, "x", x)?;
    Error::unless_like("linear", x, "weight", weight)?;
    Error::unless_constant("linear", "weight", weight)?;
    if let Some(bias) = bias {
        Error::unless_like("linear", x, "bias", bias)?;
        if !bias.is_contiguous() {
            return bad("bias must be contiguous".into());
        }
    }
    let bias = bias.map_or(std::ptr::null(), Tensor::as_ptr);
    // SAFETY: live tensors of the kind, device, layout and shapes that the kernel takes: checked above; bias may be null.
    ffi::produced(|out| unsafe { ffi::ser_linear(x.as_ptr(), weight.as_ptr(), bias.cast(), out) })
}

/// A low-rank update of a linear map (LoRA; Hu et al., 2022).
#[derive(Clone, Copy, Debug)]
pub struct LoraUpdate<'a> {
    /// `[rank, depth]`, in f32 or in the kind of x.
    pub a: &'a Tensor,
    /// `[width, rank]`, in f32 or in the kind of x.
    pub b: &'a Tensor,
    /// The factor of the update.
    pub scale: f64,
    /// The dropout of its input, as in [`dropout`](crate::dropout); the rows are those of x.
    pub dropout: Option<Dropout<'a>>,
}

/// x W^T + bias + scale * dropout(x) A^T B^T on any device and in any floating-point kind, with gradients by all of
/// them.
///
/// x: `[rows, depth]`; weight: `[width, depth]`; bias: `[width]`; result `[rows, width]`. The product with the weight is
/// [`linear`]'s where that takes the tensors and the kernels are enabled. The output is updated in place, and the backward
/// pass is written by hand: one function in the graph instead of about ten.
pub fn lora_linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    update: LoraUpdate<'_>,
) -> Result<Tensor, Error> {
    let bad = |problem: String| Err(Error::Argument { function: "lora_linear", problem });
    let LoraUpdate { a, b, scale, dropout } = update;
    let sizes = (x.size2(), weight.size2(), a.size2(), b.size2());
    let (Ok((_, depth)), Ok((width, of_weight)), Ok((rank, of_a)), Ok((of_b, up))) = sizes else {
        return bad("x, weight, a and b have two dimensions".into());
    };
    if [of_weight, of_a] != [depth; 2] || of_b != width || up != rank || bias.is_some_and(|b| b.size() != [width]) {
        let [x, weight, a, b] = [x, weight, a, b].map(Tensor::size);
        return bad(format!("x {x:?}, weight {weight:?}, bias, a {a:?} and b {b:?} have incompatible shapes"));
    }
    let dropout = dropout.unwrap_or(Dropout { p: 0.0, seed: 0, rows: &[] });
    dropout.check("lora_linear", x)?;
    let plain = |tensor: &Tensor| Error::unless_like("lora_linear", x, "x", tensor).is_ok();
    let constant = |tensor: &Tensor| plain(tensor) && tensor.is_contiguous();
    let kernels = crate::kernels_enabled() && plain(x) && constant(weight) && bias.is_none_or(constant);
    let bias = bias.map_or(std::ptr::null(), Tensor::as_ptr);
    // SAFETY: live tensors of compatible shapes, and of the kind, device and layout that the kernel takes if it is used: checked
    // above; bias may be null. libtorch reports kinds and devices that do not go together.
    ffi::produced(|out| unsafe {
        ffi::ser_lora_linear(
            x.as_ptr(),
            weight.as_ptr(),
            bias.cast(),
            a.as_ptr(),
            b.as_ptr(),
            scale,
            dropout.p,
            dropout.seed,
            dropout.rows.as_ptr().cast(),
            dropout.rows.len() as i64,
            kernels,
            out,
        )
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::RowRange;

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    fn gap(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn equals_libtorchs_product_forward_and_backward() {
        tch::manual_seed(8);
        // With fewer panels of columns than threads the rows are split.
        tch::set_num_threads(4);
        let few = [(1, 256, 512), (8, 64, 50), (7, 37, 3001), (3, 5, 2), (13, 16, 1), (2, 100, 4)];
        let many = [
            (17, 1, 1),
            (29, 37, 70),
            (145, 256, 688),
            (64, 688, 33),
            (37, 1100, 64),
            (321, 20, 31),
            (24, 0, 3),
            (0, 5, 3),
        ];
        for (rows, depth, width) in few.into_iter().chain(many) {
            let (x, weight, bias) = (random(&[rows, depth]), random(&[width, depth]), random(&[width]));
            let slopes = random(&[rows, width]);
            for bias in [None, Some(&bias)] {
                let run = |product: &dyn Fn(&Tensor, Option<&Tensor>) -> Tensor| {
                    let x = x.detach().set_requires_grad(true);
                    let bias = bias.map(|bias| bias.detach().set_requires_grad(true));
                    let y = product(&x, bias.as_ref());
                    (&y * &slopes).sum(Kind::Float).backward();
                    [Some(y.detach()), Some(x.grad()), bias.map(|bias| bias.grad())]
                };
                let ours = run(&|x, bias| linear(x, &weight, bias).unwrap());
                let theirs = run(&|x, bias| x.linear(&weight, bias));
                let scale = ((rows + depth + width) as f64).sqrt();
                for (what, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                    let (Some(a), Some(b)) = (a, b) else { continue };
                    assert!(a.numel() == 0 || gap(a, b) < 1e-5 * scale, "result {what} of {rows} x {depth} x {width}");
                }
            }
        }
    }

    /// Against libtorch's operations and autograd in f64, with and without bias and dropout.
    #[test]
    fn a_low_rank_update_equals_libtorchs() {
        tch::manual_seed(10);
        for (rows, depth, width, rank) in [(3, 40, 33, 4), (37, 64, 50, 8), (20, 7, 5, 1)] {
            let (x, weight, bias) = (random(&[rows, depth]), random(&[width, depth]), random(&[width]));
            let (a, b, slopes) = (random(&[rank, depth]), random(&[width, rank]), random(&[rows, width]));
            for (with_bias, p) in [(false, 0.0), (true, 0.0), (true, 0.25), (false, 0.25)] {
                // The last rows of a batch of 50 more.
                let ranges = [RowRange { start: 0, count: rows, in_batch: 50 }];
                let mode = Dropout { p, seed: 77, rows: &ranges };
                let dropout = (p > 0.0).then_some(mode);
                // The values that dropout keeps, as factors.
                let kept = crate::dropout(&x.ones_like(), mode).unwrap();
                let run = |kind: Kind, ours: bool| {
                    let [x, weight, bias, a, b] =
                        [&x, &weight, &bias, &a, &b].map(|x| x.detach().to_kind(kind).copy().set_requires_grad(true));
                    let own = with_bias.then_some(&bias);
                    let y = if ours {
                        let update = LoraUpdate { a: &a, b: &b, scale: 0.5, dropout };
                        lora_linear(&x, &weight, own, update).unwrap()
                    } else {
                        let low = (&x * kept.to_kind(kind)).matmul(&a.transpose(0, 1));
                        x.linear(&weight, own) + low.matmul(&b.transpose(0, 1)) * 0.5
                    };
                    (&y * slopes.to_kind(kind)).sum(kind).backward();
                    let mut all = vec![y.detach(), x.grad(), weight.grad(), a.grad(), b.grad()];
                    all.extend(with_bias.then(|| bias.grad()));
                    all
                };
                let want = run(Kind::Double, false);
                // Products of rounded numbers; without f64's dropout, which draws otherwise.
                let cases = [(Kind::Float, 1e-5), (Kind::Double, 1e-12), (Kind::BFloat16, 0.04)];
                for (kind, bound) in cases.into_iter().filter(|(kind, _)| p == 0.0 || *kind != Kind::Double) {
                    for (what, (ours, want)) in run(kind, true).iter().zip(&want).enumerate() {
                        let (gap, size) = (gap(ours, want), want.abs().max().double_value(&[]));
                        assert!(gap < bound * size.max(1.0), "{what} of {rows}, p {p}, {kind:?}: {gap} of {size}");
                    }
                }
            }
        }
        let update = |a, b| LoraUpdate { a, b, scale: 1.0, dropout: None };
        let refused = lora_linear(&random(&[2, 3]), &random(&[4, 3]), None, update(&random(&[1, 2]), &random(&[4, 1])));
        assert!(refused.unwrap_err().to_string().contains("incompatible shapes"));
    }

    /// Products of rounded numbers, summed in f32 and rounded once. More than 16 rows are libtorch's.
    #[test]
    fn a_product_in_bf16_is_rounded_once() {
        tch::manual_seed(12);
        tch::set_num_threads(4);
        let shapes = [
            (1, 576, 192),
            (2, 100, 3),
            (4, 64, 50),
            (7, 37, 301),
            (8, 1536, 64),
            (9, 5, 2),
            (12, 33, 1),
            (16, 600, 70),
        ];
        for (rows, depth, width) in shapes.into_iter().chain([(17, 64, 40), (3, 0, 5), (0, 8, 4)]) {
            let half = |shape: &[i64]| random(shape).to_kind(Kind::BFloat16);
            let (x, weight, bias, slopes) =
                (half(&[rows, depth]), half(&[width, depth]), half(&[width]), half(&[rows, width]));
            for bias in [None, Some(&bias)] {
                let run = |kind: Kind, ours: bool| {
                    let x = x.to_kind(kind).copy().set_requires_grad(true);
                    let (weight, bias) = (weight.to_kind(kind), bias.map(|bias| bias.to_kind(kind)));
                    let y = if ours {
                        linear(&x, &weight, bias.as_ref()).unwrap()
                    } else {
                        x.linear(&weight, bias.as_ref())
                    };
                    (&y * slopes.to_kind(kind)).sum(kind).backward();
                    [y.detach(), x.grad()]
                };
                let (ours, want) = (run(Kind::BFloat16, true), run(Kind::Double, false));
                assert_eq!(ours.each_ref().map(Tensor::kind), [Kind::BFloat16; 2]);
                for (what, (ours, want)) in ours.iter().zip(&want).enumerate() {
                    if want.numel() == 0 {
                        continue;
                    }
                    // Half a unit in the last of 8 bits, and the sum's own error in f32. libtorch may round more than once.
                    let kernel = what == 0 && rows <= 16;
                    let size = if kernel { want.abs() } else { want.abs().max() * 3.0 };
                    let bound = size * 0.5f64.powi(8) + 1e-5 * (depth.max(width) as f64).sqrt();
                    let over = ((ours.to_kind(Kind::Double) - want).abs() - bound).max().double_value(&[]);
                    assert!(over <= 0.0, "result {what} of {rows} x {depth} x {width}: {over} too far");
                }
            }
        }
    }

    #[test]
    fn rows_do_not_depend_on_each_other() {
        tch::manual_seed(9);
        let float = [(13, 1), (13, 4), (16, 9), (145, 17), (100, 31)].map(|sizes| (Kind::Float, sizes));
        let half = [(13, 1), (13, 4), (16, 9), (8, 7)].map(|sizes| (Kind::BFloat16, sizes));
        for (kind, (rows, fewer)) in float.into_iter().chain(half) {
            let (x, weight) = (random(&[rows, 610]).to_kind(kind), random(&[70, 610]).to_kind(kind));
            let all = linear(&x, &weight, None).unwrap();
            let last = linear(&x.narrow(0, rows - fewer, fewer), &weight, None).unwrap();
            assert_eq!(last, all.narrow(0, rows - fewer, fewer));
        }
    }

    #[test]
    fn incompatible_shapes_are_refused() {
        assert!(linear(&random(&[2, 3]), &random(&[4, 5]), None).is_err());
        assert!(linear(&random(&[2, 3]), &random(&[3, 4]).transpose(0, 1), None).is_err());
        assert!(linear(&random(&[2, 3]), &random(&[4, 3]).set_requires_grad(true), None).is_err());
        assert!(linear(&random(&[2, 3]), &random(&[4, 3]), Some(&random(&[3]))).is_err());
        let mixed = linear(&random(&[2, 3]), &random(&[4, 3]).to_kind(Kind::BFloat16), None);
        assert!(mixed.unwrap_err().to_string().contains("weight is BFloat16"));
    }
}
