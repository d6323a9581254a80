//! Packed batches: pairs or single texts, one after the other, without padding.

use ser_data::TokenizedPair;
use ser_libtorch::{RowRange, Segment, VarlenSequences};
use tch::{Device, Tensor};

use crate::ModelError;
use crate::config::NetworkConfig;

/// Texts concatenated into `rows` tokens: pairs as `[prompt | A | B]`, single texts unchanged.
#[derive(Debug)]
pub(crate) struct PackedBatch {
    /// [rows] token ids.
    pub(crate) tokens: Tensor,
    /// The position of each row in its own text.
    pub(crate) positions: Vec<i64>,
    /// The length of the text that each row belongs to.
    pub(crate) lengths: Vec<i64>,
    /// The rows of each pair or text; all rows are queries.
    pub(crate) segments: Vec<Segment>,
    /// The same segments where only the last token of each text is a query, and q has only those rows.
    pub(crate) last_segments: Vec<Segment>,
    /// The rows of those last tokens: two per pair (A, B), one per single text.
    pub(crate) last_rows: Vec<i64>,
    /// The sequences of both kinds of segments, in this order, for attention without the kernels.
    pub(super) sequences: Option<[VarlenSequences; 2]>,
    /// The places of its rows in the larger batch that it is a part of; `None` for a whole batch.
    pub(crate) places: Option<BatchRows>,
}

/// Where the rows of some pairs or texts of a batch are in that batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchRows {
    all: Vec<RowRange>,
    last: Vec<RowRange>,
    /// The number of rows, and of those that leave the last layer.
    count: (i64, i64),
}

impl BatchRows {
    /// The rows of those pairs or texts that `mine` holds for, in order. `rows` are, of each one of the batch, the number of
    /// all rows and of those that leave the last layer.
    pub(crate) fn of_share(rows: &[(i64, i64)], mine: impl Fn(usize) -> bool) -> Self {
        let mut places = BatchRows::default();
        let mut start = (0, 0);
        for (i, &(all, last)) in rows.iter().enumerate() {
            if mine(i) {
                let own = places.count;
                places.all.push(RowRange { start: own.0, count: all, in_batch: start.0 });
                places.last.push(RowRange { start: own.1, count: last, in_batch: start.1 });
                places.count = (own.0 + all, own.1 + last);
            }
            start = (start.0 + all, start.1 + last);
        }
        places
    }

    /// The places of the rows of `x`: all rows, or those that leave the last layer.
    pub(super) fn of(&self, x: &Tensor) -> &[RowRange] {
        // If both are as many, they are the same.
        if x.size().first() == Some(&self.count.0) { &self.all } else { &self.last }
    }
}

/// Whether the two texts of a pair cannot share the prompt's rows: the rotary frequencies depend on the text's length.
fn repeats_prompt([prompt, a, b]: [usize; 3], config: &NetworkConfig) -> bool {
    let longest = (prompt + a.max(b)) as i64;
    config.rope_scaling.grows_beyond().is_some_and(|original| longest > original)
}

/// The number of rows of a pair of this many tokens of prompt, A and B.
pub(crate) fn pair_rows(lengths: [usize; 3], config: &NetworkConfig) -> i64 {
    let [prompt, a, b] = lengths;
    (prompt + a + b + if repeats_prompt(lengths, config) { prompt } else { 0 }) as i64
}

impl PackedBatch {
    /// Packs pairs: the prompt once, A, then B with positions that continue from the end of the prompt.
    pub(crate) fn of_pairs(
        pairs: &[&TokenizedPair],
        config: &NetworkConfig,
        device: Device,
    ) -> Result<Self, ModelError> {
        let mut builder = Builder::new(config);
        for (i, pair) in pairs.iter().enumerate() {
            let [a, b] = &pair.answers;
            if a.is_empty() || b.is_empty() {
                return Err(ModelError::EmptyText { pair: i });
            }
            if repeats_prompt(pair.lengths().into(), config) {
                for answer in [a, b] {
                    builder.push(&[], &[pair.prompt.as_slice(), answer].concat(), &[])?;
                }
            } else {
                builder.push(&pair.prompt, a, b)?;
            }
        }
        builder.finish(device)
    }

