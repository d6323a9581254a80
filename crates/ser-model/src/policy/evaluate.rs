//! Evaluation of rollouts: log-probabilities after sampling, and the backward pass of an objective.

use ser_core::ndarray::Array1;
use ser_core::{Objective, ObjectiveGradient, Rollout, TokenEvaluation};
use ser_data::plan_batches;
use tch::{Kind, Tensor};

use super::model::PolicyModel;
use crate::ModelError;
use crate::language_model::{ForwardOptions, TokenRows};
use crate::network::TokenLogProbs;
use crate::seeds::Seeds;

/// The tokens of prompt and answer.
fn text(rollout: &Rollout) -> Vec<u32> {
    [rollout.prompt_tokens.as_slice(), &rollout.response.tokens].concat()
}

impl PolicyModel {
    /// Sets the log-probabilities of policy and reference, and the values, by one forward pass each over packed rollouts.
    pub(super) fn rollout_log_probs(&self, rollouts: &mut [Rollout], full_kl: bool) -> Result<(), ModelError> {
        let lengths: Vec<usize> = rollouts.iter().map(|r| r.prompt_tokens.len() + r.response.tokens.len()).collect();
        for part in plan_batches(&lengths, self.model.settings.token_budget) {
            let Some(part) = part.first().zip(part.last()).and_then(|(a, b)| rollouts.get_mut(*a..=*b)) else {
                continue;
            };
            tch::no_grad(|| self.packed_log_probs(part, full_kl))?;
        }
        Ok(())
    }

    fn packed_log_probs(&self, rollouts: &mut [Rollout], full_kl: bool) -> Result<(), ModelError> {
        let texts: Vec<Vec<u32>> = rollouts.iter().map(text).collect();
        let starts: Vec<usize> = rollouts.iter().map(|r| r.prompt_tokens.len()).collect();
        let rows = self.rows(&texts, &starts, ForwardOptions::default())?;
        let values = per_text(&self.values.forward(&rows.hidden)?, &rows.counts)?;
        let reference_rows =
            self.model.network.adapters.with_disabled(|| self.rows(&texts, &starts, ForwardOptions::default()))?;
        let all: Vec<&Rollout> = rollouts.iter().collect();
        let [own, other] = [&rows, &reference_rows].map(|rows| self.logits(rows, &all));
        let (own, other) = (own?, other?);
        let log_probs = per_text(&TokenLogProbs::new(&own, &rows.targets)?.log_probs, &rows.counts)?;
        let reference = per_text(&TokenLogProbs::new(&other, &rows.targets)?.log_probs, &rows.counts)?;
        let kl = full_kl.then(|| -> Result<_, ModelError> {
            // Tokens of probability 0 have log p = -inf in both distributions.
            let lowest = f64::from(f32::MIN);
            let [own, other] = [own, other].map(|logits| logits.f_log_softmax(-1, Kind::Float)?.f_clamp_min(lowest));
            let (own, other) = (own?, other?);
            let terms = own.f_exp()?.f_mul(&own.f_sub(&other)?)?;
            per_text(&terms.f_sum_dim_intlist(-1, false, Kind::Float)?, &rows.counts)
        });
        let mut kl = kl.transpose()?.map(Vec::into_iter);
        let evaluated = values.into_iter().zip(log_probs).zip(reference);
        for (rollout, ((values, log_probs), reference)) in rollouts.iter_mut().zip(evaluated) {
            (rollout.values, rollout.log_probs, rollout.reference_log_probs) = (values, log_probs, reference);
            rollout.full_kl = kl.as_mut().and_then(Iterator::next);
        }
        Ok(())
    }

