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
        let checkpointing = self.settings.gradient_checkpointing;
        let options = ForwardOptions { dropout: Some(dropout), checkpointing, ..ForwardOptions::default() };
        let mut gradient = |numbers: &[f32]| gradient_of(objective, weight, mini_batch, numbers);
        if let Some(shared) = &self.shared {
            return self.shared_pass(shared, mini_batch, options, gradient);
        }
        let pass = self.forward(mini_batch, options)?;
        let gradient = gradient(&pass.numbers()?)?;
        pass.backward(&gradient)
    }

    /// Forward pass over rollouts.
    pub(super) fn forward(
        &self,
        rollouts: &[&Rollout],
        options: ForwardOptions<'_>,
    ) -> Result<PolicyPass<'_>, ModelError> {
        let texts: Vec<Vec<u32>> = rollouts.iter().map(|rollout| text(rollout)).collect();
        let starts: Vec<usize> = rollouts.iter().map(|r| r.prompt_tokens.len()).collect();
        let rows = self.rows(&texts, &starts, options)?;
        let evaluated = TokenLogProbs::new(&self.logits(&rows, rollouts)?, &rows.targets)?;
        let values = self.values.forward(&rows.hidden)?;
        Ok(PolicyPass { rows, evaluated, values })
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

/// A forward pass over rollouts.
pub(super) struct PolicyPass<'a> {
    rows: TokenRows<'a>,
    evaluated: TokenLogProbs,
    /// [tokens]
    values: Tensor,
}

impl PolicyPass<'_> {
    /// Log-probability, value and entropy of each token in turn, [3 * tokens].
    pub(super) fn numbers(&self) -> Result<Vec<f32>, ModelError> {
        let entropies = tch::no_grad(|| self.evaluated.entropies())?;
        let columns = [&self.evaluated.log_probs, &self.values, &entropies].map(|column| {
            Ok::<_, ModelError>(Vec::<f32>::try_from(&column.f_detach()?.f_to_device(tch::Device::Cpu)?)?)
        });
        let [log_probs, values, entropies] = columns;
        let tokens = log_probs?.into_iter().zip(values?).zip(entropies?);
        Ok(tokens.flat_map(|((log_prob, value), entropy)| [log_prob, value, entropy]).collect())
    }

    /// The backward pass of an objective with this gradient by the [`numbers`](Self::numbers).
    pub(super) fn backward(self, gradient: &[f32]) -> Result<(), ModelError> {
        let column = |index: usize| -> Vec<f32> { gradient.iter().skip(index).step_by(3).copied().collect() };
        let mut sum = weighted(&self.evaluated.log_probs, &column(0))?;
        sum = sum.f_add(&weighted(&self.values, &column(1))?)?;
        let by_entropy = column(2);
        // The entropy backward pass is expensive; it is skipped if unused.
        if by_entropy.iter().any(|slope| *slope != 0.0) {
            sum = sum.f_add(&weighted(&self.evaluated.entropies()?, &by_entropy)?)?;
        }
        sum.f_backward()?;
        self.rows.finish()
    }
}

/// The gradient of `weight` times an objective by the [`numbers`](PolicyPass::numbers) of a mini-batch.
fn gradient_of(
    objective: &mut Objective<'_>,
    weight: f64,
    mini_batch: &[&Rollout],
    numbers: &[f32],
) -> Result<Vec<f32>, ModelError> {
    let mut rest = numbers;
    let mut evaluations = Vec::with_capacity(mini_batch.len());
    for rollout in mini_batch {
        let (own, after) = rest.split_at(rest.len().min(3 * rollout.response.tokens.len()));
        let column = |index: usize| own.iter().skip(index).step_by(3).map(|x| f64::from(*x)).collect();
        evaluations.push(TokenEvaluation { log_probs: column(0), values: column(1), entropies: column(2) });
        rest = after;
    }
    let gradients = objective(&evaluations).map_err(ModelError::Loss)?;
    let of_rollout = |g: &ObjectiveGradient| -> Vec<f32> {
        let slopes = g.log_probs.iter().zip(&g.values).zip(&g.entropies);
        slopes.flat_map(|((a, b), c)| [*a, *b, *c]).map(|slope| (weight * slope) as f32).collect()
    };
    Ok(gradients.iter().flat_map(of_rollout).collect())
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
