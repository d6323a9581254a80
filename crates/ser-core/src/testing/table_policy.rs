//! A policy that is a table, with gradients by hand.

use std::io;
use std::path::Path;

use crate::{Context, Generator, Message, Objective, Policy, Response, Rollout, Sampling, TokenEvaluation};

/// The number of tokens.
const VOCABULARY: usize = 5;
/// The token that ends an answer.
const END: u32 = 0;

/// Logits and a value for every position of an answer, whatever the tokens before it: the smallest policy that PPO can
/// train.
///
/// Token 0 ends an answer; tokens 1 to 4 are the letters `a` to `d` of its text. The reference ends an answer rarely and
/// samples all letters with the same probability. Steps are plain gradient descent.
#[derive(Clone, Debug, PartialEq)]
pub struct TablePolicy {
    logits: Vec<[f64; VOCABULARY]>,
    reference: Vec<[f64; VOCABULARY]>,
    values: Vec<f64>,
    gradient: Gradient,
}

#[derive(Clone, Debug, PartialEq)]
struct Gradient {
    logits: Vec<[f64; VOCABULARY]>,
    values: Vec<f64>,
}

impl Gradient {
    fn zero(length: usize) -> Self {
        Gradient { logits: vec![[0.0; VOCABULARY]; length], values: vec![0.0; length] }
    }
}

impl TablePolicy {
    /// A policy that equals its reference, for answers of at most `length` tokens.
    pub fn new(length: usize) -> Self {
        let logits = vec![[-2.0, 0.0, 0.0, 0.0, 0.0]; length];
        TablePolicy { reference: logits.clone(), logits, values: vec![0.0; length], gradient: Gradient::zero(length) }
    }

    fn sample(&self, prompt: usize, sampling: &Sampling, full_kl: bool, draws: &mut Draws) -> Rollout {
        let mut rollout = Rollout { prompt, prompt_tokens: vec![1], ..Rollout::default() };
        let (mut sampled, mut referred, mut values, mut kl) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let rows = self.logits.iter().zip(&self.reference).zip(&self.values).take(sampling.max_new_tokens);
        for ((logits, reference), value) in rows {
            let (log_probs, reference) = (log_softmax(logits), log_softmax(reference));
            let mut left = draws.next();
            let chosen = log_probs.iter().position(|log_prob| {
                left -= log_prob.exp();
                left < 0.0
            });
            // Rounding errors may leave a small rest.
            let token = chosen.unwrap_or(VOCABULARY - 1);
            rollout.response.tokens.push(token as u32);
            sampled.push(log_probs[token]);
            referred.push(reference[token]);
            values.push(*value);
            kl.push(log_probs.iter().zip(&reference).map(|(p, q)| p.exp() * (p - q)).sum());
            if token as u32 == END {
                rollout.response.finished = true;
                break;
            }
            rollout.response.text.push(char::from(b'a' + token as u8 - 1));
        }
        rollout.full_kl = full_kl.then(|| kl.into());
        Rollout { log_probs: sampled.into(), reference_log_probs: referred.into(), values: values.into(), ..rollout }
    }

    fn evaluate(&self, rollout: &Rollout) -> TokenEvaluation {
        let tokens = &rollout.response.tokens;
        let rows: Vec<_> = self.logits.iter().map(log_softmax).collect();
        TokenEvaluation {
            log_probs: rows.iter().zip(tokens).map(|(row, token)| row[*token as usize]).collect(),
            values: self.values.iter().take(tokens.len()).copied().collect(),
            entropies: rows.iter().take(tokens.len()).map(entropy).collect(),
        }
    }
}

impl Generator for TablePolicy {
    type Error = io::Error;

    fn generate(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        cx: &mut Context<'_>,
    ) -> io::Result<Vec<Vec<Response>>> {
        cx.start(Some((prompts.len() * sampling.samples_per_prompt) as u64), "answers")?;
        let mut draws = Draws(sampling.seed);
        let mut answers = |prompt| {
            let samples = 0..sampling.samples_per_prompt;
            samples.map(|_| self.sample(prompt, sampling, false, &mut draws).response).collect()
        };
        let answers: Vec<Vec<Response>> = (0..prompts.len()).map(&mut answers).collect();
        cx.advance(answers.iter().map(|answers| answers.len() as u64).sum())?;
        Ok(answers)
    }
}

impl Policy for TablePolicy {
    fn rollout(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        full_kl: bool,
        _cx: &mut Context<'_>,
    ) -> io::Result<Vec<Rollout>> {
        let mut draws = Draws(sampling.seed);
        Ok((0..prompts.len()).map(|prompt| self.sample(prompt, sampling, full_kl, &mut draws)).collect())
    }

