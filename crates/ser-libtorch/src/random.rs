use tch::Tensor;

use crate::{Error, ffi};

/// `x` with each entry zero with probability `p` and the rest divided by 1 - p, with its gradient.
///
/// The draws come from a generator of their own and depend on `seed` alone: the same call can be made again (when a
/// layer is recomputed, when a run is resumed), and other threads do not disturb it.
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
        let x = Tensor::ones([100, 100], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let y = dropout(&x, 0.25, 3).unwrap();
        assert_eq!(y, dropout(&x, 0.25, 3).unwrap());
        let dropped = y.eq(0.0).sum(Kind::Int64).int64_value(&[]);
        assert!((2300..2700).contains(&dropped), "{dropped}");
        y.sum(Kind::Float).backward();
        assert_eq!(x.grad(), y.detach(), "the gradient of a sum is the mask");
        assert!(dropout(&x, 1.0, 3).is_err());
    }
}
