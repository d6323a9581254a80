//! Drift guards: what a loop that teaches itself may go wrong by, said in a sentence each.

use ser_core::{PairScores, Preference, Side};
use ser_eval::Estimate;
use ser_status::{Composition, PoolCounts};

use crate::pool::lengths;
use crate::settings::Guards;

/// Of the labels whose answers differ in length, the share that prefers the longer one; none without any.
pub(crate) fn longer_share(composition: &Composition) -> Option<f64> {
    let both = composition.longer + composition.shorter;
    (both > 0).then(|| composition.longer as f64 / both as f64)
}

/// What labelled pairs are made of.
pub(crate) fn composition(preferences: &[Preference]) -> Composition {
    let mut composition = Composition::default();
    for preference in preferences {
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
    composition
}

/// How many pairs have scores that are no finite numbers.
pub(crate) fn not_finite(scores: &[PairScores]) -> usize {
    scores.iter().filter(|s| !s.margin().is_finite()).count()
}

/// The root mean square of the finite margins, in raw score units; 0 without any.
pub(crate) fn spread(scores: &[PairScores]) -> f64 {
    let margins = || scores.iter().map(|s| s.margin()).filter(|m| m.is_finite());
    let largest = margins().fold(0.0, |most: f64, m| most.max(m.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    // Scaled, so that no square overflows.
    let (n, sum) = margins().fold((0usize, 0.0), |(n, sum), m| (n + 1, sum + (m / largest).powi(2)));
    largest * (sum / n as f64).sqrt()
}

impl Guards {
    /// Warns of labels that learn length instead of worth.
    pub(crate) fn length(&self, round: u32, labels: &Composition, seed: &Composition) -> Option<String> {
        let (labels, seed) = (longer_share(labels)?, longer_share(seed)?);
        ((labels - seed).abs() > self.longer_share).then(|| {
            format!(
                "Loop {round} prefers the longer answer in {:.0} % of its labels, the labelled seed in {:.0} %: the model \
                 may be learning length; consider balance.max_length_share.",
                100.0 * labels,
                100.0 * seed
            )
        })
    }

    /// Warns of scores that collapse or explode, by the pool's spread now and under the seed model.
    pub(crate) fn spread(&self, round: u32, now: f64, seed: f64) -> Option<String> {
        let said = if now == 0.0 {
            "gives all pool pairs a margin of 0"
        } else if now < self.spread * seed {
            "has margins that have collapsed"
        } else if self.spread * now > seed {
            "has margins that have exploded"
        } else {
            return None;
        };
        Some(format!(
            "The model that labels for loop {round} {said}: their spread is {now:.3}, the seed model's was {seed:.3}."
        ))
    }

    /// Warns of scores that cannot be used.
    pub(crate) fn not_finite(round: u32, count: usize, of: usize) -> Option<String> {
        (count > 0).then(|| {
            format!(
                "The model that labels for loop {round} gives {count} of {of} pool pairs scores that are no finite \
                 numbers; they are never selected."
            )
        })
    }

    /// Warns of a loop of Status 2 that reaches no pair beyond those of Status 1.
    pub(crate) fn no_ambiguous_pairs(round: u32, counts: &PoolCounts) -> Option<String> {
        (counts.status2 > 0 && counts.status2_alone() == 0).then(|| {
            format!(
                "Loop {round} selects by Status 2, but Status 1 would keep each of its {} pairs too, {} in all: it reaches no \
                 more ambiguous pairs; lower loop.thresholds.tau_delta, or raise tau_high and lower tau_low.",
                counts.status2, counts.status1
            )
        })
    }

    /// Warns of held-out pairs that are too few to tell models apart. `part` is their name: `test`.
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

    /// Warns of a loop that unlearns.
    pub(crate) fn validation(&self, round: u32, now: Option<f64>, best_before: Option<f64>) -> Option<String> {
        let (now, best) = (now?, best_before?);
        (best - now > self.validation_drop).then(|| {
            format!(
                "Loop {round} gets {:.1} % of the validation pairs right, where an earlier loop got {:.1} %.",
                100.0 * now,
                100.0 * best
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_held_against_the_seed() {
        let of = |longer, shorter| Composition { longer, shorter, ..Composition::default() };
        let guards = Guards::default();
        assert_eq!(guards.length(1, &of(60, 40), &of(50, 50)), None);
        let text = guards.length(2, &of(91, 9), &of(60, 40)).unwrap();
        assert!(text.contains("91 %") && text.contains("60 %") && text.contains("Loop 2"), "{text}");
        assert!(guards.length(2, &of(20, 80), &of(60, 40)).is_some());
        assert_eq!(guards.length(1, &of(0, 0), &of(60, 40)), None);
    }

    #[test]
    fn spread_by_hand_and_at_the_ends() {
        let of = |margins: &[f64]| margins.iter().map(|&m| PairScores::new(m, 0.0)).collect::<Vec<_>>();
        assert_eq!(spread(&of(&[3.0, -4.0, f64::NAN])), 12.5f64.sqrt());
        assert_eq!(spread(&of(&[1e300, 1e300])), 1e300);
        assert_eq!(spread(&[]), 0.0);
        assert_eq!(not_finite(&of(&[1.0, f64::NAN, f64::INFINITY])), 2);
        let guards = Guards::default();
        assert_eq!(guards.spread(1, 0.5, 1.0), None);
        for (now, said) in [(0.0, "margin of 0"), (0.05, "collapsed"), (20.0, "exploded")] {
            assert!(guards.spread(1, now, 1.0).unwrap().contains(said));
        }
    }

    #[test]
    fn small_samples_are_counted_by_prompt() {
        assert_eq!(Guards::small_sample("test", 100, 100), None);
        assert_eq!(Guards::small_sample("validation", 0, 0), None);
        let text = Guards::small_sample("validation", 300, 58).unwrap();
        assert!(text.starts_with("There are only 300 validation pairs of 58 prompts: "), "{text}");
        assert!(text.contains("about 11 points"), "{text}");
        assert!(Guards::small_sample("test", 99, 99).unwrap().starts_with("There are only 99 test pairs: "));
    }

    #[test]
    fn a_fall_in_validation_is_noted() {
        let guards = Guards::default();
        assert_eq!(guards.validation(2, Some(0.69), Some(0.70)), None);
        assert_eq!(guards.validation(2, None, Some(0.70)), None);
        assert!(guards.validation(2, Some(0.60), Some(0.70)).unwrap().contains("70.0 %"));
    }
}
