//! Writes a report into a run folder.

use std::path::{Path, PathBuf};

use ser_eval::{Report, StageTime, Timing};

use crate::Error;
use crate::run_folder::{RunFolder, read_json, write_file};

/// Writes `report.json` and `report.html` into a run folder, with the version of the library and the run's settings and
/// timing. Returns the path of `report.html`.
///
/// Call it again after adding policy results to the report of a run.
///
/// # Errors
/// [`Error::Stage`] for a report that is not valid JSON; [`Error::Io`].
pub fn write_report(run: &RunFolder, report: &mut Report) -> Result<PathBuf, Error> {
    report.library_version = env!("CARGO_PKG_VERSION").to_owned();
    report.settings = run.settings().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    report.timing = timing(run);
    let json = report.to_json().map_err(Error::stage("writing the report"))?;
    run.write_text("report.html", &report.to_html())?;
    run.write_text("report.json", &json)?;
    Ok(run.stage_path("report.html"))
}

/// Draws `report.html` of a run folder again, from its `report.json`. Returns the report and the path of `report.html`.
///
/// # Errors
/// [`Error::Io`] if the folder has no `report.json`; [`Error::Format`] if that is not a report.
pub fn redraw_report(folder: impl AsRef<Path>) -> Result<(Report, PathBuf), Error> {
    let (json, html) = (folder.as_ref().join("report.json"), folder.as_ref().join("report.html"));
    let Some(report) = read_json::<Report>(&json)? else {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(Error::Io { action: "read", path: json, source });
    };
    write_file(&html, |out| out.write_all(report.to_html().as_bytes()).map_err(Error::io("write", &html)))?;
    Ok((report, html))
}

fn timing(run: &RunFolder) -> Timing {
    let stages: Vec<_> = run.timing().map(|(stage, seconds)| StageTime { stage: stage.to_owned(), seconds }).collect();
    Timing { started: None, total_seconds: Some(stages.iter().map(|stage| stage.seconds).sum()), stages }
}
