//! Win rates: wins, ties and losses, and a rate with its uncertainty.

use ser_core::{Clusters, Side, Verdict};
use serde::{Deserialize, Serialize};

use crate::tally::{Scale, Tally, cluster_index};
use crate::{Bootstrap, Estimate, EvalError};

/// Counts of verdicts on pairs whose answer A is the policy's and whose answer B is the other's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCounts {
    /// A is better.
    pub wins: u64,
    /// Neither is better, or the judge contradicts itself.
    pub ties: u64,
    /// B is better.
    pub losses: u64,
    /// Ties in which the judge contradicted itself.
    pub contradictions: u64,
    /// Pairs without a verdict; not in the other counts.
    pub failures: u64,
}

impl VerdictCounts {
    /// Counts verdicts.
    pub fn of(verdicts: &[Verdict]) -> Self {
        let mut counts = VerdictCounts::default();
        for verdict in verdicts {
            match verdict {
                Verdict::Prefers(Side::A) => counts.wins += 1,
                Verdict::Prefers(Side::B) => counts.losses += 1,
                Verdict::Tie => counts.ties += 1,
                Verdict::Contradiction => {
                    counts.ties += 1;
                    counts.contradictions += 1;
                }
                Verdict::Failure => counts.failures += 1,
            }
        }
        counts
    }

    /// Pairs with a verdict.
    pub fn judged(&self) -> u64 {
        self.wins + self.ties + self.losses
    }
}

/// A win rate with its uncertainty over prompts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WinRate {
    /// (wins + ties / 2) / judged, with its interval ([`Bootstrap`]).
    pub rate: Estimate,
    /// The standard error of the rate; none with fewer than two clusters.
    ///
    /// With outcomes y of 1, 1/2 and 0 it is sqrt(G / (G - 1) sum of e^2) / n over the G clusters, where e is the sum
    /// of y - rate in the cluster and n the number of verdicts. If each pair has its own prompt, it equals
    /// AlpacaEval's: the sample's standard deviation over sqrt(n).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
}

impl WinRate {
    /// The win rate of verdicts; none if no pair has one. Failures are left out.
    ///
    /// # Errors
    /// [`EvalError::LengthMismatch`] if `clusters` has a different number of verdicts, and the errors of
    /// [`Bootstrap::check`].
    pub fn measure(
        verdicts: &[Verdict],
        clusters: Clusters<'_>,
        bootstrap: &Bootstrap,
    ) -> Result<Option<Self>, EvalError> {
        bootstrap.check()?;
        let index = cluster_index(verdicts.len(), clusters)?;
        let (mut halves, mut ids) = (Vec::new(), Vec::new());
        for (verdict, &cluster) in verdicts.iter().zip(&index.of_pair) {
            halves.push(match verdict {
                Verdict::Prefers(Side::A) => 2,
                Verdict::Prefers(Side::B) => 0,
                Verdict::Tie | Verdict::Contradiction => 1,
                Verdict::Failure => continue,
            });
            ids.push(cluster as u64);
        }
        if halves.is_empty() {
            return Ok(None);
        }
        let judged = Clusters::Ids(&ids);
        let rate = bootstrap.estimate(&Tally::new(&halves, judged)?, Scale::HALVES, "a win rate")?;
        let residuals = judged.index(0..ids.len()).sums(halves.iter().map(|&y| y as f64 / 2.0 - rate.value));
        let clusters = residuals.len() as f64;
        let squares: f64 = residuals.iter().map(|e| e * e).sum();
        let standard_error =
            (residuals.len() > 1).then(|| (clusters / (clusters - 1.0) * squares).sqrt() / halves.len() as f64);
        Ok(Some(WinRate { rate, standard_error }))
    }
}
