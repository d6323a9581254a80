//! Losses worked by hand, extreme scores, and bad input. Comments give the PyTorch lines that return the same numbers.

#![allow(clippy::unwrap_used)]

use approx::assert_relative_eq;
use ser_core::ndarray::{Array2, array, aview2};
use ser_core::{PairLoss, PairTarget};
use ser_loss::{DpoKind, DpoSettings, LossError, LossKind, LossSettings};

const PLAIN: PairTarget = PairTarget { weight: 1.0, margin: None, probability: 1.0 };

fn settings(kind: LossKind) -> LossSettings {
    LossSettings { kind, ..Default::default() }
}

fn one(settings: LossSettings, scores: [f64; 2], target: PairTarget) -> (f64, [f64; 2]) {
    let out = settings.check().unwrap().value_and_gradient(aview2(&[scores]), &[target]).unwrap();
    (out.value, [out.gradient[[0, 0]], out.gradient[[0, 1]]])
}

#[test]
fn the_default_is_the_hinge_of_the_paper() {
    // F.margin_ranking_loss(pos, neg, torch.ones(3), margin=1.0)
    // pos = [2.0, 0.5, 0.0], neg = [0.0, 0.25, 1.0]: (0 + 0.75 + 2) / 3
    let out = LossSettings::default()
        .check()
        .unwrap()
        .value_and_gradient(array![[2.0, 0.0], [0.5, 0.25], [0.0, 1.0]].view(), &[PLAIN; 3])
        .unwrap();
    assert_relative_eq!(out.value, 2.75 / 3.0);
    let third = 1.0 / 3.0;
    assert_eq!(out.gradient, array![[0.0, 0.0], [-third, third], [-third, third]]);
}

#[test]
fn the_gradient_at_the_kink_is_0() {
    assert_eq!(one(LossSettings::default(), [1.0, 0.0], PLAIN), (0.0, [0.0, 0.0]));
}

#[test]
fn bradley_terry_by_hand() {
    // -F.logsigmoid(torch.tensor(0.5 - (-0.5)))  ->  0.31326168751822286
    let (value, [preferred, other]) = one(settings(LossKind::BradleyTerry), [0.5, -0.5], PLAIN);
    assert_relative_eq!(value, 0.313_261_687_518_222_86, max_relative = 1e-15);
    // -(1 - sigmoid(1))
    assert_relative_eq!(preferred, -0.268_941_421_369_995_1, max_relative = 1e-15);
    assert_eq!(other, -preferred);
}

#[test]
fn a_margin_of_the_pair_replaces_the_default() {
    let own = PairTarget { margin: Some(0.25), ..PLAIN };
    assert_eq!(one(LossSettings::default(), [0.0, 0.0], own).0, 0.25);
    assert_eq!(one(LossSettings { margin: Some(3.0), ..Default::default() }, [0.0, 0.0], own).0, 0.25);
    // A margin of 1 is the same as a score lower by 1.
    let asked = PairTarget { margin: Some(1.0), ..PLAIN };
    assert_eq!(
        one(settings(LossKind::BradleyTerry), [1.5, 0.0], asked),
        one(settings(LossKind::BradleyTerry), [0.5, 0.0], PLAIN)
    );
    // OpenRLHF's LogExpLoss has no margin.
    assert_eq!(one(settings(LossKind::LogExp), [1.5, 0.0], asked), one(settings(LossKind::LogExp), [1.5, 0.0], PLAIN));
}

#[test]
fn soft_labels_and_smoothing_mix_both_directions() {
    // p = 0.8, e = 0.1: q = 0.8 * 0.9 + 0.2 * 0.1 = 0.74; hinge, m = 1, d = 0.5: 0.74 * 0.5 + 0.26 * 1.5
    let soft = PairTarget { probability: 0.8, ..PLAIN };
    let (value, [slope, _]) = one(LossSettings { label_smoothing: 0.1, ..Default::default() }, [0.5, 0.0], soft);
    assert_relative_eq!(value, 0.76, max_relative = 1e-14);
    assert_relative_eq!(slope, -0.74 + 0.26, max_relative = 1e-14);
    // Bradley-Terry, q = 0.5: least at d = 0, log 2.
    let even = PairTarget { probability: 0.5, ..PLAIN };
    assert_eq!(one(settings(LossKind::BradleyTerry), [3.0, 3.0], even), (2f64.ln(), [0.0, 0.0]));
}