    /// Packs single texts. A text does not attend to another.
    pub(crate) fn of_texts(texts: &[&[u32]], config: &NetworkConfig, device: Device) -> Result<Self, ModelError> {
        let mut builder = Builder::new(config);
        for (i, text) in texts.iter().enumerate() {
            if text.is_empty() {
                return Err(ModelError::EmptyText { pair: i });
            }
            builder.push(&[], text, &[])?;
        }
        builder.finish(device)
    }

    /// Packs texts; rows from `first` on are queries.
    pub(crate) fn of_endings(
        texts: &[(&[u32], usize)],
        config: &NetworkConfig,
        device: Device,
    ) -> Result<Self, ModelError> {
        let mut builder = Builder::new(config);
        for (i, &(text, first)) in texts.iter().enumerate() {
            if text.len() <= first {
                return Err(ModelError::EmptyText { pair: i });
            }
            builder.push(&[], text, &[])?;
            builder.set_first_query(first as i64);
        }
        builder.finish(device)
    }
}

struct Builder<'a> {
    config: &'a NetworkConfig,
    tokens: Vec<i64>,
    positions: Vec<i64>,
    lengths: Vec<i64>,
    segments: Vec<Segment>,
    last_segments: Vec<Segment>,
    last_rows: Vec<i64>,
}

impl<'a> Builder<'a> {
    fn new(config: &'a NetworkConfig) -> Self {
        Builder {
            config,
            tokens: Vec::new(),
            positions: Vec::new(),
            lengths: Vec::new(),
            segments: Vec::new(),
            last_segments: Vec::new(),
            last_rows: Vec::new(),
        }
    }

    fn push(&mut self, prompt: &[u32], a: &[u32], b: &[u32]) -> Result<(), ModelError> {
        let longest = prompt.len() + a.len().max(b.len());
        let limit = self.config.longest_text();
        if longest as i64 > limit {
            return Err(ModelError::TooLong { tokens: longest, limit });
        }
        let start = self.tokens.len() as i64;
        let (p, a_len, b_len) = (prompt.len() as i64, a.len() as i64, b.len() as i64);
        for &id in prompt.iter().chain(a).chain(b) {
            if i64::from(id) >= self.config.vocab_size {
                return Err(ModelError::TokenId { id, vocab: self.config.vocab_size });
            }
            self.tokens.push(i64::from(id));
        }
        self.positions.extend((0..p + a_len).chain(p..p + b_len));
        self.lengths.resize(self.lengths.len() + p as usize + a.len(), p + a_len);
        self.lengths.resize(self.lengths.len() + b.len(), p + b_len);
        let segment = Segment::pair(start, p, a_len, b_len);
        let row = self.last_rows.len() as i64;
        self.last_rows.push(start + p + a_len - 1);
        if b_len > 0 {
            self.last_rows.push(start + segment.rows() - 1);
        }
        self.last_segments.push(segment.with_last_queries(row));
        self.segments.push(segment);
        Ok(())
    }

    /// Makes the rows of the last text from `first` on queries.
    fn set_first_query(&mut self, first: i64) {
        if let Some(segment) = self.last_segments.last_mut() {
            segment.query_a = first;
            self.last_rows.pop();
            self.last_rows.extend(segment.start + first..segment.start + segment.a);
        }
    }

    fn finish(self, device: Device) -> Result<PackedBatch, ModelError> {
        let kernels = device == Device::Cpu && ser_libtorch::kernels_enabled();
        let sequences = if kernels {
            None
        } else {
            let of = |segments: &[Segment]| VarlenSequences::new(segments, device);
            Some([of(&self.segments)?, of(&self.last_segments)?])
        };
        Ok(PackedBatch {
            places: None,
            sequences,
            tokens: ser_libtorch::upload(&self.tokens, device)?,
            positions: self.positions,
            lengths: self.lengths,
            segments: self.segments,
            last_segments: self.last_segments,
            last_rows: self.last_rows,
        })
    }
}
