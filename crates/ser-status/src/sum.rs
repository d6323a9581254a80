//! Sums in parallel whose last bit does not depend on the number of threads.

use rayon::prelude::*;

const CHUNK: usize = 16 * 1024;

/// The sum of `of` over `items`: within chunks of a fixed size, then over the chunks in order.
pub(crate) fn ordered_sum<T: Sync>(items: &[T], of: impl Fn(&T) -> f64 + Send + Sync) -> f64 {
    let chunks: Vec<f64> = items.par_chunks(CHUNK).map(|chunk| chunk.iter().map(&of).sum()).collect();
    chunks.iter().sum()
}
