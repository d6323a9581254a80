//! The report of a run that trains policies alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ser_eval::{DataCounts, PolicyReport, Report};

use super::write::write_report;
use crate::Error;
use crate::run_folder::RunFolder;

/// Writes `report.json` and `report.html` of a run that trained policies and no reward model. `data` counts the prompts
/// read and left out. Returns the path of `report.html`.
///
/// # Errors
/// [`Error::Io`] if a file cannot be written.
pub fn write_policy_report(
    run: &RunFolder,
    title: &str,
    seed: u64,
    policy: PolicyReport,
    data: DataCounts,
    warnings: Vec<String>,
) -> Result<PathBuf, Error> {
    let mut report = Report {
        title: title.to_owned(),
        seeds: BTreeMap::from([("run".to_owned(), seed)]),
        data,
        policy: Some(policy),
        warnings,
        ..Report::default()
    };
    write_report(run, &mut report)
}
