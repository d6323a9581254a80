use tch::Tensor;

use crate::{Error, ffi};

/// `x` with each entry zero with probability `p` and the rest divided by 1 - p, with its gradient.
///
/// The draws depend on `seed` alone: the same call can be made again (when a layer is recomputed, when a run is resumed),
/// and other threads do not disturb it. For f32 on the CPU each entry's is a hash of its place and the seed, the same on
/// every machine; elsewhere they come from a generator of their own.
pub fn dropout(x: &Tensor, p: f64, seed: u64) -> Result<Tensor, Error> {
    if !(0.0..1.0).contains(&p) {
        return Err(Error::Argument { function: "dropout", problem: format!("p is {p}, not from 0 up to 1") });
    }
    // SAFETY: the tensor lives through the call, and `produced` hands over a place for one pointer.
    ffi::produced(|out| unsafe { ffi::ser_dropout(x.as_ptr(), p, seed, out) })
}

/// Fills `x` with draws from `low` up to `high`; they depend on `seed` alone.
pub fn fill_uniform(x: &mut Tensor, low: f64, high: f64, seed: u64) -> Result<(), Error> {
    // SAFETY: the tensor lives through the call, and nobody else has it.
    ffi::check(unsafe { ffi::ser_fill_uniform(x.as_ptr(), low, high, seed) })
}

/// Fills `x` with normal draws; they depend on `seed` alone.
pub fn fill_normal(x: &mut Tensor, mean: f64, std: f64, seed: u64) -> Result<(), Error> {
    // SAFETY: the tensor lives through the call, and nobody else has it.
    ffi::check(unsafe { ffi::ser_fill_normal(x.as_ptr(), mean, std, seed) })
}

#[cfg(test)]
mod tests {
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
        assert!((one.mean(Kind::Float).double_value(&[]) - 2.0).abs() < 0.1);
        fill_uniform(&mut one, -1.0, 1.0, 7).unwrap();
        assert!(one.min().double_value(&[]) >= -1.0 && one.max().double_value(&[]) < 1.0);
    }

    #[test]
    fn dropout_drops_its_share_and_keeps_the_mean() {
        for kind in [Kind::Float, Kind::Double] {
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

    /// Draws are the same on every machine: those of MurmurHash3's finalizer, one entry at a time.
    #[test]
    fn dropout_draws_what_it_says() {
        let (n, seed, p) = (50_003, 0x1234_5678_9abc_def0_u64, 0.3);
        let y = dropout(&Tensor::ones([n], (Kind::Float, Device::Cpu)), p, seed).unwrap();
        for (place, y) in Vec::<f32>::try_from(&y).unwrap().into_iter().enumerate() {
            let mut x = (place as u32).wrapping_mul(0x9e37_79b9).wrapping_add(seed as u32);
            for key in [(seed >> 32) as u32, 0] {
                x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
                x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
                x ^= (x >> 16) ^ key;
            }
            let kept = x >= (p * 2f64.powi(32)) as u32;
            assert_eq!(y, if kept { (1.0 / (1.0 - p)) as f32 } else { 0.0 }, "entry {place}");
        }
    }

    /// Draws of neighbours, of rows apart and of seeds apart have nothing to do with each other.
    #[test]
    fn dropouts_are_independent() {
        let n = 1 << 18;
        let draw = |seed: u64| dropout(&Tensor::ones([n], (Kind::Float, Device::Cpu)), 0.5, seed).unwrap() - 1.0;
        let draws: Vec<Tensor> = [0, 1, 2, 1 << 32, 3 << 40, u64::MAX].into_iter().map(draw).collect();
        // Of ±1; 5 standard deviations.
        let unrelated = |a: &Tensor, b: &Tensor| (a * b).mean(Kind::Double).double_value(&[]).abs() < 5.0 / 511.0;
        for (i, a) in draws.iter().enumerate() {
            assert!(a.mean(Kind::Double).double_value(&[]).abs() < 5.0 / 511.0);
            for apart in [1, 2, 8, 16, 64, 256, 1024] {
                assert!(unrelated(&a.narrow(0, apart, n - apart), &a.narrow(0, 0, n - apart)), "{apart} apart");
            }
            for b in &draws[..i] {
                assert!(unrelated(a, b), "seeds");
            }
        }
    }
}
