//! The passes of a training step over pairs, by one process or several.

use ser_data::{TokenizedPair, balance};
use ser_libtorch::ProcessGroup;
use tch::{Kind, Tensor};

use super::model::RewardModel;
use crate::ModelError;
use crate::activations::Keep;
use crate::network::{BatchRows, Rows, pair_rows};
use crate::parallel::{PairShape, SharedModel, StepRequest, Work, pairs_of, tokens_of};
use crate::seeds::Seeds;
use crate::train::{CheckpointedForward, backward_scores};

/// A forward pass over pairs that are trained on.
pub(super) struct PairPass<'a> {
    forward: CheckpointedForward<'a>,
    /// [2 * pairs] in f32, A and B of each pair.
    scores: Tensor,
}

impl PairPass<'_> {
    pub(super) fn scores(&self) -> Result<Vec<f32>, ModelError> {
        Ok(Vec::<f32>::try_from(&self.scores.f_detach()?)?)
    }

    /// The backward pass of a loss with this gradient by the scores.
    pub(super) fn backward(self, gradient: &[f32]) -> Result<(), ModelError> {
        backward_scores(&self.scores, gradient)?;
        self.forward.finish()
    }
}

/// A part of a training step: how its dropouts are drawn, and whether its activations are computed again in the backward pass.
#[derive(Clone, Copy)]
pub(super) struct StepPart<'a> {
    pub(super) dropout: &'a Seeds,
    pub(super) checkpointing: bool,
}

impl RewardModel {
    /// The forward pass of `part` over pairs, which are at `places` of a larger batch, if they are a part of one.
    pub(super) fn forward_pairs(
        &self,
        pairs: &[&TokenizedPair],
        places: Option<BatchRows>,
        part: StepPart<'_>,
    ) -> Result<PairPass<'_>, ModelError> {
        let mut batch = self.pack(pairs)?;
        batch.places = places;
        let (entry, dropout) = (self.entry(pairs, Keep::Yes)?, Some(part.dropout));
        let forward =
            CheckpointedForward::forward(&self.network, batch, entry, Rows::Last, dropout, part.checkpointing)?;
        let scores = self.scores_of(&forward.hidden)?;
        Ok(PairPass { forward, scores })
    }

    /// Like [`forward_pairs`](Self::forward_pairs) and [`PairPass::backward`], by several processes. `loss` is the gradient of
    /// the loss by the scores of all pairs, and what else is made of these.
    pub(super) fn shared_passes<T>(
        &self,
        shared: &SharedModel,
        pairs: &[&TokenizedPair],
        part: StepPart<'_>,
        loss: impl FnOnce(&[f32]) -> Result<(T, Vec<f32>), ModelError>,
    ) -> Result<T, ModelError> {
        let (shapes, mut tokens) = tokens_of(pairs);
        // The largest pair comes first, so that rank 0 has pairs and its seeds advance as those of one process.
        let weights: Vec<usize> = pairs.iter().map(|pair| pair.packed_len()).collect();
        let ranks = balance(&weights, shared.size());
        let (seeds, checkpointing) = (part.dropout.state(), part.checkpointing);
        let work = Work::Step(StepRequest { pairs: shapes.clone(), ranks: ranks.clone(), seeds, checkpointing });
        shared.exchange(&work, |group| {
            group.broadcast(&mut tokens, 0)?;
            let mine: Vec<&TokenizedPair> = share(&ranks, 0).filter_map(|i| pairs.get(i).copied()).collect();
            let pass = self.forward_pairs(&mine, Some(self.places(&shapes, &ranks, 0)), part)?;
            let scores = sum_scores(group, &pass, &ranks)?;
            let (result, gradient) = match loss(&scores) {
                Ok((result, gradient)) => (Ok(result), gradient),
                // The others wait for a gradient.
                Err(error) => (Err(error), vec![0.0; scores.len()]),
            };
            group.broadcast(&mut Tensor::from_slice(&gradient), 0)?;
            pass.backward(&of_share(&gradient, &ranks, 0))?;
            Ok(result)
        })
    }

    /// The part of another rank than 0 in [`shared_passes`](Self::shared_passes).
    pub(crate) fn take_part(&self, request: &StepRequest, group: &ProcessGroup) -> Result<(), ModelError> {
        let (ranks, rank) = (&request.ranks, group.rank());
        for parameter in self.parameters()? {
            let _ = parameter.tensor.f_set_requires_grad(true)?;
        }
        let pairs = pairs_of(group, &request.pairs)?;
        let mine: Vec<&TokenizedPair> = share(ranks, rank).filter_map(|i| pairs.get(i)).collect();
        let part = StepPart { dropout: &Seeds::from_state(&request.seeds), checkpointing: request.checkpointing };
        let pass = match mine.is_empty() {
            true => None,
            false => Some(self.forward_pairs(&mine, Some(self.places(&request.pairs, ranks, rank)), part)?),
        };
        match pass {
            Some(pass) => {
                sum_scores(group, &pass, ranks)?;
                let gradient = gradient_of(group, ranks)?;
                pass.backward(&of_share(&gradient, ranks, rank))
            }
            None => {
                group.all_reduce_sum(&mut zeros(ranks)?)?;
                gradient_of(group, ranks).map(|_| ())
            }
        }
    }

    /// The places of a rank's rows in the batch of all pairs.
    fn places(&self, shapes: &[PairShape], ranks: &[usize], rank: usize) -> BatchRows {
        let rows: Vec<(i64, i64)> = shapes.iter().map(|&shape| (pair_rows(shape, self.config()), 2)).collect();
        BatchRows::of_share(&rows, |i| ranks.get(i) == Some(&rank))
    }
}

/// The positions of the pairs of a rank.
fn share(ranks: &[usize], rank: usize) -> impl Iterator<Item = usize> {
    ranks.iter().enumerate().filter(move |(_, of)| **of == rank).map(|(i, _)| i)
}

/// The numbers of a rank's pairs, two per pair.
fn of_share(numbers: &[f32], ranks: &[usize], rank: usize) -> Vec<f32> {
    share(ranks, rank).flat_map(|i| numbers.get(2 * i..2 * i + 2).unwrap_or_default()).copied().collect()
}

fn zeros(ranks: &[usize]) -> Result<Tensor, ModelError> {
    Ok(Tensor::f_zeros([2 * ranks.len() as i64], (Kind::Float, tch::Device::Cpu))?)
}

/// The scores of all pairs, of which this process has computed those of its share.
fn sum_scores(group: &ProcessGroup, pass: &PairPass<'_>, ranks: &[usize]) -> Result<Vec<f32>, ModelError> {
    let mut all = vec![0f32; 2 * ranks.len()];
    for (i, scores) in share(ranks, group.rank()).zip(pass.scores()?.chunks_exact(2)) {
        if let Some(place) = all.get_mut(2 * i..2 * i + 2) {
            place.copy_from_slice(scores);
        }
    }
    // The sum of a score and zeros is exact.
    let mut all = Tensor::from_slice(&all);
    group.all_reduce_sum(&mut all)?;
    Ok(Vec::<f32>::try_from(&all)?)
}

/// Rank 0's gradient by the scores of all pairs.
fn gradient_of(group: &ProcessGroup, ranks: &[usize]) -> Result<Vec<f32>, ModelError> {
    let mut gradient = zeros(ranks)?;
    group.broadcast(&mut gradient, 0)?;
    Ok(Vec::<f32>::try_from(&gradient)?)
}
