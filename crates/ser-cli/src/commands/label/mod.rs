//! `ser label`.

mod row;

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use ser::status::{AuthorsCodeRule, PaperRule, Thresholds};
use ser::{LearningStatus, PairProbabilities};

use crate::output as notes;
use row::{Row, not_a_row, quote_python_constants};

/// Gives each scored pair on standard input its learning status and its pseudo-label
///
/// A filter between two programs, JSON lines in and out: `ser score ... | ser label > labelled.jsonl`.
///
/// Each row has the sigmoid scores of its two answers: `score_j` and `score_k`, numbers or text that is one, as the authors'
/// code writes them; or `probability`, a list of both, as `ser score` writes it. All fields are copied as they are, and three
/// follow: `status` (`status1`, `status2` or `stop`), `preferred` (`j` for the first answer, `k` for the second, or null for
/// stop) and `delta`, the scores' distance; fields of these names are replaced. Empty lines are left out. NaN and Infinity,
/// which Python writes and JSON does not know, come out as text, which Python's `float` reads; such scores never select, and
/// their delta is null.
#[derive(Args)]
pub(crate) struct Arguments {
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
    /// the paper's rule, while the authors' code compares them all the same.
    #[arg(long, value_enum, default_value_t = RuleName::AuthorsCode)]
    rule: RuleName,
}

#[derive(Clone, Copy, ValueEnum)]
enum RuleName {
    Paper,
    #[value(name = "authors_code", alias = "script")]
    AuthorsCode,
}

/// Bounds the memory: a longer line is an error.
const MAX_LINE_BYTES: u64 = 64 << 20;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let &Arguments { tau_high, tau_low, tau_delta, rule } = arguments;
    let thresholds = Thresholds { tau_high, tau_low, tau_delta, ..Thresholds::default() }.check()?;
    let status = |pair| match rule {
        RuleName::Paper => PaperRule(thresholds).status(pair),
        RuleName::AuthorsCode => AuthorsCodeRule(thresholds).status(pair),
    };
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let result = label_lines(BufReader::with_capacity(1 << 16, io::stdin().lock()), &mut output, status);
    // Rows before an invalid one are written too.
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
            // The next read may wait for a slow producer, so the rows so far are passed on first.
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
            notes::note(format_args!(
                "warning: line {number} has a score outside [0, 1]: thresholds are for sigmoid scores"
            ));
            warned = true;
        }
        row.write(output, pair, status(pair))?;
    }
    Ok(())
}
