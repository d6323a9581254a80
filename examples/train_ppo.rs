//! PPO over a policy and a reward of your own, without libtorch: the policy is a table of bigrams, and the reward counts
//! the words that follow each other in the order of a list.
//!
//! ```sh
//! cargo run --release --example train_ppo -- runs/ppo
//! ```
#![allow(clippy::print_stdout, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use rand::SeedableRng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand_chacha::ChaCha8Rng;
use ser::ndarray::{Array1, Array2, ArrayView1};
use ser::ppo::PpoSettings;
use ser::{
    BoxError, Context, Generator, Message, Objective, Policy, PolicyRunSettings, PpoTraining, Response, Rollout,
    RunFolder, Sampling, Silent, TokenEvaluation, reward_fn,
};

/// Token 0 ends an answer; the others are words.
const WORDS: [&str; 6] = ["", "one", "two", "three", "four", "five"];

/// Logits of the next token, and a value, for each previous token. Token 0 is also the start of an answer. The reference
/// gives all tokens the same probability.
struct Bigrams {
    logits: Array2<f64>,
    values: Array1<f64>,
    logits_gradient: Array2<f64>,
    values_gradient: Array1<f64>,
}

/// The previous token and the token at each position.
fn bigrams(tokens: &[u32]) -> impl Iterator<Item = (usize, usize)> {
    let previous = [0].into_iter().chain(tokens.iter().map(|token| *token as usize));
    previous.zip(tokens.iter().map(|token| *token as usize))
}

fn log_softmax(logits: ArrayView1<'_, f64>) -> Array1<f64> {
    let total = logits.mapv(f64::exp).sum().ln();
    logits.mapv(|logit| logit - total)
}

impl Bigrams {
    fn new() -> Self {
        let (logits, values) = (Array2::zeros((WORDS.len(), WORDS.len())), Array1::zeros(WORDS.len()));
        Bigrams { logits_gradient: logits.clone(), values_gradient: values.clone(), logits, values }
    }

    fn sample(&self, max_tokens: usize, rng: &mut ChaCha8Rng) -> Result<Response, BoxError> {
        let mut response = Response::default();
        let mut previous = 0;
        while response.tokens.len() < max_tokens && !response.finished {
            let probabilities = log_softmax(self.logits.row(previous)).mapv(f64::exp);
            previous = WeightedIndex::new(probabilities)?.sample(rng);
            response.tokens.push(previous as u32);
            response.finished = previous == 0;
        }
        let words: Vec<&str> = response.tokens.iter().map(|token| WORDS[*token as usize]).collect();
        Ok(Response { text: words.join(" ").trim_end().to_owned(), ..response })
    }

    fn evaluate(&self, tokens: &[u32]) -> TokenEvaluation {
        let entropy = |previous| -log_softmax(self.logits.row(previous)).mapv(|l| l * l.exp()).sum();
        TokenEvaluation {
            log_probs: bigrams(tokens).map(|(previous, token)| log_softmax(self.logits.row(previous))[token]).collect(),
            values: bigrams(tokens).map(|(previous, _)| self.values[previous]).collect(),
            entropies: bigrams(tokens).map(|(previous, _)| entropy(previous)).collect(),
        }
    }
}

impl Generator for Bigrams {
    type Error = BoxError;

    fn generate(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        _cx: &mut Context<'_>,
    ) -> Result<Vec<Vec<Response>>, BoxError> {
        let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
        let mut answers =
            |_| (0..sampling.samples_per_prompt).map(|_| self.sample(sampling.max_new_tokens, &mut rng)).collect();
        prompts.iter().map(&mut answers).collect()
    }
}

impl Policy for Bigrams {
    fn rollout(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        _full_kl: bool, // only for `kl_penalty = "full"`
        cx: &mut Context<'_>,
    ) -> Result<Vec<Rollout>, BoxError> {
        let answers = self.generate(prompts, sampling, cx)?.into_iter().flatten().enumerate();
        let rollout = |(prompt, response): (usize, Response)| {
            let TokenEvaluation { log_probs, values, .. } = self.evaluate(&response.tokens);
            let reference_log_probs = Array1::from_elem(values.len(), -(WORDS.len() as f64).ln());
            Rollout { prompt, log_probs, reference_log_probs, values, response, ..Rollout::default() }
        };
        Ok(answers.map(rollout).collect())
    }

