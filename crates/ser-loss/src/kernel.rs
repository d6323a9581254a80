//! The losses as functions of one number x: the difference of the scores less the margin.

/// The value of a loss and its derivative at one x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernel {
    /// f(x).
    pub value: f64,
    /// f'(x).
    pub slope: f64,
}

/// max(0, -x), the hinge of Eq. 5 for x = r_preferred - r_other - m; slope 0 at x = 0.
pub fn hinge(x: f64) -> Kernel {
    if x < 0.0 { Kernel { value: -x, slope: -1.0 } } else { Kernel { value: 0.0, slope: 0.0 } }
}

/// -log sigmoid(x) = log(1 + exp(-x)), with neither overflow nor cancellation at any finite x.
///
/// ```
/// # use ser_loss::log_sigmoid_loss;
/// assert_eq!(log_sigmoid_loss(0.0).value, 2f64.ln());
/// assert_eq!(log_sigmoid_loss(-1e4).value, 1e4);
/// assert_eq!(log_sigmoid_loss(1e4).value, 0.0);
/// ```
pub fn log_sigmoid_loss(x: f64) -> Kernel {
    // e <= 1, so nothing overflows, and ln_1p keeps the digits of a small e.
    let e = (-x.abs()).exp();
    let slope = if x >= 0.0 { -e / (1.0 + e) } else { -1.0 / (1.0 + e) };
    Kernel { value: (-x).max(0.0) + e.ln_1p(), slope }
}

/// (x - target)², the loss of IPO.
pub(crate) fn squared(x: f64, target: f64) -> Kernel {
    let off = x - target;
    Kernel { value: off * off, slope: 2.0 * off }
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
