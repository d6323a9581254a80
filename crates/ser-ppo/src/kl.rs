//! The divergence of a policy from its reference: penalties and estimators.

use ndarray::ArrayView1;
use serde::{Deserialize, Serialize};

use crate::PpoError;

/// Schulman's estimators of KL(policy || reference) from one token sampled by the policy.
///
/// With d = log pi(token) - log pi_ref(token):
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// d: unbiased, of high variance, negative for single tokens.
    K1,
    /// d² / 2: biased, of low variance, never negative.
    K2,
    /// exp(-d) - 1 + d: unbiased, of low variance, never negative.
    K3,
}

impl KlEstimator {
    /// The estimate from one token's log-probabilities, in nats.
    pub fn estimate(self, log_prob: f64, reference_log_prob: f64) -> f64 {
        let d = log_prob - reference_log_prob;
        match self {
            KlEstimator::K1 => d,
            KlEstimator::K2 => 0.5 * d * d,
            // exp_m1 keeps the digits that exp(-d) - 1 would lose for small d.
            KlEstimator::K3 => (-d).exp_m1() + d,
        }
    }
}

/// The penalty of each token for its divergence from the reference, before the KL coefficient (TRL's `kl_penalty`).
///
/// With d = log pi(token) - log pi_ref(token):
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlPenalty {
    /// d, the estimator k1.
    #[default]
    #[serde(alias = "k1")]
    Kl,
    /// |d|.
    Abs,
    /// d² / 2, the estimator k2.
    #[serde(alias = "k2")]
    Mse,
    /// exp(-d) - 1 + d, the estimator k3.
    K3,
    /// The divergence of the two whole next-token distributions ([`full_kl`]). It does not depend on the token that is
    /// sampled, so as a reward it affects only the tokens before: it restrains the policy less than the others.
    Full,
}

impl From<KlEstimator> for KlPenalty {
    fn from(estimator: KlEstimator) -> Self {
        match estimator {
            KlEstimator::K1 => KlPenalty::Kl,
            KlEstimator::K2 => KlPenalty::Mse,
            KlEstimator::K3 => KlPenalty::K3,
        }
    }
}

impl KlPenalty {
    /// One token's penalty in nats; `None` for [`KlPenalty::Full`], which does not follow from two numbers.
    pub fn penalty(self, log_prob: f64, reference_log_prob: f64) -> Option<f64> {
        let estimate = |e: KlEstimator| Some(e.estimate(log_prob, reference_log_prob));
        match self {
            KlPenalty::Kl => estimate(KlEstimator::K1),
            KlPenalty::Abs => Some((log_prob - reference_log_prob).abs()),
            KlPenalty::Mse => estimate(KlEstimator::K2),
            KlPenalty::K3 => estimate(KlEstimator::K3),
            KlPenalty::Full => None,
        }
    }
}

/// KL(policy || reference) = sum over the vocabulary of pi (log pi - log pi_ref), in nats.
///
/// Takes the log-probabilities of both next-token distributions, of shape `[V]`; tokens without probability under the
/// policy (log-probability minus infinity) add nothing.
///
/// # Errors
/// [`PpoError::VocabularyMismatch`] if the two arrays differ in length.
pub fn full_kl(policy: ArrayView1<'_, f64>, reference: ArrayView1<'_, f64>) -> Result<f64, PpoError> {
    if policy.len() != reference.len() {
        return Err(PpoError::VocabularyMismatch { policy: policy.len(), reference: reference.len() });
    }
    let term = |(p, q): (&f64, &f64)| if *p == f64::NEG_INFINITY { 0.0 } else { p.exp() * (p - q) };
    Ok(policy.iter().zip(reference).map(term).sum())
}
