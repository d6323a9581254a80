//! The report of a run that trained one reward model: its scores of held-out pairs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ndarray::aview2;
use ser_core::{Clusters, Context, FitSummary, Observer, Pair, Preference, Scorer};
use ser_data::prompt_clusters;
use ser_eval::{Binning, Bootstrap, Calibration, DataCounts, Evaluation, IterationReport, Report, chosen_first};

use super::write::write_report;
use crate::Error;
use crate::iteration::score_in_chunks;
use crate::run_folder::{RunFolder, read_scores};

/// Bins of the reliability table.
const BINS: usize = 10;
/// With fewer held-out pairs, the report warns that the accuracy is uncertain.
const FEW: usize = 100;

/// A reward model that was trained on labels alone, as its report needs it.
#[derive(Debug)]
pub struct TrainedReward<'a> {
    /// The report's heading.
    pub title: &'a str,
    /// The run's seed.
    pub seed: u64,
    /// Counts of the pairs read, left out and split.
    pub data: DataCounts,
    /// The summary of the training.
    pub fit: FitSummary,
    /// Pairs trained on.
    pub trained_on: u64,
    /// The held-out pairs.
    pub held_out: &'a [Preference],
    /// Raw scores of the held-out pairs, the chosen answer's first; empty if none were held out.
    pub test: &'a [[f64; 2]],
    /// Resampling of the held-out pairs.
    pub bootstrap: Bootstrap,
}

/// Scores held-out pairs as the stage `stage` of a run. Returns the raw scores, the chosen answer's first.
///
/// # Errors
/// The scorer's errors; [`Error::Damaged`] for a scores file that was changed.
pub fn score_held_out<S: Scorer + ?Sized>(
    run: &mut RunFolder,
    stage: &str,
    scorer: &mut S,
    held_out: &[Preference],
    observer: &mut dyn Observer,
) -> Result<Vec<[f64; 2]>, Error> {
    if held_out.is_empty() {
        return Ok(Vec::new());
    }
    let pairs: Vec<Arc<Pair>> = held_out.iter().map(|preference| Arc::clone(&preference.pair)).collect();
    let path = run.stage_path(stage);
    run.file_stage(stage, |out| {
        let mut cx = Context::new(stage, observer);
        let written = score_in_chunks(scorer, &pairs, &mut cx, out, &path);
        if cx.is_stopped() {
            return Err(Error::Interrupted { stage: stage.to_owned(), path: path.clone() });
        }
        cx.finish();
        written
    })?;
    // Always read from the file, so that a resumed run gets the same scores.
    let scores = read_scores(&path, pairs.iter().map(|pair| pair.id))?;
    Ok(scores.into_iter().zip(held_out).map(|(scores, held_out)| chosen_first(scores, held_out.preferred)).collect())
}

/// Writes `report.json` and `report.html` of a run that trained one reward model. Returns the path of
/// `report.html`.
///
/// # Errors
/// [`Error::Stage`] for scores that cannot be measured; [`Error::Io`].
pub fn write_reward_report(run: &RunFolder, trained: TrainedReward<'_>) -> Result<PathBuf, Error> {
    let TrainedReward { title, seed, data, fit, trained_on, held_out, test, bootstrap } = trained;
    let mut warnings = Vec::new();
    match test.len() {
        0 => warnings.push("No pairs were held out, so the model's accuracy is not measured.".to_owned()),
        n if n < FEW => warnings.push(format!("Only {n} pairs were held out; the accuracy's interval is wide.")),
        _ => {}
    }
    const STAGE: &str = "writing the report";
    let (iterations, calibration) = if test.is_empty() {
        (Vec::new(), None)
    } else {
        let prompts = prompt_clusters(held_out.iter().map(|preference| preference.pair.as_ref()));
        let evaluation =
            Evaluation::measure(aview2(test), Clusters::Ids(&prompts), &bootstrap).map_err(Error::stage(STAGE))?;
        let iteration = IterationReport {
            number: 0,
            name: "Reward model".to_owned(),
            status: None,
            rule: None,
            selection: None,
            trained_on,
            fit: Some(fit),
            validation_accuracy: None,
            validation_pairs: None,
            similar_pairs: None,
            evaluation,
            chosen: true,
        };
        (
            vec![iteration],
            Some(Calibration::measure(aview2(test), BINS, Binning::EqualWidth).map_err(Error::stage(STAGE))?),
        )
    };
    let mut report = Report {
        title: title.to_owned(),
        seeds: BTreeMap::from([("run".to_owned(), seed)]),
        data,
        iterations,
        calibration,
        warnings,
        ..Report::default()
    };
    write_report(run, &mut report)
}

#[cfg(test)]
mod tests {
    use ser_core::{PairId, PairScores, Side, Silent, scorer_fn};

    use super::*;

    #[test]
    fn the_report_has_the_accuracy_on_held_out_pairs_or_a_warning_without_them() {
        let root = tempfile::tempdir().unwrap();
        let mut run = RunFolder::open(root.path(), false).unwrap();
        let pair = |i: u64| Arc::new(Pair::from_text(PairId(i), format!("q{i}"), "good", "bad"));
        let held_out: Vec<Preference> = (0..30).map(|i| Preference::human(pair(i), Side::A)).collect();
        let mut learner =
            scorer_fn(|pairs, _| Ok::<_, std::convert::Infallible>(vec![PairScores::new(1.0, 0.0); pairs.len()]));
        let test = score_held_out(&mut run, "reward/test_scores.jsonl", &mut learner, &held_out, &mut Silent).unwrap();
        assert_eq!(test.len(), 30);
        let fit = FitSummary { steps: 3, loss: 0.5, accuracy: 0.75 };
        for (held_out, test) in [(&held_out[..], &test[..]), (&[], &[])] {
            let (data, bootstrap) = (DataCounts::default(), Bootstrap::default());
            let trained = TrainedReward { title: "RM", seed: 1, data, fit, trained_on: 9, held_out, test, bootstrap };
            let html = write_reward_report(&run, trained).unwrap();
            assert!(std::fs::read_to_string(html).unwrap().contains("<h1"));
            let report: Report =
                serde_json::from_str(&std::fs::read_to_string(root.path().join("report.json")).unwrap()).unwrap();
            assert_eq!(report.iterations.len(), usize::from(!test.is_empty()));
            assert_eq!(report.warnings.len(), 1);
        }
    }
}
