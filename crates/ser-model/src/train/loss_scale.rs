//! Loss scaling for networks that compute in f16.

use tch::Kind;

/// The factor on the loss that keeps small gradients of f16 networks from underflowing (Micikevicius et al., 2018). It is
/// halved at every overflow and doubled after [`PATIENCE`](LossScale::PATIENCE) steps without one.
pub(crate) struct LossScale {
    scale: f64,
    /// Steps without an overflow since the scale last changed.
    finite_steps: u32,
}

impl LossScale {
    const START: f64 = 1024.0;
    const PATIENCE: u32 = 1000;

    /// The scale of a network that computes in `kind`. Only f16 needs one: bf16 has the range of f32.
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        (kind == Kind::Half).then_some(LossScale { scale: Self::START, finite_steps: 0 })
    }

    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// Adapts the scale to whether a step's gradients were finite.
    pub(crate) fn update(&mut self, finite: bool) {
        if !finite {
            self.scale = (self.scale / 2.0).max(1.0);
            self.finite_steps = 0;
        } else {
            self.finite_steps += 1;
            if self.finite_steps == Self::PATIENCE {
                self.scale *= 2.0;
                self.finite_steps = 0;
            }
        }
    }

    /// Scale and steps without an overflow, exact in f32 (the scale is a power of two).
    pub(crate) fn state(&self) -> [f32; 2] {
        [self.scale as f32, self.finite_steps as f32]
    }

    /// Restores a [`state`](Self::state).
    pub(crate) fn restore(&mut self, [scale, finite_steps]: [f32; 2]) {
        self.scale = f64::from(scale);
        self.finite_steps = finite_steps as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_with_overflows_and_rises_with_patience() {
        assert!(LossScale::of(Kind::BFloat16).is_none() && LossScale::of(Kind::Float).is_none());
        let mut scale = LossScale::of(Kind::Half).unwrap();
        scale.update(false);
        assert_eq!(scale.scale(), 512.0);
        (1..LossScale::PATIENCE).for_each(|_| scale.update(true));
        let mut resumed = LossScale::of(Kind::Half).unwrap();
        resumed.restore(scale.state());
        assert_eq!((scale.scale(), resumed.scale()), (512.0, 512.0));
        scale.update(true);
        resumed.update(true);
        assert_eq!((scale.scale(), resumed.scale()), (1024.0, 1024.0));
        (0..40).for_each(|_| scale.update(false));
        assert_eq!(scale.scale(), 1.0);
    }
}
