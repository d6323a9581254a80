//! Sampling a token from logits: the processors of transformers, in its order, and a seeded draw.

use std::collections::{BTreeSet, BinaryHeap};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::{Sampling, SamplingError};

use crate::ModelError;

/// Checks sampling settings, as every generation does first.
///
/// # Errors
/// [`ModelError::Setting`] names the first setting out of its range.
pub fn check(sampling: &Sampling) -> Result<(), ModelError> {
    sampling.check().map_err(|SamplingError { field, value, expected }| ModelError::Setting {
        name: field,
        value,
        expected,
    })
}

/// Whether the token is the argmax of unchanged logits.
pub(crate) fn is_plain_greedy(sampling: &Sampling) -> bool {
    sampling.temperature == 0.0 && sampling.repetition_penalty == 1.0 && sampling.min_new_tokens == 0
}

/// Samples the tokens of one answer.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    rng: ChaCha8Rng,
    /// Tokens of prompt and answer, if there is a repetition penalty.
    seen: Option<BTreeSet<u32>>,
}

impl Sampler {
    /// The sampler of answer `sample` to a prompt with `before` equal prompts before it. The draws depend on the seed, the
    /// prompt's tokens and these two numbers, not on other prompts.
    pub(crate) fn new(sampling: &Sampling, prompt: &[u32], before: u64, sample: u64) -> Self {
        let mut seed = [0; 32];
        let parts = [sampling.seed, fnv(prompt), before, sample];
        for (bytes, part) in seed.chunks_exact_mut(8).zip(parts) {
            bytes.copy_from_slice(&part.to_le_bytes());
        }
        let seen = (sampling.repetition_penalty != 1.0).then(|| prompt.iter().copied().collect());
        Sampler { rng: ChaCha8Rng::from_seed(seed), seen }
    }

