//! Scores the pairs of a file with a saved reward model: a base model and its adapter.
//!
//! ```sh
//! cargo run --release --features libtorch --example score_pairs -- llama-3-8b runs/hh/rounds/03/model pairs.jsonl.gz
//! ```
//!
//! It writes one line of JSON per pair, which the example `label_pairs` reads. The program `ser score` does the same, with
//! flags for devices, precision and templates.

use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser::data::ReadSettings;
use ser::model::{Device, RewardModel, RewardModelSettings, TextRequest};
use ser::{BoxError, Context, Pair, PairsRead, Progress, Scorer, Screening, Stage};

fn main() -> Result<(), BoxError> {
    let arguments: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let [base, adapter, data] = arguments.as_slice() else {
        return Err("give three arguments: BASE_MODEL ADAPTER PAIRS".into());
    };
    score_file(base, adapter, data, stdout().lock())
}

fn score_file(base: &Path, adapter: &Path, data: &Path, out: impl Write) -> Result<(), BoxError> {
    // The texts are made as in training: `ser.json` beside the adapter has the template and the length limit.
    let text = TextRequest::default().resolve(&[adapter, base], &Default::default())?;
    let settings = RewardModelSettings { text: text.settings, ..RewardModelSettings::default() };
    let mut model = RewardModel::for_scoring(base, Some(adapter), &settings, Device::cpu())?;

    let mut read = PairsRead::open(data, &ReadSettings::default())?;
    let pairs = |read: &PairsRead| read.preferences.iter().map(|p| Arc::clone(&p.pair)).collect::<Vec<Arc<Pair>>>();
    let screened = model.screen(&pairs(&read), &mut Context::silent())?;
    read.keep(&screened, |screening| screening != Screening::TooLong);
    read.lines().iter().try_for_each(|line| writeln!(std::io::stderr(), "{line}"))?; // pairs left out, and why

    let pairs = pairs(&read);
    let mut progress = Progress::new();
    let scores = model.score(&pairs, &mut Context::new(Stage::Score, &mut progress))?;
    let mut out = BufWriter::new(out);
    for (pair, score) in pairs.iter().zip(&scores) {
        writeln!(out, "{}", serde_json::json!({"id": pair.id, "raw": [score.a, score.b]}))?;
    }
    Ok(out.flush()?)
}
