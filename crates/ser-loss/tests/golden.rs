//! Values and gradients against PyTorch's autograd (tests/golden/loss.py).

#![allow(clippy::unwrap_used)]

use approx::assert_relative_eq;
use ser_core::PairTarget;
use ser_core::ndarray::{Array2, aview2};
use ser_loss::{DpoSettings, LossSettings};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Golden {
    scores: Vec<[f64; 2]>,
    weights: Vec<f64>,
    probabilities: Vec<f64>,
    margins: Vec<Option<f64>>,
    policy: Vec<[f64; 2]>,
    reference: Vec<[f64; 2]>,
    pairwise: Vec<Case<LossSettings>>,
    dpo: Vec<Case<DpoSettings>>,
}

#[derive(Deserialize)]
#[serde(bound = "S: DeserializeOwned")]
struct Case<S> {
    settings: S,
    weighted: bool,
    soft: bool,
    #[serde(default)]
    own_margins: bool,
    value: f64,
    gradient: Vec<[f64; 2]>,
    #[serde(default)]
    rewards: Vec<[f64; 2]>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/loss.json")).unwrap()
}

fn targets<S>(golden: &Golden, case: &Case<S>) -> Vec<PairTarget> {
    (0..golden.scores.len())
        .map(|i| PairTarget {
            weight: if case.weighted { golden.weights[i] } else { 1.0 },
            margin: golden.margins[i].filter(|_| case.own_margins),
            probability: if case.soft { golden.probabilities[i] } else { 1.0 },
        })
        .collect()
}

fn assert_same(ours: &Array2<f64>, theirs: &[[f64; 2]]) {
    assert_relative_eq!(ours.as_slice().unwrap(), theirs.as_flattened(), max_relative = 1e-10, epsilon = 1e-13);
}

#[test]
fn pairwise_losses_agree_with_pytorch() {
    let golden = golden();
    assert_eq!(golden.pairwise.len(), 7);
    for case in &golden.pairwise {
        let loss = case.settings.check().unwrap();
        let out = loss.value_and_gradient(aview2(&golden.scores), &targets(&golden, case)).unwrap();
        assert_relative_eq!(out.value, case.value, max_relative = 1e-12);
        assert_same(&out.gradient, &case.gradient);
    }
}

#[test]
fn dpo_agrees_with_pytorch() {
    let golden = golden();
    assert_eq!(golden.dpo.len(), 4);
    let (policy, reference) = (aview2(&golden.policy), aview2(&golden.reference));
    for case in &golden.dpo {
        let out = case.settings.check().unwrap().evaluate(policy, reference, &targets(&golden, case)).unwrap();
        assert_relative_eq!(out.value, case.value, max_relative = 1e-12);
        assert_same(&out.gradient, &case.gradient);
        assert_same(&out.rewards, &case.rewards);
    }
}
