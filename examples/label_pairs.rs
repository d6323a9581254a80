//! Labels scored pairs as a filter between two programs: JSONL in, JSONL out, in `f64` throughout.
//!
//! ```text
//! $ echo '{"id": 7, "score_j": 0.31, "score_k": 0.92}' | cargo run -q --example label_pairs
//! {"id":7,"score_j":0.31,"score_k":0.92,"status":"status2","preferred":"k","delta":0.6100000000000001}
//! ```
//!
//! Each row has the sigmoid scores of its two answers: `score_j` and `score_k`, numbers or text that is one, as the
//! authors' code write them; or `probability`, a list of both, as `score_pairs` writes it. All fields go through as
//! they stand, such as ids, and three come after them: `status` (`status1`, `status2` or `stop`), `preferred` (`j` for
//! the first answer, `k` for the second, or null for stop) and `delta`, the scores' distance; where a row has fields of
//! these names already, they are replaced.
//!
//! ```text
//! $ score_pairs --model llama-3-8b --adapter rm --data pool.jsonl | label_pairs > labelled.jsonl
//! ```
//! Empty lines are left out. Python writes `NaN` and `Infinity`, which JSON does not know: they come out
//! as text, which its `float` reads again; such scores never select, and their delta is null.

mod exit;

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use ser::status::{AuthorsCodeRule, PaperRule, Thresholds};
use ser::{LearningStatus, PairProbabilities, Side};

/// Gives each scored pair on stdin its learning status and its pseudo-label.
#[derive(Parser)]
struct Arguments {
    /// An answer is surely good if its score is over this.
    #[arg(long, default_value_t = Thresholds::default().tau_high, allow_negative_numbers = true)]
    tau_high: f64,
    /// An answer is surely bad if its score is under this.
    #[arg(long, default_value_t = Thresholds::default().tau_low, allow_negative_numbers = true)]
    tau_low: f64,
    /// Two answers surely differ if their scores do by more than this.
    #[arg(long, default_value_t = Thresholds::default().tau_delta, allow_negative_numbers = true)]
    tau_delta: f64,
    /// The paper's Eq. 3 or the authors' code. On scores from 0 to 1 they agree; other finite scores stop under
    /// the paper's rule, while the authors' rule compares them all the same.
    #[arg(long, value_enum, default_value_t = RuleName::AuthorsCode)]
    rule: RuleName,
}

#[derive(Clone, Copy, ValueEnum)]
enum RuleName {
    Paper,
    #[value(name = "authors_code", alias = "script")]
    AuthorsCode,
}

/// A longer line is an error rather than a machine out of memory.
const MAX_LINE_BYTES: u64 = 64 << 20;

fn main() -> ExitCode {
    exit::exit_code(run(&Arguments::parse()), None)
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let &Arguments { tau_high, tau_low, tau_delta, rule } = arguments;
    let thresholds = Thresholds { tau_high, tau_low, tau_delta, ..Thresholds::default() }.check()?;
    let status = |pair| match rule {
        RuleName::Paper => PaperRule(thresholds).status(pair),
        RuleName::AuthorsCode => AuthorsCodeRule(thresholds).status(pair),
    };
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let result = label_lines(BufReader::with_capacity(1 << 16, io::stdin().lock()), &mut output, status);
    // The rows before a bad one are good.
    output.flush()?;
    result
}

fn label_lines(
    mut input: BufReader<impl Read>,
    output: &mut impl Write,
    status: impl Fn(PairProbabilities) -> LearningStatus,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    let mut warned = false;
    for number in 1u64.. {
        if input.buffer().is_empty() {
            // The next read may wait for a slow producer; let its consumer have what there is.
            output.flush()?;
        }
        line.clear();
        input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).context("stdin cannot be read")?;
        if line.is_empty() {
            break;
        }
        if line.len() as u64 == MAX_LINE_BYTES {
            bail!("line {number} is longer than {} MiB: give one row a line", MAX_LINE_BYTES >> 20);
        }
        let text = std::str::from_utf8(&line).with_context(|| format!("line {number} is not UTF-8"))?.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let quoted;
        let row = match Row::parse(text) {
            Ok(row) => row,
            Err(error) => {
                quoted = quote_python_constants(text);
                Row::parse(&quoted).map_err(|_| not_a_row(number, &error))?
            }
        };
        let [j, k] = row.scores().with_context(|| format!("line {number}"))?;
        let pair = PairProbabilities::unchecked(j, k);
        if !warned && [pair.a, pair.b].iter().any(|p| p.get() < 0.0 || p.get() > 1.0) {
            eprintln!("warning: line {number} has a score outside [0, 1]: thresholds are about sigmoid scores");
            warned = true;
        }
        row.write(output, pair, status(pair))?;
    }
    Ok(())
}

