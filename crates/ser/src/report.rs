//! Makes the [`Report`] of a run.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use ndarray::aview2;
use ser_core::PairId;
use ser_eval::{
    Baseline, BaselineKind, Binning, Calibration, Changes, Estimate, EvalError, Evaluation, Report, Selection,
    StageTime, Timing, similar_pair_differences,
};
use ser_status::wilson_by_cluster;

use crate::Error;
use crate::baselines::Comparison;
use crate::evaluation::Scored;
use crate::filter::status_of;
use crate::lesson::Lesson;
use crate::rounds::{Loop, Round};
use crate::run_folder::RunFolder;
use crate::settings::WarmStart;
use crate::stop::Stop;

/// Bins of the reliability table, as many as the ECE of the accuracies has.
const BINS: usize = 10;

/// Writes `report.json` and `report.html` into a run's folder, with the run's settings and timing. Returns the latter's path.
///
/// Call it again after adding to a loop's report, policy results for instance.
pub fn write_report(run: &RunFolder, report: &mut Report) -> Result<PathBuf, Error> {
    report.settings = run.settings().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    report.timing = timing(run);
    let json = report.to_json().map_err(Error::stage("writing the report"))?;
    run.write_text("report.html", &report.to_html())?;
    run.write_text("report.json", &json)?;
    Ok(run.stage_path("report.html"))
}

/// What a run found out.
pub(crate) struct Findings<'r> {
    pub(crate) title: String,
    pub(crate) rounds: &'r [Round],
    pub(crate) chosen: &'r Round,
    pub(crate) stopped: Stop,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) warnings: Vec<String>,
}

