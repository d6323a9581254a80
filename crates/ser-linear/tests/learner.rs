//! The linear reward model on a synthetic task with known truth.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use approx::assert_abs_diff_eq;
use ndarray::Array3;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::{BoxError, Context, Learner, Pair, PairId, PairTarget, Preference, Scorer, Side};
use ser_linear::{CachedFeatures, Combination, Features, LinearError, LinearReward, LinearSettings};
use ser_loss::{LossKind, LossSettings, PairwiseLoss};

/// Answers are numbers written out; views are the first ten and the last ten of them.
#[derive(Debug)]
struct Numbers {
    computed: Arc<AtomicUsize>,
    identity: &'static str,
}

impl Numbers {
    fn new() -> (Self, Arc<AtomicUsize>) {
        let computed = Arc::new(AtomicUsize::new(0));
        (Numbers { computed: computed.clone(), identity: "numbers" }, computed)
    }
}

impl Features for Numbers {
    type Error = BoxError;

    fn view_sizes(&self) -> Vec<usize> {
        vec![10, 10]
    }

    fn identity(&self) -> String {
        self.identity.to_owned()
    }

    fn features(&mut self, pairs: &[Arc<Pair>], _: &mut Context<'_>) -> Result<Array3<f32>, BoxError> {
        self.computed.fetch_add(pairs.len(), Ordering::Relaxed);
        let mut all = Array3::zeros((pairs.len(), 2, 20));
        for (pair, mut rows) in pairs.iter().zip(all.outer_iter_mut()) {
            for (answer, mut row) in pair.responses.iter().zip(rows.outer_iter_mut()) {
                for (to, number) in row.iter_mut().zip(answer.split(' ')) {
                    *to = number.parse()?;
                }
            }
        }
        Ok(all)
    }
}

/// Pairs in which the better answer has the greater sum of its numbers, up to noise.
fn world(n: u64, seed: u64) -> Vec<Preference> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let answer = |rng: &mut ChaCha8Rng| {
        let numbers: Vec<f64> = (0..20).map(|_| rng.random_range(-1.0..1.0)).collect();
        let text: Vec<String> = numbers.iter().map(|x| format!("{x:.3}")).collect();
        (numbers.iter().sum::<f64>() + rng.random_range(-1.0..1.0), text.join(" "))
    };
    (0..n)
        .map(|i| {
            let ((a, text_a), (b, text_b)) = (answer(&mut rng), answer(&mut rng));
            let pair = Pair::from_text(PairId(seed * 100_000 + i), "Which?", text_a, text_b);
            Preference::human(Arc::new(pair), if a > b { Side::A } else { Side::B })
        })
        .collect()
}

fn logistic() -> PairwiseLoss {
    LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() }.check().unwrap()
}

fn settings() -> LinearSettings {
    LinearSettings { components: 10, l2: 1.0, ..LinearSettings::default() }
}

fn accuracy<F: Features>(model: &mut LinearReward<F>, data: &[Preference]) -> f64 {
    let pairs: Vec<_> = data.iter().map(|p| p.pair.clone()).collect();
    let scores = model.score(&pairs, &mut Context::silent()).unwrap();
    let right = scores.iter().zip(data).filter(|(s, p)| (s.a.0 > s.b.0) == (p.preferred == Side::A)).count();
    right as f64 / data.len() as f64
}

#[test]
fn it_learns_a_linear_truth() {
    for (combination, loss) in [
        (Combination::Sum, logistic()),
        (Combination::Fitted, logistic()),
        (Combination::Sum, LossSettings::default().check().unwrap()),
    ] {
        let settings = LinearSettings { combination, ..settings() };
        let mut model = LinearReward::new(Numbers::new().0, settings.check().unwrap());
        let summary = model.fit(&world(600, 1), &loss, &mut Context::silent()).unwrap();
        assert!(summary.accuracy > 0.88 && summary.loss.is_finite(), "{summary:?}");
        let held_out = accuracy(&mut model, &world(2000, 2));
        assert!(held_out > 0.88, "{combination:?}: {held_out}");
    }
}

