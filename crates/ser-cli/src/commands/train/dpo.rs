//! `ser train dpo`.

use anyhow::bail;
use clap::Args;
use ser::eval::{Count, DataCounts, PolicyReport, PolicyTraining};
use ser::model::CausalLm;
use ser::{MetricsLog, train_dpo, write_policy_report};

use crate::flags::{Flags, RunFlags};
use crate::output;

/// Direct preference optimisation of a language model
///
/// The model should be one after SFT (`ser train sft` makes it). The adapter is in the run folder's dpo/model.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (config, device) = arguments.flags.load_with_device(&[])?;
    let (Some(folder), Some(data)) = (&config.run.model, &config.run.data) else {
        bail!("give --model FOLDER and --data FILE");
    };
    let mut counts = DataCounts { source: data.display().to_string(), ..DataCounts::default() };
    let preferences = super::read(data, &config.data, &mut counts)?;
    let mut model = CausalLm::from_folder(folder, &config.causal_lm(), device)?;
    let progress = output::progress()?;
    let (mut run, mut observers) = super::open(&arguments.run, progress)?;
    run.record_or_verify_settings("text", &config.text)?;
    run.record_or_verify_data("seed", &config.run.seed)?;
    let left_out = train_dpo(&mut model, &preferences, &config, &mut run, &mut observers)?;
    drop(observers);

    counts.splits.push(Count::new("training pairs", (preferences.len() - left_out) as u64));
    if left_out > 0 {
        counts.left_out.push(Count::new("training pairs that are too long or empty", left_out as u64));
    }
    let stage = MetricsLog::stage(run.path().join("metrics.jsonl"), "dpo", "DPO", PolicyTraining::Dpo)?;
    let report = PolicyReport { stages: vec![stage], ..PolicyReport::default() };
    let html = write_policy_report(&run, "DPO", config.run.seed, report, counts, Vec::new())?;
    let model = run.stage_path("dpo/model");
    if arguments.run.json {
        return output::result(true, &serde_json::json!({"model": model, "html": html}), "");
    }
    output::note(format_args!("The adapter is in {}.\nThe report is {}", model.display(), html.display()));
    Ok(())
}
