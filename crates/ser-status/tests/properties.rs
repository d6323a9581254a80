//! Properties for any scores.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::{Clusters, LearningStatus, PairProbabilities, PairScores, PoolView, Side, StatusRule};
use ser_status::{
    Anchor, AuditSettings, AuthorsCodeRule, Balance, Composition, LoopState, PaperRule, PoolCounts, Selected,
    Thresholds, select, sweep,
};

/// Scores with the cases that matter: thresholds met exactly, ties, ends, NaN and infinities.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..=1.0,
        2 => prop::sample::select(vec![0.0, 0.3, 0.45, 0.5, 0.55, 0.8, 1.0, f64::MIN_POSITIVE, 5e-324]),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.5, 1.5]),
    ]
}

fn pool() -> impl Strategy<Value = Vec<PairProbabilities>> {
    prop::collection::vec((number(), number()).prop_map(|(a, b)| PairProbabilities::unchecked(a, b)), 0..60)
}

fn thresholds() -> impl Strategy<Value = Thresholds> {
    (0.0..=1.0, 0.0..=1.0, 0.0..=1.0).prop_map(|(x, y, tau_delta): (f64, f64, f64)| Thresholds {
        tau_high: x.max(y),
        tau_low: x.min(y),
        tau_delta,
        ..Thresholds::default()
    })
}

fn states() -> [LoopState; 4] {
    [LoopState::Status1, LoopState::Status2, LoopState::Either, LoopState::Stop]
}