#[test]
fn centring_pulls_both_scores_to_zero() {
    // 0.01 * (2 + 1)² = 0.09 beside a hinge of 0; gradient 2 * 0.01 * 3
    let (value, gradient) = one(LossSettings { centering: 0.01, ..Default::default() }, [2.0, 1.0], PLAIN);
    assert_relative_eq!(value, 0.09, max_relative = 1e-14);
    assert_relative_eq!(gradient[0], 0.06, max_relative = 1e-14);
    assert_eq!(gradient[0], gradient[1]);
}

#[test]
fn weights_make_a_weighted_mean() {
    // Losses 1 and 2 with weights 3 and 1: (3 + 2) / 4.
    let loss = LossSettings::default().check().unwrap();
    let weighted = |w| PairTarget { weight: w, ..PLAIN };
    let out = loss.value_and_gradient(array![[0.0, 0.0], [0.0, 1.0]].view(), &[weighted(3.0), weighted(1.0)]).unwrap();
    assert_eq!(out.value, 1.25);
    assert_eq!(out.gradient, array![[-0.75, 0.75], [-0.25, 0.25]]);
    // All weights are 0.
    let out = loss.value_and_gradient(array![[0.0, 0.0], [0.0, 1.0]].view(), &[weighted(0.0), weighted(0.0)]).unwrap();
    assert_eq!((out.value, out.gradient), (0.0, Array2::zeros((2, 2))));
    let none = Array2::zeros((0, 2));
    let out = loss.value_and_gradient(none.view(), &[]).unwrap();
    assert_eq!((out.value, out.gradient), (0.0, none));
}

#[test]
fn extreme_scores_stay_finite() {
    for kind in [LossKind::BradleyTerry, LossKind::LogExp] {
        assert_eq!(one(settings(kind), [-1e4, 1e4], PLAIN), (2e4, [-1.0, 1.0]));
        assert_eq!(one(settings(kind), [1e4, -1e4], PLAIN), (0.0, [0.0, 0.0]));
    }
    assert_eq!(one(settings(LossKind::Hinge), [-1e4, 1e4], PLAIN), (20_001.0, [-1.0, 1.0]));
    // The tail keeps its digits: log(1 + exp(-50)) is exp(-50) to the last bit.
    let (value, [slope, _]) = one(settings(LossKind::BradleyTerry), [50.0, 0.0], PLAIN);
    assert_relative_eq!(value, (-50f64).exp(), max_relative = 1e-15);
    assert_relative_eq!(slope, -(-50f64).exp(), max_relative = 1e-15);
}

#[test]
fn dpo_by_hand() {
    // trl: -F.logsigmoid(0.1 * ((-10 + 12) - (-14 + 11))) = -logsigmoid(0.5)
    let (policy, reference) = (array![[-10.0, -14.0]], array![[-12.0, -11.0]]);
    let evaluate =
        |settings: DpoSettings| settings.check().unwrap().evaluate(policy.view(), reference.view(), &[PLAIN]).unwrap();
    let out = evaluate(DpoSettings::default());
    assert_relative_eq!(out.value, 0.474_076_984_180_106_7, max_relative = 1e-14);
    // -beta * sigmoid(-0.5)
    assert_relative_eq!(out.gradient[[0, 0]], -0.037_754_066_879_814_55, max_relative = 1e-13);
    assert_relative_eq!(out.rewards[[0, 0]], 0.2);
    assert_relative_eq!(out.rewards[[0, 1]], -0.3);
    // The same over log-ratios, as a pairwise loss.
    let loss = DpoSettings::default().check().unwrap();
    let by_ratios = PairLoss::evaluate(&loss, array![[2.0, -3.0]].view(), &[PLAIN]).unwrap();
    assert_eq!((by_ratios.value, by_ratios.gradient), (out.value, out.gradient));
    // IPO: (5 - 1 / 0.2)² = 0, and at beta 0.25: (5 - 2)² = 9 with slope 6.
    let ipo = |beta| evaluate(DpoSettings { kind: DpoKind::Ipo, beta, ..Default::default() });
    assert_eq!(ipo(0.1).value, 0.0);
    assert_eq!((ipo(0.25).value, ipo(0.25).gradient), (9.0, array![[6.0, -6.0]]));
}

