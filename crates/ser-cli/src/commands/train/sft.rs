//! `ser train sft`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use ser::distributed::Environment;
use ser::eval::{Count, PolicyTraining};
use ser::model::{CausalExample, CausalLm, SftTraining, sft_examples};
use ser::{Preference, train_in};

use super::Start;
use crate::flags::{Flags, RunFlags};
use crate::output;

/// Supervised fine-tuning of a language model on chosen answers
///
/// The model, or with sft.lora an adapter, is in the run folder's sft/model.
///
/// Started as several processes (`ser launch -n 2 -- train sft ...`, torchrun), rank 0 reads and writes, and all compute.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: RunFlags,
    /// Preferences on whose chosen answers the loss is measured, without training [default: none]
    #[arg(long, value_name = "FILE")]
    validation_data: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment) -> anyhow::Result<()> {
    let Some(mut start) = Start::new(&arguments.flags, environment)? else { return Ok(()) };
    let chosen = start.read(&start.data.clone())?;
    let validation = arguments.validation_data.as_ref().map(|path| start.read(path)).transpose()?.unwrap_or_default();
    let validation_pairs = validation.len();
    let Start { config, device, model, data, mut counts, workers } = start;
    let mut model = CausalLm::from_folder(&model, &config.causal_lm(), device)?;
    if let Some(workers) = &workers {
        model.share_with(workers)?;
    }
    let examples = |preferences: &[Preference]| -> anyhow::Result<Vec<CausalExample>> {
        let texts = sft_examples(&model, preferences, config.sft.turns)?;
        texts.warning().iter().for_each(output::note);
        Ok(texts.examples)
    };
    let (examples, validation) = (examples(&chosen)?, examples(&validation)?);
    if examples.is_empty() {
        bail!("{}: no answer is left to train on; is max_length too small?", data.display());
    }
    let progress = output::progress()?;
    let parts = [("training answers", &examples, chosen.len()), ("validation answers", &validation, validation_pairs)];
    for (name, part, pairs) in parts {
        counts.splits.push(Count::new(name, part.len() as u64));
        if part.len() < pairs {
            counts.left_out.push(Count::new(format!("{name} that are too long or empty"), (pairs - part.len()) as u64));
        }
    }
    let mut training = SftTraining::new(&mut model, examples, validation, &config.sft, config.run.seed)?;

    let (mut run, mut observers) = super::open(&arguments.run, progress)?;
    run.record_or_verify_settings("sft", &config.sft)?;
    run.record_or_verify_settings("text", &config.text)?;
    run.record_or_verify_data("seed", &config.run.seed)?;
    run.record_or_verify_data("texts", &training.fingerprint())?;
    train_in(&mut training, &mut run, "sft", &mut observers)?;
    let summary = training.summary();
    let html = super::report(&run, "sft", PolicyTraining::Sft, &config, counts)?;
    let model = run.stage_path("sft/model");
    if arguments.run.json {
        let json = serde_json::json!({
            "model": model, "html": html, "steps": summary.steps, "loss": summary.loss, "accuracy": summary.accuracy,
        });
        return output::result(true, &json, "");
    }
    output::note(format_args!(
        "{} steps: loss {:.4}, {:.1} % of tokens right in the last epoch\nThe {} is in {}.\nThe report is {}",
        summary.steps,
        summary.loss,
        100.0 * summary.accuracy,
        if config.sft.lora.is_some() { "adapter" } else { "model" },
        model.display(),
        html.display()
    ));
    Ok(())
}
