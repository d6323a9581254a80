//! Intervals over pairs that share prompts: their coverage where the truth is known, and changes that have no effect.

#![allow(clippy::unwrap_used)]

use approx::assert_abs_diff_eq;
use proptest::collection::vec;
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::{Clusters, Side, Verdict};
use ser_eval::{Bootstrap, Estimate, EvalError, WinRate, length_controlled};

const TRIALS: u64 = 1000;

/// Pairs of prompts: a prompt's pairs mostly share one fate.
struct Draw {
    /// The probability that a pair has the outcome of its prompt; otherwise it is drawn anew.
    together: f64,
    /// The least and the greatest number of pairs of a prompt.
    sizes: (usize, usize),
    prompts: usize,
}

impl Draw {
    /// One value per pair, each with the distribution of `one`, and the pairs' prompts.
    fn pairs<T: Copy>(&self, rng: &mut ChaCha8Rng, one: impl Fn(&mut ChaCha8Rng) -> T) -> (Vec<T>, Vec<u64>) {
        let (mut values, mut ids) = (Vec::new(), Vec::new());
        for prompt in 0..self.prompts as u64 {
            let fate = one(rng);
            for _ in 0..rng.random_range(self.sizes.0..=self.sizes.1) {
                values.push(if rng.random_bool(self.together) { fate } else { one(rng) });
                ids.push(prompt * 7919);
            }
        }
        (values, ids)
    }
}

/// How often the 95 % interval contains the truth, by prompts and (wrongly) by pairs.
fn coverage(truth: f64, mut draw: impl FnMut(&mut ChaCha8Rng, &Bootstrap) -> [Estimate; 2]) -> [f64; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut held = [0u32; 2];
    for seed in 0..TRIALS {
        let bootstrap = Bootstrap { resamples: 400, seed, ..Bootstrap::default() };
        for (held, estimate) in held.iter_mut().zip(draw(&mut rng, &bootstrap)) {
            *held += u32::from(estimate.low <= truth && truth <= estimate.high);
        }
    }
    held.map(|held| f64::from(held) / TRIALS as f64)
}

/// 95 % with three standard errors of a share seen in the trials, and a point for a bootstrap's bias.
fn assert_nominal(by_prompt: f64) {
    assert!((0.92..=0.98).contains(&by_prompt), "{by_prompt}");
}

#[test]
fn accuracies_cover_the_truth_by_prompt_and_not_by_pair() {
    for (prompts, sizes, together) in
        [(60, (10, 10), 0.9), (120, (1, 10), 0.9), (200, (2, 6), 0.5), (60, (10, 10), 0.0)]
    {
        let draw = Draw { together, sizes, prompts };
        let [by_prompt, by_pair] = coverage(0.7, |rng, bootstrap| {
            let (right, ids) = draw.pairs(rng, |rng| rng.random_bool(0.7));
            let by = |clusters| bootstrap.accuracy(&right, clusters).unwrap();
            [by(Clusters::Ids(&ids)), by(Clusters::Singletons)]
        });
        println!("{prompts} prompts of {sizes:?}, {together} together: {by_prompt} by prompt, {by_pair} by pair");
        assert_nominal(by_prompt);
        if together > 0.0 {
            assert!(by_pair < 0.9, "counted as independent, the intervals must be too narrow: {by_pair}");
        }
    }
}

#[test]
fn differences_cover_the_truth_by_prompt_and_not_by_pair() {
    // Accuracies of 0.72 and 0.66 on the same pairs.
    let draw = Draw { together: 0.9, sizes: (1, 10), prompts: 120 };
    let [by_prompt, by_pair] = coverage(0.06, |rng, bootstrap| {
        let (draws, ids) = draw.pairs(rng, |rng| rng.random::<f64>());
        let model: Vec<bool> = draws.iter().map(|d| *d < 0.72).collect();
        let other: Vec<bool> = draws.iter().map(|d| *d < 0.60 || *d > 0.94).collect();
        let by = |clusters| bootstrap.difference(&model, &other, clusters).unwrap();
        [by(Clusters::Ids(&ids)), by(Clusters::Singletons)]
    });
    println!("{by_prompt} by prompt, {by_pair} by pair");
    assert_nominal(by_prompt);
    assert!(by_pair < 0.8, "{by_pair}");
}

fn verdict(rng: &mut ChaCha8Rng) -> Verdict {
    match rng.random_range(0..10) {
        0..4 => Verdict::Prefers(Side::A),
        4..6 => Verdict::Tie,
        _ => Verdict::Prefers(Side::B),
    }
}

#[test]
fn win_rates_cover_the_truth_by_prompt_and_not_by_pair() {
    let draw = Draw { together: 0.9, sizes: (4, 8), prompts: 80 };
    let (mut by_standard_error, mut rng) = (0u32, ChaCha8Rng::seed_from_u64(8));
    let [by_prompt, by_pair] = coverage(0.5, |rng, bootstrap| {
        let (verdicts, ids) = draw.pairs(rng, verdict);
        let by = |clusters| WinRate::measure(&verdicts, clusters, bootstrap).unwrap().unwrap().rate;
        [by(Clusters::Ids(&ids)), by(Clusters::Singletons)]
    });
    for _ in 0..TRIALS {
        let (verdicts, ids) = draw.pairs(&mut rng, verdict);
        let bootstrap = Bootstrap { resamples: 100, ..Bootstrap::default() };
        let win_rate = WinRate::measure(&verdicts, Clusters::Ids(&ids), &bootstrap).unwrap().unwrap();
        by_standard_error += u32::from((win_rate.rate.value - 0.5).abs() < 1.96 * win_rate.standard_error.unwrap());
    }
    let by_standard_error = f64::from(by_standard_error) / TRIALS as f64;
    println!("{by_prompt} by prompt, {by_pair} by pair, {by_standard_error} by the standard error");
    assert_nominal(by_prompt);
    assert_nominal(by_standard_error);
    assert!(by_pair < 0.8, "{by_pair}");
}

