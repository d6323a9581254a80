//! The rows of packed texts that foretell the tokens one asks about, and log-probabilities of those tokens.

use tch::Tensor;

use crate::kernels::Foretold;
use crate::network::Rows;
use crate::packed::PackedBatch;
use crate::seeds::Seeds;
use crate::{CausalLm, ModelError};

/// For n tokens, the hidden rows that foretell them.
pub(crate) struct TokenRows {
    /// [n, hidden], after the final norm.
    pub(crate) hidden: Tensor,
    /// [n] the tokens.
    pub(crate) targets: Tensor,
    /// How many of the n belong to each text.
    pub(crate) counts: Vec<i64>,
}

impl CausalLm {
    /// The rows that foretell the tokens at some places of each text, in rising order.
    ///
    /// The last layer computes only keys and values for what stands before the first of them, and the head sees no
    /// other row at all: what is computed for answers costs what answers cost, not what their prompts cost. Place 0 is
    /// foretold by nothing and must not be asked about.
    pub(crate) fn answer_rows(
        &self,
        texts: Vec<(&[u32], impl Iterator<Item = usize>)>,
        dropout: Option<&Seeds>,
    ) -> Result<TokenRows, ModelError> {
        let network = &self.network;
        let mut endings = Vec::with_capacity(texts.len());
        let (mut rows, mut targets, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let mut asking = 0;
        for (tokens, places) in texts {
            let places: Vec<usize> = places.collect();
            let (first, last) = match (places.first(), places.last()) {
                (Some(first), Some(last)) if *first > 0 => (*first, *last),
                _ => return Err(ModelError::NoData("a text has no token that anything foretells")),
            };
            // Row t foretells token t + 1, so tokens from the last one asked about on need not be read.
            endings.push((tokens.get(..last).unwrap_or(tokens), first - 1));
            rows.extend(places.iter().map(|place| asking + (place - first) as i64));
            targets.extend(places.iter().map(|place| tokens.get(*place).map_or(0, |&token| i64::from(token))));
            counts.push(places.len() as i64);
            asking += (last + 1 - first) as i64;
        }
        let batch = PackedBatch::of_endings(&endings, &network.config, network.device)?;
        let mut hidden = network.forward(&batch, Rows::Last, dropout)?;
        if rows.len() as i64 != asking {
            hidden = hidden.f_index_select(0, &Tensor::f_from_slice(&rows)?.f_to_device(network.device)?)?;
        }
        let targets = Tensor::f_from_slice(&targets)?.f_to_device(network.device)?;
        Ok(TokenRows { hidden, targets, counts })
    }

    /// What the rows say of their tokens.
    pub(crate) fn foretold(&self, rows: &TokenRows) -> Result<Foretold, ModelError> {
        Foretold::new(&self.network.logits(&rows.hidden)?, &rows.targets)
    }
}
