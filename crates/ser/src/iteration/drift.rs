//! Drift warnings: what goes wrong when a model trains on its own labels.

use ser_core::{PairScores, PreferenceSet, Side};
use ser_eval::Estimate;
use ser_status::{Composition, PoolCounts};

use crate::Error;
use crate::pool::lengths;
use crate::prepare::CHUNK;
use crate::settings::DriftLimits;

/// Checks each iteration for drift and collects the warnings, one sentence each.
pub(crate) struct DriftMonitor {
    limits: DriftLimits,
    /// The composition of the labelled seed.
    seed: Composition,
    /// The spread of the pool's margins under the seed model.
    seed_spread: Option<f64>,
    warnings: Vec<String>,
}

impl DriftMonitor {
    pub(crate) fn new(limits: DriftLimits, seed: &PreferenceSet) -> Result<Self, Error> {
        Ok(DriftMonitor { limits, seed: composition(seed)?, seed_spread: None, warnings: Vec::new() })
    }

    /// The warning that held-out pairs are too few to compare models. `part` is their name: `test`.
    pub(crate) fn small_sample(part: &str, pairs: usize, prompts: usize) -> Option<String> {
        (pairs > 0 && (prompts as u64) < Estimate::SMALL_SAMPLE).then(|| {
            // 1.96 standard errors of an accuracy of 3/4.
            let uncertainty = 100.0 * 1.96 * (0.75 * 0.25 / prompts as f64).sqrt();
            let of = if prompts < pairs { format!(" of {prompts} prompts") } else { String::new() };
            let noun = if pairs == 1 { "pair" } else { "pairs" };
            format!(
                "There are only {pairs} {part} {noun}{of}: an accuracy of 75 % on them is uncertain by about {uncertainty:.0} \
                 points either way (95 %), so smaller differences say nothing."
            )
        })
    }

    /// Checks the pool's scores: whether they are finite, and whether their spread collapsed or exploded compared with
    /// the seed model's.
    pub(super) fn check_scores(&mut self, iteration: u32, scores: &[PairScores]) {
        let (count, pairs) = (not_finite(scores), scores.len());
        if count > 0 {
            self.warn(format!(
                "The model that labels for loop {iteration} gives {count} of {pairs} pool pairs scores that are not \
                 finite; they are never selected."
            ));
        }
        let now = spread(scores);
        let seed = *self.seed_spread.get_or_insert(now);
        let problem = if now == 0.0 {
            "gives all pool pairs a margin of 0"
        } else if now < self.limits.spread * seed {
            "has margins that have collapsed"
        } else if self.limits.spread * now > seed {
            "has margins that have exploded"
        } else {
            return;
        };
        self.warn(format!(
            "The model that labels for loop {iteration} {problem}: their spread is {now:.3}, the seed model's was {seed:.3}."
        ));
    }

    /// Checks whether the labels prefer the longer answer more or less often than the labelled seed does.
    pub(super) fn check_labels(&mut self, iteration: u32, labels: &Composition) {
        let (Some(labels), Some(seed)) = (longer_share(labels), longer_share(&self.seed)) else {
            return;
        };
        if (labels - seed).abs() > self.limits.longer_share {
            self.warn(format!(
                "Loop {iteration} prefers the longer answer in {:.0} % of its labels, the labelled seed in {:.0} %: the model \
                 may be learning length; consider balance.max_length_share.",
                100.0 * labels,
                100.0 * seed
            ));
        }
    }

    /// Checks whether a selection by Status 2 reaches pairs beyond those of Status 1.
    pub(super) fn check_status2(&mut self, iteration: u32, counts: &PoolCounts) {
        if counts.status2 > 0 && counts.status2_alone() == 0 {
            self.warn(format!(
                "Loop {iteration} selects by Status 2, but Status 1 would keep each of its {} pairs too, {} in all: it reaches no \
                 more ambiguous pairs; lower loop.thresholds.tau_delta, or raise tau_high and lower tau_low.",
                counts.status2, counts.status1
            ));
        }
    }

    /// Checks the validation accuracy against the best earlier one.
    pub(super) fn check_validation(&mut self, iteration: u32, now: Option<f64>, best_before: Option<f64>) {
        let (Some(now), Some(best)) = (now, best_before) else {
            return;
        };
        if best - now > self.limits.validation_drop {
            self.warn(format!(
                "Loop {iteration} gets {:.1} % of the validation pairs right, where an earlier loop got {:.1} %.",
                100.0 * now,
                100.0 * best
            ));
        }
    }

    fn warn(&mut self, warning: String) {
        tracing::warn!("{warning}");
        self.warnings.push(warning);
    }

    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }
}

