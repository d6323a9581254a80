//! A status rule and a loss of your own, in a run of self-evolution and alone.
//!
//! ```sh
//! cargo run --release --example own_rule_and_loss -- runs/own-rule
//! ```
#![allow(clippy::print_stdout, clippy::indexing_slicing)]

#[path = "embed_custom_model.rs"]
mod embed_custom_model;

use std::path::Path;

use ser::ndarray::{Array2, ArrayView2};
use ser::{
    Baselines, BoxError, LearningStatus, LoopSettings, LossOutput, PairLoss, PairTarget, PoolView, SelfEvolution, Side,
    StatusRule,
};

use embed_custom_model::{HashedLinear, corpus, settings};

/// Selects pairs with a large Delta whose answers have similar lengths, so that the labels do not depend on length.
pub(crate) struct SimilarLengths {
    /// The threshold of Delta.
    pub(crate) min_delta: f64,
    /// The largest ratio of the longer answer's length to the shorter one's.
    pub(crate) max_ratio: f64,
}

impl StatusRule for SimilarLengths {
    type Error = BoxError;

    fn classify(&self, pool: &PoolView<'_>) -> Result<Vec<LearningStatus>, BoxError> {
        let status = |(position, probabilities): (usize, &ser::PairProbabilities)| {
            let pair = pool.pair(position)?;
            let [a, b] = [Side::A, Side::B].map(|side| pair.response(side).len().max(1) as f64);
            let similar = a.max(b) / a.min(b) <= self.max_ratio;
            Ok(match similar && probabilities.delta() > self.min_delta {
                true => LearningStatus::Status2,
                false => LearningStatus::Stop,
            })
        };
        pool.probabilities().iter().enumerate().map(status).collect()
    }
}

/// The squared hinge loss max(0, 1 - (r_preferred - r_other))^2, averaged with the targets' weights.
pub(crate) struct SquaredHinge;

impl PairLoss for SquaredHinge {
    fn evaluate(&self, scores: ArrayView2<'_, f64>, targets: &[PairTarget]) -> Result<LossOutput, BoxError> {
        let total = targets.iter().map(|target| target.weight).sum::<f64>().max(f64::MIN_POSITIVE);
        let mut out = LossOutput { value: 0.0, gradient: Array2::zeros(scores.dim()) };
        for (row, target) in targets.iter().enumerate() {
            let gap = (1.0 - (scores[[row, 0]] - scores[[row, 1]])).max(0.0);
            out.value += target.weight * gap * gap / total;
            let slope = 2.0 * target.weight * gap / total;
            out.gradient[[row, 0]] = -slope;
            out.gradient[[row, 1]] = slope;
        }
        Ok(out)
    }
}

/// Runs self-evolution with both. Returns the number of pairs that each iteration selected.
pub(crate) fn run(folder: &Path, pairs: usize) -> Result<Vec<u64>, BoxError> {
    let outcome = SelfEvolution::new(LoopSettings { baselines: Baselines::none(), ..settings() })
        .rule(SimilarLengths { min_delta: 0.3, max_ratio: 1.5 })
        .loss(SquaredHinge)
        .resume(true)
        .run(&mut HashedLinear::new(), corpus(pairs)?.data, folder)?;
    println!("{}", outcome.report.to_text());
    Ok(outcome.report.iterations.iter().filter_map(|i| i.selection.as_ref()).map(|s| s.kept).collect())
}

#[allow(dead_code, reason = "the test calls `run`")]
fn main() -> Result<(), BoxError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "runs/own-rule".to_owned());
    run(Path::new(&folder), 4000)?;
    Ok(())
}
