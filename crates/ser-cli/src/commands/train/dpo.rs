//! `ser train dpo`.

use clap::Args;
use ser::distributed::Environment;
use ser::eval::{Count, PolicyTraining};
use ser::model::CausalLm;
use ser::train_dpo;

use super::Start;
use crate::flags::{Flags, RunFlags};
use crate::output;

/// Direct preference optimisation of a language model
///
/// The model should be one after SFT (`ser train sft` makes it). The adapter is in the run folder's dpo/model.
///
/// Started as several processes (`ser launch -n 2 -- train dpo ...`, torchrun), rank 0 reads and writes, and all compute.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment) -> anyhow::Result<()> {
    let Some(mut start) = Start::new(&arguments.flags, environment)? else { return Ok(()) };
    let preferences = start.read(&start.data.clone())?;
    let Start { config, device, model, mut counts, workers, .. } = start;
    let mut model = CausalLm::from_folder(&model, &config.causal_lm(), device)?;
    if let Some(workers) = &workers {
        model.share_with(workers)?;
    }
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
    let html = super::report(&run, "dpo", PolicyTraining::Dpo, &config, counts)?;
    let model = run.stage_path("dpo/model");
    if arguments.run.json {
        return output::result(true, &serde_json::json!({"model": model, "html": html}), "");
    }
    output::note(format_args!("The adapter is in {}.\nThe report is {}", model.display(), html.display()));
    Ok(())
}
