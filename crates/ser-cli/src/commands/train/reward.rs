//! `ser train reward`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use ser::config::Config;
use ser::distributed::Environment;
use ser::eval::Count;
use ser::{
    Context, Control, Event, Fit, Pair, PairsRead, Scorer, Screening, Stage, TrainedReward, fit_in, observer_fn,
    prepare_reward, score_held_out, untrained_reward, write_reward_report,
};

use super::Start;
use crate::flags::{Flags, RunFlags};
use crate::output;

/// Trains a reward model on a file of preferences, measures it on held-out pairs, and writes a report
///
/// Adapter and head are in the run folder's reward/model, in PEFT's layout; `ser score --adapter` and `ser train ppo
/// --reward-model` also take the run folder. Without --test-data a share of the pairs is held out (split.test, 0.1; 0 holds
/// none out).
///
/// Started as several processes (`ser launch -n 2 -- train reward ...`, torchrun), rank 0 reads and writes, and all compute.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: RunFlags,
    /// Held-out preferences to measure accuracy on; a part of --data if not given
    #[arg(long, value_name = "FILE")]
    test_data: Option<PathBuf>,
    /// Prints pairs per second over all steps but the first four as a line of JSON on stderr
    #[arg(long)]
    timing: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Steps that a timing leaves out.
const WARM_UP: u64 = 4;
/// The stage that trains.
const MODEL: &str = "reward/model";

pub(super) fn run(arguments: &Arguments, environment: &Environment) -> anyhow::Result<()> {
    let Some(start) = Start::new(&arguments.flags, environment)? else { return Ok(()) };
    let Start { config, device, model, data, mut counts, workers } = start;
    // Settings and input are checked before a folder is made.
    let loss = config.evolution.loss.check()?;
    let mut train = PairsRead::open(&data, &config.data)?;
    let mut test = match arguments.test_data.as_ref().or(config.run.test_data.as_ref()) {
        Some(path) => {
            let test = PairsRead::open(path, &config.data)?;
            train.leave_out_prompts_of(&test);
            counts.source = format!("{}, test {}", counts.source, path.display());
            test
        }
        None => train.hold_out(&config.split)?,
    };
    counts.rows = train.summary.rows + test.summary.rows;
    let mut model = untrained_reward(&config, &model, device)?;
    if let Some(workers) = &workers {
        model.share_with(workers)?;
    }
    config.unused().iter().for_each(|unused| output::note(format_args!("note: {unused}")));
    for (name, part) in [("", &mut train), ("test pairs, ", &mut test)] {
        let pairs: Vec<Arc<Pair>> = part.preferences.iter().map(|p| Arc::clone(&p.pair)).collect();
        let notes = model.tokenizer().notes(&pairs).map_err(anyhow::Error::from_boxed)?;
        notes.iter().for_each(|note| output::note(format_args!("note: {name}{note}")));
        part.keep(&model.screen(&pairs, &mut Context::silent())?, |screening| screening == Screening::Usable);
        part.lines().iter().for_each(|line| output::note(format_args!("{name}{line}")));
        counts.left_out.extend(part.counts());
    }
    if train.preferences.is_empty() {
        bail!("{}: no pair is left to train on; is max_length too small?", data.display());
    }
    counts.splits =
        vec![Count::new("training", train.preferences.len() as u64), Count::new("test", test.preferences.len() as u64)];

    let progress = output::progress()?;
    let mut clock: Vec<Instant> = Vec::new();
    let (mut run, mut observers) = super::open(&arguments.run, progress)?;
    run.record_or_verify_settings("loss", &config.evolution.loss)?;
    run.record_or_verify_data("seed", &config.run.seed)?;
    train.record_in(&mut run, "training")?;
    test.record_in(&mut run, "test")?;
    let pairs: Vec<Arc<Pair>> = train.preferences.iter().map(|p| Arc::clone(&p.pair)).collect();
    let mut model = prepare_reward(model, &pairs, &config, &mut run, &mut observers)?;
    observers.push(observer_fn(|event| {
        if let Event::Advanced { stage: Stage::TrainReward, .. } = event {
            clock.push(Instant::now());
        }
        Control::Continue
    }));
    let fit = Fit { data: &train.preferences, loss: &loss, seed: config.run.seed };
    let fit = fit_in(&mut model, fit, &mut run, Stage::TrainReward, MODEL, &mut observers)?;
    let scores = score_held_out(&mut run, "reward/test_scores.jsonl", &mut model, &test.preferences, &mut observers)?;
    drop(observers);

    let html = write_reward_report(
        &run,
        TrainedReward {
            title: "Reward model",
            seed: config.run.seed,
            data: counts,
            fit,
            trained_on: train.preferences.len() as u64,
            held_out: &test.preferences,
            test: &scores,
            bootstrap: config.evolution.bootstrap,
        },
    )?;
    let model = run.stage_path(MODEL);
    let right = scores.iter().filter(|[chosen, rejected]| chosen > rejected).count();
    if arguments.run.json {
        let accuracy = (!scores.is_empty()).then(|| right as f64 / scores.len() as f64);
        let json = serde_json::json!({
            "model": model, "html": html, "steps": fit.steps, "loss": fit.loss, "accuracy": fit.accuracy,
            "test_pairs": scores.len(), "test_accuracy": accuracy,
        });
        output::result(true, &json, "")?;
    } else {
        output::note(format_args!(
            "{} steps on {} pairs: loss {:.4}, accuracy {:.3} in the last epoch{}\nThe model is in {}.\nThe report is {}",
            fit.steps,
            train.preferences.len(),
            fit.loss,
            fit.accuracy,
            held_out(right, scores.len()),
            model.display(),
            html.display()
        ));
    }
    if arguments.timing {
        print_timing(&clock, &config, fit.loss)?;
    }
    Ok(())
}

/// Accuracy on the held-out pairs, for the summary line.
fn held_out(right: usize, pairs: usize) -> String {
    match pairs {
        0 => "; no pairs were held out".to_owned(),
        _ => format!("; {:.3} on {pairs} held-out pairs", right as f64 / pairs as f64),
    }
}

/// Pairs per second over all steps but the first ones, on stderr.
fn print_timing(clock: &[Instant], config: &Config, loss: f64) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (clock.get(WARM_UP as usize - 1), clock.last()) else {
        bail!("a timing needs more than {WARM_UP} steps");
    };
    let steps = (clock.len() as u64 - WARM_UP) as f64;
    let pairs = steps * (config.training.batch_size * config.training.gradient_accumulation) as f64;
    output::timing(&serde_json::json!({"pairs_per_s": pairs / (*last - *first).as_secs_f64(), "loss": loss}));
    Ok(())
}
