use tch::Tensor;

use crate::{Error, ffi};

/// Probability, seed and rows of a dropout.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// The probability of a 0, from 0 up to 1.
    pub p: f64,
    /// The seed of the draws.
    pub seed: u64,
    /// The rows of a larger batch that the tensor has, so that the draws are those of the batch. Empty if the tensor is the
    /// whole batch.
    pub rows: &'a [RowRange],
}

impl Dropout<'_> {
    /// An error unless `p` is a probability below 1, and the ranges are all rows of `x`, each at its place in a batch or after it.
    pub(crate) fn check(&self, function: &'static str, x: &Tensor) -> Result<(), Error> {
        if !(0.0..1.0).contains(&self.p) {
            return Err(Error::Argument {
                function,
                problem: format!("p of dropout is {}, not from 0 up to 1", self.p),
            });
        }
        let mut next = 0;
        let in_order = self.rows.iter().all(|range| {
            let fits = range.start == next && range.count >= 0 && range.in_batch >= range.start;
            next = range.start.saturating_add(range.count);
            fits
        });
        let rows = x.size().first().copied().unwrap_or(1);
        if !self.rows.is_empty() && (!in_order || next != rows) {
            let problem = format!("the ranges of dropout end at row {next} of {rows}, or are not one after the other");
            return Err(Error::Argument { function, problem });
        }
        Ok(())
    }
}

/// Consecutive rows of a tensor that are consecutive rows of a larger batch, too.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRange {
    /// The first row, in the tensor.
    pub start: i64,
    /// The number of rows.
    pub count: i64,
    /// The first row, in the batch; at least `start`.
    pub in_batch: i64,
}

/// Dropout: each entry of `x` is zero with probability `p`, the others are divided by 1 - p. With its gradient.
///
/// The draws depend only on seed and rows, so the same call can be repeated (when a layer is computed again, or a run is resumed),
/// independently of other threads. For f32 and bf16 on the CPU each draw is a hash of the entry's index in the batch and the seed, the
/// same on every machine; elsewhere the draws come from a separate generator, and a tensor with some rows of a batch has draws of its
/// own.
///
/// # Errors
/// A `p` outside of 0 up to 1; ranges that are not the rows of `x`.
pub fn dropout(x: &Tensor, dropout: Dropout<'_>) -> Result<Tensor, Error> {
    dropout.check("dropout", x)?;
    let Dropout { p, seed, rows } = dropout;
    // SAFETY: the tensor lives through the call, as do the ranges, which are three numbers each and within its rows; `produced`
    // passes a pointer to one result.
    ffi::produced(|out| unsafe { ffi::ser_dropout(x.as_ptr(), p, seed, rows.as_ptr().cast(), rows.len() as i64, out) })
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

    fn dropout(x: &Tensor, p: f64, seed: u64) -> Result<Tensor, Error> {
        super::dropout(x, Dropout { p, seed, rows: &[] })
    }

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

    /// Some rows of a batch have the draws that they have in the batch.
    #[test]
    fn rows_of_a_batch_keep_their_draws() {
        let ranges =
            [(0, 2, 3), (2, 1, 9), (3, 4, 20)].map(|(start, count, in_batch)| RowRange { start, count, in_batch });
        let rows = Tensor::from_slice(&[3i64, 4, 9, 20, 21, 22, 23]);
        for kind in [Kind::Float, Kind::BFloat16] {
            let batch = Tensor::ones([24, 37], (kind, Device::Cpu));
            let some = batch.index_select(0, &rows).set_requires_grad(true);
            let mode = Dropout { p: 0.4, seed: 11, rows: &ranges };
            let (whole, part) = (dropout(&batch, 0.4, 11).unwrap(), super::dropout(&some, mode).unwrap());
            assert_eq!(part, whole.index_select(0, &rows));
            part.sum(kind).backward();
            assert_eq!(some.grad(), part.detach());
        }
        let x = Tensor::ones([7, 5], (Kind::Double, Device::Cpu));
        let at = |in_batch| {
            super::dropout(&x, Dropout { p: 0.4, seed: 11, rows: &[RowRange { start: 0, count: 7, in_batch }] })
        };
        assert!(at(0).unwrap() != at(7).unwrap(), "other rows have other draws");
        for ranges in [&ranges[..2], &ranges[1..], &[RowRange { start: 0, count: 7, in_batch: -1 }]] {
            let refused = super::dropout(&x, Dropout { p: 0.4, seed: 11, rows: ranges });
            assert!(refused.unwrap_err().to_string().contains("the ranges of dropout"), "{ranges:?}");
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
