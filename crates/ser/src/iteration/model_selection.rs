//! Selects the iteration whose model is the result of a run.

use ser_status::{StatusError, Validation};

use super::types::Iteration;
use crate::settings::ModelSelection;

/// The selected iteration.
pub(crate) struct Chosen<'r> {
    pub(crate) iteration: &'r Iteration,
    /// A sentence if an earlier iteration did better, but not significantly.
    pub(crate) note: Option<String>,
}

/// Selects one of the iterations; `None` if there are none.
pub(crate) fn choose(iterations: &[Iteration], by: ModelSelection) -> Result<Option<Chosen<'_>>, StatusError> {
    let (Some(last), Some((first, rest))) = (iterations.last(), iterations.split_first()) else {
        return Ok(None);
    };
    let plain = |iteration| Ok(Some(Chosen { iteration, note: None }));
    if by == ModelSelection::Last || last.validation.correct.is_empty() {
        return plain(last);
    }
    let best =
        rest.iter().fold(
            first,
            |best, iteration| {
                if iteration.validation.right() > best.validation.right() { iteration } else { best }
            },
        );
    if by == ModelSelection::Validation {
        return plain(best);
    }
    let compared =
        Validation::new(&best.validation.correct, Some(&last.validation.correct), last.validation.clusters())?;
    Ok(Some(match compared.gain_exceeds(1.0) {
        Some(true) => Chosen { iteration: best, note: None },
        _ => Chosen {
            iteration: last,
            note: compared.gain().filter(|(gain, _)| *gain > 0.0).map(|(gain, error)| {
                format!(
                    "LoopInputs {} gets {:.1} ± {:.1} points more of the {} validation pairs right than the last loop, which is within \
                     one standard error: the last loop's model is the result (loop.model_selection = \"one_standard_error\").",
                    best.number,
                    100.0 * gain,
                    100.0 * error,
                    compared.pairs
                )
            }),
        },
    }))
}
