//! The hidden rows of packed texts that predict given tokens, and the log-probabilities of those tokens.

use tch::Tensor;

use super::causal_lm::CausalLm;
use crate::ModelError;
use crate::activations::{FrozenText, Keep};
use crate::network::{BatchRows, PackedBatch, Rows, TokenLogProbs};
use crate::seeds::Seeds;
use crate::train::CheckpointedForward;

/// Options of a forward pass over texts. `Default` is evaluation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ForwardOptions<'a> {
    /// Seeds of the dropouts; `None` outside of training.
    pub(crate) dropout: Option<&'a Seeds>,
    /// Whether the backward pass computes each layer again (gradient checkpointing).
    pub(crate) checkpointing: bool,
    /// Whether the texts are those of a training, which come again: the activations below an adapter on the top layers are
    /// kept.
    pub(crate) repeated: bool,
    /// The texts' places in a larger batch, whose draws the dropouts take; `None` if they are the whole batch.
    pub(crate) places: Option<&'a BatchRows>,
}

/// The hidden rows that predict n tokens.
pub(crate) struct TokenRows<'a> {
    /// [n, hidden], after the final norm.
    pub(crate) hidden: Tensor,
    /// [n] the predicted tokens.
    pub(crate) targets: Tensor,
    /// The number of tokens of each text; their sum is n.
    pub(crate) counts: Vec<i64>,
    forward: CheckpointedForward<'a>,
}

impl TokenRows<'_> {
    /// Completes the backward pass, after `backward` was called on the loss.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        self.forward.finish()
    }
}

impl CausalLm {
    /// The rows that predict the tokens at the given positions of each text, in ascending order.
    ///
    /// For rows before the first of them, the last layer computes keys and values only, and the head computes no other row, so
    /// the cost depends on the answers and not on their prompts. Position 0 is never predicted; it is rejected.
    pub(crate) fn answer_rows(
        &self,
        texts: Vec<(&[u32], impl Iterator<Item = usize>)>,
        options: ForwardOptions<'_>,
    ) -> Result<TokenRows<'_>, ModelError> {
        let network = &self.network;
        let mut endings = Vec::with_capacity(texts.len());
        let (mut rows, mut targets, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let mut query_rows = 0;
        for (tokens, positions) in texts {
            let positions: Vec<usize> = positions.collect();
            let (first, last) = match (positions.first(), positions.last()) {
                (Some(first), Some(last)) if *first > 0 => (*first, *last),
                _ => return Err(ModelError::NoData("a text has no predicted token")),
            };
            // Row t predicts token t + 1, so the last of the tokens and all after it are not needed.
            endings.push((tokens.get(..last).unwrap_or(tokens), first - 1));
            rows.extend(positions.iter().map(|position| query_rows + (position - first) as i64));
            targets.extend(positions.iter().map(|position| tokens.get(*position).map_or(0, |&token| i64::from(token))));
            counts.push(positions.len() as i64);
            query_rows += (last + 1 - first) as i64;
        }
        let mut batch = PackedBatch::of_endings(&endings, &network.config, network.device)?;
        batch.places = options.places.cloned();
        let entry = if options.repeated {
            let texts: Vec<FrozenText<'_>> = endings.iter().map(|(text, _)| FrozenText::Single(text)).collect();
            self.activations.entry(network, &texts, Keep::Yes)?
        } else {
            None
        };
        let forward =
            CheckpointedForward::forward(network, batch, entry, Rows::Last, options.dropout, options.checkpointing)?;
        let mut hidden = forward.hidden.shallow_clone();
        if rows.len() as i64 != query_rows {
            hidden = hidden.f_index_select(0, &ser_libtorch::upload(&rows, network.device)?)?;
        }
        let targets = ser_libtorch::upload(&targets, network.device)?;
        Ok(TokenRows { hidden, targets, counts, forward })
    }

    /// Log-probabilities and entropies of the predicted tokens.
    pub(crate) fn token_log_probs(&self, rows: &TokenRows<'_>) -> Result<TokenLogProbs, ModelError> {
        TokenLogProbs::new(&self.network.logits(&rows.hidden)?, &rows.targets)
    }
}