    fn accumulate(&mut self, mini_batch: &[&Rollout], weight: f64, objective: &mut Objective<'_>) -> io::Result<()> {
        let evaluations: Vec<_> = mini_batch.iter().map(|rollout| self.evaluate(rollout)).collect();
        let gradients = objective(&evaluations).map_err(io::Error::other)?;
        for ((rollout, now), by) in mini_batch.iter().zip(&evaluations).zip(&gradients) {
            for (position, token) in rollout.response.tokens.iter().enumerate() {
                let row = log_softmax(&self.logits[position]);
                for (k, log_prob) in row.iter().enumerate() {
                    let (p, chosen) = (log_prob.exp(), f64::from(u8::from(k == *token as usize)));
                    let slope = by.log_probs[position] * (chosen - p)
                        - by.entropies[position] * p * (log_prob + now.entropies[position]);
                    self.gradient.logits[position][k] += weight * slope;
                }
                self.gradient.values[position] += weight * by.values[position];
            }
        }
        Ok(())
    }

    fn step(&mut self, learning_rate: f64) -> io::Result<f64> {
        let gradient = std::mem::replace(&mut self.gradient, Gradient::zero(self.values.len()));
        let descend = |weight: &mut f64, slope: &f64| {
            *weight -= learning_rate * slope;
            slope * slope
        };
        let weights = self.logits.iter_mut().flatten().chain(&mut self.values);
        let slopes = gradient.logits.iter().flatten().chain(&gradient.values);
        Ok(weights.zip(slopes).map(|(weight, slope)| descend(weight, slope)).sum::<f64>().sqrt())
    }

    fn end_tokens(&self) -> Vec<u32> {
        vec![END]
    }

    fn snapshot(&mut self, folder: &Path) -> io::Result<()> {
        let bits = |x: &f64| format!("{:016x}\n", x.to_bits());
        let text: String = self.logits.iter().flatten().chain(&self.values).map(bits).collect();
        std::fs::write(folder.join("table"), text)
    }

    fn restore(&mut self, folder: &Path) -> io::Result<()> {
        let text = std::fs::read_to_string(folder.join("table"))?;
        for (weight, line) in self.logits.iter_mut().flatten().chain(&mut self.values).zip(text.lines()) {
            *weight = f64::from_bits(u64::from_str_radix(line, 16).map_err(io::Error::other)?);
        }
        self.gradient = Gradient::zero(self.values.len());
        Ok(())
    }
}

fn log_softmax(logits: &[f64; VOCABULARY]) -> [f64; VOCABULARY] {
    let total = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
    logits.map(|l| l - total)
}

fn entropy(log_probs: &[f64; VOCABULARY]) -> f64 {
    -log_probs.iter().map(|l| l.exp() * l).sum::<f64>()
}

/// Uniform numbers in [0, 1) by SplitMix64, so that the mock depends on no crate for them.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / 2.0_f64.powi(64)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use ndarray::Array1;

    use super::*;
    use crate::ObjectiveGradient;

    /// The gradient of `a log pi + b V + c H` summed over an answer is the finite difference of that sum.
    #[test]
    fn gradient_equals_the_finite_difference() {
        let mut policy = TablePolicy::new(4);
        for (i, weight) in policy.logits.iter_mut().flatten().chain(&mut policy.values).enumerate() {
            *weight += (i as f64).sin();
        }
        let sampling = Sampling { seed: 5, ..Sampling::default() };
        let rollout = policy.rollout(&[vec![]], &sampling, true, &mut Context::silent()).unwrap().remove(0);
        let value = |policy: &TablePolicy| {
            let now = policy.evaluate(&rollout);
            let sum = |row: &Array1<f64>| row.iter().sum::<f64>();
            0.7 * sum(&now.log_probs) - 1.3 * sum(&now.values) + 0.4 * sum(&now.entropies)
        };
        let n = rollout.response.tokens.len();
        let all = |value| Array1::from_elem(n, value);
        let by = ObjectiveGradient { log_probs: all(0.7), values: all(-1.3), entropies: all(0.4) };
        let mut with_gradient = policy.clone();
        with_gradient.accumulate(&[&rollout], 2.0, &mut |_| Ok(vec![by.clone()])).unwrap();
        let Gradient { logits, values } = with_gradient.gradient;
        for (i, slope) in logits.iter().flatten().chain(&values).enumerate() {
            let moved = |step: f64| {
                let mut moved = policy.clone();
                if let Some(w) = moved.logits.iter_mut().flatten().chain(&mut moved.values).nth(i) {
                    *w += step;
                }
                value(&moved)
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert_abs_diff_eq!(*slope, 2.0 * difference, epsilon = 1e-8);
        }
    }

    #[test]
    fn a_snapshot_restores_the_same_bits() {
        let folder = std::env::temp_dir().join(format!("table-policy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut policy = TablePolicy::new(3);
        policy.logits[1][2] = 0.1 + 0.2;
        policy.snapshot(&folder).unwrap();
        let mut other = TablePolicy::new(3);
        other.restore(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(other, policy);
    }
}
