//! Against transformers and peft (tests/golden/make_models.py), and packed against plain.

use std::sync::Arc;

use approx::relative_eq;
use ser_core::ndarray::{Array2, ArrayView2};
use ser_core::{Context, Learner, LossOutput, Pair, PairTarget, Preference, Scorer, Side, loss_fn};
use ser_data::{TemplateKind, TextSettings, TokenizedPair};
use tch::{Kind, Tensor};

use super::{RewardModel, RewardModelSettings};
use crate::activations::Keep;
use crate::checkpoint::Weights;
use crate::language_model::golden::{Expected, families, golden};
use crate::network::{PackedBatch, Rows};
use crate::{Device, LoraBias, LoraSettings, Precision, TargetModules, TrainingSettings};

fn raw() -> RewardModelSettings {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    RewardModelSettings { text, ..RewardModelSettings::default() }
}

fn adapted(family: &str) -> (RewardModel, Expected, Vec<Arc<Pair>>) {
    let (folder, expected, pairs) = golden(family);
    let model = RewardModel::with_adapter(&folder, &folder.join("adapter"), &raw(), Device::cpu()).unwrap();
    (model, expected, pairs)
}

fn trained(model: &RewardModel) -> Vec<Tensor> {
    model.parameters().unwrap().into_iter().map(|p| p.tensor).collect()
}

fn near(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!(relative_eq!(got, want, epsilon = tolerance, max_relative = tolerance), "{what}: {got} is not {want}");
    }
}

fn flat(scores: Vec<ser_core::PairScores>) -> Vec<f64> {
    scores.iter().flat_map(|s| [s.a.0, s.b.0]).collect()
}

#[test]
fn base_scores_equal_transformers() {
    for family in &families() {
        let (folder, expected, pairs) = golden(family);
        let mut model = RewardModel::from_folder(&folder, &raw(), Device::cpu()).unwrap();
        // A fresh adapter does not change the scores: B is zero.
        near(&flat(model.score(&pairs, &mut Context::silent()).unwrap()), &expected.base, 2e-5, family);
    }
}

#[test]
fn adapted_scores_equal_peft() {
    for family in &families() {
        let (mut model, expected, pairs) = adapted(family);
        near(&flat(model.score(&pairs, &mut Context::silent()).unwrap()), &expected.adapted, 2e-5, family);
    }
}

#[test]
fn gradients_equal_peft() {
    for family in &families() {
        let (model, expected, pairs) = adapted(family);
        let tokens = model.tokenized(&pairs).unwrap();
        let tokens: Vec<&TokenizedPair> = tokens.iter().collect();
        let leaves = trained(&model);
        leaves.iter().for_each(|leaf| drop(leaf.set_requires_grad(true)));
        let weights = Tensor::from_slice(&expected.weights).to_kind(Kind::Float);
        (model.scores(&tokens, Keep::No).unwrap() * weights).sum(Kind::Float).backward();
        let (folder, _, _) = golden(family);
        let want = Weights::from_file(&folder.join("grads.safetensors")).unwrap();
        let mut names: Vec<String> =
            model.network.adapter_tensors("default").unwrap().into_iter().map(|(name, _)| name).collect();
        names.push("score.weight".into());
        for (name, leaf) in names.iter().zip(&leaves) {
            let name = format!("base_model.model.{name}");
            let want = want.load(&name, &leaf.size(), Kind::Float, tch::Device::Cpu).unwrap();
            let largest = want.abs().max().double_value(&[]);
            // Gradients that are zero except for rounding are compared absolutely.
            let gap = (leaf.grad() - &want).abs().max().double_value(&[]) / largest.max(1e-2);
            assert!(gap < 1e-4, "{family}: gradient of {name} differs by {gap} of its largest entry");
        }
    }
}

