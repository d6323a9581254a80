//! The squared loss of IPO.

use super::Kernel;

/// (x - target)², the loss of IPO.
pub(crate) fn squared(x: f64, target: f64) -> Kernel {
    let off = x - target;
    Kernel { value: off * off, slope: 2.0 * off }
}
