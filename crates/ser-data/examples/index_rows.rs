//! Time and memory of a large dataset: makes StackExchange rows in parquet, reads them, makes pairs, tokenizes, indexes,
//! splits and shuffles.
//!
//! ```sh
//! cargo run --release -p ser-data --features index,parquet --example index_rows -- 1000000 FOLDER
//! ```
//!
//! A second start continues an interrupted build. The first line of the output has the contents of the index.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use ser_core::{Context, Control, Event, observer_fn};
use ser_data::{
    PairTokenizer, PreferenceFile, ReadSettings, SplitPart, SplitSettings, TextSettings, TokenIndex, train_tokenizer,
};

type Failure = Box<dyn std::error::Error>;

const SCHEMA: &str = "message rows {
    required int64 qid;
    required binary question (STRING);
    required group answers (LIST) { repeated group list { required group element {
        required int64 answer_id; required int32 pm_score; required binary text (STRING); } } }
    required binary date (STRING);
}";

/// Rows per row group, as in published files.
const GROUP: u64 = 1000;

const WORDS: [&str; 32] = [
    "the", "value", "of", "a", "function", "is", "not", "what", "you", "expect", "because", "list", "index", "returns",
    "when", "loop", "ends", "use", "instead", "type", "error", "class", "method", "string", "number", "file", "read",
    "write", "open", "thread", "lock", "memory",
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(Ok(rows)), Some(folder)) = (arguments.next().map(|rows| rows.parse()), arguments.next()) else {
        eprintln!("usage: index_rows ROWS FOLDER");
        return ExitCode::FAILURE;
    };
    match run(rows, Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(rows: u64, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    let data = folder.join(format!("rows-{rows}.parquet"));
    if !data.exists() {
        let partial = data.with_extension("partial");
        generate(&partial, rows)?;
        std::fs::rename(&partial, &data)?;
    }
    if !folder.join("tokenizer.json").exists() {
        let texts: Vec<String> = (0..2000).map(|i| sentence(i, 30)).collect();
        train_tokenizer(texts.iter().map(String::as_str), 600, folder)?;
    }
    let mut out = io::stdout().lock();
    let read = ReadSettings::default();

    let start = Instant::now();
    let mut file = PreferenceFile::open(&data, &read)?;
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
    let index = TokenIndex::open_or_build(&data, &tokenizer, &read, folder, &mut Context::new("index", &mut observer))?;
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

fn generate(path: &Path, rows: u64) -> Result<(), Failure> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(File::create(path)?, schema, Arc::new(properties))?;
    for first in (0..rows).step_by(GROUP as usize) {
        let numbers: Vec<u64> = (first..(first + GROUP).min(rows)).collect();
        // Two to four answers a question, every tenth answer with the score of another.
        let answers: Vec<(u64, u64)> = numbers.iter().flat_map(|&i| (0..2 + mix(i) % 3).map(move |k| (i, k))).collect();
        let repeated: Vec<i16> = answers.iter().map(|(_, k)| i16::from(*k > 0)).collect();
        let defined = vec![1i16; answers.len()];
        let text = |text: String| ByteArray::from(text.into_bytes());
        let questions: Vec<_> = numbers.iter().map(|&i| text(format!("<p>{} {i}?</p>", sentence(i, 20)))).collect();
        let ids: Vec<i64> = answers.iter().map(|(i, k)| (i * 10 + k).cast_signed()).collect();
        let scores: Vec<i32> = answers.iter().map(|(i, k)| (mix(i * 10 + k) % 6) as i32).collect();
        let texts: Vec<_> = answers
            .iter()
            .map(|(i, k)| text(format!("<p>{}</p>\n<pre><code>x &lt; {k}\n</code></pre>", sentence(i * 10 + k, 25))))
            .collect();
        let mut group = writer.next_row_group()?;
        let mut number = 0;
        while let Some(mut column) = group.next_column()? {
            match number {
                0 => column.typed::<Int64Type>().write_batch(
                    &numbers.iter().map(|i| i.cast_signed()).collect::<Vec<_>>(),
                    None,
                    None,
                )?,
                1 => column.typed::<ByteArrayType>().write_batch(&questions, None, None)?,
                2 => column.typed::<Int64Type>().write_batch(&ids, Some(&defined), Some(&repeated))?,
                3 => column.typed::<Int32Type>().write_batch(&scores, Some(&defined), Some(&repeated))?,
                4 => column.typed::<ByteArrayType>().write_batch(&texts, Some(&defined), Some(&repeated))?,
                _ => {
                    let dates = vec![ByteArray::from("2012/05/04"); numbers.len()];
                    column.typed::<ByteArrayType>().write_batch(&dates, None, None)?
                }
            };
            column.close()?;
            number += 1;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

/// Words drawn from a number.
fn sentence(number: u64, words: u64) -> String {
    let word = |i| WORDS.get((mix(number * 64 + i) % WORDS.len() as u64) as usize).copied().unwrap_or_default();
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value ^ (value >> 31)
}
