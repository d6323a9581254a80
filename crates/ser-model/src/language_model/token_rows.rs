//! The rows of packed texts that predict given tokens, and log-probabilities of those tokens.

use tch::Tensor;

use super::causal_lm::CausalLm;
use crate::ModelError;
use crate::network::{PackedBatch, Rows, TokenLogProbs};
use crate::seeds::Seeds;
use crate::train::CheckpointedForward;

/// How a forward pass over texts runs. `Default` = as for evaluation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ForwardOptions<'a> {
    /// Seeds of the dropouts, while training.
    pub(crate) dropout: Option<&'a Seeds>,
    /// Whether layers are computed again in the backward pass.
    pub(crate) checkpointing: bool,
}

/// For n tokens, the hidden rows that predict them.
pub(crate) struct TokenRows<'a> {
    /// [n, hidden], after the final norm.
    pub(crate) hidden: Tensor,
    /// [n] the tokens.
    pub(crate) targets: Tensor,
    /// How many of the n belong to each text.
    pub(crate) counts: Vec<i64>,
    forward: CheckpointedForward<'a>,
}

impl TokenRows<'_> {
    /// Completes the backward pass after that of the loss.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        self.forward.finish()
    }
}

impl CausalLm {
    /// The rows that predict the tokens at given indices of each text, in rising order.
    ///
    /// Before the first of them, the last layer computes keys and values only, and the head computes no other row: the
    /// cost is that of the answers and not that of their prompts. Index 0 is never predicted; it is rejected.
    pub(crate) fn answer_rows(
        &self,
        texts: Vec<(&[u32], impl Iterator<Item = usize>)>,
        options: ForwardOptions<'_>,
    ) -> Result<TokenRows<'_>, ModelError> {
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
            // Row t predicts token t + 1, so the last of the tokens and all after it need not be read.
            endings.push((tokens.get(..last).unwrap_or(tokens), first - 1));
            rows.extend(places.iter().map(|place| asking + (place - first) as i64));
            targets.extend(places.iter().map(|place| tokens.get(*place).map_or(0, |&token| i64::from(token))));
            counts.push(places.len() as i64);
            asking += (last + 1 - first) as i64;
        }
        let batch = PackedBatch::of_endings(&endings, &network.config, network.device)?;
        let forward = CheckpointedForward::forward(network, batch, Rows::Last, options.dropout, options.checkpointing)?;
        let mut hidden = forward.hidden.shallow_clone();
        if rows.len() as i64 != asking {
            hidden = hidden.f_index_select(0, &Tensor::f_from_slice(&rows)?.f_to_device(network.device)?)?;
        }
        let targets = Tensor::f_from_slice(&targets)?.f_to_device(network.device)?;
        Ok(TokenRows { hidden, targets, counts, forward })
    }

    /// Log-probabilities and entropies of the rows' tokens.
    pub(crate) fn token_log_probs(&self, rows: &TokenRows<'_>) -> Result<TokenLogProbs, ModelError> {
        TokenLogProbs::new(&self.network.logits(&rows.hidden)?, &rows.targets)
    }
}
