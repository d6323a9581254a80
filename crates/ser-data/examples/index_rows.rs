//! Time and memory of a large dataset: reads a file of StackExchange rows, makes pairs, tokenizes, indexes, splits and
//! shuffles.
//!
//! ```sh
//! cargo run --release -p ser-data --features parquet --example stack_exchange_rows -- 1000000 rows.parquet
//! cargo run --release -p ser-data --features index,parquet --example index_rows -- rows.parquet FOLDER
//! ```
//!
//! A second start continues an interrupted build. The first line of the output has the contents of the index.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use ser_core::{Context, Control, Event, PairSource, observer_fn};
use ser_data::{
    PairTokenizer, PreferenceFile, ReadSettings, SplitPart, SplitSettings, TextSettings, TokenIndex, train_tokenizer,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(data), Some(folder)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: index_rows FILE FOLDER");
        return ExitCode::FAILURE;
    };
    match run(Path::new(&data), Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(data: &Path, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    let mut out = io::stdout().lock();
    let read = ReadSettings::default();
    if !folder.join("tokenizer.json").exists() {
        let first = PreferenceFile::open(data, &read)?.next_preferences(2000)?;
        let texts = first.iter().map(|preference| preference.chosen());
        train_tokenizer(texts, 600, folder)?;
    }

    let start = Instant::now();
    let mut file = PreferenceFile::open(data, &read)?;
    while file.next_preference()?.is_some() {}
    let read_only = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let tokenizer = PairTokenizer::from_folder(folder, &TextSettings::default())?;
    let mut observer = observer_fn(|event| {
        if let Event::Advanced { done, .. } = event {
            eprint!("\r{done} pairs");
        }
        Control::Continue
    });
    let index = TokenIndex::open_or_build(data, &tokenizer, &read, folder, &mut Context::new("index", &mut observer))?;
    let build = start.elapsed().as_secs_f64();
    eprintln!();

    let start = Instant::now();
    let split = index.split(&SplitSettings::default(), None)?;
    let mut drawn = 0u64;
    for position in split.shuffled(SplitPart::Pool, 0).take(100_000) {
        drawn += index.get(position)?.map_or(0, |pair| pair.tokens.packed_len() as u64);
    }
    let split_time = start.elapsed().as_secs_f64();

    let summary = index.summary();
    writeln!(out, "{} pairs, {} tokens, {} ties", index.len(), summary.tokens, summary.read.ties)?;
    writeln!(
        out,
        "read alone {read_only:.1} s, read, tokenize and index {build:.1} s, split and shuffle {split_time:.1} s"
    )?;
    writeln!(out, "pool {} pairs; {drawn} tokens of 100,000 drawn", split.size(SplitPart::Pool))?;
    if let Some(peak) = peak_memory() {
        writeln!(out, "peak memory {peak}")?;
    }
    Ok(())
}

/// The peak memory of this process, mapped files included, as Linux counts it.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_string())
}
