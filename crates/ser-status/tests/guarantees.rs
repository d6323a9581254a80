//! Statistical claims, by simulation with a known truth.

#![allow(clippy::unwrap_used)]

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::{Clusters, PairProbabilities, PairScores, RawScore, Side};
use ser_status::{
    Anchor, AuditSettings, Candidates, Correction, LoopState, PrecisionTarget, Proportion, Thresholds, select,
    wilson_by_cluster,
};

const DRAWS: usize = 3000;

/// Pairs with Delta uniform on [0, 1], whose higher answer is right with the probability `right(Delta)`.
fn draw(rng: &mut ChaCha8Rng, n: usize, right: impl Fn(f64) -> f64) -> Vec<(PairProbabilities, Side)> {
    (0..n)
        .map(|_| {
            let delta = rng.random::<f64>();
            let label = if rng.random_bool(right(delta)) { Side::A } else { Side::B };
            (PairProbabilities::unchecked(delta, 0.0), label)
        })
        .collect()
}

/// Of `DRAWS` draws of `n` held-out pairs: how many chose a tau, and how many chose one whose true precision is too low.
fn simulate(
    target: &PrecisionTarget,
    n: usize,
    right: impl Fn(f64) -> f64,
    true_precision: impl Fn(f64) -> f64,
) -> (Proportion, Proportion) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (mut chosen, mut broken) = (Proportion { count: 0, of: DRAWS }, Proportion { count: 0, of: DRAWS });
    for _ in 0..DRAWS {
        let pool: Vec<_> = draw(&mut rng, 200, &right).into_iter().map(|(pair, _)| pair).collect();
        let held_out = draw(&mut rng, n, &right);
        if let Some(certified) =
            target.clone().check().unwrap().certify(&pool, &held_out, Clusters::Singletons).unwrap().chosen
        {
            chosen.count += 1;
            broken.count += usize::from(true_precision(certified.tau_delta) < target.precision);
        }
    }
    (chosen, broken)
}

fn targets() -> Vec<PrecisionTarget> {
    let mut targets = Vec::new();
    for correction in [Correction::Bonferroni, Correction::FixedSequence] {
        let taus = Candidates::Taus((0..10).map(|i| f64::from(i) / 10.0).collect());
        for candidates in [taus, PrecisionTarget::default().candidates] {
            targets.push(PrecisionTarget { correction, candidates, ..PrecisionTarget::default() });
        }
    }
    targets
}

/// delta and three standard errors of a share seen in `DRAWS` draws.
fn at_most(delta: f64) -> f64 {
    delta + 3.0 * (delta * (1.0 - delta) / DRAWS as f64).sqrt()
}

#[test]
fn the_guarantee_holds_where_precision_rises_with_delta() {
    // Right with probability 0.7 + 0.3 Delta: over tau that is 0.7 + 0.3 (1 + tau) / 2 on average, 0.9 at tau = 1/3.
    let right = |delta: f64| 0.7 + 0.3 * delta;
    let truth = |tau: f64| 0.85 + 0.15 * tau;
    for target in targets() {
        let (chosen, broken) = simulate(&target, 600, right, truth);
        assert!(broken.share().unwrap() <= at_most(target.delta), "{target:?}: {broken:?}");
        assert!(chosen.share().unwrap() > 0.3, "it must choose a threshold in most draws: {chosen:?} {target:?}");
    }
}

#[test]
fn the_guarantee_holds_on_the_edge_and_is_not_vacuous() {
    // Just under the wanted precision at every tau: whatever is chosen is wrong.
    let (right, truth) = (|_: f64| 0.8999, |_: f64| 0.8999);
    for target in targets() {
        let (_, broken) = simulate(&target, 600, right, truth);
        assert!(broken.share().unwrap() <= at_most(target.delta), "{target:?}: {broken:?}");
    }
    // With a single candidate the test spends nearly all of delta: it is exact, not merely safe.
    let candidates = Candidates::Taus(vec![0.0]);
    let (_, broken) = simulate(&PrecisionTarget { candidates, ..PrecisionTarget::default() }, 600, right, truth);
    let share = broken.share().unwrap();
    assert!((0.06..=at_most(0.1)).contains(&share), "{share}");
}

#[test]
fn it_refuses_what_it_cannot_certify() {
    for target in targets() {
        let (chosen, _) = simulate(&target, 600, |_| 0.6, |_| 0.6);
        assert_eq!(chosen.count, 0, "{target:?}");
        let (chosen, _) = simulate(&target, 15, |_| 1.0, |_| 1.0);
        assert_eq!(chosen.count, 0, "15 pairs cannot show a precision of 0.9: {target:?}");
    }
}

