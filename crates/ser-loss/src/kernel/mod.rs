//! The losses as functions of one number x: the difference of the scores less the margin.

mod hinge;
mod log_sigmoid;
mod squared;

pub use hinge::hinge;
pub use log_sigmoid::log_sigmoid_loss;
pub(crate) use squared::squared;

/// The value of a loss and its derivative at one x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernel {
    /// f(x).
    pub value: f64,
    /// f'(x).
    pub slope: f64,
}

/// The mixture q f(x_preferred) + (1 - q) f(x_other) for x_preferred = d - m and x_other = -d - m, and its slope by d.
pub(crate) fn mixed(f: impl Fn(f64) -> Kernel, difference: f64, margin: f64, q: f64) -> Kernel {
    let preferred = f(difference - margin);
    if q == 1.0 {
        return preferred;
    }
    let other = f(-difference - margin);
    Kernel {
        value: q * preferred.value + (1.0 - q) * other.value,
        slope: q * preferred.slope - (1.0 - q) * other.slope,
    }
}

/// The label's probability after smoothing: q = p (1 - e) + (1 - p) e.
pub(crate) fn smoothed(probability: f64, smoothing: f64) -> f64 {
    probability * (1.0 - smoothing) + (1.0 - probability) * smoothing
}
