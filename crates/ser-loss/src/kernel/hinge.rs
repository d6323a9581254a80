//! The hinge loss.

use super::Kernel;

/// max(0, -x), the hinge of Eq. 5 for x = r_preferred - r_other - m; slope 0 at x = 0.
pub fn hinge(x: f64) -> Kernel {
    if x < 0.0 { Kernel { value: -x, slope: -1.0 } } else { Kernel { value: 0.0, slope: 0.0 } }
}
