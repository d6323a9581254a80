//! The report of a run that trains policies alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ser_eval::{DataCounts, PolicyReport, Report};

use crate::Error;
use crate::report::timing;
use crate::run_folder::RunFolder;

/// Writes `report.json` and `report.html` of a run that trained policies and no reward model. Returns the latter's path.
pub fn write_policy_report(
    run: &RunFolder,
    title: &str,
    seed: u64,
    policy: PolicyReport,
    warnings: Vec<String>,
) -> Result<PathBuf, Error> {
    let report = Report {
        title: title.to_owned(),
        library_version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: run.settings().iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        seeds: BTreeMap::from([("run".to_owned(), seed)]),
        data: DataCounts::default(),
        rounds: Vec::new(),
        stopped: None,
        baselines: Vec::new(),
        calibration: None,
        subsets: Vec::new(),
        policy: Some(policy),
        warnings,
        timing: timing(run),
    };
    let json = report.to_json().map_err(Error::stage("writing the report"))?;
    run.write_text("report.html", &report.to_html())?;
    run.write_text("report.json", &json)?;
    Ok(run.stage_path("report.html"))
}
