//! The [`Report`] of a self-evolution run.

use std::collections::BTreeMap;

use ndarray::aview2;
use ser_eval::{
    Baseline, BaselineKind, Binning, Calibration, Changes, Estimate, EvalError, Evaluation, Report,
    similar_pair_differences,
};

use super::label_noise::label_noise;
use crate::iteration::{Comparison, Iteration, LoopEnd, LoopInputs, Scored, Selection, status_of};
use crate::pool::PositionSet;
use crate::settings::WarmStart;

/// Bins of the reliability table, as many as for the ECE of the accuracies.
const BINS: usize = 10;

/// The results of a run.
pub(crate) struct Findings<'r> {
    pub(crate) title: String,
    pub(crate) iterations: &'r [Iteration],
    pub(crate) chosen: &'r Iteration,
    pub(crate) stopped: LoopEnd,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) warnings: Vec<String>,
}

/// Makes the report of a finished run, without the parts that [`write_report`](super::write_report) sets.
pub(crate) fn report(inputs: &LoopInputs<'_>, findings: Findings<'_>) -> Result<Report, EvalError> {
    let Findings { title, iterations, chosen, stopped, comparisons, mut warnings } = findings;
    let bootstrap = &inputs.settings.bootstrap;
    let measure = |test: &Scored| Evaluation::measure(aview2(&test.chosen_first), test.clusters(), bootstrap);
    let clusters = inputs.test.clusters();
    let seed = inputs.data.seed.len() as u64;
    let loop_0 = iterations.first().unwrap_or(chosen);
    let ser_steps = iterations
        .iter()
        .filter(|iteration| iteration.number <= chosen.number)
        .map(|iteration| iteration.fit.steps)
        .sum();
    let mut baselines = vec![
        row(BaselineKind::Loop0, measure(&loop_0.test)?, [seed, seed], None, Some(loop_0.fit.steps)),
        row(BaselineKind::Ser, measure(&chosen.test)?, trained_on(inputs, iterations, chosen), None, Some(ser_steps)),
    ];
    if let Some(ser) = baselines.last_mut() {
        ser.gain = Some(bootstrap.difference(&chosen.test.correct, &loop_0.test.correct, clusters)?);
    }
    for Comparison { kind, test, trained_on, human_labels, steps } in comparisons {
        let gain = bootstrap.difference(&test.correct, &loop_0.test.correct, clusters)?;
        baselines.push(row(kind, measure(&test)?, [trained_on as u64, human_labels as u64], Some(gain), steps));
    }
    let test_scores: Vec<_> = iterations.iter().map(|iteration| aview2(&iteration.test.chosen_first)).collect();
    let mut similar = similar_pair_differences(inputs.test.pairs(), &test_scores)?.into_iter();
    let iteration = |iteration: &Iteration| -> Result<ser_eval::IterationReport, EvalError> {
        let validation = iteration.validation.correct.len() as u64;
        Ok(ser_eval::IterationReport {
            number: iteration.number,
            name: format!("Loop {}", iteration.number),
            status: match (&iteration.selection, inputs.settings.top_share) {
                (Some(step), None) => status_of(step.summary.decision.state),
                _ => None,
            },
            rule: iteration.selection.as_ref().map(|step| step.summary.rule.clone()),
            selection: iteration.selection.as_ref().map(selection),
            trained_on: trained_on(inputs, iterations, iteration)[0],
            fit: Some(iteration.fit),
            validation_accuracy: iteration.validation.accuracy(),
            validation_pairs: (validation > 0).then_some(validation),
            similar_pairs: None,
            evaluation: measure(&iteration.test)?,
            chosen: iteration.number == chosen.number,
        })
    };
    let mut described: Vec<_> = iterations.iter().map(iteration).collect::<Result<_, _>>()?;
    for iteration in &mut described {
        iteration.similar_pairs = similar.next();
    }
    warnings.extend(label_noise(inputs, iterations, &described));
    let mut report = Report {
        title,
        seeds: BTreeMap::from([("run".to_owned(), inputs.settings.seed)]),
        data: inputs.data.counts.clone(),
        iterations: described,
        stopped: Some(stopped.to_string()),
        baselines,
        changes: Some(Changes::between(&loop_0.test.correct, &chosen.test.correct)?),
        calibration: Some(Calibration::measure(aview2(&chosen.test.chosen_first), BINS, Binning::EqualWidth)?),
        warnings,
        ..Report::default()
    };
    report.close_gaps();
    Ok(report)
}

fn row(
    kind: BaselineKind,
    evaluation: Evaluation,
    [trained_on, human_labels]: [u64; 2],
    gain: Option<Estimate>,
    steps: Option<u64>,
) -> Baseline {
    Baseline { kind, evaluation, trained_on, human_labels, steps, gain, gap_closed: None }
}

/// The number of different pairs that an iteration's weights were trained on, including earlier trainings that they started
/// from, and the number of human labels that they depend on.
fn trained_on(inputs: &LoopInputs<'_>, iterations: &[Iteration], iteration: &Iteration) -> [u64; 2] {
    let seed = if iteration.number == 0 { inputs.data.seed.len() } else { inputs.seed_seen() };
    let selections: Vec<&Selection> = iterations
        .iter()
        .take_while(|other| other.number <= iteration.number)
        .filter_map(|other| other.selection.as_ref())
        .collect();
    let mut pool: PositionSet = inputs.trained_positions(&selections).collect();
    if inputs.settings.warm_start == WarmStart::Previous {
        selections.iter().for_each(|selection| pool.unite(&selection.labelled));
    }
    let human = if iteration.number == 0 { seed } else { seed + inputs.validation_read() };
    [(seed + pool.len()) as u64, human as u64]
}

fn selection(step: &Selection) -> ser_eval::Selection {
    let audit = &step.summary.audit;
    let precision = audit.precision.share().zip(audit.precision_interval).map(|(value, interval)| Estimate {
        value,
        low: interval.low,
        high: interval.high,
        pairs: audit.precision.of as u64,
        clusters: (audit.precision_prompts < audit.precision.of).then_some(audit.precision_prompts as u64),
    });
    let bins = audit.histogram.iter().map(|bin| ser_eval::SelectionBin {
        low: bin.low,
        high: bin.high,
        pairs: bin.pairs as u64,
        kept: bin.selected as u64,
        with_gold: bin.correct.of as u64,
        correct: (bin.correct.of > 0).then_some(bin.correct.count as u64),
    });
    ser_eval::Selection {
        pool: audit.coverage.of as u64,
        kept: audit.coverage.count as u64,
        coverage: audit.coverage.share().unwrap_or_default(),
        precision,
        flip_rate: audit.flips.rate(),
        delta_histogram: bins.collect(),
    }
}
