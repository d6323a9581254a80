//! Selection alone: raw scores of any reward model in, pseudo-labels out.
//!
//! ```sh
//! cargo run --example status_alone
//! ```
#![allow(clippy::print_stdout)]

use ser::status::{Anchor, LoopState, PoolQuantiles, Thresholds, select};
use ser::{BoxError, PairScores};

/// Prints the pairs that each status selects.
pub(crate) fn main() -> Result<(), BoxError> {
    // The raw scores of both answers of five pairs.
    let scores = [(0.9, -0.7), (0.1, 0.0), (0.2, 2.5), (-0.3, -0.4), (2.8, 1.1)].map(PairScores::from);

    // Eq. 1: the anchor turns scores into probabilities. This one removes the mean of the pool first.
    let probabilities = Anchor::PoolMean.fit(&scores, &[])?.apply(&scores);
    if let Some(quantiles) = PoolQuantiles::new(&probabilities) {
        println!("Delta: {}", quantiles.delta);
    }

    // Eq. 2 to 4: the statuses, and the pairs that they select.
    let thresholds = Thresholds { tau_high: 0.55, tau_low: 0.45, tau_delta: 0.3, ..Thresholds::default() }.check()?;
    for state in [LoopState::Status1, LoopState::Status2] {
        println!("{state:?}:");
        for pair in select(&probabilities, &state.rule(thresholds))? {
            println!("  pair {} prefers answer {:?}, Delta {:.3}", pair.index, pair.preferred, pair.delta);
        }
    }
    Ok(())
}
