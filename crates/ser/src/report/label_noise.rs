//! Compares label noise of the training data with that of the test set.

use ser_status::wilson_by_cluster;

use crate::iteration::{Iteration, LoopInputs};

/// The smallest difference of two accuracies that is explained in the report. Smaller ones may be real, too.
const NOTABLE: f64 = 0.03;

/// The warning that a model agrees with the labels of the training data clearly more or less often than with those of the
/// test set. Without it, the difference looks like a leak or like bad pseudo-labels.
///
/// It compares the last model that labelled the whole pool on the pool and on the test pairs. Without gold labels of the
/// pool, it compares Loop 0's model on the validation pairs, which come from the training data, and on the test pairs.
pub(super) fn label_noise(
    inputs: &LoopInputs<'_>,
    iterations: &[Iteration],
    described: &[ser_eval::IterationReport],
) -> Option<String> {
    let whole_pool = |iteration: &Iteration| {
        let audit = &iteration.selection.as_ref()?.summary.audit;
        let all = audit.unfiltered.of > 0 && audit.coverage.of == inputs.data.pool.len();
        let labels = (audit.unfiltered.share()?, audit.unfiltered_interval?);
        all.then_some((iteration.number.checked_sub(1)?, labels, "the pool's"))
    };
    let validation = |loop_0: &Iteration| {
        let validation = &loop_0.validation;
        let confidence = inputs.settings.audit.confidence;
        let interval = wilson_by_cluster(&validation.correct, validation.clusters(), confidence).ok().flatten()?;
        Some((0, (validation.accuracy()?, interval), "the validation set's"))
    };
    let (number, (share, interval), whose) =
        iterations.iter().rev().find_map(whole_pool).or_else(|| iterations.first().and_then(validation))?;
    let iteration = described.iter().find(|iteration| iteration.number == number)?;
    let test = iteration.evaluation.accuracy;
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let name = &iteration.name;
    let (on_test, on_labels) = (percent(test.value), percent(share));
    if test.low > interval.high && test.value - share > NOTABLE {
        Some(format!(
            "{name}'s model agrees with {on_test} of the test set's labels, but with {on_labels} of {whose}: those labels are \
             noisier than the test set's, or their pairs are harder. Label precision is measured against them, so it cannot \
             come near 100 % even where SER's own labels are right; that it is lower than the test accuracy does not show that \
             test pairs were trained on."
        ))
    } else if test.high < interval.low && share - test.value > NOTABLE {
        Some(format!(
            "{name}'s model agrees with {on_test} of the test set's labels, and with {on_labels} of {whose}: the test pairs are \
             harder, have noisier labels or are of another kind, or the model has seen training pairs before the run."
        ))
    } else {
        None
    }
}
