use tch::Tensor;

use crate::{Error, ffi};

/// x W^T + bias on the CPU in f32, with gradients by x and bias. The weight gets no gradient.
///
/// x: `[rows, depth]`; weight: `[width, depth]`, contiguous; bias: `[width]`; result `[rows, width]`. It is faster than
/// libtorch's product. The result of a row is the same bit for bit in every batch of more than 16 rows, and in every batch of
/// at most 16 rows.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, Error> {
    let bad = |problem: String| Err(Error::Argument { function: "linear", problem });
    let (Ok((_, depth)), Ok((width, weight_depth))) = (x.size2(), weight.size2()) else {
        return bad(format!("x and weight have two dimensions, not {:?} and {:?}", x.size(), weight.size()));
    };
    if depth != weight_depth || bias.is_some_and(|b| b.size() != [width]) {
        return bad(format!("x {:?}, weight {:?} and bias have incompatible shapes", x.size(), weight.size()));
    }
    Error::unless_plain("linear", "x", x)?;
    Error::unless_frozen("linear", "weight", weight)?;
    if let Some(bias) = bias {
        Error::unless_plain("linear", "bias", bias)?;
        if !bias.is_contiguous() {
            return bad("bias must be contiguous".into());
        }
    }
    let bias = bias.map_or(std::ptr::null(), Tensor::as_ptr);
    // SAFETY: live tensors of the kind, device, layout and shapes that the kernel takes: checked above; bias may be null.
    ffi::produced(|out| unsafe { ffi::ser_linear(x.as_ptr(), weight.as_ptr(), bias.cast(), out) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

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

    #[test]
    fn rows_do_not_depend_on_each_other() {
        tch::manual_seed(9);
        for (rows, fewer) in [(13, 1), (145, 17), (100, 31)] {
            let (x, weight) = (random(&[rows, 600]), random(&[70, 600]));
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
    }
}
