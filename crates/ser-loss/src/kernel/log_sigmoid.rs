//! The logistic loss of Bradley-Terry and DPO.

use super::Kernel;

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