#[test]
fn the_heads_are_at_the_minimum_of_the_penalized_loss() {
    // Training again, from the fitted heads' state, changes nothing.
    let data = world(200, 3);
    let mut model = LinearReward::new(Numbers::new().0, settings().check().unwrap());
    let first = model.fit(&data, &logistic(), &mut Context::silent()).unwrap();
    let again = model.fit(&data, &logistic(), &mut Context::silent()).unwrap();
    assert_eq!(first, again);
    // A pair of weight 2 counts like the pair given twice.
    let mut weighted = data.clone();
    weighted[0].weight = 2.0;
    let mut twice = data.clone();
    twice.push(data[0].clone());
    let pairs = [data[1].pair.clone(), data[2].pair.clone()];
    let mut scores = |data: &[Preference]| {
        model.fit(&data.to_vec(), &logistic(), &mut Context::silent()).unwrap();
        model.score(&pairs, &mut Context::silent()).unwrap()
    };
    for (one, other) in scores(&weighted).iter().zip(scores(&twice)) {
        assert_abs_diff_eq!(one.a.0 - one.b.0, other.a.0 - other.b.0, epsilon = 1e-4);
    }
    assert_eq!(PairTarget::from(&weighted[0]).weight, 2.0);
}

#[test]
fn the_representation_uses_no_label() {
    let pool: Vec<_> = world(400, 4).into_iter().map(|p| p.pair).collect();
    let swapped: Vec<_> = pool.iter().map(|pair| Arc::new((**pair).clone().swapped())).collect();
    let scores = [pool, swapped].map(|pool| {
        let mut model = LinearReward::new(Numbers::new().0, settings().check().unwrap());
        model.fit_representation(&pool, &mut Context::silent()).unwrap();
        model.fit(&world(50, 5), &logistic(), &mut Context::silent()).unwrap();
        model.score(&[world(1, 6)[0].pair.clone()], &mut Context::silent()).unwrap()[0]
    });
    assert_abs_diff_eq!(scores[0].a.0, scores[1].a.0, epsilon = 1e-6);
}

#[test]
fn a_saved_model_scores_to_the_same_bits_and_refuses_other_features() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = LinearReward::new(Numbers::new().0, settings().check().unwrap());
    assert!(matches!(model.snapshot(folder.path()), Err(LinearError::Unfitted)));
    model.fit(&world(100, 7), &logistic(), &mut Context::silent()).unwrap();
    model.snapshot(folder.path()).unwrap();
    let pairs: Vec<_> = world(20, 8).into_iter().map(|p| p.pair).collect();
    let mut loaded = LinearReward::load(Numbers::new().0, folder.path()).unwrap();
    assert_eq!(
        model.score(&pairs, &mut Context::silent()).unwrap(),
        loaded.score(&pairs, &mut Context::silent()).unwrap()
    );
    let other = Numbers { identity: "others", ..Numbers::new().0 };
    let error = LinearReward::load(other, folder.path()).unwrap_err().to_string();
    assert!(error.contains("\"numbers\"") && error.contains("\"others\""), "{error}");
    let tensors = folder.path().join("linear_reward.safetensors");
    let bytes = std::fs::read(&tensors).unwrap();
    for end in [0, 7, 100, bytes.len() - 1] {
        std::fs::write(&tensors, &bytes[..end]).unwrap();
        let error = LinearReward::load(Numbers::new().0, folder.path()).unwrap_err();
        assert!(matches!(error, LinearError::Damaged { .. }), "{error:?}");
    }
}

