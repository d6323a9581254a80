use tch::Tensor;

use crate::{Error, ffi};

/// Dropout: each entry of `x` is zero with probability `p`, the others are divided by 1 - p. With its gradient.
///
/// The draws depend only on `seed`, so the same call can be repeated (when a layer is computed again, or a run is resumed),
/// independently of other threads. For f32 and bf16 on the CPU each draw is a hash of the entry's index and the seed, the same on
/// every machine; elsewhere the draws come from a separate generator.
pub fn dropout(x: &Tensor, p: f64, seed: u64) -> Result<Tensor, Error> {
    if !(0.0..1.0).contains(&p) {
        return Err(Error::Argument { function: "dropout", problem: format!("p is {p}, not from 0 up to 1") });
    }
    // SAFETY: the tensor lives through the call, and `produced` passes a pointer to one result.
    ffi::produced(|out| unsafe { ffi::ser_dropout(x.as_ptr(), p, seed, out) })
}

/// Fills `x` with uniform draws from [low, high), which depend only on `seed`.
pub fn fill_uniform(x: &mut Tensor, low: f64, high: f64, seed: u64) -> Result<(), Error> {
    // SAFETY: the tensor lives through the call and is borrowed exclusively.
    ffi::check(unsafe { ffi::ser_fill_uniform(x.as_ptr(), low, high, seed) })
}

/// Fills `x` with normal draws, which depend only on `seed`.
pub fn fill_normal(x: &mut Tensor, mean: f64, std: f64, seed: u64) -> Result<(), Error> {
    // SAFETY: the tensor lives through the call and is borrowed exclusively.
    ffi::check(unsafe { ffi::ser_fill_normal(x.as_ptr(), mean, std, seed) })
}

#[cfg(test)]
mod tests {
    use approx::{abs_diff_eq, assert_abs_diff_eq};

    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn draws_depend_on_the_seed_alone() {
        let fresh = || Tensor::zeros([1000], (Kind::Float, Device::Cpu));
        let (mut one, mut two, mut three) = (fresh(), fresh(), fresh());
        fill_normal(&mut one, 2.0, 0.5, 7).unwrap();
        tch::manual_seed(1);
        fill_normal(&mut two, 2.0, 0.5, 7).unwrap();
        fill_normal(&mut three, 2.0, 0.5, 8).unwrap();
        assert!(one == two && one != three);
        assert_abs_diff_eq!(one.mean(Kind::Float).double_value(&[]), 2.0, epsilon = 0.1);
        fill_uniform(&mut one, -1.0, 1.0, 7).unwrap();
        assert!(one.min().double_value(&[]) >= -1.0 && one.max().double_value(&[]) < 1.0);
    }

    #[test]
    fn dropout_drops_its_share_and_keeps_the_mean() {
        for kind in [Kind::Float, Kind::BFloat16, Kind::Double] {
            let x = Tensor::ones([99, 101], (kind, Device::Cpu)).set_requires_grad(true);
            let y = dropout(&x, 0.25, 3).unwrap();
            assert_eq!(y, dropout(&x, 0.25, 3).unwrap());
            let dropped = y.eq(0.0).sum(Kind::Int64).int64_value(&[]);
            assert!((2300..2700).contains(&dropped), "{dropped}");
            y.sum(kind).backward();
            assert_eq!(x.grad(), y.detach(), "the gradient of a sum is the mask");
            assert!(dropout(&x, 1.0, 3).is_err());
        }
        let x = Tensor::from_slice(&[f32::NAN; 4]);
        assert_eq!(dropout(&x, 0.999_999, 1).unwrap(), Tensor::zeros([4], (Kind::Float, Device::Cpu)));
    }

    /// Draws are the same on every machine: those of MurmurHash3's finalizer, entry by entry.
    #[test]
    fn dropout_equals_its_definition() {
        let (n, seed, p) = (50_003, 0x1234_5678_9abc_def0_u64, 0.3);
        let y = dropout(&Tensor::ones([n], (Kind::Float, Device::Cpu)), p, seed).unwrap();
        for (i, y) in Vec::<f32>::try_from(&y).unwrap().into_iter().enumerate() {
            let mut x = (i as u32).wrapping_mul(0x9e37_79b9).wrapping_add(seed as u32);
            for key in [(seed >> 32) as u32, 0] {
                x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
                x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
                x ^= (x >> 16) ^ key;
            }
            let kept = x >= (p * 2f64.powi(32)) as u32;
            assert_eq!(y, if kept { (1.0 / (1.0 - p)) as f32 } else { 0.0 }, "entry {i}");
        }
    }

    /// Draws of neighbouring entries, distant rows and different seeds are uncorrelated.
    #[test]
    fn dropouts_are_independent() {
        let n = 1 << 18;
        let draw = |seed: u64| dropout(&Tensor::ones([n], (Kind::Float, Device::Cpu)), 0.5, seed).unwrap() - 1.0;
        let draws: Vec<Tensor> = [0, 1, 2, 1 << 32, 3 << 40, u64::MAX].into_iter().map(draw).collect();
        // Values of ±1; the bound is 5 standard deviations.
        let unrelated = |a: &Tensor, b: &Tensor| {
            abs_diff_eq!((a * b).mean(Kind::Double).double_value(&[]), 0.0, epsilon = 5.0 / 511.0)
        };
        for (i, a) in draws.iter().enumerate() {
            assert_abs_diff_eq!(a.mean(Kind::Double).double_value(&[]), 0.0, epsilon = 5.0 / 511.0);
            for apart in [1, 2, 8, 16, 64, 256, 1024] {
                assert!(unrelated(&a.narrow(0, apart, n - apart), &a.narrow(0, 0, n - apart)), "{apart} apart");
            }
            for b in &draws[..i] {
                assert!(unrelated(a, b), "seeds");
            }
        }
    }
}