#[test]
fn bad_input_is_named() {
    let loss = LossSettings::default().check().unwrap();
    let error = |scores: &[[f64; 2]], targets: &[PairTarget]| {
        loss.evaluate(aview2(scores), targets).unwrap_err().downcast::<LossError>().unwrap().to_string()
    };
    assert_eq!(
        error(&[[0.0, 1.0], [0.0, f64::NAN]], &[PLAIN; 2]),
        "pair 1 of the batch: the other answer's score is NaN; training has diverged, or the model's weights are broken"
    );
    assert!(error(&[[f64::INFINITY, 1.0]], &[PLAIN]).starts_with("pair 0 of the batch: the preferred answer's score"));
    assert_eq!(error(&[[0.0, 1.0]], &[]), "1 pairs were scored but 0 targets given; there must be one target per pair");
    let bad = |target| error(&[[0.0, 1.0]; 2], &[PLAIN, target]);
    assert!(bad(PairTarget { weight: -1.0, ..PLAIN }).starts_with("pair 1 of the batch: its weight is -1"));
    assert!(bad(PairTarget { weight: f64::NAN, ..PLAIN }).contains("its weight is NaN"));
    assert!(bad(PairTarget { probability: 1.5, ..PLAIN }).contains("probability is 1.5"));
    assert!(bad(PairTarget { margin: Some(f64::NAN), ..PLAIN }).contains("its margin is NaN"));
    assert!(error(&[[-f64::MAX, f64::MAX]], &[PLAIN]).contains("overflows"));
    // A NaN is found in a pair of weight 0, too.
    let silent = PairTarget { weight: 0.0, ..PLAIN };
    assert!(error(&[[f64::NAN, 0.0]], &[silent]).contains("NaN"));

    assert_eq!(
        loss.value_and_gradient(array![[0.0, 1.0, 2.0]].view(), &[PLAIN]).unwrap_err(),
        LossError::BadShape { what: "the array of scores", columns: 3 }
    );

    let dpo = DpoSettings::default().check().unwrap();
    let policy = array![[-1.0, -2.0]];
    let error =
        |reference: Array2<f64>| dpo.evaluate(policy.view(), reference.view(), &[PLAIN]).unwrap_err().to_string();
    assert!(error(array![[f64::NAN, -1.0]]).contains("the reference's log-probability of the chosen answer is NaN"));
    assert!(error(Array2::zeros((2, 2))).contains("of 1 pairs but the reference of 2"));
}

#[test]
fn bad_settings_are_named() {
    let base = LossSettings::default();
    let error = |s: LossSettings| s.check().unwrap_err();
    assert_eq!(error(LossSettings { margin: Some(-1.0), ..base }), LossError::BadMargin { value: -1.0 });
    assert!(matches!(error(LossSettings { margin: Some(f64::NAN), ..base }), LossError::BadMargin { .. }));
    assert_eq!(
        error(LossSettings { kind: LossKind::LogExp, margin: Some(1.0), ..base }),
        LossError::UnusedMargin { value: 1.0 }
    );
    assert!(error(LossSettings { label_smoothing: 0.5, ..base }).to_string().contains("label_smoothing is 0.5"));
    assert_eq!(error(LossSettings { centering: -0.1, ..base }), LossError::BadCentering { value: -0.1 });
    let dpo = DpoSettings { beta: 0.0, ..Default::default() };
    assert_eq!(dpo.check().unwrap_err(), LossError::BadBeta { value: 0.0 });
    assert!(serde_json::from_str::<LossSettings>(r#"{"kind": "hinge", "magrin": 1}"#).is_err());
}
