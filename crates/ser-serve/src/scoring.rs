//! The thread that owns the scorer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use ser_core::{BoxError, Context, Pair, PairScores, Scorer, Screening};

use crate::metrics::Metrics;
use crate::queue::{Failure, Outcome, Part, Queue, Work};

/// Changes the adapter of a scorer to the one of a name.
pub(crate) type ChangeTo<S> = fn(&mut S, &str) -> Result<(), BoxError>;

/// Scores batches, and changes the adapter, until the queue is closed and empty.
pub(crate) fn run<S: Scorer>(
    scorer: &mut S,
    change_to: Option<ChangeTo<S>>,
    queue: &Queue,
    batch: (usize, usize),
    metrics: &Metrics,
) {
    let (max_pairs, max_bytes) = batch;
    while let Some(work) = queue.take(max_pairs, max_bytes) {
        let parts = match work {
            Work::Score(parts) => parts,
            Work::Change(change) => {
                let result = match change_to {
                    _ if change.is_abandoned() => Err("the client has left".to_owned()),
                    Some(change_to) => {
                        call(|| change_to(scorer, &change.name)).unwrap_or_else(|_| Err("it panicked".to_owned()))
                    }
                    None => Err("this model has no other adapters".to_owned()),
                };
                tracing::info!(adapter = change.name, ?result, "change of the adapter");
                queue.finish_change(change, result);
                continue;
            }
        };
        let pairs: usize = parts.iter().map(|part| part.pairs.len()).sum();
        let _span = tracing::debug_span!("batch", requests = parts.len(), pairs).entered();
        let start = Instant::now();
        let outcomes = score_parts(scorer, &parts, metrics);
        metrics.batch(pairs, start.elapsed());
        for (part, outcome) in parts.iter().zip(outcomes) {
            queue.finish(part, outcome);
        }
    }
}

/// The outcome of each part. If the scorer refuses them together, each is scored alone, so that no request fails by another.
fn score_parts(scorer: &mut impl Scorer, parts: &[Part], metrics: &Metrics) -> Vec<Outcome> {
    match together(scorer, parts, metrics) {
        Ok(outcomes) => outcomes,
        Err(failure) if parts.len() == 1 => vec![Err(failure)],
        Err(_) => parts
            .iter()
            .map(|part| {
                let alone = together(scorer, std::slice::from_ref(part), metrics)?;
                alone.into_iter().next().unwrap_or_else(|| Err(Failure::Model("no scores were returned".to_owned())))
            })
            .collect(),
    }
}

fn together(scorer: &mut impl Scorer, parts: &[Part], metrics: &Metrics) -> Result<Vec<Outcome>, Failure> {
    let all: Vec<Arc<Pair>> = parts.iter().flat_map(|part| &part.pairs).cloned().collect();
    let mut screened = call(|| scorer.screen(&all, &mut Context::silent()))?.map_err(Failure::Unreadable)?.into_iter();
    let screened: Vec<Vec<Screening>> =
        parts.iter().map(|part| screened.by_ref().take(part.pairs.len()).collect()).collect();
    let find = |part: &Part, of_part: &[Screening], kind| {
        of_part.iter().position(|&screening| screening == kind).map(|at| part.first + at)
    };
    let too_long: Vec<Option<usize>> = parts
        .iter()
        .zip(&screened)
        .map(|(part, of_part)| if part.cut_long { None } else { find(part, of_part, Screening::TooLong) })
        .collect();
    let usable: Vec<Arc<Pair>> = (parts.iter().zip(&too_long))
        .filter(|(_, too_long)| too_long.is_none())
        .flat_map(|(part, _)| &part.pairs)
        .cloned()
        .collect();
    let scores = if usable.is_empty() {
        Vec::new()
    } else {
        let scored = call(|| scorer.score_truncated(&usable, &mut Context::silent()))?;
        let (scores, truncated) = scored.map_err(|problem| {
            // An error on a text without tokens is due to the request, not to the model.
            let empty = parts.iter().zip(&screened).find_map(|(part, kinds)| find(part, kinds, Screening::Empty));
            empty.map_or(Failure::Model(problem), Failure::Empty)
        })?;
        metrics.truncated(truncated);
        scores
    };
    if scores.len() != usable.len() {
        return Err(Failure::Model(format!("it returned {} scores for {} pairs", scores.len(), usable.len())));
    }
    let mut scores = scores.into_iter();
    let outcome = |(part, too_long): (&Part, Option<usize>)| {
        if let Some(pair) = too_long {
            return Err(Failure::TooLong(pair));
        }
        let scores: Vec<PairScores> = scores.by_ref().take(part.pairs.len()).collect();
        match scores.iter().flat_map(|s| [s.a.0, s.b.0]).find(|score| !score.is_finite()) {
            Some(score) => Err(Failure::Model(format!("its score is {score}"))),
            None => Ok(scores),
        }
    };
    Ok(parts.iter().zip(too_long).map(outcome).collect())
}

/// Calls the scorer; its error as a sentence, and a panic as a failure.
fn call<T, E: Into<BoxError>>(f: impl FnOnce() -> Result<T, E>) -> Result<Result<T, String>, Failure> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => Ok(result.map_err(|error| sentence(&*error.into()))),
        Err(_) => Err(Failure::Model("it panicked".to_owned())),
    }
}

fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