/// Scores and gradients of a packed batch against one text at a time, on the same network.
#[test]
fn packed_equals_plain() {
    for family in &families() {
        let (model, expected, pairs) = adapted(family);
        let tokens = model.tokenized(&pairs).unwrap();
        let leaves = trained(&model);
        leaves.iter().for_each(|leaf| drop(leaf.set_requires_grad(true)));
        let gradients = |scores: &Tensor| {
            let weights = Tensor::from_slice(&expected.weights).to_kind(Kind::Float);
            Tensor::run_backward(&[(scores * weights).sum(Kind::Float)], &leaves, false, false)
        };
        let packed = model.scores(&tokens.iter().collect::<Vec<_>>(), Keep::No).unwrap();
        let plain: Vec<Tensor> = tokens
            .iter()
            .flat_map(|pair| [pair.text(Side::A), pair.text(Side::B)])
            .map(|text| {
                let network = &model.network;
                let batch = PackedBatch::of_texts(&[&text], &network.config, network.device).unwrap();
                // All rows go through the last layer, and the last one is selected afterwards: no pruning.
                let hidden = network.forward(&batch, Rows::All, None).unwrap();
                hidden.narrow(0, text.len() as i64 - 1, 1).matmul(&model.head().transpose(0, 1)).view([1])
            })
            .collect();
        let plain = Tensor::cat(&plain, 0);
        let gap = (&packed - &plain).abs().max().double_value(&[]);
        assert!(gap < 1e-5, "{family}: packed scores differ by {gap}");
        for (x, y) in gradients(&packed).iter().zip(gradients(&plain)) {
            let gap = (x - &y).abs().max().double_value(&[]) / y.abs().max().double_value(&[]).max(1e-2);
            assert!(gap < 1e-4, "{family}: packed gradients differ by {gap} of the largest entry");
        }
    }
}

#[test]
fn other_pairs_order_and_budget_do_not_change_a_score() {
    for family in &families() {
        let (mut model, _, pairs) = adapted(family);
        let together = flat(model.score(&pairs, &mut Context::silent()).unwrap());
        let alone: Vec<f64> = pairs
            .iter()
            .flat_map(|p| flat(model.score(std::slice::from_ref(p), &mut Context::silent()).unwrap()))
            .collect();
        near(&alone, &together, 1e-5, "alone");
        model.settings.token_budget = 1;
        let reversed: Vec<Arc<Pair>> = pairs.iter().rev().cloned().collect();
        let mut scores = model.score(&reversed, &mut Context::silent()).unwrap();
        scores.reverse();
        near(&flat(scores), &together, 1e-5, "reversed, another budget");
    }
}

