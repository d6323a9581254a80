//! What verdicts come to: wins, ties, losses, and a rate with its uncertainty.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use ser_core::{Side, Verdict};
use serde::{Deserialize, Serialize};

use crate::bootstrap::binomial;
use crate::{Bootstrap, Estimate, EvalError};

/// Verdicts on pairs whose answer A is the policy's and whose answer B is what it is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCounts {
    /// A is better.
    pub wins: u64,
    /// Neither is, or the judge contradicts itself.
    pub ties: u64,
    /// B is better.
    pub losses: u64,
    /// Those of the ties in which the judge contradicted itself.
    pub contradictions: u64,
    /// Pairs without a verdict; in none of the others.
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

    /// (wins + ties / 2) / judged, with its bootstrap interval over pairs; none without a verdict.
    ///
    /// Where all verdicts are alike no resample differs. An outcome never seen in n pairs may then still have a share
    /// of up to 1 - (tail)^(1/n) (Clopper and Pearson); the interval lets it go to the worse and to the better side.
    pub fn win_rate(&self, bootstrap: &Bootstrap) -> Result<Option<Estimate>, EvalError> {
        bootstrap.check()?;
        let judged = self.judged();
        if judged == 0 {
            return Ok(None);
        }
        let n = judged as f64;
        let value = (self.wins as f64 + self.ties as f64 / 2.0) / n;
        let (low, high) = if [self.wins, self.ties, self.losses].contains(&judged) {
            let unseen = 1.0 - bootstrap.tail().powf(1.0 / n);
            // What is not seen may be all losses, or all wins.
            (value * (1.0 - unseen), value * (1.0 - unseen) + unseen)
        } else {
            // A multinomial as two binomials: wins of all, then ties of what is not a win.
            let win_share = self.wins as f64 / n;
            let tie_share = self.ties as f64 / (judged - self.wins) as f64;
            let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
            let draws = (0..bootstrap.resamples).map(|_| {
                let wins = binomial(judged, win_share, &mut rng);
                let ties = binomial(judged - wins, tie_share, &mut rng);
                (wins as f64 + ties as f64 / 2.0) / n
            });
            bootstrap.percentiles(draws.collect())
        };
        Ok(Some(Estimate { value, low, high, pairs: judged }))
    }

    /// The standard error of the win rate, as AlpacaEval has it: the sample's standard deviation (n - 1) of the outcomes
    /// 1, 1/2 and 0, over sqrt(n). None with fewer than two verdicts.
    pub fn standard_error(&self) -> Option<f64> {
        let judged = self.judged();
        if judged < 2 {
            return None;
        }
        let n = judged as f64;
        let mean = (self.wins as f64 + self.ties as f64 / 2.0) / n;
        let squares = |outcome: f64, count: u64| count as f64 * (outcome - mean).powi(2);
        let sum = squares(1.0, self.wins) + squares(0.5, self.ties) + squares(0.0, self.losses);
        Some((sum / (n - 1.0) / n).sqrt())
    }
}
