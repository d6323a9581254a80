//! What of each pool pair is in memory: a few numbers, whatever the length of its texts.

use ser_core::{Pair, PairId, PairSet, Side};
use ser_data::prompt_clusters;

use crate::Error;
use crate::prepare::CHUNK;

/// One entry per pool pair, in the pool's order; 24 bytes of memory per pair.
pub(crate) struct PoolColumns {
    pub(crate) ids: Vec<PairId>,
    /// Equal for pairs with the same prompt.
    pub(crate) prompts: Vec<u64>,
    /// Both answers' lengths in characters.
    pub(crate) lengths: Vec<[u32; 2]>,
}

impl PoolColumns {
    /// Reads the pool once.
    pub(crate) fn read(pool: &PairSet) -> Result<Self, Error> {
        let n = pool.len();
        let mut columns =
            PoolColumns { ids: Vec::with_capacity(n), prompts: Vec::with_capacity(n), lengths: Vec::with_capacity(n) };
        for chunk in pool.chunks(CHUNK) {
            let chunk = chunk.map_err(Error::store)?;
            columns.ids.extend(chunk.iter().map(|pair| pair.id));
            columns.prompts.extend(prompt_clusters(chunk.iter().map(AsRef::as_ref)));
            // A text of four billion characters is longer than every other.
            let length = |pair: &Pair| lengths(pair).map(|length| u32::try_from(length).unwrap_or(u32::MAX));
            columns.lengths.extend(chunk.iter().map(|pair| length(pair)));
        }
        Ok(columns)
    }
}

/// Both answers' lengths in characters.
pub(crate) fn lengths(pair: &Pair) -> [usize; 2] {
    [Side::A, Side::B].map(|side| pair.response(side).chars().count())
}