#[test]
fn stored_features_are_not_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features");
    let pairs: Vec<_> = world(100, 9).into_iter().map(|p| p.pair).collect();
    let (inner, computed) = Numbers::new();
    let mut cache = CachedFeatures::open(inner, &path).unwrap();
    let first = cache.features(&pairs[..70], &mut Context::silent()).unwrap();
    assert_eq!(computed.load(Ordering::Relaxed), 70);
    drop(cache);
    // A write that was interrupted, and a record that was damaged.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    bytes.extend([7; 33]);
    std::fs::write(&path, &bytes).unwrap();
    let (inner, computed) = Numbers::new();
    let mut cache = CachedFeatures::open(inner, &path).unwrap();
    let second = cache.features(&pairs, &mut Context::silent()).unwrap();
    // The 30 new pairs and the damaged one.
    assert_eq!(computed.load(Ordering::Relaxed), 31);
    assert_eq!(first, second.slice(ndarray::s![..70, .., ..]));
    assert_eq!(cache.features(&pairs, &mut Context::silent()).unwrap(), second);
    assert_eq!((computed.load(Ordering::Relaxed), cache.len()), (31, 100));
    // Pairs with their answers exchanged have the same records.
    let swapped: Vec<_> = pairs.iter().map(|pair| Arc::new((**pair).clone().swapped())).collect();
    let mut exchanged = cache.features(&swapped, &mut Context::silent()).unwrap();
    assert_eq!(computed.load(Ordering::Relaxed), 31);
    exchanged.invert_axis(ndarray::Axis(1));
    assert_eq!(exchanged, second);
    drop(cache);
    let (mut inner, computed) = Numbers::new();
    let mut direct = CachedFeatures::open(&mut inner, &path).unwrap();
    assert_eq!(direct.features(&pairs, &mut Context::silent()).unwrap(), second);
    assert_eq!(computed.load(Ordering::Relaxed), 0);
    drop(direct);
    // A header whose end a power loss tore, before any record.
    let torn = folder.path().join("torn");
    std::fs::write(&torn, [b"SERFEAT1".as_slice(), &[7; 12], &[0; 20]].concat()).unwrap();
    assert!(CachedFeatures::open(Numbers::new().0, &torn).unwrap().is_empty());
    // Other features, another file.
    let other = Numbers { identity: "others", ..Numbers::new().0 };
    assert!(matches!(CachedFeatures::open(other, &path), Err(LinearError::Damaged { .. })));
    std::fs::write(&path, b"not a cache, but long enough to have a header of that size").unwrap();
    assert!(matches!(CachedFeatures::open(Numbers::new().0, &path), Err(LinearError::Damaged { .. })));
}

/// Features that depend on the pairs beside them, as the last digits of a network's do.
struct Beside;

impl Features for Beside {
    type Error = BoxError;

    fn view_sizes(&self) -> Vec<usize> {
        vec![1]
    }

    fn identity(&self) -> String {
        "pairs beside".to_owned()
    }

    fn features(&mut self, pairs: &[Arc<Pair>], _: &mut Context<'_>) -> Result<Array3<f32>, BoxError> {
        let sum: u64 = pairs.iter().map(|pair| pair.id.0).sum();
        Ok(Array3::from_elem((pairs.len(), 2, 1), sum as f32))
    }
}

/// Whatever was stored before, by an interrupted call or by one over other pairs in another order.
#[test]
fn features_do_not_depend_on_the_pairs_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let pairs: Vec<_> = world(150, 9).into_iter().map(|p| p.pair).collect();
    let whole = folder.path().join("whole");
    let expected = CachedFeatures::open(Beside, &whole).unwrap().features(&pairs, &mut Context::silent()).unwrap();
    let bytes = std::fs::read(&whole).unwrap();
    for length in [39, 50, 1000, 3000, bytes.len() - 1] {
        let cut = folder.path().join("cut");
        std::fs::write(&cut, &bytes[..length]).unwrap();
        let mut cache = CachedFeatures::open(Beside, &cut).unwrap();
        assert_eq!(cache.features(&pairs, &mut Context::silent()).unwrap(), expected, "{length}");
        assert_eq!(cache.len(), 150);
    }
    let mut other = CachedFeatures::open(Beside, folder.path().join("other")).unwrap();
    let some: Vec<_> = pairs.iter().rev().step_by(3).cloned().collect();
    other.features(&some, &mut Context::silent()).unwrap();
    assert_eq!(other.features(&pairs, &mut Context::silent()).unwrap(), expected);
}

#[test]
fn features_that_are_not_finite_are_refused_with_their_pair() {
    let pair = Arc::new(Pair::from_text(PairId(7), "Which?", "1 NaN", "1 2"));
    let mut model = LinearReward::new(Numbers::new().0, settings().check().unwrap());
    let error = model.fit(&vec![Preference::human(pair, Side::A)], &logistic(), &mut Context::silent()).unwrap_err();
    assert_eq!(error.to_string(), "feature 1 of pair 7 is NaN; features must be finite");
}
