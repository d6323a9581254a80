//! Scores a file's pairs: a line of JSON per pair on stdout, in the file's order, the chosen answer first.
//!
//! ```sh
//! cargo run --release --features libtorch --example score_pairs -- --model llama-3-8b --adapter rm --data hh.jsonl.gz
//! ```
//!
//! `{"raw": [r, r], "probability": [p, p]}`, p = sigmoid(r). Labels in the file are not used. Texts are scored whole
//! unless `--max-length` is given; then pairs over it are an error that names the first.

mod config;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Parser;
use ser::Progress;
use ser::core::{Scorer, Screening};
use ser::data::PreferenceFile;
use ser::model::RewardModel;

use config::Flags;

/// Scores a file's pairs with a reward model
#[derive(Parser)]
struct Arguments {
    /// Adapter folder in PEFT's layout
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// Ends every text of the script template with the end token
    #[arg(long)]
    append_eos: bool,
    /// Prints pairs per second, tokenization included, as a line of JSON on stderr
    #[arg(long)]
    timing: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Nothing is added to a text, or left out of it, unless asked for.
const DEFAULTS: &str = "text = { template = \"raw\", append_eos = false }";

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = arguments.flags.load(DEFAULTS)?;
    let limited = arguments.flags.max_length.is_some();
    config.text.append_eos |= arguments.append_eos;
    if !limited {
        config.text.max_length = None;
    }
    let (Some(folder), Some(data)) = (&config.run.model, &config.run.data) else {
        bail!("give --model FOLDER and --data FILE");
    };
    let device = config.device()?;
    let (preferences, _) = PreferenceFile::open(data, &config.data)?.read_all()?;
    let pairs: Vec<_> = preferences.into_iter().map(|p| p.pair).collect();
    let settings = config.reward_model();
    let mut model = match &arguments.adapter {
        Some(adapter) => RewardModel::with_adapter(folder, &config::fetched(adapter)?, &settings, device)?,
        None => RewardModel::from_folder(folder, &settings, device)?,
    };
    for note in model.tokenizer().notes(&pairs)? {
        eprintln!("note: {note}");
    }
    if limited && let Some(place) = model.screen(&pairs)?.iter().position(|s| *s == Screening::TooLong) {
        bail!("{}: pair {} is over --max-length; leave it out or raise the limit", data.display(), place + 1);
    }
    let start = Instant::now();
    let mut progress = Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?;
    let scores = model.score_observed(&pairs, "score", &mut progress)?;
    let seconds = start.elapsed().as_secs_f64();
    drop(progress);
    let mut out = BufWriter::new(io::stdout().lock());
    for score in &scores {
        let p = score.sigmoid();
        let line = serde_json::json!({"raw": [score.a, score.b], "probability": [p.a, p.b]});
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    if arguments.timing {
        let figure = serde_json::json!({"pairs_per_s": pairs.len() as f64 / seconds});
        eprintln!("{figure}");
    }
    Ok(())
}
