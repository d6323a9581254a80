//! The clipped losses of one token, with their derivatives.

/// A token's loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLoss {
    /// The loss, to be minimised.
    pub value: f64,
    /// Its derivative by the log-probability or the value.
    pub slope: f64,
    /// Whether the clip decided it, so that the slope is 0.
    pub clipped: bool,
}

/// rho = pi(token) / pi_old(token), at most `f64::MAX`.
pub fn probability_ratio(log_prob: f64, old_log_prob: f64) -> f64 {
    (log_prob - old_log_prob).exp().min(f64::MAX)
}

/// The clipped surrogate (Eq. 6) as a loss: -min(rho A, clip(rho, 1 - eps, 1 + eps) A), and its derivative by
/// log pi(token): -rho A, or 0 where the clip decides.
///
/// ```
/// use ser_ppo::clipped_surrogate;
/// let (old, new) = (0.5_f64.ln(), 0.75_f64.ln()); // rho = 1.5
/// let good = clipped_surrogate(new, old, 1.0, 0.2);
/// approx::assert_abs_diff_eq!(good.value, -1.2, epsilon = 1e-12);
/// assert!(good.slope == 0.0 && good.clipped);
/// let bad = clipped_surrogate(new, old, -1.0, 0.2); // not clipped: the gradient reverses the change
/// approx::assert_abs_diff_eq!(bad.value, 1.5, epsilon = 1e-12);
/// assert!(bad.slope == bad.value && !bad.clipped);
/// ```
pub fn clipped_surrogate(log_prob: f64, old_log_prob: f64, advantage: f64, clip_range: f64) -> TokenLoss {
    let ratio = probability_ratio(log_prob, old_log_prob);
    let free = -advantage * ratio;
    let held = -advantage * ratio.clamp(1.0 - clip_range, 1.0 + clip_range);
    if held > free {
        TokenLoss { value: held, slope: 0.0, clipped: true }
    } else {
        // d rho / d log pi = rho.
        TokenLoss { value: free, slope: free, clipped: false }
    }
}

/// max((V - R)², (clip(V, V_old - eps, V_old + eps) - R)²) / 2 and its derivative by V: V - R, or 0 where the clip
/// decides.
///
/// ```
/// use ser_ppo::clipped_value_loss;
/// let near = clipped_value_loss(1.1, 1.0, 2.0, 0.2);
/// approx::assert_abs_diff_eq!(near.value, 0.405, epsilon = 1e-12);
/// approx::assert_abs_diff_eq!(near.slope, -0.9, epsilon = 1e-12);
/// assert!(!near.clipped);
/// let far = clipped_value_loss(1.5, 1.0, 2.0, 0.2); // clipped at 1.2
/// approx::assert_abs_diff_eq!(far.value, 0.32, epsilon = 1e-12);
/// assert!(far.slope == 0.0 && far.clipped);
/// ```
pub fn clipped_value_loss(value: f64, old_value: f64, return_: f64, clip_range: f64) -> TokenLoss {
    let error = value - return_;
    let held_error = value.max(old_value - clip_range).min(old_value + clip_range) - return_;
    let (free, held) = (0.5 * error * error, 0.5 * held_error * held_error);
    if held > free {
        TokenLoss { value: held, slope: 0.0, clipped: true }
    } else {
        TokenLoss { value: free, slope: error, clipped: false }
    }
}
