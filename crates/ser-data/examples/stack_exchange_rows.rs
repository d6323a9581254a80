//! Makes a file of StackExchange rows in parquet: questions with two to four answers and their scores.
//!
//! ```sh
//! cargo run --release -p ser-data --features parquet --example stack_exchange_rows -- 1000000 rows.parquet
//! ```
//!
//! A thousand rows give about 2,900 pairs. The words of an answer depend a little on its score, so that a model can learn from them.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

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

/// The scores of answers are 0 to 5.
const SCORES: u64 = 6;

/// The first half is more frequent in answers with high scores.
const WORDS: [&str; 32] = [
    "the", "value", "of", "a", "function", "is", "not", "what", "you", "expect", "because", "list", "index", "returns",
    "when", "loop", "ends", "use", "instead", "type", "error", "class", "method", "string", "number", "file", "read",
    "write", "open", "thread", "lock", "memory",
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(Ok(rows)), Some(path)) = (arguments.next().map(|rows| rows.parse()), arguments.next()) else {
        eprintln!("usage: stack_exchange_rows ROWS FILE");
        return ExitCode::FAILURE;
    };
    match generate(Path::new(&path), rows) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
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
        let questions: Vec<_> =
            numbers.iter().map(|&i| text(format!("<p>{} {i}?</p>", sentence(i, 20, SCORES / 2)))).collect();
        let ids: Vec<i64> = answers.iter().map(|(i, k)| (i * 10 + k).cast_signed()).collect();
        let scores: Vec<i32> = answers.iter().map(|(i, k)| score(*i, *k) as i32).collect();
        let texts: Vec<_> = answers
            .iter()
            .map(|(i, k)| {
                text(format!(
                    "<p>{}</p>\n<pre><code>x &lt; {k}\n</code></pre>",
                    sentence(i * 10 + k, 25, score(*i, *k))
                ))
            })
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

/// The score of an answer to a question.
fn score(question: u64, answer: u64) -> u64 {
    mix(question * 10 + answer) % SCORES
}

/// Words drawn from a number.
fn sentence(number: u64, words: u64, score: u64) -> String {
    let half = WORDS.len() as u64 / 2;
    let word = |i| {
        let drawn = mix(number * 64 + i);
        // 40 to 60 of 100 words are of the first half.
        let first = if drawn / half % 100 < 40 + 4 * score { 0 } else { half };
        WORDS.get((first + drawn % half) as usize).copied().unwrap_or_default()
    };
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value ^ (value >> 31)
}