/// The rounding errors of bf16 and f16 are no larger than those of transformers.
#[test]
fn half_precision_is_as_accurate_as_in_transformers() {
    for precision in [Precision::Bf16, Precision::F16] {
        let mut sums = [0.0; 2];
        for family in &families() {
            let (folder, expected, pairs) = golden(family);
            let theirs = if precision == Precision::Bf16 { expected.bf16 } else { expected.f16 };
            let settings = RewardModelSettings { precision, ..raw() };
            let mut model =
                RewardModel::with_adapter(&folder, &folder.join("adapter"), &settings, Device::cpu()).unwrap();
            let scores = flat(model.score(&pairs, &mut Context::silent()).unwrap());
            let ours = scores.iter().zip(&expected.adapted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            println!("{family}, {precision:?}: {ours:.5}, transformers {theirs:.5}");
            // Sums in another order have other rounding errors, so the largest of eight errors is compared.
            assert!(ours < 2.5 * theirs, "{family}, {precision:?}: {ours}, transformers {theirs}");
            sums = [sums[0] + ours, sums[1] + theirs];
        }
        assert!(sums[0] < 1.2 * sums[1], "{precision:?}: {sums:?} in all");
    }
}

fn bradley_terry(scores: ArrayView2<'_, f64>, _: &[PairTarget]) -> Result<LossOutput, ser_core::BoxError> {
    let n = scores.nrows() as f64;
    let wrong = |row: usize| 1.0 / (1.0 + (scores[[row, 0]] - scores[[row, 1]]).exp());
    let value = (0..scores.nrows()).map(|row| -(1.0 - wrong(row)).ln()).sum::<f64>() / n;
    let by = |(row, side)| if side == 0 { -wrong(row) / n } else { wrong(row) / n };
    Ok(LossOutput { value, gradient: Array2::from_shape_fn(scores.dim(), by) })
}

fn quick() -> TrainingSettings {
    TrainingSettings { learning_rate: 5e-3, batch_size: 2, gradient_accumulation: 2, ..Default::default() }
}

fn fitted(seed: u64) -> (RewardModel, ser_core::FitSummary, Vec<Arc<Pair>>) {
    let (folder, _, pairs) = golden("llama");
    let training = TrainingSettings { epochs: 12, ..quick() };
    let settings = RewardModelSettings { training, lora: LoraSettings::default(), ..raw() };
    let mut model = RewardModel::from_folder(&folder, &settings, Device::cpu()).unwrap();
    let preferences: Vec<Preference> = pairs
        .iter()
        .enumerate()
        .map(|(i, pair)| Preference::human(pair.clone(), if i % 2 == 0 { Side::A } else { Side::B }))
        .collect();
    let summary = model.fit(&preferences, &loss_fn(bradley_terry), &mut Context::silent().with_seed(seed)).unwrap();
    (model, summary, pairs)
}

#[test]
fn it_learns_the_preferences_deterministically() {
    let (mut model, summary, pairs) = fitted(5);
    assert_eq!(summary.steps, 12);
    let scores = model.score(&pairs, &mut Context::silent()).unwrap();
    let sides: Vec<Option<Side>> = scores.iter().map(|s| s.higher()).collect();
    assert_eq!(sides, [Some(Side::A), Some(Side::B), Some(Side::A), Some(Side::B)]);
    let (mut again, same, _) = fitted(5);
    assert_eq!((again.score(&pairs, &mut Context::silent()).unwrap(), same), (scores.clone(), summary));
    let (mut other, _, _) = fitted(6);
    assert_ne!(other.score(&pairs, &mut Context::silent()).unwrap(), scores);
}

#[test]
fn a_snapshot_restores_everything() {
    let (mut model, _, pairs) = fitted(5);
    let scores = model.score(&pairs, &mut Context::silent()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    model.snapshot(folder.path()).unwrap();
    let (mut other, _, _) = fitted(6);
    other.restore(folder.path()).unwrap();
    assert_eq!(other.score(&pairs, &mut Context::silent()).unwrap(), scores);
    // Base and adapter folder load as the same model.
    let (base, _, _) = golden("llama");
    let mut loaded = RewardModel::with_adapter(&base, folder.path(), &raw(), Device::cpu()).unwrap();
    assert_eq!(loaded.score(&pairs, &mut Context::silent()).unwrap(), scores);
}

#[test]
fn adapters_are_switched_and_disabled() {
    let (folder, expected, pairs) = golden("llama");
    let mut model = RewardModel::from_folder(&folder, &raw(), Device::cpu()).unwrap();
    model.load_adapter(&folder.join("adapter"), "second").unwrap();
    assert_eq!((model.adapters(), model.active_adapter()), (vec!["default", "second"], Some("second")));
    near(&flat(model.score(&pairs, &mut Context::silent()).unwrap()), &expected.adapted, 2e-5, "second");
    let base = model.with_adapter_disabled(|model| flat(model.score(&pairs, &mut Context::silent()).unwrap()));
    near(&base, &expected.base, 2e-5, "off");
    near(&flat(model.score(&pairs, &mut Context::silent()).unwrap()), &expected.adapted, 2e-5, "second, on again");
    model.set_adapter("default").unwrap();
    // A fresh adapter does not change the scores, and a fit trains it.
    assert_eq!(flat(model.score(&pairs, &mut Context::silent()).unwrap()), base);
    let preferences: Vec<Preference> = pairs.iter().map(|p| Preference::human(p.clone(), Side::A)).collect();
    model.fit(&preferences, &loss_fn(bradley_terry), &mut Context::silent().with_seed(0)).unwrap();
    assert_ne!(flat(model.score(&pairs, &mut Context::silent()).unwrap()), base);
    model.set_adapter("second").unwrap();
    near(
        &flat(model.score(&pairs, &mut Context::silent()).unwrap()),
        &expected.adapted,
        2e-5,
        "second, after training the other",
    );
    assert_eq!(model.with_adapter_disabled(|model| flat(model.score(&pairs, &mut Context::silent()).unwrap())), base);
    let error = model.set_adapter("third").unwrap_err().to_string();
    assert!(error.contains("\"third\"; adapters: default, second"), "{error}");
    assert!(model.load_adapter(&folder.join("adapter"), "second").is_err());
    let error = model.with_adapter_disabled(|model| model.save_adapter(&folder)).unwrap_err().to_string();
    assert!(error.contains("no adapter is active"), "{error}");
}

#[test]
fn merged_scores_are_close_and_unmerged_ones_equal_bit_for_bit() {
    for family in &families() {
        let (mut model, expected, pairs) = adapted(family);
        let before = model.score(&pairs, &mut Context::silent()).unwrap();
        model.merge_adapter().unwrap();
        near(&flat(model.score(&pairs, &mut Context::silent()).unwrap()), &expected.adapted, 2e-5, family);
        let base = model.with_adapter_disabled(|model| flat(model.score(&pairs, &mut Context::silent()).unwrap()));
        near(&base, &expected.base, 2e-5, family);
        model.unmerge_adapter().unwrap();
        assert_eq!(model.score(&pairs, &mut Context::silent()).unwrap(), before);
    }
}

/// Adapters with every kind of setting are written and read: scores and settings are the same.
#[test]
fn adapters_of_every_kind_are_written_and_read() {
    let (folder, _, pairs) = golden("llama-linear");
    let kinds = [
        LoraSettings { use_rslora: true, ..Default::default() },
        LoraSettings { target_modules: TargetModules::Pattern("all-linear".into()), ..Default::default() },
        LoraSettings { target_modules: TargetModules::Pattern(r".*\.1\..*_proj".into()), ..Default::default() },
        LoraSettings { bias: LoraBias::LoraOnly, lora_bias: true, ..Default::default() },
        LoraSettings {
            target_modules: ["layers.1.self_attn.q_proj", "mlp.up_proj"].into(),
            bias: LoraBias::All,
            rank_pattern: [("q_proj".to_owned(), 5)].into(),
            alpha_pattern: [(r".*\.mlp\..*".to_owned(), 3.0)].into(),
            ..Default::default()
        },
    ];
    for lora in kinds {
        let settings = RewardModelSettings { lora, training: quick(), ..raw() };
        let mut model = RewardModel::from_folder(&folder, &settings, Device::cpu()).unwrap();
        let base = model.score(&pairs, &mut Context::silent()).unwrap();
        let preferences: Vec<Preference> = pairs.iter().map(|p| Preference::human(p.clone(), Side::A)).collect();
        model.fit(&preferences, &loss_fn(bradley_terry), &mut Context::silent().with_seed(1)).unwrap();
        let scores = model.score(&pairs, &mut Context::silent()).unwrap();
        assert_ne!(scores, base);
        assert_eq!(model.with_adapter_disabled(|model| model.score(&pairs, &mut Context::silent()).unwrap()), base);
        let out = tempfile::tempdir().unwrap();
        model.save_adapter(out.path()).unwrap();
        let mut loaded = RewardModel::with_adapter(&folder, out.path(), &raw(), Device::cpu()).unwrap();
        assert_eq!(loaded.score(&pairs, &mut Context::silent()).unwrap(), scores);
        model.merge_adapter().unwrap();
        near(&flat(model.score(&pairs, &mut Context::silent()).unwrap()), &flat(scores.clone()), 2e-5, "merged");
        // A fit and a restore drop the merged copies.
        model.restore(out.path()).unwrap();
        assert_eq!(model.score(&pairs, &mut Context::silent()).unwrap(), scores);
    }
}

/// The same parameters bit for bit after a fit with dropout and accumulation.
#[test]
fn gradient_checkpointing_gives_the_same_bits() {
    let preferences = |pairs: &[Arc<Pair>]| -> Vec<Preference> {
        pairs.iter().map(|pair| Preference::human(pair.clone(), Side::A)).collect()
    };
    for family in &families() {
        let (folder, _, pairs) = golden(family);
        let fit = |gradient_checkpointing: bool| {
            let training = TrainingSettings { gradient_checkpointing, ..quick() };
            let settings = RewardModelSettings { training, ..raw() };
            let mut model = RewardModel::from_folder(&folder, &settings, Device::cpu()).unwrap();
            let summary =
                model.fit(&preferences(&pairs), &loss_fn(bradley_terry), &mut Context::silent().with_seed(3)).unwrap();
            (summary, model.score(&pairs, &mut Context::silent()).unwrap(), trained(&model))
        };
        let (plain, checkpointed) = (fit(false), fit(true));
        assert_eq!((plain.0, plain.1), (checkpointed.0, checkpointed.1), "{family}");
        assert!(plain.2.iter().zip(&checkpointed.2).all(|(a, b)| a == b), "{family}");
    }
}

/// Gradients of a nano network are small: in f16 without a loss scale many would be zero.
#[test]
fn half_precision_learns_too() {
    let (folder, _, pairs) = golden("llama");
    let preferences: Vec<Preference> = pairs.iter().map(|p| Preference::human(p.clone(), Side::A)).collect();
    for precision in [Precision::Bf16, Precision::F16] {
        let training = TrainingSettings { epochs: 12, ..quick() };
        let settings = RewardModelSettings { precision, training, ..raw() };
        let mut model = RewardModel::from_folder(&folder, &settings, Device::cpu()).unwrap();
        let before = model.score(&pairs, &mut Context::silent()).unwrap();
        model.fit(&preferences, &loss_fn(bradley_terry), &mut Context::silent().with_seed(1)).unwrap();
        let after = model.score(&pairs, &mut Context::silent()).unwrap();
        let margin = |scores: &[ser_core::PairScores]| scores.iter().map(|s| s.a.0 - s.b.0).sum::<f64>();
        assert!(margin(&after) > margin(&before) + 1.0, "{precision:?}: {before:?} to {after:?}");
        assert!(trained(&model).iter().all(|leaf| leaf.kind() == Kind::Float));
    }
}

#[test]
fn a_stop_ends_the_fit() {
    let (folder, _, pairs) = golden("llama");
    let mut model = RewardModel::from_folder(&folder, &raw(), Device::cpu()).unwrap();
    let preferences: Vec<Preference> = pairs.iter().map(|p| Preference::human(p.clone(), Side::A)).collect();
    let mut stop = ser_core::testing::StopAfter(1);
    let mut cx = Context::new("fit", &mut stop);
    let error = model.fit(&preferences, &loss_fn(bradley_terry), &mut cx).unwrap_err();
    assert!(error.to_string().contains("stopped on request"), "{error}");
}

#[test]
fn answers_longer_than_the_positions_are_scored_without_their_end() {
    let (mut model, _, pairs) = adapted(&families()[0]);
    let limit = model.config().longest_text() as usize;
    let prompt = "Why? ";
    let answer = "So. ".repeat(limit);
    let long = Arc::new(Pair::from_text(ser_core::PairId(900), prompt, &answer, &answer));
    assert!(matches!(
        model.score(&[Arc::clone(&long)], &mut Context::silent()),
        Err(crate::ModelError::TooLong { .. })
    ));
    let fits = Arc::clone(&pairs[0]);
    let expected = model.score(&[Arc::clone(&fits)], &mut Context::silent()).unwrap();
    let (scores, truncated) = model.score_truncated(&[fits, Arc::clone(&long)], &mut Context::silent()).unwrap();
    assert_eq!(truncated, 1);
    near(&flat(scores[..1].to_vec()), &flat(expected), 2e-5, "a text that fits");
    assert!(scores[1].a.0.is_finite());
    // The score of the first `limit` tokens, also through a reference.
    let mut text = model.tokenizer().tokenize_pair(&long).unwrap().text(Side::A);
    assert!(text.len() > limit);
    text.truncate(limit);
    let cut = TokenizedPair::from_tokens(&text, &text);
    let alone = Vec::<f32>::try_from(&model.scores(&[&cut], Keep::No).unwrap()).unwrap();
    near(&[scores[1].a.0], &[f64::from(alone[0])], 2e-5, "the cut text");
    let mut lent = &mut model;
    assert_eq!(Scorer::score_truncated(&mut lent, &[long], &mut Context::silent()).unwrap().1, 1);
}
