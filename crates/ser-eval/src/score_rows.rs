//! Rows of an array of scores.

use ndarray::{ArrayView2, Axis};

use crate::EvalError;

/// The rows of an array of scores, [r_chosen, r_rejected].
pub(crate) fn rows<'a>(scores: ArrayView2<'a, f64>) -> Result<impl Iterator<Item = [f64; 2]> + 'a, EvalError> {
    let columns = scores.ncols();
    if columns != 2 && !scores.is_empty() {
        return Err(EvalError::ScoreColumns { columns });
    }
    let (chosen, rejected) = scores.split_at(Axis(1), columns / 2);
    Ok(chosen.into_iter().zip(rejected).map(|(chosen, rejected)| [*chosen, *rejected]))
}
