//! Labels rows of scores: JSON lines in, the same lines with learning status and pseudo-label out.

mod row;

use std::io::{BufRead, BufReader, Read, Write};

use ser_core::{LearningStatus, PairProbabilities};

use crate::error::LabelError;
use row::{Row, not_an_object, quote_python_constants};

/// The longest line in MiB, which bounds the memory.
const LIMIT: u64 = 64;

/// Adds learning status and pseudo-label to rows of scores, one JSON object per line.
///
/// Each row has the sigmoid scores of its two answers: `score_j` and `score_k`, numbers or text that is one; or
/// `probability`, a list of both. All fields are copied, and `status` (`status1`, `status2` or `stop`), `preferred` (`j`
/// for the first answer, `k` for the second, null for stop) and `delta` follow. Python's `NaN` and `Infinity`, which JSON
/// does not have, are written as text. `warn` gets a sentence at the first score outside [0, 1]. Empty lines are left
/// out. The output is flushed before the input may block, so that rows pass through a pipe one by one.
///
/// ```
/// use ser::status::{PaperRule, Thresholds};
///
/// let rule = PaperRule(Thresholds::default().check()?);
/// let mut input = std::io::BufReader::new(&br#"{"id": 7, "score_j": 0.9, "score_k": 0.1}"#[..]);
/// let mut output = Vec::new();
/// ser::label_rows(&mut input, &mut output, |pair| rule.status(pair), |warning| eprintln!("{warning}"))?;
/// assert!(output.starts_with(br#"{"id":7,"score_j":0.9,"score_k":0.1,"status":"status1","preferred":"j","delta":0.8"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The first line that is not a row with two scores. The rows before it are written.
pub fn label_rows<R: Read>(
    input: &mut BufReader<R>,
    output: &mut impl Write,
    status: impl Fn(PairProbabilities) -> LearningStatus,
    mut warn: impl FnMut(&str),
) -> Result<(), LabelError> {
    let mut bytes = Vec::new();
    let mut warned = false;
    for line in 1u64.. {
        if input.buffer().is_empty() {
            // The next read may wait for a slow producer, so the rows so far are passed on first.
            output.flush().map_err(LabelError::Write)?;
        }
        bytes.clear();
        input.by_ref().take(LIMIT << 20).read_until(b'\n', &mut bytes).map_err(LabelError::Read)?;
        if bytes.is_empty() {
            break;
        }
        if bytes.len() as u64 == LIMIT << 20 {
            return Err(LabelError::TooLong { line, limit: LIMIT });
        }
        let text = std::str::from_utf8(&bytes).map_err(|source| LabelError::NotUtf8 { line, source })?.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let quoted;
        let row = match Row::parse(text) {
            Ok(row) => row,
            Err(error) => {
                quoted = quote_python_constants(text);
                Row::parse(&quoted).map_err(|_| not_an_object(line, &error))?
            }
        };
        let [j, k] = row.scores().map_err(|problem| LabelError::NoScores { line, problem })?;
        let pair = PairProbabilities::unchecked(j, k);
        if !warned && [pair.a, pair.b].iter().any(|p| p.get() < 0.0 || p.get() > 1.0) {
            warn(&format!("warning: line {line} has a score outside [0, 1]: thresholds are for sigmoid scores"));
            warned = true;
        }
        row.write(output, pair, status(pair)).map_err(LabelError::Write)?;
    }
    output.flush().map_err(LabelError::Write)
}