    /// Forward pass over a mini-batch, its objective, and the backward pass of `weight` times that.
    pub(super) fn backward(
        &self,
        mini_batch: &[&Rollout],
        weight: f64,
        objective: &mut Objective<'_>,
        dropout: &Seeds,
    ) -> Result<(), ModelError> {
        let texts: Vec<Vec<u32>> = mini_batch.iter().map(|rollout| text(rollout)).collect();
        let starts: Vec<usize> = mini_batch.iter().map(|r| r.prompt_tokens.len()).collect();
        let checkpointing = self.settings.gradient_checkpointing;
        let rows =
            self.rows(&texts, &starts, ForwardOptions { dropout: Some(dropout), checkpointing, repeated: false })?;
        let evaluated = TokenLogProbs::new(&self.logits(&rows, mini_batch)?, &rows.targets)?;
        let values = self.values.forward(&rows.hidden)?;
        let lists = per_text(&evaluated.log_probs, &rows.counts)?
            .into_iter()
            .zip(per_text(&values, &rows.counts)?)
            .zip(per_text(&tch::no_grad(|| evaluated.entropies())?, &rows.counts)?);
        let evaluations: Vec<TokenEvaluation> =
            lists.map(|((log_probs, values), entropies)| TokenEvaluation { log_probs, values, entropies }).collect();
        let gradients = objective(&evaluations).map_err(ModelError::Loss)?;
        let column = |of: fn(&ObjectiveGradient) -> &Array1<f64>| -> Vec<f32> {
            gradients.iter().flat_map(of).map(|slope| (weight * slope) as f32).collect()
        };
        let mut sum = weighted(&evaluated.log_probs, &column(|g| &g.log_probs))?;
        sum = sum.f_add(&weighted(&values, &column(|g| &g.values))?)?;
        let by_entropy = column(|g| &g.entropies);
        // The entropy backward pass is expensive; it is skipped if unused.
        if by_entropy.iter().any(|slope| *slope != 0.0) {
            sum = sum.f_add(&weighted(&evaluated.entropies()?, &by_entropy)?)?;
        }
        sum.f_backward()?;
        rows.finish()
    }

    /// Logits of the rows of rollouts, [n, vocab]. End tokens are -inf at positions where they were not allowed.
    fn logits(&self, rows: &TokenRows<'_>, rollouts: &[&Rollout]) -> Result<Tensor, ModelError> {
        let logits = self.model.network.logits(&rows.hidden)?;
        let (mut barred, mut start) = (Vec::new(), 0);
        for (rollout, count) in rollouts.iter().zip(&rows.counts) {
            barred.extend(start..start + (rollout.min_new_tokens as i64).min(*count));
            start += count;
        }
        let ends: Vec<i64> = self.model.stop_ids().iter().map(|&id| i64::from(id)).collect();
        if !(barred.is_empty() || ends.is_empty()) {
            let index = |ids: &[i64]| ser_libtorch::upload(ids, logits.device());
            let (barred, ends) = (index(&barred)?.f_unsqueeze(1)?, index(&ends)?.f_unsqueeze(0)?);
            let never = Tensor::f_full([], f64::NEG_INFINITY, (logits.kind(), logits.device()))?;
            // No gradient is recorded: the gradient by a logit of probability 0 is 0.
            tch::no_grad(|| logits.shallow_clone().f_index_put_(&[Some(barred), Some(ends)], &never, false).map(drop))?;
        }
        Ok(logits)
    }

    /// The rows that predict the tokens of the answers.
    fn rows(
        &self,
        texts: &[Vec<u32>],
        starts: &[usize],
        options: ForwardOptions<'_>,
    ) -> Result<TokenRows<'_>, ModelError> {
        let answers = texts.iter().zip(starts).map(|(text, start)| (text.as_slice(), *start..text.len())).collect();
        self.model.answer_rows(answers, options)
    }
}

/// sum(x * slopes).
fn weighted(x: &Tensor, slopes: &[f32]) -> Result<Tensor, ModelError> {
    let slopes = Tensor::f_from_slice(slopes)?.f_to_device(x.device())?;
    Ok(x.f_mul(&slopes)?.f_sum(Kind::Float)?)
}

/// Splits the concatenated numbers of all texts into one array per text.
fn per_text(all: &Tensor, counts: &[i64]) -> Result<Vec<Array1<f64>>, ModelError> {
    let all = Vec::<f32>::try_from(&all.f_detach()?.f_to_device(tch::Device::Cpu)?)?;
    let mut rest = all.as_slice();
    let mut texts = Vec::with_capacity(counts.len());
    for &count in counts {
        let (text, after) = rest.split_at(rest.len().min(count as usize));
        texts.push(text.iter().map(|x| f64::from(*x)).collect());
        rest = after;
    }
    Ok(texts)
}
