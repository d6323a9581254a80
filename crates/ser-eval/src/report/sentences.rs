//! Sentences used by the terminal and by the page.

use super::{Changes, Report, thousands, whole_percent};
use crate::Estimate;

/// Below this number of pairs, a share is too uncertain to compare models: at 100, its standard error is up to 5
/// points.
const FEW: u64 = Estimate::SMALL_SAMPLE;

/// [`few_pairs`] for an accuracy on test pairs: counts prompts if pairs share prompts.
pub(crate) fn few_test_pairs(accuracy: Estimate) -> Option<String> {
    let name = if accuracy.clusters.is_some() { "test prompt" } else { "test pair" };
    few_pairs(accuracy.independent_units(), name, accuracy.value)
}

/// A warning if a value comes from few pairs: `only 42 test pairs: the standard error is about 7.7 points`.
pub(crate) fn few_pairs(pairs: u64, name: &str, share: f64) -> Option<String> {
    if pairs >= FEW {
        return None;
    }
    // If none or all are right, the standard error is estimated with one more pair of each outcome.
    let n = pairs as f64;
    let share = (share * n + 1.0) / (n + 2.0);
    let error = 100.0 * (share * (1.0 - share) / n.max(1.0)).sqrt();
    let plural = if pairs == 1 { "" } else { "s" };
    Some(format!("only {pairs} {name}{plural}: the standard error is about {error:.0} points"))
}

/// The effect of the loop on the test pairs, as a sentence.
pub(crate) fn what_changed(changes: &Changes) -> String {
    format!(
        "Between Loop 0 and the result, {} of {} test pairs turned right and {} turned wrong.",
        thousands(changes.turned_right),
        thousands(changes.pairs),
        thousands(changes.turned_wrong)
    )
}

/// The training steps of SER and of Full, as a sentence.
pub(crate) fn what_steps(report: &Report) -> Option<String> {
    let (ser, full) = report.training_steps()?;
    Some(format!(
        "Loop 0 and the loops took {} training steps, {} of the {} that training on all labels takes.",
        thousands(ser),
        whole_percent(ser as f64 / full as f64),
        thousands(full)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_pairs_give_a_warning() {
        assert_eq!(few_pairs(100, "test pair", 0.5), None);
        let text = few_pairs(25, "test pair", 0.5).unwrap_or_default();
        assert_eq!(text, "only 25 test pairs: the standard error is about 10 points");
        let of_prompts = Estimate { value: 0.5, low: 0.4, high: 0.6, pairs: 250, clusters: Some(25) };
        let text = few_test_pairs(of_prompts).unwrap_or_default();
        assert_eq!(text, "only 25 test prompts: the standard error is about 10 points");
        assert_eq!(few_test_pairs(Estimate { clusters: None, ..of_prompts }), None);
        assert!(few_pairs(1, "test pair", 1.0).is_some_and(|text| text.starts_with("only 1 test pair: ")));
    }
}
