//! `ser report`.

use std::path::PathBuf;

use clap::Args;

use crate::output;
/// Draws the report of a run folder again
#[derive(Args)]
pub(crate) struct Arguments {
    /// The run folder
    run: PathBuf,
    /// Prints the report as JSON instead of its tables
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (report, html) = ser::redraw_report(&arguments.run)?;
    let text = format!("{}\nThe report is {}", report.to_text(), html.display());
    output::result(arguments.json, &serde_json::to_value(&report)?, &text)
}