/// The report of a run that is done.
pub(crate) fn report(work: &Loop<'_>, run: &RunFolder, findings: Findings<'_>) -> Result<Report, EvalError> {
    let Findings { title, rounds, chosen, stopped, comparisons, mut warnings } = findings;
    let bootstrap = &work.settings.bootstrap;
    let measure = |test: &Scored| Evaluation::measure(aview2(&test.chosen_first), test.clusters(), bootstrap);
    let clusters = work.test.clusters();
    let seed = work.data.seed.len() as u64;
    let loop_0 = rounds.first().unwrap_or(chosen);
    let ser_steps = rounds.iter().filter(|round| round.number <= chosen.number).map(|round| round.fit.steps).sum();
    let mut baselines = vec![
        row(BaselineKind::Loop0, measure(&loop_0.test)?, [seed, seed], None, Some(loop_0.fit.steps)),
        row(BaselineKind::Ser, measure(&chosen.test)?, trained_on(work, rounds, chosen), None, Some(ser_steps)),
    ];
    if let Some(ser) = baselines.last_mut() {
        ser.gain = Some(bootstrap.difference(&chosen.test.correct, &loop_0.test.correct, clusters)?);
    }
    for Comparison { kind, test, trained_on, human_labels, steps } in comparisons {
        let gain = bootstrap.difference(&test.correct, &loop_0.test.correct, clusters)?;
        baselines.push(row(kind, measure(&test)?, [trained_on as u64, human_labels as u64], Some(gain), steps));
    }
    let test_scores: Vec<_> = rounds.iter().map(|round| aview2(&round.test.chosen_first)).collect();
    let mut similar = similar_pair_differences(work.test.pairs(), &test_scores)?.into_iter();
    let round = |round: &Round| -> Result<ser_eval::IterationReport, EvalError> {
        let validation = round.validation.correct.len() as u64;
        Ok(ser_eval::IterationReport {
            number: round.number,
            name: format!("Loop {}", round.number),
            status: round.lesson.as_ref().and_then(|lesson| status_of(lesson.facts.decision.state)),
            rule: round.lesson.as_ref().map(|lesson| lesson.facts.rule.clone()),
            selection: round.lesson.as_ref().map(selection),
            trained_on: trained_on(work, rounds, round)[0],
            fit: Some(round.fit),
            validation_accuracy: round.validation.accuracy(),
            validation_pairs: (validation > 0).then_some(validation),
            similar_pairs: None,
            evaluation: measure(&round.test)?,
            chosen: round.number == chosen.number,
        })
    };
    let mut described: Vec<_> = rounds.iter().map(round).collect::<Result<_, _>>()?;
    for round in &mut described {
        round.similar_pairs = similar.next();
    }
    warnings.extend(label_noise(work, rounds, &described));
    let mut report = Report {
        title,
        library_version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: serde_json::Value::Null,
        seeds: BTreeMap::from([("run".to_owned(), work.settings.seed)]),
        data: work.data.counts.clone(),
        iterations: described,
        stopped: Some(stopped.to_string()),
        baselines,
        changes: Some(Changes::between(&loop_0.test.correct, &chosen.test.correct)?),
        calibration: Some(Calibration::measure(aview2(&chosen.test.chosen_first), BINS, Binning::EqualWidth)?),
        subsets: Vec::new(),
        policy: None,
        warnings,
        timing: timing(run),
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

/// Points between two accuracies under which a difference needs no explanation, though it may be a true one.
const NOTABLE: f64 = 0.03;

/// That one model agrees with the labels of the training data clearly more or less often than with those of the test set: what
/// would else look like a leak, or like bad pseudo-labels.
///
/// It compares the last model that labelled the whole pool on the pool and on the test pairs, or, without gold labels of the
/// pool, Loop 0's model on the validation pairs, which come from the training data, and on the test pairs.
fn label_noise(work: &Loop<'_>, rounds: &[Round], described: &[ser_eval::IterationReport]) -> Option<String> {
    let whole_pool = |round: &Round| {
        let audit = &round.lesson.as_ref()?.facts.audit;
        let all = audit.unfiltered.of > 0 && audit.coverage.of == work.data.pool.len();
        let labels = (audit.unfiltered.share()?, audit.unfiltered_interval?);
        all.then_some((round.number.checked_sub(1)?, labels, "the pool's"))
    };
    let validation = |loop_0: &Round| {
        let validation = &loop_0.validation;
        let confidence = work.settings.audit.confidence;
        let interval = wilson_by_cluster(&validation.correct, validation.clusters(), confidence).ok().flatten()?;
        Some((0, (validation.accuracy()?, interval), "the validation set's"))
    };
    let (number, (share, interval), whose) =
        rounds.iter().rev().find_map(whole_pool).or_else(|| rounds.first().and_then(validation))?;
    let round = described.iter().find(|round| round.number == number)?;
    let test = round.evaluation.accuracy;
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let name = &round.name;
    let (on_test, on_labels) = (percent(test.value), percent(share));
    if test.low > interval.high && test.value - share > NOTABLE {
        Some(format!(
            "{name}'s model agrees with {on_test} of the test set's labels, but with {on_labels} of {whose}: those labels are \
             noisier than the test set's, or their pairs are harder. Label precision is measured against them, so it cannot \
             come near 100 % even where SER's own labels are right; that it is lower than the test accuracy is no sign that \
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

/// How many different pairs a round's weights have seen, those they were trained from included, and how many human labels
/// were read to make them.
fn trained_on(work: &Loop<'_>, rounds: &[Round], round: &Round) -> [u64; 2] {
    let seed = if round.number == 0 { work.data.seed.len() } else { work.seed_seen() };
    let lineage = rounds.iter().filter(|other| match work.settings.warm_start {
        WarmStart::Previous => other.number <= round.number,
        WarmStart::Seed | WarmStart::Base => other.number == round.number,
    });
    let lessons = lineage.filter_map(|other| other.lesson.as_ref());
    let pool: HashSet<PairId> = lessons.flat_map(|l| l.labels.iter().chain(&l.kept)).map(|p| p.pair.id).collect();
    let human = if round.number == 0 { seed } else { seed + work.validation_read() };
    [(seed + pool.len()) as u64, human as u64]
}

fn selection(lesson: &Lesson) -> Selection {
    let audit = &lesson.facts.audit;
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
    Selection {
        pool: audit.coverage.of as u64,
        kept: audit.coverage.count as u64,
        coverage: audit.coverage.share().unwrap_or_default(),
        precision,
        flip_rate: audit.flips.rate(),
        delta_histogram: bins.collect(),
    }
}

fn timing(run: &RunFolder) -> Timing {
    let stages: Vec<_> = run.timing().map(|(stage, seconds)| StageTime { stage: stage.to_owned(), seconds }).collect();
    Timing { started: None, total_seconds: Some(stages.iter().map(|stage| stage.seconds).sum()), stages }
}
