//! Full-weight causal language modelling: how the built-in corpus gets its base model.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use ser_core::{Control, Event, FitSummary, Observer};
use tch::{Kind, Reduction, Tensor};

use crate::network::Rows;
use crate::optimizer::Optimizer;
use crate::packed::PackedBatch;
use crate::{CausalLm, ModelError, TrainingSettings};

/// A text and how many of its tokens, from the start, carry no loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CausalExample {
    /// The whole text.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt: usize,
}

impl CausalLm {
    /// Trains on the tokens after each prompt, mean over the tokens of a batch. Reports loss,
    /// mean_token_accuracy, num_tokens, grad_norm, learning_rate, epoch (TRL's names).
    pub fn fit(
        &mut self,
        examples: &[CausalExample],
        settings: &TrainingSettings,
        seed: u64,
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<FitSummary, ModelError> {
        settings.check()?;
        if !examples.iter().any(|e| e.tokens.len() > e.prompt.max(1)) {
            return Err(ModelError::NoData("no text has a token after its prompt"));
        }
        let (batches, total) = settings.steps(examples.len());
        let stopped = |step: u64| ModelError::Stopped(format!("{stage}, step {step} of {total}"));
        if observer.observe(&Event::Started { stage, total: Some(total), unit: "steps" }) == Control::Stop {
            return Err(stopped(0));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let leaves = self.network.tensors().into_iter().map(|(_, tensor)| tensor.shallow_clone()).collect();
        let mut optimizer = Optimizer::new(leaves, settings.optim)?;
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let (mut step, mut num_tokens) = (0, 0);
        let mut sums = (0.0, 0.0, 0.0);
        for epoch in 0..settings.epochs {
            order.shuffle(&mut rng);
            sums = (0.0, 0.0, 0.0);
            for (i, batch) in order.chunks(settings.batch_size).enumerate() {
                let chosen: Vec<&CausalExample> = batch.iter().filter_map(|&i| examples.get(i)).collect();
                let group_start = i - i % settings.gradient_accumulation;
                let group = settings.gradient_accumulation.min(batches - group_start);
                let (loss, correct, tokens) = self.backward(&chosen, 1.0 / group as f64)?;
                if !loss.is_finite() {
                    let learning_rate = settings.learning_rate;
                    return Err(ModelError::Diverged { step: step + 1, what: "the loss", value: loss, learning_rate });
                }
                num_tokens += chosen.iter().map(|e| e.tokens.len() as u64).sum::<u64>();
                sums = (sums.0 + loss * tokens, sums.1 + correct, sums.2 + tokens);
                if i + 1 - group_start < group {
                    continue;
                }
                let learning_rate =
                    settings.learning_rate * settings.scheduler.factor(step, settings.warmup_steps, total);
                let grad_norm = optimizer.step(settings, learning_rate)?;
                step += 1;
                let values = [
                    ("loss", loss),
                    ("mean_token_accuracy", correct / tokens),
                    ("num_tokens", num_tokens as f64),
                    ("grad_norm", grad_norm),
                    ("learning_rate", learning_rate),
                    ("epoch", f64::from(epoch) + (i + 1) as f64 / batches as f64),
                ];
                let heard = [
                    observer.observe(&Event::Metrics { stage, step, values: &values }),
                    observer.observe(&Event::Advanced { stage, done: step }),
                ];
                if heard.contains(&Control::Stop) {
                    return Err(stopped(step));
                }
            }
        }
        for leaf in optimizer.params() {
            let _ = leaf.f_set_requires_grad(false)?;
        }
        let _ = observer.observe(&Event::Finished { stage });
        let (loss, correct, tokens) = sums;
        Ok(FitSummary { steps: step, loss: loss / tokens, accuracy: correct / tokens })
    }

    /// Mean loss per response token of a batch with `factor` times its gradient added to the leaves; the tokens
    /// predicted right, and their number.
    fn backward(&self, examples: &[&CausalExample], factor: f64) -> Result<(f64, f64, f64), ModelError> {
        let Some((logits, targets)) = self.predictions(examples)? else { return Ok((0.0, 0.0, 0.0)) };
        let loss = cross_entropy(&logits, &targets)?;
        loss.f_mul_scalar(factor)?.f_backward()?;
        let correct = tch::no_grad(|| {
            logits.f_argmax(-1, false)?.f_eq_tensor(&targets)?.f_sum(Kind::Int64)?.f_double_value(&[])
        })?;
        Ok((loss.f_double_value(&[])?, correct, targets.numel() as f64))
    }

    /// Logits [tokens, vocab] for the response tokens of a batch, and those tokens; `None` if there are none.
    fn predictions(&self, examples: &[&CausalExample]) -> Result<Option<(Tensor, Tensor)>, ModelError> {
        let texts: Vec<&[u32]> = examples.iter().map(|e| e.tokens.as_slice()).collect();
        let batch = PackedBatch::of_texts(&texts, &self.network.config, self.network.device)?;
        // Row t predicts token t + 1.
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (example, segment) in examples.iter().zip(&batch.segments) {
            for (place, &token) in example.tokens.iter().enumerate().skip(example.prompt.max(1)) {
                rows.push(segment.start + place as i64 - 1);
                targets.push(i64::from(token));
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let device = self.network.device;
        let hidden = self.network.forward(&batch, Rows::All, None)?;
        let hidden = hidden.f_index_select(0, &Tensor::f_from_slice(&rows)?.f_to_device(device)?)?;
        Ok(Some((self.network.logits(&hidden)?, Tensor::f_from_slice(&targets)?.f_to_device(device)?)))
    }

    /// Mean loss per response token, without training.
    pub fn loss(&self, examples: &[CausalExample], settings: &TrainingSettings) -> Result<f64, ModelError> {
        let (mut sum, mut count) = (0.0, 0.0);
        for batch in examples.chunks(settings.batch_size) {
            let batch: Vec<&CausalExample> = batch.iter().collect();
            let Some((logits, targets)) = tch::no_grad(|| self.predictions(&batch))? else { continue };
            let tokens = targets.numel() as f64;
            sum += cross_entropy(&logits, &targets)?.f_double_value(&[])? * tokens;
            count += tokens;
        }
        Ok(sum / count)
    }
}

/// Mean over the rows, in f32.
fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor, ModelError> {
    let logits = logits.f_to_kind(Kind::Float)?;
    Ok(logits.f_cross_entropy_loss(targets, None::<&Tensor>, Reduction::Mean, -100, 0.0)?)
}
