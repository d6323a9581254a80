//! `ser label`.

use std::io::{self, BufReader, BufWriter, Write};

use clap::{Args, ValueEnum};
use ser::status::{AuthorsCodeRule, PaperRule, Thresholds};
use ser::{LabelError, label_rows};

use crate::output as notes;

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

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let &Arguments { tau_high, tau_low, tau_delta, rule } = arguments;
    let thresholds = Thresholds { tau_high, tau_low, tau_delta, ..Thresholds::default() }.check()?;
    let status = |pair| match rule {
        RuleName::Paper => PaperRule(thresholds).status(pair),
        RuleName::AuthorsCode => AuthorsCodeRule(thresholds).status(pair),
    };
    let mut input = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let result = label_rows(&mut input, &mut output, status, |warning| notes::note(warning));
    // Rows before an invalid one are written too.
    output.flush()?;
    match result {
        // Without context: a reader that ended is not an error.
        Err(LabelError::Write(error)) => Err(error.into()),
        result => Ok(result?),
    }
}
