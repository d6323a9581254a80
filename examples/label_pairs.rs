//! A filter between two programs: raw scores come in as JSON lines, selected pseudo-labels go out as JSON lines.
//!
//! ```text
//! $ echo '{"id": 7, "raw": [1.3, -0.4]}' | cargo run -q --example label_pairs
//! {"id":7,"preferred":"a","status":"status1","delta":0.3869}
//! ```
//!
//! The whole input is one pool, because anchors such as `PoolMean` depend on all of its scores. The program `ser label`
//! does the same row by row, with all fields of a row kept.

use std::io::{BufRead, Write, stdin, stdout};

use ser::status::{Anchor, PaperRule, Selected, Thresholds, select};
use ser::{BoxError, PairId, PairScores};
use serde::{Deserialize, Serialize};

/// A line of the input.
#[derive(Deserialize)]
struct Scored {
    id: PairId,
    /// The raw scores of both answers, A's first.
    raw: [f64; 2],
}

/// A line of the output.
#[derive(Serialize)]
struct Label {
    id: PairId,
    #[serde(flatten)]
    label: Selected,
}

#[allow(dead_code, reason = "the test calls `label_lines`")]
fn main() -> Result<(), BoxError> {
    label_lines(stdin().lock(), stdout().lock())
}

/// Labels the pool that `input` has and writes the labels of the selected pairs.
pub(crate) fn label_lines(input: impl BufRead, mut output: impl Write) -> Result<(), BoxError> {
    let mut pool: Vec<Scored> = Vec::new();
    for (line, number) in input.lines().zip(1..) {
        pool.push(serde_json::from_str(&line?).map_err(|error| format!("line {number}: {error}"))?);
    }
    let scores: Vec<PairScores> = pool.iter().map(|pair| pair.raw.into()).collect();
    let probabilities = Anchor::None.fit(&scores, &[])?.apply(&scores);
    let rule = PaperRule(Thresholds::default().check()?);
    for label in select(&probabilities, &rule)? {
        if let Some(Scored { id, .. }) = pool.get(label.index) {
            serde_json::to_writer(&mut output, &Label { id: *id, label })?;
            writeln!(output)?;
        }
    }
    Ok(())
}