#[test]
fn win_rates_at_equal_length_cover_the_truth_by_prompt_and_not_by_pair() {
    // P(win) = sigmoid(0 + tanh(d / s)): half at equal length.
    let draw = Draw { together: 0.9, sizes: (6, 6), prompts: 60 };
    let one = |rng: &mut ChaCha8Rng| {
        let difference = rng.random_range(-3.0..3.0_f64);
        let win = rng.random_bool(1.0 / (1.0 + (-difference.tanh()).exp()));
        (f64::from(u8::from(win)), difference)
    };
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (trials, mut held) = (200, [0u32; 2]);
    for seed in 0..trials {
        let (rows, ids) = draw.pairs(&mut rng, one);
        let (outcomes, differences): (Vec<f64>, Vec<f64>) = rows.into_iter().unzip();
        let bootstrap = Bootstrap { resamples: 200, seed, ..Bootstrap::default() };
        for (held, clusters) in held.iter_mut().zip([Clusters::Ids(&ids), Clusters::Singletons]) {
            let estimate = length_controlled(&outcomes, &differences, clusters, &bootstrap).unwrap().unwrap();
            *held += u32::from(estimate.low <= 0.5 && 0.5 <= estimate.high);
        }
    }
    let [by_prompt, by_pair] = held.map(|held| f64::from(held) / trials as f64);
    println!("{by_prompt} by prompt, {by_pair} by pair");
    // Three standard errors of a share seen in 200 trials are 4.6 points.
    assert!(by_prompt > 0.9 && by_pair < 0.8, "{by_prompt} {by_pair}");
}

#[test]
fn few_prompts_claim_no_certainty() {
    // 50 pairs of 5 prompts, all right: the interval of 5 right of 5 (Clopper and Pearson), not of 50 of 50.
    let ids: Vec<u64> = (0..50).map(|i| i / 10).collect();
    let all = Bootstrap::default().accuracy(&[true; 50], Clusters::Ids(&ids)).unwrap();
    assert_abs_diff_eq!(all.low, 0.025_f64.powf(0.2), epsilon = 1e-12);
    assert_eq!(all.high, 1.0);
    assert_eq!((all.pairs, all.clusters, all.is_small_sample()), (50, Some(5), true));
    let one = Bootstrap::default().accuracy(&[true; 9], Clusters::Ids(&[1; 9])).unwrap();
    assert_abs_diff_eq!(one.low, 0.025, epsilon = 1e-12);
    // Half of every prompt right: no resample differs either.
    let half: Vec<bool> = (0..50).map(|i| i % 2 == 0).collect();
    let half = Bootstrap::default().accuracy(&half, Clusters::Ids(&ids)).unwrap();
    assert!(half.low < 0.3 && half.high > 0.7, "{half:?}");
    let won = length_controlled(&[1.0; 50], &[0.0; 50], Clusters::Ids(&ids), &Bootstrap::default()).unwrap().unwrap();
    assert_eq!((won.low, won.high, won.clusters), (all.low, 1.0, Some(5)));
}

#[test]
fn ids_of_other_pairs_are_refused() {
    let error = Bootstrap::default().accuracy(&[true; 3], Clusters::Ids(&[1, 2])).unwrap_err();
    assert!(matches!(error, EvalError::LengthMismatch { left: 3, right: 2, .. }), "{error}");
    let error = length_controlled(&[1.0; 2], &[0.0; 2], Clusters::Ids(&[1]), &Bootstrap::default()).unwrap_err();
    assert!(matches!(error, EvalError::LengthMismatch { left: 2, right: 1, .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_pairs_and_the_names_of_prompts_do_not_matter(
        pairs in vec((any::<bool>(), 0u64..12, -5.0..5.0), 1..60),
        seed: u64,
    ) {
        let measure = |pairs: &[(bool, u64, f64)], name: fn(u64) -> u64| {
            let right: Vec<bool> = pairs.iter().map(|p| p.0).collect();
            let ids: Vec<u64> = pairs.iter().map(|p| name(p.1)).collect();
            let outcomes: Vec<f64> = right.iter().map(|r| f64::from(u8::from(*r))).collect();
            let lengths: Vec<f64> = pairs.iter().map(|p| p.2).collect();
            let bootstrap = Bootstrap { resamples: 100, seed, ..Bootstrap::default() };
            let estimate = bootstrap.accuracy(&right, Clusters::Ids(&ids)).unwrap();
            (estimate, length_controlled(&outcomes, &lengths, Clusters::Ids(&ids), &bootstrap).unwrap())
        };
        let one = measure(&pairs, |id| id);
        let mut shuffled = pairs;
        shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        prop_assert_eq!(measure(&shuffled, |id| u64::MAX - 31 * id), one);
        prop_assert!(one.0.low <= one.0.value && one.0.value <= one.0.high);
        prop_assert!(0.0 <= one.0.low && one.0.high <= 1.0);
    }
}