    fn accumulate(&mut self, batch: &[&Rollout], weight: f64, objective: &mut Objective<'_>) -> Result<(), BoxError> {
        let evaluations: Vec<_> = batch.iter().map(|rollout| self.evaluate(&rollout.response.tokens)).collect();
        let gradients = objective(&evaluations)?;
        for ((rollout, now), by) in batch.iter().zip(&evaluations).zip(&gradients) {
            for (i, (previous, token)) in bigrams(&rollout.response.tokens).enumerate() {
                // The chain rule through log pi(token) and the entropy of the softmax.
                let mut slope = log_softmax(self.logits.row(previous))
                    .mapv(|l| -l.exp() * (by.log_probs[i] + by.entropies[i] * (l + now.entropies[i])));
                slope[token] += by.log_probs[i];
                self.logits_gradient.row_mut(previous).scaled_add(weight, &slope);
                self.values_gradient[previous] += weight * by.values[i];
            }
        }
        Ok(())
    }

    fn step(&mut self, learning_rate: f64) -> Result<f64, BoxError> {
        self.logits.scaled_add(-learning_rate, &self.logits_gradient);
        self.values.scaled_add(-learning_rate, &self.values_gradient);
        let squares = self.logits_gradient.iter().chain(&self.values_gradient).map(|slope| slope * slope);
        let norm = squares.sum::<f64>().sqrt();
        self.logits_gradient.fill(0.0);
        self.values_gradient.fill(0.0);
        Ok(norm)
    }

    fn end_tokens(&self) -> Vec<u32> {
        vec![0]
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), BoxError> {
        let numbers: Vec<f64> = self.logits.iter().chain(&self.values).copied().collect();
        Ok(fs::write(folder.join("table.json"), serde_json::to_string(&numbers)?)?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), BoxError> {
        let numbers: Vec<f64> = serde_json::from_str(&fs::read_to_string(folder.join("table.json"))?)?;
        self.logits.iter_mut().chain(&mut self.values).zip(numbers).for_each(|(weight, number)| *weight = number);
        Ok(())
    }
}

/// Trains in a run folder. Returns the mean reward of the first and of the last step.
pub(crate) fn run(folder: &Path) -> Result<[f64; 2], BoxError> {
    let mut policy = Bigrams::new();
    let mut reward = reward_fn(|_prompt, answer: &str| {
        let words: Vec<_> = answer.split(' ').map(|word| WORDS.iter().position(|w| *w == word)).collect();
        words.windows(2).filter(|pair| pair[0].map(|i| i + 1) == pair[1]).count() as f64
    });
    let ppo = PpoSettings {
        learning_rate: 0.5,
        batch_size: 64,
        mini_batch_size: 16,
        reward_scaling: None, // Eq. 7 scales probabilities; this reward is a count
        response_length: ser::ppo::ResponseLength::Fixed(8),
        ..PpoSettings::default()
    };
    let settings = PolicyRunSettings { steps: Some(60), ..PolicyRunSettings::default() };
    let mut training = PpoTraining::new(ppo, settings, &mut policy, &mut reward, vec![vec![Message::user("Count!")]])?;
    training.run_in(&mut RunFolder::open(folder, true)?, "ppo", &mut Silent)?;
    let steps = training.steps();
    Ok([steps[0].reward_mean, steps[steps.len() - 1].reward_mean])
}

#[allow(dead_code, reason = "the test calls `run`")]
fn main() -> Result<(), BoxError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "runs/ppo".to_owned());
    let [first, last] = run(Path::new(&folder))?;
    println!("mean reward: {first:.2} in the first step, {last:.2} in the last");
    Ok(())
}