    /// The next token, after `new_tokens` sampled ones. `stop_ids` end an answer.
    pub(crate) fn choose(
        &mut self,
        logits: &mut [f32],
        sampling: &Sampling,
        new_tokens: usize,
        stop_ids: &[u32],
    ) -> Option<u32> {
        if let Some(seen) = &self.seen {
            penalise(logits, seen, sampling.repetition_penalty as f32);
        }
        if new_tokens < sampling.min_new_tokens {
            for &id in stop_ids {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        let token = if sampling.temperature == 0.0 {
            argmax(logits)?
        } else {
            draw(&distribution(logits, sampling), self.rng.random())?
        };
        self.note(token);
        Some(token)
    }

    /// Records a token for the repetition penalty.
    pub(crate) fn note(&mut self, token: u32) {
        if let Some(seen) = &mut self.seen {
            seen.insert(token);
        }
    }
}

/// log p(token) under unchanged logits.
pub(crate) fn log_prob(logits: &[f32], token: u32) -> f64 {
    let top = largest(logits);
    let sum: f64 = logits.iter().map(|&x| f64::from((x - top).exp())).sum();
    logits.get(token as usize).map_or(f64::NAN, |&x| f64::from(x) - f64::from(top) - sum.ln())
}

/// The index of the largest logit, the first of equal ones; `None` if none is a number.
fn argmax(logits: &[f32]) -> Option<u32> {
    let top = largest(logits);
    logits.iter().position(|&x| x == top).map(|i| i as u32)
}

/// The largest logit that is a number, in lanes that the compiler turns into vectors.
fn largest(logits: &[f32]) -> f32 {
    let (blocks, rest) = logits.as_chunks::<32>();
    let mut lanes = [f32::NEG_INFINITY; 32];
    for block in blocks {
        for (most, &x) in lanes.iter_mut().zip(block) {
            *most = if x > *most { x } else { *most };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Divides positive logits of earlier tokens by the penalty and multiplies negative ones (Keskar et al., CTRL, 2019).
fn penalise(logits: &mut [f32], seen: &BTreeSet<u32>, penalty: f32) {
    for &id in seen {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
    }
}

/// The tokens that remain after temperature, top-k and top-p, applied in that order, with unnormalized weights.
fn distribution(logits: &[f32], sampling: &Sampling) -> Vec<(u32, f32)> {
    let temperature = sampling.temperature as f32;
    let mut kept: Vec<(u32, f32)> = (0..).zip(logits.iter().map(|&x| x / temperature)).collect();
    if (1..kept.len()).contains(&sampling.top_k) {
        // Logits equal to the k-th are kept, as in transformers.
        let (_, &mut (_, least), _) = kept.select_nth_unstable_by(sampling.top_k - 1, |x, y| y.1.total_cmp(&x.1));
        kept.retain(|&(_, x)| x >= least);
    }
    let top = kept.iter().map(|&(_, x)| x).fold(f32::NEG_INFINITY, f32::max);
    for (_, x) in &mut kept {
        *x = (*x - top).exp();
    }
    if sampling.top_p < 1.0 {
        kept = nucleus(kept, sampling.top_p);
    }
    kept.sort_unstable_by_key(|&(id, _)| id);
    kept
}

/// The heap's order of tokens: by weight, then the lower id first.
#[derive(PartialEq)]
struct Weighted(f32, u32);

impl Eq for Weighted {}

impl PartialOrd for Weighted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Weighted {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

/// The most probable tokens up to a total probability of `top_p` (Holtzman et al., 2020), at least one.
fn nucleus(weights: Vec<(u32, f32)>, top_p: f64) -> Vec<(u32, f32)> {
    let all: f64 = weights.iter().map(|&(_, w)| f64::from(w)).sum();
    let mut heap: BinaryHeap<Weighted> = weights.into_iter().map(|(id, w)| Weighted(w, id)).collect();
    let (mut kept, mut mass) = (Vec::new(), 0.0);
    while mass < top_p * all || kept.is_empty() {
        let Some(Weighted(weight, id)) = heap.pop() else { break };
        mass += f64::from(weight);
        kept.push((id, weight));
    }
    kept
}

/// The token at the quantile `u` of the weights, `u` in [0, 1); `None` if the weights are not numbers.
fn draw(weights: &[(u32, f32)], u: f64) -> Option<u32> {
    let all: f64 = weights.iter().map(|&(_, w)| f64::from(w)).sum();
    if !(all.is_finite() && all > 0.0) {
        return None;
    }
    let mut left = u * all;
    for &(id, weight) in weights {
        left -= f64::from(weight);
        if left < 0.0 {
            return Some(id);
        }
    }
    weights.iter().rev().find(|&&(_, w)| w > 0.0).map(|&(id, _)| id)
}

/// FNV-1a over the tokens' bytes: the same on every machine.
fn fnv(tokens: &[u32]) -> u64 {
    tokens
        .iter()
        .flat_map(|token| token.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use approx::{abs_diff_eq, assert_abs_diff_eq};

    use super::*;

    fn shares(logits: &[f32], sampling: &Sampling) -> Vec<(u32, f64)> {
        let weights = distribution(logits, sampling);
        let all: f64 = weights.iter().map(|&(_, w)| f64::from(w)).sum();
        weights.into_iter().map(|(id, w)| (id, f64::from(w) / all)).collect()
    }

    fn near(got: &[(u32, f64)], want: &[(u32, f64)]) {
        assert_eq!(got.iter().map(|x| x.0).collect::<Vec<_>>(), want.iter().map(|x| x.0).collect::<Vec<_>>());
        assert!(got.iter().zip(want).all(|(x, y)| abs_diff_eq!(x.1, y.1, epsilon = 1e-6)), "{got:?} is not {want:?}");
    }

    /// Logits whose softmax is 0.5, 0.3, 0.15, 0.05 for tokens 2, 0, 3, 1.
    fn logits() -> Vec<f32> {
        [0.3f32, 0.05, 0.5, 0.15].map(|p| p.ln() + 3.0).to_vec()
    }

    #[test]
    fn distributions_by_hand() {
        let all = Sampling::default();
        near(&shares(&logits(), &all), &[(0, 0.3), (1, 0.05), (2, 0.5), (3, 0.15)]);
        // p^(1/T) with T = 0.5: squares 0.09, 0.0025, 0.25, 0.0225 of 0.365.
        let cold = Sampling { temperature: 0.5, ..all.clone() };
        let of = |x: f64| x / 0.365;
        near(&shares(&logits(), &cold), &[(0, of(0.09)), (1, of(0.0025)), (2, of(0.25)), (3, of(0.0225))]);
        let two = Sampling { top_k: 2, ..all.clone() };
        near(&shares(&logits(), &two), &[(0, 0.375), (2, 0.625)]);
        // 0.8 needs two tokens, 0.5 + 0.3, and 0.81 needs a third.
        let p = |top_p| Sampling { top_p, ..all.clone() };
        near(&shares(&logits(), &p(0.79)), &[(0, 0.375), (2, 0.625)]);
        near(&shares(&logits(), &p(0.81)), &[(0, 0.3 / 0.95), (2, 0.5 / 0.95), (3, 0.15 / 0.95)]);
        near(&shares(&logits(), &p(0.01)), &[(2, 1.0)]);
        // Top-k comes first, so the probabilities are 0.625 and 0.375, and the first reaches 0.6.
        near(&shares(&logits(), &Sampling { top_k: 2, top_p: 0.6, ..all.clone() }), &[(2, 1.0)]);
        // All logits equal to the k-th are kept.
        assert_eq!(shares(&[1.0, 0.0, 1.0], &Sampling { top_k: 1, ..all }).len(), 2);
    }

    #[derive(serde::Deserialize)]
    struct Case {
        temperature: f64,
        top_k: usize,
        top_p: f64,
        repetition_penalty: f64,
        seen: Vec<u32>,
        logits: Vec<f32>,
        probabilities: Vec<f64>,
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        processors: Vec<Case>,
    }

    #[test]
    fn distributions_are_those_of_transformers() {
        let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/generation/answers.json")).unwrap();
        assert!(golden.processors.len() > 5);
        for Case { temperature, top_k, top_p, repetition_penalty, seen, mut logits, probabilities } in golden.processors
        {
            penalise(&mut logits, &seen.into_iter().collect(), repetition_penalty as f32);
            let found = shares(&logits, &Sampling { temperature, top_k, top_p, ..Sampling::default() });
            let want: Vec<_> = (0..).zip(probabilities).filter(|&(_, p)| p > 0.0).collect();
            near(&found, &want);
        }
    }

    #[test]
    fn penalties_by_hand() {
        let mut logits = [2.0, -2.0, 1.0, -1.0];
        penalise(&mut logits, &BTreeSet::from([0, 1, 77]), 4.0);
        assert_eq!(logits, [0.5, -8.0, 1.0, -1.0]);
        // Prompt and answer both count, before the temperature.
        let sampling = Sampling { temperature: 0.0, repetition_penalty: 4.0, ..Sampling::default() };
        let mut sampler = Sampler::new(&sampling, &[0], 0, 0);
        let mut next = || sampler.choose(&mut [2.0, 0.6, 0.55, -1.0], &sampling, 0, &[]).unwrap();
        assert_eq!([next(), next(), next()], [1, 2, 0]);
    }

    #[test]
    fn no_end_before_its_time() {
        let sampling = Sampling { temperature: 0.0, min_new_tokens: 2, ..Sampling::default() };
        let mut sampler = Sampler::new(&sampling, &[], 0, 0);
        let mut at = |n| sampler.choose(&mut [1.0, 3.0, 2.0], &sampling, n, &[1]).unwrap();
        assert_eq!([at(0), at(1), at(2)], [2, 2, 1]);
    }

    #[test]
    fn draws_follow_the_shares_and_the_seed() {
        let sampling = Sampling { seed: 3, ..Sampling::default() };
        let n = 20_000;
        let tokens = |sampling: &Sampling, before, sample| -> Vec<u32> {
            let mut sampler = Sampler::new(sampling, &[5, 6], before, sample);
            (0..n).map(|_| sampler.choose(&mut logits(), sampling, 0, &[]).unwrap()).collect()
        };
        let one = tokens(&sampling, 0, 0);
        for (id, share) in [(0, 0.3), (1, 0.05), (2, 0.5), (3, 0.15)] {
            let found = one.iter().filter(|&&token| token == id).count() as f64 / f64::from(n);
            // Four standard deviations.
            let bound = 4.0 * (share * (1.0 - share) / f64::from(n)).sqrt();
            assert!(abs_diff_eq!(found, share, epsilon = bound), "{id}: {found}");
        }
        assert_eq!(one, tokens(&sampling, 0, 0));
        for other in [tokens(&sampling, 1, 0), tokens(&sampling, 0, 1), tokens(&Sampling { seed: 4, ..sampling }, 0, 0)]
        {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_largest_logit_is_found_anywhere() {
        for n in [1, 31, 32, 33, 100] {
            for at in 0..n {
                let mut logits = vec![-3.0; n];
                logits[(at + 1) % n] = f32::NAN;
                logits[at] = -1.0;
                assert_eq!((largest(&logits), argmax(&logits)), (-1.0, Some(at as u32)), "{at} of {n}");
            }
        }
    }

    #[test]
    fn logits_that_are_no_numbers_choose_nothing() {
        let mut sampler = Sampler::new(&Sampling::default(), &[], 0, 0);
        assert_eq!(sampler.choose(&mut [f32::NAN, 1.0], &Sampling::default(), 0, &[]), None);
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_eq!(sampler.choose(&mut [f32::NAN, f32::NAN], &greedy, 0, &[]), None);
        assert_eq!(draw(&[(7, 0.5), (9, 0.0)], 1.0), Some(7));
        assert_abs_diff_eq!(log_prob(&logits(), 3), 0.15f64.ln(), epsilon = 1e-6);
    }

    #[test]
    fn bad_settings_are_named() {
        let bad = [
            (Sampling { max_new_tokens: 0, ..Sampling::default() }, "max_new_tokens is 0"),
            (Sampling { min_new_tokens: 300, ..Sampling::default() }, "min_new_tokens is 300"),
            (Sampling { temperature: -1.0, ..Sampling::default() }, "temperature is -1"),
            (Sampling { top_p: 0.0, ..Sampling::default() }, "top_p is 0"),
            (Sampling { repetition_penalty: f64::NAN, ..Sampling::default() }, "repetition_penalty is NaN"),
            (Sampling { samples_per_prompt: 0, ..Sampling::default() }, "samples_per_prompt is 0"),
            (Sampling { stop: vec![String::new()], ..Sampling::default() }, "stop is \"\""),
        ];
        for (sampling, said) in bad {
            assert!(check(&sampling).unwrap_err().to_string().contains(said));
        }
        assert!(check(&Sampling::default()).is_ok());
    }
}
