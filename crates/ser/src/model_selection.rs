//! Which round's model is the result of a run.

use ser_status::{StatusError, Validation};

use crate::rounds::Round;
use crate::settings::ModelSelection;

/// The result, with a sentence where validation could not tell it from a round that did better.
pub(crate) struct Chosen<'r> {
    pub(crate) round: &'r Round,
    pub(crate) note: Option<String>,
}

/// Chooses among the rounds; `None` if there are none.
pub(crate) fn choose(rounds: &[Round], by: ModelSelection) -> Result<Option<Chosen<'_>>, StatusError> {
    let (Some(last), Some((first, rest))) = (rounds.last(), rounds.split_first()) else {
        return Ok(None);
    };
    let plain = |round| Ok(Some(Chosen { round, note: None }));
    if by == ModelSelection::Last || last.validation.correct.is_empty() {
        return plain(last);
    }
    let best = rest.iter().fold(
        first,
        |best, round| {
            if round.validation.right() > best.validation.right() { round } else { best }
        },
    );
    if by == ModelSelection::Validation {
        return plain(best);
    }
    let compared =
        Validation::new(&best.validation.correct, Some(&last.validation.correct), last.validation.clusters())?;
    Ok(Some(match compared.gain_exceeds(1.0) {
        Some(true) => Chosen { round: best, note: None },
        _ => Chosen {
            round: last,
            note: compared.gain().filter(|(gain, _)| *gain > 0.0).map(|(gain, error)| {
                format!(
                    "Loop {} gets {:.1} ± {:.1} points more of the {} validation pairs right than the last loop, which is within \
                     one standard error: the last loop's model is the result (loop.choice = \"one_standard_error\").",
                    best.number,
                    100.0 * gain,
                    100.0 * error,
                    compared.pairs
                )
            }),
        },
    }))
}
