//! `ser score`.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use ser::distributed::Environment;
use ser::{Context, Pair, PairScores, PairsRead, Scorer, Screening, Stage};

use super::scoring_model::ScoringModel;
use crate::flags::Flags;
use crate::input::Input;
use crate::output;
use crate::processes::{self, Part};

/// Scores a file's pairs with a reward model, one line of JSON per pair
///
/// One line of JSON per pair on standard output, in the file's order, the chosen answer first: {"id": 7, "row": 8, "raw": [r,
/// r], "probability": [p, p], "score_j": p, "score_k": p}, p = sigmoid(r). `row` is the pair's row in the file, from 1, bad
/// rows counted and blank lines not; `id` is its number in a run. `score_j` and `score_k` repeat the probabilities under the
/// names of the authors' code, which `ser label` reads too. Labels in the file are not used.
///
/// Texts are made as in the training of the model, which ser.json beside the adapter records. A model without that file is
/// read with the raw template and no end token, unless flags say otherwise. Pairs that are left out are noted on standard
/// error, with rows and reasons: rows that cannot be read (--on-bad-row skip), ties, and texts over the length limit.
///
/// Started as several processes (`ser launch -n 2 -- score ...`, torchrun), rank 0 reads and writes, and all compute.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Prints pairs per second, tokenization included, as a line of JSON on stderr
    #[arg(long)]
    timing: bool,
    #[command(flatten)]
    model: ScoringModel,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(arguments: &Arguments, environment: &Environment) -> anyhow::Result<()> {
    let (config, device) = arguments.flags.load_with_device(&[])?;
    let Some(data) = &config.run.data else { bail!("give --model FOLDER and --data FILE") };
    if environment.size > 1 && data == Path::new("-") {
        bail!("several processes cannot share standard input; give --data a file");
    }
    let Part::Command(workers) = processes::join(environment, &config, device)? else { return Ok(()) };
    let mut model = arguments.model.load(&config, device)?;
    if let Some(workers) = &workers {
        model.share_with(workers)?;
    }

    let input = Input::open(data)?;
    let mut read = PairsRead::open(input.path(), &config.data)?;
    let start = Instant::now();
    if model.tokenizer().settings().max_length.is_some() {
        // Equal answers, and empty ones, have scores as well.
        read.keep(&model.screen(&pairs(&read), &mut Context::silent())?, |screening| screening != Screening::TooLong);
    }
    for line in read.lines() {
        output::note(line);
    }
    for note in model.tokenizer().notes(&pairs(&read)).map_err(anyhow::Error::from_boxed)? {
        output::note(format_args!("note: {note}"));
    }
    let mut progress = output::progress()?;
    let mut cx = Context::new(Stage::Score, &mut progress);
    let scores = model.score(&pairs(&read), &mut cx)?;
    cx.finish();
    let seconds = start.elapsed().as_secs_f64();
    drop(progress);
    write_lines(&read, &scores)?;
    if arguments.timing {
        output::timing(&serde_json::json!({"pairs_per_s": scores.len() as f64 / seconds}));
    }
    Ok(())
}

fn pairs(read: &PairsRead) -> Vec<Arc<Pair>> {
    read.preferences.iter().map(|preference| Arc::clone(&preference.pair)).collect()
}

fn write_lines(read: &PairsRead, scores: &[PairScores]) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for ((preference, row), score) in read.preferences.iter().zip(&read.rows).zip(scores) {
        let p = score.sigmoid();
        let line = serde_json::json!({
            "id": preference.pair.id, "row": row, "raw": [score.a, score.b], "probability": [p.a, p.b],
            "score_j": p.a, "score_k": p.b,
        });
        writeln!(out, "{line}")?;
    }
    out.flush()
}
