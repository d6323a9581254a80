//! A run's findings as a [`Report`].

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use ser_core::PairId;
use ser_eval::{
    Baseline, BaselineKind, Binning, Calibration, Estimate, EvalError, Evaluation, Report, Selection, StageTime, Timing,
};

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
/// For who adds to the report of a loop, policies say.
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
    let Findings { title, rounds, chosen, stopped, comparisons, warnings } = findings;
    let bootstrap = &work.settings.bootstrap;
    let measure = |test: &Scored| Evaluation::measure(&test.chosen_first, test.clusters(), bootstrap);
    let clusters = work.test.clusters();
    let seed = work.data.seed.len() as u64;
    let loop_0 = rounds.first().unwrap_or(chosen);
    let mut baselines = vec![
        row(BaselineKind::Loop0, measure(&loop_0.test)?, [seed, seed], None),
        row(BaselineKind::Ser, measure(&chosen.test)?, trained_on(work, rounds, chosen), None),
    ];
    if let Some(ser) = baselines.last_mut() {
        ser.gain = Some(bootstrap.difference(&chosen.test.correct, &loop_0.test.correct, clusters)?);
    }
    for Comparison { kind, test, trained_on, human_labels } in comparisons {
        let gain = bootstrap.difference(&test.correct, &loop_0.test.correct, clusters)?;
        baselines.push(row(kind, measure(&test)?, [trained_on as u64, human_labels as u64], Some(gain)));
    }
    let round = |round: &Round| -> Result<ser_eval::Round, EvalError> {
        Ok(ser_eval::Round {
            number: round.number,
            name: format!("Loop {}", round.number),
            status: round.lesson.as_ref().and_then(|lesson| status_of(lesson.facts.decision.state)),
            rule: round.lesson.as_ref().map(|lesson| lesson.facts.rule.clone()),
            selection: round.lesson.as_ref().map(selection),
            trained_on: trained_on(work, rounds, round)[0],
            fit: Some(round.fit),
            validation_accuracy: round.validation.accuracy(),
            evaluation: measure(&round.test)?,
            chosen: round.number == chosen.number,
        })
    };
    let mut report = Report {
        title,
        library_version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: serde_json::Value::Null,
        seeds: BTreeMap::from([("run".to_owned(), work.settings.seed)]),
        data: work.data.counts.clone(),
        rounds: rounds.iter().map(round).collect::<Result<_, _>>()?,
        stopped: Some(stopped.to_string()),
        baselines,
        calibration: Some(Calibration::measure(&chosen.test.chosen_first, BINS, Binning::EqualWidth)?),
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
) -> Baseline {
    Baseline { kind, evaluation, trained_on, human_labels, gain, gap_closed: None }
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
    let bins = audit.histogram.iter().map(|bin| ser_eval::DeltaBin {
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
