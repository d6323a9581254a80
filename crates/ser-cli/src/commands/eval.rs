//! `ser eval`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use ser::{Context, Stage, TestPairs};

use super::scoring_model::ScoringModel;
use crate::flags::Flags;
use crate::input::Input;
use crate::output;

/// Measures a reward model on labelled pairs: accuracy with its interval, calibration, subsets, RewardBench
///
/// Rows with a column `subset` are measured per subset too. With RewardBench's subsets, its sections and score follow, weighted by
/// its own counts. Rows whose `chosen` and `rejected` are lists are measured as RewardBench 2 does: the share of prompts whose best
/// answer is a chosen one, and the composite score of the subset Ties. Intervals are over prompts.
///
/// Texts are made as in the training of the model (see `ser score`). Rows with a text over the length limit are not measured,
/// and their numbers are told.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The model's name in the results [default: the name of the folder of --adapter or --model]
    #[arg(long)]
    name: Option<String>,
    /// Writes the results of RewardBench or RewardBench 2 as NAME.json into this folder
    #[arg(long)]
    out: Option<PathBuf>,
    /// Prints the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ScoringModel,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (config, device) = arguments.flags.load_with_device(&[])?;
    let Some(data) = &config.run.data else { bail!("give --data FILE") };
    let input = Input::open(data)?;
    let test = TestPairs::open(input.path(), &config.data)?;
    output::note_read(test.summary());
    let mut model = arguments.model.load(&config, device)?;
    let folder = arguments.model.adapter.as_ref().or(config.run.model.as_ref());
    let name = match (&arguments.name, folder.and_then(|folder| folder.file_name())) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name.to_string_lossy().into_owned(),
        (None, None) => bail!("give --name NAME: the model's folder has no name"),
    };
    for note in model.tokenizer().notes(&test.pairs()).map_err(anyhow::Error::from_boxed)? {
        output::note(format_args!("note: {note}"));
    }
    let mut progress = output::progress()?;
    let mut cx = Context::new(Stage::Score, &mut progress);
    let result = test.measure(&name, &mut model, &config.evolution.bootstrap, &mut cx)?;
    cx.finish();
    drop(progress);
    if !result.rows_left_out.is_empty() {
        let shown: Vec<String> = result.rows_left_out.iter().take(10).map(u64::to_string).collect();
        let more = if result.rows_left_out.len() > shown.len() { ", ..." } else { "" };
        output::note(format_args!(
            "note: not measured, with a text over the length limit: {} rows ({}{more})",
            result.rows_left_out.len(),
            shown.join(", ")
        ));
    }
    output::result(arguments.json, &serde_json::to_value(&result)?, result.to_text().trim_end())?;
    if let Some(out) = &arguments.out {
        let path = result.write(out).context("the results could not be written")?;
        output::note(format_args!("results: {}", path.display()));
    }
    Ok(())
}