/// Theorem 1's setting: a seed model that is right more often than not and calibrated.
#[test]
fn confident_filtering_does_not_lower_accuracy() {
    let thresholds = Thresholds::default().check().unwrap();
    for (seed, sharpness) in [(1, 0.4), (2, 1.0), (3, 2.5)] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Calibrated: A is right with probability sigmoid(r_A - r_B).
        let (scores, gold): (Vec<_>, Vec<_>) = (0..100_000)
            .map(|_| {
                let mut score = || sharpness * rng.random_range(-2.0..2.0);
                let scores = PairScores::new(score(), score());
                let right = RawScore(scores.margin()).sigmoid().get();
                (scores, Some(if rng.random_bool(right) { Side::A } else { Side::B }))
            })
            .unzip();
        for anchor in [Anchor::None, Anchor::PoolMean, Anchor::PerPair] {
            let p = anchor.fit(&scores, &[]).unwrap().apply(&scores);
            for state in [LoopState::Status1, LoopState::Status2, LoopState::Either] {
                let selected = select(&p, &state.rule(thresholds)).unwrap();
                let audit = AuditSettings::default()
                    .check()
                    .unwrap()
                    .audit(&p, &selected, &gold, &[], Clusters::Singletons)
                    .unwrap();
                let unfiltered = audit.unfiltered.share().unwrap();
                let precision = audit.precision.share().unwrap();
                assert!(unfiltered > 0.5);
                assert!(selected.len() > 1000 && selected.len() < scores.len());
                assert!(precision > unfiltered + 0.01, "{anchor:?} {state:?}: {precision} after {unfiltered}");
                // The precision of labels over a Delta rises with it, except for bins of few pairs.
                let bins: Vec<_> = audit.histogram.iter().filter(|bin| bin.pairs > 3000).collect();
                let (first, last) = (bins[0].correct.share().unwrap(), bins[bins.len() - 1].correct.share().unwrap());
                assert!(last > first + 0.05, "{anchor:?}: {first} to {last}");
            }
        }
    }
}

/// Held-out pairs of prompts: a prompt's pairs mostly share Delta and fate.
fn draw_prompts(rng: &mut ChaCha8Rng, prompts: u64, precision: f64) -> (Vec<(PairProbabilities, Side)>, Vec<u64>) {
    let (mut pairs, mut ids) = (Vec::new(), Vec::new());
    for prompt in 0..prompts {
        let fate = draw(rng, 1, |_| precision)[0];
        for _ in 0..10 {
            pairs.push(if rng.random_bool(0.9) { fate } else { draw(rng, 1, |_| precision)[0] });
            ids.push(prompt);
        }
    }
    (pairs, ids)
}

#[test]
fn the_guarantee_holds_by_prompt_and_not_by_pair() {
    // Just under the wanted precision at every tau: whatever is certified is wrong.
    for target in targets() {
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let draws = 1000;
        let mut broken = [0u32; 2];
        for _ in 0..draws {
            let (held_out, ids) = draw_prompts(&mut rng, 60, 0.8999);
            let pool: Vec<_> = draw(&mut rng, 200, |_| 0.9).into_iter().map(|(pair, _)| pair).collect();
            for (broken, clusters) in broken.iter_mut().zip([Clusters::Ids(&ids), Clusters::Singletons]) {
                *broken += u32::from(
                    target.clone().check().unwrap().certify(&pool, &held_out, clusters).unwrap().chosen.is_some(),
                );
            }
        }
        let [by_prompt, by_pair] = broken.map(|broken| f64::from(broken) / f64::from(draws));
        println!("{:?}: {by_prompt} by prompt, {by_pair} by pair", target.correction);
        assert!(by_prompt <= 0.1 + 3.0 * (0.09 / f64::from(draws)).sqrt(), "{target:?}: {by_prompt}");
        assert!(by_pair > 0.2, "counted as independent, the pairs must give too many failures: {by_pair}, {target:?}");
    }
}

#[test]
fn prompts_of_unequal_size_have_the_guarantee_of_a_drawn_prompt() {
    // Prompts of one pair are right with probability 0.95, prompts of nine with 0.8; half of each: 0.875 by prompt.
    let target =
        PrecisionTarget { precision: 0.88, candidates: Candidates::Taus(vec![0.0]), ..PrecisionTarget::default() };
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let (draws, mut broken) = (2000, 0);
    for _ in 0..draws {
        let (mut held_out, mut ids) = (Vec::new(), Vec::new());
        for prompt in 0..300 {
            let (size, right) = if rng.random_bool(0.5) { (1, 0.95) } else { (9, 0.8) };
            let fate = draw(&mut rng, 1, |_| right)[0];
            held_out.extend(vec![fate; size]);
            ids.extend(vec![prompt; size]);
        }
        broken += u32::from(
            target.clone().check().unwrap().certify(&[], &held_out, Clusters::Ids(&ids)).unwrap().chosen.is_some(),
        );
    }
    let share = f64::from(broken) / f64::from(draws);
    assert!(share <= 0.1 + 3.0 * (0.09 / f64::from(draws)).sqrt(), "{share}");
    assert!(share > 0.03, "and it is not vacuous: {share}");
}

#[test]
fn wilsons_interval_covers_the_precision_by_prompt_and_not_by_pair() {
    for (prompts, truth) in [(40, 0.8), (150, 0.9)] {
        let mut rng = ChaCha8Rng::seed_from_u64(14);
        let mut held = [0u32; 2];
        for _ in 0..DRAWS {
            let (pairs, ids) = draw_prompts(&mut rng, prompts, truth);
            let right: Vec<bool> = pairs.iter().map(|(_, side)| *side == Side::A).collect();
            for (held, clusters) in held.iter_mut().zip([Clusters::Ids(&ids), Clusters::Singletons]) {
                let interval = wilson_by_cluster(&right, clusters, 0.95).unwrap().unwrap();
                *held += u32::from(interval.low <= truth && truth <= interval.high);
            }
        }
        let [by_prompt, by_pair] = held.map(|held| f64::from(held) / DRAWS as f64);
        println!("{prompts} prompts: {by_prompt} by prompt, {by_pair} by pair");
        assert!((0.93..=0.975).contains(&by_prompt), "{by_prompt}");
        assert!(by_pair < 0.8, "{by_pair}");
    }
}
