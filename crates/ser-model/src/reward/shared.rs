//! A reward model that several processes compute.

use ser_core::{Context, PairScores};
use ser_data::{TokenizedPair, balance, plan_batches_by_length};
use ser_libtorch::ProcessGroup;
use tch::Tensor;

use super::model::{RewardModel, RewardModelSettings};
use crate::activations::Keep;
use crate::parallel::{
    ModelKind, ModelToLoad, ScoreRequest, SharedModel, TrainedPart, Work, Workers, broadcast_into, compare_base,
    pairs_of, sum_gradients, tokens_of,
};
use crate::{Device, ModelError};

/// Batches per process that are planned at a time: progress is shown and the tokens are held for so many.
const BATCHES: usize = 16;

impl RewardModel {
    /// Shares scoring and training with the processes of `workers`, which load the same base model: `workers` must find its
    /// folder under the same path.
    ///
    /// Scores are the same bits as those of one process; a training differs from that of one process by the order of sums in
    /// f32, with the same dropouts on the CPU.
    ///
    /// # Errors
    /// A process that cannot load the base model, or finds another one; a process that ended.
    pub fn share_with(&mut self, workers: &Workers) -> Result<(), ModelError> {
        let activations = &self.settings.activations;
        let load = ModelToLoad::new(ModelKind::Reward, &self.folder, &self.settings, activations)?;
        self.shared = Some(SharedModel::new(workers, load, &self.network)?);
        Ok(())
    }

    /// The model that rank 0 shares by [`share_with`](Self::share_with), in another process.
    pub(crate) fn shared(load: &ModelToLoad, device: Device, group: &ProcessGroup) -> Result<Self, ModelError> {
        let settings: RewardModelSettings = load.settings()?;
        // Rank 0 has compared the texts.
        let settings = RewardModelSettings { activations: load.activations.clone(), force_text: true, ..settings };
        let model = Self::from_folder(&load.folder, &settings, device)?;
        compare_base(group, &model.network)?;
        Ok(model)
    }

    /// Gives the others the weights of adapter and head.
    pub(super) fn send_weights(&self, shared: &SharedModel) -> Result<(), ModelError> {
        let work = Work::Weights { part: TrainedPart::active(&self.network)?, merged: self.network.is_merged() };
        shared.exchange(&work, |group| broadcast_into(group, &self.shared_weights()?).map(Ok))
    }

    /// Takes over the weights that rank 0 gives.
    pub(crate) fn receive_weights(
        &mut self,
        part: &TrainedPart,
        merged: bool,
        group: &ProcessGroup,
    ) -> Result<(), ModelError> {
        self.network.unmerge()?;
        match part {
            TrainedPart::Adapter { name, settings } => {
                if !self.adapters().contains(&name.as_str()) {
                    // Its weights come now.
                    self.add_adapter(name, settings, 0)?;
                }
                self.set_adapter(name)?;
            }
            TrainedPart::Whole | TrainedPart::Nothing => self.network.adapters.activate(None)?,
        }
        broadcast_into(group, &self.shared_weights()?)?;
        if merged { self.network.merge() } else { Ok(()) }
    }

    /// Adds the gradients of all processes up in those of rank 0.
    pub(crate) fn sum_gradients(&self, group: &ProcessGroup) -> Result<(), ModelError> {
        sum_gradients(group, &self.parameters()?)
    }

    /// The tensors that can change: those of the active adapter, and the head.
    fn shared_weights(&self) -> Result<Vec<Tensor>, ModelError> {
        let adapter = match self.active_adapter() {
            Some(name) => self.network.adapter_tensors(name)?.into_iter().map(|(_, tensor)| tensor).collect(),
            None => Vec::new(),
        };
        let mut tensors: Vec<Tensor> = adapter.into_iter().map(Tensor::shallow_clone).collect();
        tensors.push(self.head().shallow_clone());
        Ok(tensors)
    }