proptest! {
    #[test]
    fn swapping_a_pair_mirrors_its_label(pool in pool(), t in thresholds()) {
        let swapped: Vec<_> = pool.iter().map(|p| PairProbabilities { a: p.b, b: p.a }).collect();
        for state in states() {
            let rule = state.rule(t.check().unwrap());
            let mirrored: Vec<_> =
                select(&swapped, &rule).unwrap().into_iter().map(|s| Selected { preferred: s.preferred.other(), ..s }).collect();
            prop_assert_eq!(select(&pool, &rule).unwrap(), mirrored);
        }
    }

    #[test]
    fn selected_pairs_are_finite_and_not_tied(pool in pool(), t in thresholds()) {
        for state in states() {
            for s in select(&pool, &state.rule(t.check().unwrap())).unwrap() {
                let pair = pool[s.index];
                prop_assert!(pair.a.get().is_finite() && pair.b.get().is_finite());
                prop_assert_eq!(pair.higher(), Some(s.preferred));
                prop_assert!(s.delta > 0.0 && s.status.keeps());
            }
        }
    }

    #[test]
    fn equation_3_as_written(pool in pool(), t in thresholds()) {
        let statuses = PaperRule(t.check().unwrap()).classify(&PoolView::new(&pool)).unwrap();
        for (pair, status) in pool.iter().zip(statuses) {
            let (p1, p2) = (pair.a.get(), pair.b.get());
            let expected = if !(0.0..=1.0).contains(&p1) || !(0.0..=1.0).contains(&p2) {
                LearningStatus::Stop
            } else if (p1 > t.tau_high && p2 < t.tau_low) || (p2 > t.tau_high && p1 < t.tau_low) {
                LearningStatus::Status1
            } else if (p1 - p2).abs() > t.tau_delta {
                LearningStatus::Status2
            } else {
                LearningStatus::Stop
            };
            prop_assert_eq!(status, expected);
        }
    }

    #[test]
    fn counts_are_what_the_rules_keep(pool in pool(), t in thresholds()) {
        // Finite numbers that are not probabilities are left to the rule of the authors' code.
        let pool: Vec<_> = pool.into_iter().filter(|p| !(p.a.get().abs() > 1.0 || p.b.get().abs() > 1.0)).collect();
        let pool: Vec<_> = pool.into_iter().filter(|p| !(p.a.get() < 0.0 || p.b.get() < 0.0)).collect();
        let t = t.check().unwrap();
        let counts = PoolCounts::new(&pool, t);
        for state in states() {
            prop_assert_eq!(counts.kept_by(state), select(&pool, &state.rule(t)).unwrap().len());
        }
        prop_assert_eq!(PaperRule(t).classify(&PoolView::new(&pool)).unwrap(), AuthorsCodeRule(t).classify(&PoolView::new(&pool)).unwrap());
    }

    #[test]
    fn permuting_rows_permutes_results(pool in pool(), t in thresholds(), turn in 0usize..60) {
        let turn = turn.min(pool.len());
        let mut turned = pool.clone();
        turned.rotate_left(turn);
        let rule = PaperRule(t.check().unwrap());
        let mut statuses = rule.classify(&PoolView::new(&pool)).unwrap();
        statuses.rotate_left(turn);
        prop_assert_eq!(rule.classify(&PoolView::new(&turned)).unwrap(), statuses);
    }

    #[test]
    fn anchored_probabilities_keep_the_order_of_raw_scores(
        raw in prop::collection::vec((-30.0..30.0, -30.0..30.0), 1..40),
    ) {
        let scores: Vec<_> = raw.iter().map(|&(a, b)| PairScores::new(a, b)).collect();
        let held_out: Vec<_> = scores.iter().map(|s| (*s, Side::A)).collect();
        for anchor in [Anchor::None, Anchor::PoolMean, Anchor::PerPair, Anchor::Fitted] {
            let p = anchor.fit(&scores, &held_out).unwrap().apply(&scores);
            for (p, s) in p.iter().zip(&scores) {
                prop_assert!((0.0..=1.0).contains(&p.a.get()) && (0.0..=1.0).contains(&p.b.get()));
                // Saturated probabilities may tie; their order is never reversed.
                prop_assert!(p.higher().is_none() || p.higher() == s.higher());
            }
        }
    }

    #[test]
    fn balanced_selections_keep_to_their_caps(
        pairs in prop::collection::vec((0.0..=1.0, 0.0..=1.0, 0usize..9, 0usize..9), 0..80),
        length in 0.5..=1.0,
        side in 0.5..=1.0,
    ) {
        let pool: Vec<_> = pairs.iter().map(|&(a, b, _, _)| PairProbabilities::unchecked(a, b)).collect();
        let lengths: Vec<_> = pairs.iter().map(|&(_, _, a, b)| [a, b]).collect();
        let selected = select(&pool, &PaperRule(Thresholds::default().check().unwrap())).unwrap();
        let balance = Balance { max_length_share: Some(length), max_side_share: Some(side) }.check().unwrap();
        let kept = balance.apply(selected.clone(), Some(&lengths)).unwrap();
        let c = Composition::new(&kept, &lengths).unwrap();
        let within = |x: usize, y: usize, share: f64| x.max(y) as f64 <= share * (x + y) as f64 + 1e-6;
        prop_assert!(within(c.longer, c.shorter, length) && within(c.side_a, c.side_b, side), "{:?}", c);
        // In the pool's order, and of the selection.
        prop_assert!(kept.is_sorted_by_key(|s| s.index) && kept.iter().all(|s| selected.contains(s)));
        prop_assert_eq!(balance.apply(kept.clone(), Some(&lengths)).unwrap(), kept);
    }

    #[test]
    fn balance_prefers_the_confident(deltas in prop::collection::vec(0.31..1.0, 1..40), few in 1usize..10) {
        let pool: Vec<_> = deltas.iter().map(|d| PairProbabilities::unchecked(*d, 0.0))
            .chain((0..few).map(|_| PairProbabilities::unchecked(0.0, 0.5)))
            .collect();
        let selected = select(&pool, &PaperRule(Thresholds::default().check().unwrap())).unwrap();
        let balance = Balance { max_side_share: Some(0.5), ..Balance::default() }.check().unwrap();
        let kept: Vec<_> = balance.apply(selected, None).unwrap().into_iter().filter(|s| s.preferred == Side::A).collect();
        prop_assert_eq!(kept.len(), if deltas.len() > few { few } else { deltas.len() });
        let mut best = deltas;
        best.sort_by(|x, y| y.total_cmp(x));
        prop_assert!(kept.iter().all(|s| s.delta >= best[kept.len() - 1]));
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut score = || rng.random_range(-4.0..4.0);
    let scores: Vec<_> = (0..300_000).map(|_| PairScores::new(score(), score())).collect();
    let gold: Vec<_> = scores.iter().map(|s| Some(if s.a.0 > -s.b.0 { Side::A } else { Side::B })).collect();
    let held_out: Vec<_> = scores.iter().zip(&gold).take(50_000).map(|(s, g)| (*s, g.unwrap())).collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut results = Vec::new();
            for anchor in [Anchor::PoolMean, Anchor::Fitted] {
                let fitted = anchor.fit(&scores, &held_out).unwrap();
                let p = fitted.apply(&scores);
                let selected = select(&p, &PaperRule(Thresholds::default().check().unwrap())).unwrap();
                let audit = AuditSettings::default()
                    .check()
                    .unwrap()
                    .audit(&p, &selected, &gold, &[], Clusters::Singletons)
                    .unwrap();
                let points = sweep(&p, &gold, LoopState::Either, &[Thresholds::default()]).unwrap();
                results.push((fitted, selected, audit, points));
            }
            results
        })
    };
    let one = run(1);
    assert!(one[0].1.len() > 100_000);
    assert_eq!(one, run(2));
    assert_eq!(one, run(7));
}
