//! Why the iterations ended, and which settings would continue them.

use std::fmt;

use ser_core::{PairProbabilities, PairScores, PoolView, Side};
use ser_status::{
    Anchor, Certification, LoopState, PoolCounts, PoolQuantiles, PrecisionTarget, Reason, StatusError, Trial,
};

use super::filter::Filter;
use crate::settings::{LoopSettings, PoolReuse};

/// The end of the iterations; displays as a sentence.
pub(crate) struct LoopEnd {
    pub(crate) reason: Reason,
    /// The distribution of the scores, and which settings would select pairs; empty if the reason is enough.
    pub(crate) details: String,
}

impl From<Reason> for LoopEnd {
    fn from(reason: Reason) -> Self {
        LoopEnd { reason, details: String::new() }
    }
}

impl fmt::Display for LoopEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.details.as_str() {
            "" => write!(f, "{}", self.reason),
            details => write!(f, "{}: {details}", self.reason),
        }
    }
}

/// A scored pool from which no pair was selected.
pub(super) struct Unselected<'a> {
    pub(crate) settings: &'a LoopSettings,
    /// Pairs in the whole pool, including those that this iteration could not label.
    pub(crate) whole_pool: usize,
    pub(crate) filter: &'a Filter<'a>,
    pub(crate) certification: Option<&'a Certification>,
    pub(crate) scores: &'a [PairScores],
    pub(crate) probabilities: &'a [PairProbabilities],
    pub(crate) validation: &'a [(PairScores, Side)],
    pub(crate) counts: PoolCounts,
}

impl Unselected<'_> {
    /// Why the filter keeps no pair, and which settings would keep some.
    pub(crate) fn explain(&self) -> Result<String, StatusError> {
        if self.scores.is_empty() {
            return Ok(match (self.whole_pool, self.settings.pool_reuse) {
                (0, _) => "the pool has no pairs".to_owned(),
                (n, PoolReuse::Whole) => format!("none of the pool's {n} pairs may be labelled"),
                (n, _) => {
                    format!(
                        "earlier loops selected all {n} pairs of the pool; loop.pool_reuse = \"whole\" labels them anew"
                    )
                }
            });
        }
        let quantiles = PoolQuantiles::new(self.probabilities);
        let Some(quantiles) = quantiles else {
            return Ok(format!("none of {} pairs has finite scores", self.scores.len()));
        };
        match self.filter {
            Filter::Custom(_) => {
                Ok(format!("the custom rule keeps none of {} pairs. {}", self.scores.len(), spread(&quantiles)))
            }
            Filter::Top(_) => Ok(format!(
                "{} keeps none of {} pairs. {}",
                self.filter.describe(LoopState::Either),
                self.scores.len(),
                spread(&quantiles)
            )),
            Filter::Certified(_) => Ok(self.uncertified()),
            Filter::ByState(_) => self.by_thresholds(&quantiles),
        }
    }

    /// No threshold could be certified.
    fn uncertified(&self) -> String {
        let (Some(target), Some(Certification { held_out_pairs, held_out_prompts, trials, .. })) =
            (&self.settings.precision_target, self.certification)
        else {
            return "no threshold is certified".to_owned();
        };
        let PrecisionTarget { precision, delta, .. } = target;
        let best = trials.iter().min_by(|x, y| x.p_value.total_cmp(&y.p_value));
        let best = best.map_or(String::new(), |Trial { tau_delta, held_out, p_value, .. }| {
            format!(
                " The best candidate, Delta over {tau_delta:.4}, labels {} of {} validation prompts right: p-value {p_value:.3}, \
                 with {} candidates tested at {delta} in all.",
                held_out.count,
                held_out.of,
                trials.len()
            )
        });
        format!(
            "no threshold can be certified to label {precision} of the pairs right, by {held_out_pairs} validation pairs of \
             {held_out_prompts} prompts.{best} More validation prompts, a lower loop.precision_target.precision or fewer \
             candidates would change that"
        )
    }

    /// No pair passes the thresholds.
    fn by_thresholds(&self, quantiles: &PoolQuantiles) -> Result<String, StatusError> {
        let pairs = self.scores.len();
        let mut text = match self.counts.either {
            0 => format!("of {pairs} pairs none passes {}", self.filter.describe(LoopState::Either)),
            _ => format!(
                "of {pairs} pairs {} pass Status 1 and {} pass Status 2, but not the states that the schedule has left \
                 ({})",
                self.counts.status1,
                self.counts.status2,
                self.filter.describe(LoopState::Either)
            ),
        };
        text = format!("{text}. {}", spread(quantiles));
        let changes = self.changes(quantiles)?;
        match changes.as_slice() {
            [] => text.push_str(
                ". No threshold and no anchor would change that: the model gives equal scores to both answers",
            ),
            changes => text.push_str(&format!(". What would change that: {}", changes.join("; "))),
        }
        Ok(text)
    }

    /// Settings under which pairs would be selected, with their number.
    fn changes(&self, quantiles: &PoolQuantiles) -> Result<Vec<String>, StatusError> {
        let mut changes = Vec::new();
        if self.counts.either > 0 {
            changes.push("a loop.schedule with a state that keeps pairs".to_owned());
        }
        for (anchor, name) in [
            (Anchor::None, "none"),
            (Anchor::PoolMean, "pool_mean"),
            (Anchor::PerPair, "per_pair"),
            (Anchor::Fitted, "fitted"),
        ] {
            let unfit = anchor == Anchor::Fitted && self.validation.is_empty();
            if anchor == self.settings.anchor || unfit {
                continue;
            }
            let anchored = anchor.fit(self.scores, self.validation)?.apply(self.scores);
            let counts = self.filter.counts(&PoolView::new(&anchored).with_scores(self.scores))?;
            if counts.either > self.counts.either {
                changes.push(format!(
                    "loop.anchor = \"{name}\" ({} pairs would pass Status 1, {} Status 2)",
                    counts.status1, counts.status2
                ));
            }
        }
        let mut deltas: Vec<f64> =
            self.probabilities.iter().map(|pair| pair.delta()).filter(|delta| delta.is_finite()).collect();
        deltas.sort_unstable_by(|x, y| y.total_cmp(x));
        // Rounded down to four digits, so that the pairs at this Delta pass.
        let tenth = deltas.get(deltas.len() / 10).map(|delta| (delta * 1e4).floor() / 1e4);
        if let Some(tau) = tenth.filter(|_| quantiles.delta.max > 0.0) {
            let kept = deltas.iter().take_while(|delta| **delta > tau).count();
            if self.counts.either == 0 && kept > 0 {
                changes.push(format!("loop.thresholds.tau_delta = {tau} ({kept} pairs would pass Status 2)"));
            }
        }
        Ok(changes)
    }
}

/// The quantiles of the pool's probabilities, to compare with the thresholds.
fn spread(quantiles: &PoolQuantiles) -> String {
    let PoolQuantiles { not_finite, delta, p_high, p_low, .. } = quantiles;
    let not_finite = match not_finite {
        0 => String::new(),
        n => format!(" ({n} pairs without finite scores left out)"),
    };
    format!(
        "Over the pool{not_finite} Delta is {delta}; p of the higher-scored answer is {p_high}; p of the lower-scored answer \
         is {p_low}"
    )
}
