//! Writes a report into a run folder.

use std::path::PathBuf;

use ser_eval::{Report, StageTime, Timing};

use crate::Error;
use crate::run_folder::RunFolder;

/// Writes `report.json` and `report.html` into a run folder, with the run's settings and timing. Returns the path of
/// `report.html`.
///
/// Call it again after adding policy results to the report of a run.
///
/// # Errors
/// [`Error::Stage`] for a report that is not valid JSON; [`Error::Io`].
pub fn write_report(run: &RunFolder, report: &mut Report) -> Result<PathBuf, Error> {
    report.settings = run.settings().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    report.timing = timing(run);
    let json = report.to_json().map_err(Error::stage("writing the report"))?;
    run.write_text("report.html", &report.to_html())?;
    run.write_text("report.json", &json)?;
    Ok(run.stage_path("report.html"))
}

pub(super) fn timing(run: &RunFolder) -> Timing {
    let stages: Vec<_> = run.timing().map(|(stage, seconds)| StageTime { stage: stage.to_owned(), seconds }).collect();
    Timing { started: None, total_seconds: Some(stages.iter().map(|stage| stage.seconds).sum()), stages }
}
