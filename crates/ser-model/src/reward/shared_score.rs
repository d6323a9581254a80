//! Scoring by several processes.

use std::sync::Arc;

use ser_core::{Context, Pair, PairScores, Scorer};
use ser_data::{TokenizedPair, balance, plan_batches_by_length};
use ser_libtorch::ProcessGroup;
use sha2::{Digest, Sha256};
use tch::Tensor;

use super::model::RewardModel;
use crate::ModelError;
use crate::activations::Keep;

impl RewardModel {
    /// Like [`Scorer::score`], with the batches shared among the processes of `group` by their tokens. Every process calls it
    /// with the same pairs and an equal model, and receives all scores. The batches are those of one process, so that the
    /// scores are too.
    ///
    /// # Errors
    /// As of [`Scorer::score`]; processes with different pairs, settings or versions; a process that ended or is late.
    pub fn score_shared(
        &mut self,
        pairs: &[Arc<Pair>],
        group: &ProcessGroup,
        cx: &mut Context<'_>,
    ) -> Result<Vec<PairScores>, ModelError> {
        if group.size() == 1 {
            return self.score(pairs, cx);
        }
        let tokens = self.tokenized(pairs)?;
        let tokens: Vec<&TokenizedPair> = tokens.iter().collect();
        self.unless_equal(&tokens, group)?;
        let lengths: Vec<usize> = tokens.iter().map(|pair| pair.packed_len()).collect();
        let batches = plan_batches_by_length(&lengths, self.settings.token_budget);
        let weight = |batch: &Vec<usize>| batch.iter().filter_map(|&index| lengths.get(index)).sum();
        let weights: Vec<usize> = batches.iter().map(weight).collect();
        let shares = balance(&weights, group.size());
        let mine = batches.into_iter().zip(shares).filter(|(_, share)| *share == group.rank());
        let mine: Vec<Vec<usize>> = mine.map(|(batch, _)| batch).collect();
        let indices: Vec<usize> = mine.iter().flatten().copied().collect();
        cx.start(Some(indices.len() as u64), "pairs")?;
        let scores = self.score_batches(&tokens, mine, Keep::Yes, cx)?;

        // The sum of a score's bits and zeros is exact, whatever the score.
        let mut bits = vec![0i64; 2 * scores.len()];
        for index in indices {
            if let (Some(score), Some([a, b])) = (scores.get(index), bits.get_mut(2 * index..2 * index + 2)) {
                (*a, *b) = (score.a.0.to_bits().cast_signed(), score.b.0.to_bits().cast_signed());
            }
        }
        let mut bits = Tensor::from_slice(&bits);
        group.all_reduce_sum(&mut bits)?;
        let score = |bits: &i64| f64::from_bits(bits.cast_unsigned());
        let bits = Vec::<i64>::try_from(&bits)?;
        let pair = |pair: &[i64]| match pair {
            [a, b] => PairScores::new(score(a), score(b)),
            _ => PairScores::new(f64::NAN, f64::NAN),
        };
        Ok(bits.chunks(2).map(pair).collect())
    }

    /// An error if the processes have other pairs, adapters, settings or versions than this one.
    fn unless_equal(&self, tokens: &[&TokenizedPair], group: &ProcessGroup) -> Result<(), ModelError> {
        let mut pairs = Sha256::new();
        for pair in tokens {
            let [a, b] = &pair.answers;
            for ids in [&pair.prompt, a, b] {
                pairs.update((ids.len() as u64).to_le_bytes());
                ids.iter().for_each(|id| pairs.update(id.to_le_bytes()));
            }
        }
        // The adapter that scores and its head. The base model is far larger.
        let adapter = match self.active_adapter() {
            Some(name) => self.network.adapter_tensors(name)?.into_iter().map(|(_, tensor)| tensor).collect(),
            None => Vec::new(),
        };
        let mut weights = Sha256::new();
        for tensor in adapter.into_iter().chain([self.head()]) {
            let values = tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_to_kind(tch::Kind::Float)?.f_view([-1])?;
            Vec::<f32>::try_from(&values)?.iter().for_each(|value| weights.update(value.to_le_bytes()));
        }
        let settings = serde_json::to_vec(&self.settings)
            .map_err(|error| ModelError::json(&self.folder, format!("settings cannot be written: {error}")))?;
        let version = env!("CARGO_PKG_VERSION");
        Ok(group.require_equal(&[
            ("versions of this program", first_bytes(&Sha256::digest(version))),
            ("settings", first_bytes(&Sha256::digest(settings))),
            ("weights", first_bytes(&weights.finalize())),
            ("pairs", first_bytes(&pairs.finalize())),
        ])?)
    }
}

fn first_bytes(digest: &[u8]) -> i64 {
    digest.iter().take(8).fold(0, |value, byte| (value << 8) | i64::from(*byte))
}
