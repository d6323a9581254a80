//! Selection over a matrix of scores: an ndarray of shape `[pairs, 2]`, here read from a CSV file.
//!
//! ```sh
//! cargo run --example status_from_array -- scores.csv
//! ```
//!
//! The file has a header and two columns of raw scores, answer A's first. Without a file the example uses a small table.
#![allow(clippy::print_stdout)]

use std::fs::File;
use std::io::Read;

use ser::ndarray::{Array2, ArrayView2};
use ser::status::{Anchor, LoopState, Thresholds, select, sweep};
use ser::{BoxError, PairScores};

const TABLE: &str = "score_a,score_b\n0.9,-0.7\n0.1,0.0\n0.2,2.5\n-0.3,-0.4\n";

/// Prints the rows that Status 2 selects.
pub(crate) fn main() -> Result<(), BoxError> {
    let scores = match std::env::args().nth(1) {
        Some(path) if path.ends_with(".csv") => read_scores(File::open(path)?)?,
        _ => read_scores(TABLE.as_bytes())?,
    };
    let selected = selected_rows(scores.view(), 0.3)?;
    println!("tau_delta 0.3 selects {} of {} pairs: rows {selected:?}", selected.len(), scores.nrows());
    Ok(())
}

/// Reads two columns of a CSV file into a matrix of shape `[pairs, 2]`.
pub(crate) fn read_scores(file: impl Read) -> Result<Array2<f64>, BoxError> {
    let rows: Vec<[f64; 2]> = csv::Reader::from_reader(file).deserialize().collect::<Result<_, _>>()?;
    Ok(Array2::from(rows))
}

/// The rows that Status 2 selects. Any view with two columns works without copying the matrix: two columns of a larger
/// one, or a transposed one.
pub(crate) fn selected_rows(scores: ArrayView2<'_, f64>, tau_delta: f64) -> Result<Vec<usize>, BoxError> {
    let scores = PairScores::from_array(scores)?;
    let probabilities = Anchor::None.fit(&scores, &[])?.apply(&scores);
    let thresholds = |tau_delta| Thresholds { tau_delta, ..Thresholds::default() };
    // The number of pairs that other thresholds select.
    for point in sweep(&probabilities, &[], LoopState::Status2, &[0.1, 0.2, 0.5].map(thresholds))? {
        println!("tau_delta {} selects {} pairs", point.thresholds.tau_delta, point.coverage.count);
    }
    let rule = LoopState::Status2.rule(thresholds(tau_delta).check()?);
    Ok(select(&probabilities, &rule)?.iter().map(|pair| pair.index).collect())
}