/// The share of labels that prefer the longer answer, among those whose answers differ in length; `None` if there are
/// none.
pub(super) fn longer_share(composition: &Composition) -> Option<f64> {
    let both = composition.longer + composition.shorter;
    (both > 0).then(|| composition.longer as f64 / both as f64)
}

/// Counts the sides and lengths that labelled pairs prefer.
fn composition(preferences: &PreferenceSet) -> Result<Composition, Error> {
    let mut composition = Composition::default();
    for chunk in preferences.chunks(CHUNK) {
        for preference in chunk.map_err(Error::store)? {
            let [a, b] = lengths(&preference.pair);
            let (preferred, other) = match preference.preferred {
                Side::A => {
                    composition.side_a += 1;
                    (a, b)
                }
                Side::B => {
                    composition.side_b += 1;
                    (b, a)
                }
            };
            composition.longer += usize::from(preferred > other);
            composition.shorter += usize::from(preferred < other);
        }
    }
    Ok(composition)
}

/// The number of pairs whose scores are not finite.
fn not_finite(scores: &[PairScores]) -> usize {
    scores.iter().filter(|s| !s.margin().is_finite()).count()
}

/// The root mean square of the finite margins, in raw score units; 0 if there are none.
fn spread(scores: &[PairScores]) -> f64 {
    let margins = || scores.iter().map(|s| s.margin()).filter(|m| m.is_finite());
    let largest = margins().fold(0.0, |most: f64, m| most.max(m.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    // Scaled by the largest, so that no square overflows.
    let (n, sum) = margins().fold((0usize, 0.0), |(n, sum), m| (n + 1, sum + (m / largest).powi(2)));
    largest * (sum / n as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(longer: usize, shorter: usize) -> DriftMonitor {
        let seed = Composition { longer, shorter, ..Composition::default() };
        DriftMonitor { limits: DriftLimits::default(), seed, seed_spread: None, warnings: Vec::new() }
    }

    fn scores(margins: &[f64]) -> Vec<PairScores> {
        margins.iter().map(|&m| PairScores::new(m, 0.0)).collect()
    }

    #[test]
    fn the_share_of_longer_answers_is_compared_with_the_seed() {
        let labels = |longer, shorter| Composition { longer, shorter, ..Composition::default() };
        for (seed, selected, expected) in
            [((50, 50), (60, 40), 0), ((60, 40), (91, 9), 1), ((60, 40), (20, 80), 1), ((60, 40), (0, 0), 0)]
        {
            let mut monitor = monitor(seed.0, seed.1);
            monitor.check_labels(2, &labels(selected.0, selected.1));
            assert_eq!(monitor.warnings.len(), expected, "{seed:?} {selected:?}");
        }
        let mut monitor = monitor(60, 40);
        monitor.check_labels(2, &labels(91, 9));
        let text = &monitor.warnings[0];
        assert!(text.contains("91 %") && text.contains("60 %") && text.contains("Loop 2"), "{text}");
    }

    #[test]
    fn spread_by_hand_and_at_the_ends() {
        assert_eq!(spread(&scores(&[3.0, -4.0, f64::NAN])), 12.5f64.sqrt());
        assert_eq!(spread(&scores(&[1e300, 1e300])), 1e300);
        assert_eq!(spread(&[]), 0.0);
        assert_eq!(not_finite(&scores(&[1.0, f64::NAN, f64::INFINITY])), 2);
        for (now, expected) in [(0.5, ""), (0.0, "margin of 0"), (0.05, "collapsed"), (20.0, "exploded")] {
            let mut monitor = monitor(1, 1);
            monitor.check_scores(1, &scores(&[1.0]));
            monitor.check_scores(1, &scores(&[now]));
            assert!(monitor.warnings.concat().contains(expected), "{:?}", monitor.warnings);
            assert_eq!(monitor.warnings.is_empty(), expected.is_empty());
        }
    }

    #[test]
    fn small_samples_are_counted_by_prompt() {
        assert_eq!(DriftMonitor::small_sample("test", 100, 100), None);
        assert_eq!(DriftMonitor::small_sample("validation", 0, 0), None);
        let text = DriftMonitor::small_sample("validation", 300, 58).unwrap();
        assert!(text.starts_with("There are only 300 validation pairs of 58 prompts: "), "{text}");
        assert!(text.contains("about 11 points"), "{text}");
        assert!(DriftMonitor::small_sample("test", 99, 99).unwrap().starts_with("There are only 99 test pairs: "));
    }

    #[test]
    fn a_drop_in_validation_accuracy_is_a_warning() {
        let mut monitor = monitor(1, 1);
        monitor.check_validation(2, Some(0.69), Some(0.70));
        monitor.check_validation(2, None, Some(0.70));
        assert!(monitor.warnings.is_empty());
        monitor.check_validation(2, Some(0.60), Some(0.70));
        assert!(monitor.warnings[0].contains("70.0 %"));
    }
}