fn not_a_row(line: u64, error: &serde_json::Error) -> anyhow::Error {
    let column = error.column();
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    anyhow::anyhow!("line {line}, column {column} is not a JSON object: {text}")
}

/// The fields of a row in order, their values as they were written.
struct Row<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Row<'a> {
    fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Both scores, by the names of the authors' code or of `score_pairs`.
    fn scores(&self) -> anyhow::Result<[f64; 2]> {
        let fields = ["score_j", "score_k"].map(|name| (name, self.field(name)));
        match fields {
            [(_, None), (_, None)] => {}
            [(j, Some(score_j)), (k, Some(score_k))] => return Ok([number(j, score_j)?, number(k, score_k)?]),
            [(j, score_j), (k, _)] => bail!("the row has no field {}", if score_j.is_none() { j } else { k }),
        }
        let Some(raw) = self.field("probability") else {
            bail!("the row has neither score_j and score_k nor probability: give the sigmoid scores of both answers");
        };
        let Ok(both) = serde_json::from_str::<[&RawValue; 2]>(raw) else {
            bail!("probability is {}, not a list of two numbers", beginning(raw));
        };
        // JSON has no NaN: score_pairs writes null where a score is none.
        let score = |raw: &RawValue| match raw.get() {
            "null" => Ok(f64::NAN),
            raw => number("probability", raw),
        };
        let [j, k] = both;
        Ok([score(j)?, score(k)?])
    }

    /// A field's value as it was written. The last of several fields of the same name counts, as in Python.
    fn field(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rfind(|(key, _)| key == name).map(|(_, raw)| raw.get())
    }

    fn write(&self, output: &mut impl Write, pair: PairProbabilities, status: LearningStatus) -> io::Result<()> {
        output.write_all(b"{")?;
        for (key, value) in self.0.iter().filter(|(key, _)| !matches!(&**key, "status" | "preferred" | "delta")) {
            serde_json::to_writer(&mut *output, key)?;
            write!(output, ":{},", value.get())?;
        }
        let (status, preferred) = match (status, pair.higher()) {
            (LearningStatus::Status1, Some(side)) => ("status1", Some(side)),
            (LearningStatus::Status2, Some(side)) => ("status2", Some(side)),
            _ => ("stop", None),
        };
        let preferred = match preferred {
            Some(Side::A) => "\"j\"",
            Some(Side::B) => "\"k\"",
            None => "null",
        };
        write!(output, "\"status\":\"{status}\",\"preferred\":{preferred},\"delta\":")?;
        serde_json::to_writer(&mut *output, &pair.delta())?;
        output.write_all(b"}\n")
    }
}

/// A score as Python's `float(row[name])` reads it.
fn number(name: &str, raw: &str) -> anyhow::Result<f64> {
    let value = match raw.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => raw.parse().ok(),
        Some(b'"') => serde_json::from_str::<String>(raw).ok().and_then(|text| python_float(&text)),
        _ => None,
    };
    value.with_context(|| format!("{name} is {}, not a number", beginning(raw)))
}

/// At most 40 characters, for an error.
fn beginning(raw: &str) -> String {
    let shown: String = raw.chars().take(40).collect();
    if shown.len() < raw.len() { shown + "..." } else { shown }
}

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Row<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with score_j and score_k, or probability")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry()? {
                    fields.push((key, value));
                }
                Ok(Row(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// What Python's `float` makes of a text in ASCII digits.
fn python_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c));
    if !text.contains('_') {
        return text.parse().ok();
    }
    // An underscore may stand between two digits.
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let misplaced =
        |i: usize| bytes.get(i) == Some(&b'_') && !(i > 0 && digit(bytes.get(i - 1)) && digit(bytes.get(i + 1)));
    if (0..bytes.len()).any(misplaced) { None } else { text.replace('_', "").parse().ok() }
}

/// Puts quotes about the `NaN`, `Infinity` and `-Infinity` that Python's `json` writes.
fn quote_python_constants(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 8);
    let mut rest = text;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        let constant = ["NaN", "Infinity", "-Infinity"].into_iter().find(|name| !in_string && rest.starts_with(name));
        let taken = match (constant, c) {
            (Some(name), _) => name.len(),
            // A backslash takes the next character with it.
            (None, '\\') if in_string => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            _ => c.len_utf8(),
        };
        in_string ^= c == '"';
        let (token, after) = rest.split_at(taken);
        if constant.is_some() {
            quoted.extend(["\"", token, "\""]);
        } else {
            quoted.push_str(token);
        }
        rest = after;
    }
    quoted
}