    /// The scores of pairs, computed by all processes in the batches of one.
    pub(super) fn score_by_all(
        &self,
        shared: &SharedModel,
        tokens: &[&TokenizedPair],
        keep: Keep,
        cx: &mut Context<'_>,
    ) -> Result<Vec<PairScores>, ModelError> {
        self.send_weights(shared)?;
        let lengths: Vec<usize> = tokens.iter().map(|pair| pair.packed_len()).collect();
        let batches = plan_batches_by_length(&lengths, self.settings.token_budget);
        let mut scores = vec![PairScores::new(f64::NAN, f64::NAN); tokens.len()];
        for batches in batches.chunks(BATCHES * shared.size()) {
            let indices: Vec<usize> = batches.iter().flatten().copied().collect();
            let pairs: Vec<&TokenizedPair> = indices.iter().filter_map(|&i| tokens.get(i).copied()).collect();
            for (i, score) in indices.iter().zip(self.score_some(shared, &pairs, batches, keep, cx)?) {
                if let Some(place) = scores.get_mut(*i) {
                    *place = score;
                }
            }
        }
        Ok(scores)
    }

    /// The scores of `pairs`, which are those of some batches in order.
    fn score_some(
        &self,
        shared: &SharedModel,
        pairs: &[&TokenizedPair],
        batches: &[Vec<usize>],
        keep: Keep,
        cx: &mut Context<'_>,
    ) -> Result<Vec<PairScores>, ModelError> {
        let mut first = 0;
        let mut positions = Vec::with_capacity(batches.len());
        for batch in batches {
            positions.push((first..first + batch.len()).collect::<Vec<usize>>());
            first += batch.len();
        }
        let tokens =
            |batch: &Vec<usize>| batch.iter().filter_map(|&i| pairs.get(i)).map(|pair| pair.packed_len()).sum();
        let ranks = balance(&positions.iter().map(tokens).collect::<Vec<usize>>(), shared.size());
        let (shapes, mut tokens) = tokens_of(pairs);
        let request = ScoreRequest {
            pairs: shapes,
            batches: ranks.into_iter().zip(positions).collect(),
            keep: keep == Keep::Yes,
        };
        let mine = share(&request, 0);
        let computed = mine.iter().map(Vec::len).sum::<usize>();
        let scores = shared.exchange(&Work::Score(request), |group| {
            group.broadcast(&mut tokens, 0)?;
            let scores = self.score_batches(pairs, mine, keep, cx);
            // Also after a request to stop: the others wait for it.
            let all = sum_scores(group, scores.as_deref().unwrap_or_default(), pairs.len())?;
            Ok(scores.map(|_| all))
        })?;
        cx.advance((pairs.len() - computed) as u64)?;
        Ok(scores)
    }

    /// The part of another rank than 0 in [`score_by_all`](Self::score_by_all).
    pub(crate) fn score_part(&self, request: &ScoreRequest, group: &ProcessGroup) -> Result<(), ModelError> {
        let pairs = pairs_of(group, &request.pairs)?;
        let pairs: Vec<&TokenizedPair> = pairs.iter().collect();
        let keep = if request.keep { Keep::Yes } else { Keep::No };
        let scores = self.score_batches(&pairs, share(request, group.rank()), keep, &mut Context::silent())?;
        sum_scores(group, &scores, pairs.len()).map(|_| ())
    }
}

/// The batches of a rank.
fn share(request: &ScoreRequest, rank: usize) -> Vec<Vec<usize>> {
    request.batches.iter().filter(|(of, _)| *of == rank).map(|(_, batch)| batch.clone()).collect()
}

/// The scores that all processes have computed, bit by bit: a pair has scores in one process and `None` in the others.
fn sum_scores(
    group: &ProcessGroup,
    scores: &[Option<PairScores>],
    pairs: usize,
) -> Result<Vec<PairScores>, ModelError> {
    let bits = |score: f64| score.to_bits().cast_signed();
    let own = |scores: &Option<PairScores>| scores.map_or([0, 0], |scores| [bits(scores.a.0), bits(scores.b.0)]);
    let mut mine: Vec<i64> = scores.iter().flat_map(own).collect();
    mine.resize(2 * pairs, 0);
    let mut sum = Tensor::from_slice(&mine);
    group.all_reduce_sum(&mut sum)?;
    let bits = Vec::<i64>::try_from(&sum)?;
    let score = |bits: i64| f64::from_bits(bits.cast_unsigned());
    Ok(bits
        .chunks_exact(2)
        .map(|pair| match pair {
            [a, b] => PairScores::new(score(*a), score(*b)),
            _ => PairScores::new(f64::NAN, f64::NAN),
        })
        .collect())
}
