//! Kept activations do not change results, and are computed once.

use std::path::Path;
use std::sync::Arc;

use approx::relative_eq;
use ser_core::{Context, Learner, Pair, PairId, PairScores, Preference, Scorer, Side, Training};
use ser_data::{TemplateKind, TextSettings, TokenizedPair};
use ser_loss::{LossKind, LossSettings, PairwiseLoss};
use tch::Kind;

use super::{RewardModel, RewardModelSettings, RewardTraining};
use crate::activations::{ActivationFormat, ActivationSettings, Keep, KeptActivations};
use crate::language_model::golden::{families, golden};
use crate::network::Rows;
use crate::{Device, LoraSettings, Precision, TrainingSettings};

fn settings(activations: ActivationSettings) -> RewardModelSettings {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    let training = TrainingSettings { learning_rate: 1e-2, epochs: 3, batch_size: 2, ..TrainingSettings::default() };
    let lora = LoraSettings { layers: Some(1), dropout: 0.2, ..LoraSettings::default() };
    RewardModelSettings { text, training, lora, activations, ..RewardModelSettings::default() }
}

fn in_memory() -> RewardModelSettings {
    settings(ActivationSettings::default())
}

fn not_kept() -> RewardModelSettings {
    settings(ActivationSettings::off())
}

fn in_folder(folder: &Path) -> RewardModelSettings {
    settings(ActivationSettings { folder: Some(folder.to_owned()), ..ActivationSettings::off() })
}

/// A model whose adapter changes its scores.
fn model(family: &str, settings: &RewardModelSettings) -> RewardModel {
    let model = RewardModel::from_folder(&golden(family).0, settings, Device::cpu()).unwrap();
    for parameter in model.parameters().unwrap() {
        tch::no_grad(|| drop(parameter.tensor.shallow_clone().f_add_scalar_(0.02).unwrap()));
    }
    model
}

fn score(model: &mut RewardModel, pairs: &[Arc<Pair>]) -> Vec<PairScores> {
    model.score(pairs, &mut Context::silent()).unwrap()
}

/// Texts for training, each longer than 16 tokens: products of fewer rows have a kernel of their own.
fn preferences() -> Vec<Preference> {
    let preference = |i: usize| {
        let answers = ["la ".repeat(8 + i), format!("no {i}, it is not so at all")];
        let [a, b] = answers;
        let pair = Pair::from_text(PairId(i as u64), format!("question number {i}: "), a, b);
        Preference::human(Arc::new(pair), if i.is_multiple_of(2) { Side::A } else { Side::B })
    };
    (0..5).map(preference).collect()
}

fn pairs() -> Vec<Arc<Pair>> {
    preferences().into_iter().map(|preference| preference.pair).collect()
}

/// The greatest difference of scores, and that of the rows that enter the adapter's layer, from a plain forward pass over the
/// whole batch; the rows relative to the greatest of them.
fn from_plain(model: &RewardModel, pairs: &[Arc<Pair>]) -> (f64, f64) {
    let tokens = model.tokenized(pairs).unwrap();
    let tokens: Vec<&TokenizedPair> = tokens.iter().collect();
    let (batch, network) = (model.pack(&tokens).unwrap(), &model.network);
    tch::no_grad(|| {
        let plain = model.scores_of(&network.forward(&batch, Rows::Last, None).unwrap()).unwrap();
        let scores = (model.scores(&tokens, Keep::No).unwrap() - &plain).abs().max().double_value(&[]);
        let entry = model.entry(&tokens, Keep::No).unwrap().unwrap();
        let rows = network.rows_entering(entry.layer, &batch).unwrap().to_kind(Kind::Double);
        let gap = (entry.rows.to_kind(Kind::Double) - &rows).abs().max() / rows.abs().max();
        (scores, gap.double_value(&[]))
    })
}

/// Every family, with windows and with rotary frequencies that depend on the length. In f32 on the CPU the kernels compute
/// each row alike in every batch, so the results are also the bits of a plain forward pass; libtorch, as in half precision,
/// may round differently from batch to batch.
#[test]
fn scores_are_those_without_kept_activations() {
    for name in &families() {
        let (_, _, short) = golden(name);
        for (precision, rounding) in [(Precision::F32, 1e-6), (Precision::Bf16, 0.02), (Precision::F16, 0.002)] {
            for (pairs, long) in [(pairs(), true), (short.clone(), false)] {
                let want = score(&mut model(name, &RewardModelSettings { precision, ..not_kept() }), &pairs);
                let mut kept = model(name, &RewardModelSettings { precision, ..in_memory() });
                for _ in 0..2 {
                    assert_eq!(score(&mut kept, &pairs), want, "{name}");
                }
                let usage = kept.activations.usage();
                assert!(usage.computed > 0 && usage.computed <= pairs.len() && usage.bytes > 0, "{usage:?}");
                let (scores, rows) = from_plain(&kept, &pairs);
                let exact = precision == Precision::F32 && long && ser_libtorch::kernels_enabled();
                let most = if exact { 0.0 } else { rounding };
                assert!(rows <= most && scores <= most * 10.0, "{name}, {precision:?}, long {long}: {rows}, {scores}");
            }
        }
    }
}

fn loss() -> PairwiseLoss {
    LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() }.check().unwrap()
}

fn values(model: &RewardModel) -> Vec<f32> {
    let parameters = model.parameters().unwrap();
    parameters.iter().flat_map(|p| Vec::<f32>::try_from(p.tensor.detach().flatten(0, -1)).unwrap()).collect()
}

fn fitted(mut model: RewardModel) -> RewardModel {
    model.fit(&preferences(), &loss(), &mut Context::silent().with_seed(7)).unwrap();
    model
}

/// Three epochs with dropout, in each precision, with checkpointing and without: in memory, in a file that is made, in a file
/// that another run has made. Each pair's activations are computed once.
#[test]
fn a_training_is_the_one_without_kept_activations() {
    for (precision, gradient_checkpointing) in
        [(Precision::F32, false), (Precision::F32, true), (Precision::Bf16, false)]
    {
        let folder = tempfile::tempdir().unwrap();
        let of = |settings: RewardModelSettings| {
            let training = TrainingSettings { gradient_checkpointing, ..settings.training.clone() };
            model("llama", &RewardModelSettings { precision, training, ..settings })
        };
        let before = values(&of(not_kept()));
        let nothing_kept = fitted(of(not_kept()));
        assert_eq!(nothing_kept.activations.usage().computed, 15);
        let want = values(&nothing_kept);
        assert_ne!(want, before);
        for (settings, computed) in [(in_memory(), 5), (in_folder(folder.path()), 5), (in_folder(folder.path()), 0)] {
            let mut trained = fitted(of(settings));
            assert_eq!(values(&trained), want);
            // Scoring and further trainings compute none.
            score(&mut trained, &pairs());
            assert_eq!(fitted(trained).activations.usage().computed, computed);
        }
    }
}

/// With memory for some pairs, and after a resume, which computes them again.
#[test]
fn the_bits_do_not_depend_on_what_is_kept() {
    let whole = fitted(model("llama", &in_memory()));
    let all = whole.activations.usage().bytes;
    let mut part = model("llama", &in_memory());
    part.activations = KeptActivations::new(&ActivationSettings::default()).with_budget(all / 2);
    let part = fitted(part);
    let usage = part.activations.usage();
    assert!(usage.computed > 5 && usage.bytes > 0 && usage.bytes <= all / 2, "{usage:?}");
    assert_eq!(values(&part), values(&whole));
    let (data, loss) = (preferences(), loss());
    let folder = tempfile::tempdir().unwrap();
    let mut first = model("llama", &in_memory());
    let mut training = RewardTraining::new(&mut first, &data, &loss, 7).unwrap();
    for _ in 0..4 {
        training.step().unwrap();
    }
    training.snapshot(folder.path()).unwrap();
    drop(training);
    let mut resumed = model("llama", &in_memory());
    let mut training = RewardTraining::new(&mut resumed, &data, &loss, 7).unwrap();
    training.restore(folder.path()).unwrap();
    training.run(&mut Context::silent()).unwrap();
    drop(training);
    assert_eq!(values(&resumed), values(&whole));
}

/// Half the memory and disk; the results are those of rounded activations, whether they are kept or not.
#[test]
fn bfloat16_rounds_alike_wherever_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let rounded = |settings: RewardModelSettings| {
        let activations = ActivationSettings { format: ActivationFormat::Bfloat16, ..settings.activations };
        RewardModelSettings { activations, ..settings }
    };
    let exact = score(&mut model("llama", &in_memory()), &pairs());
    let want = score(&mut model("llama", &rounded(not_kept())), &pairs());
    assert_ne!(exact, want);
    for (exact, rounded) in exact.iter().zip(&want) {
        assert!(relative_eq!(exact.a.0, rounded.a.0, epsilon = 0.01, max_relative = 0.01), "{exact:?} {rounded:?}");
    }
    let mut bytes = Vec::new();
    for settings in
        [in_memory(), rounded(in_memory()), rounded(in_folder(folder.path())), rounded(in_folder(folder.path()))]
    {
        let exact = settings.activations.format == ActivationFormat::Exact;
        let mut model = model("llama", &settings);
        let got = score(&mut model, &pairs());
        assert_eq!(got == want, !exact);
        bytes.push(model.activations.usage().bytes);
    }
    let keys: usize = bytes[1] * 2 - bytes[0];
    assert!(keys > 0 && keys < bytes[1] / 2, "{bytes:?}");
}

/// Other weights, and another precision, have files of their own in the same folder.
#[test]
fn models_do_not_take_each_others_activations() {
    let folder = tempfile::tempdir().unwrap();
    let bf16 = RewardModelSettings { precision: Precision::Bf16, ..in_folder(folder.path()) };
    for (name, settings) in
        [("llama", in_folder(folder.path())), ("llama-linear", in_folder(folder.path())), ("llama", bf16)]
    {
        let plain = RewardModelSettings { activations: ActivationSettings::off(), ..settings.clone() };
        let want = score(&mut model(name, &plain), &pairs());
        for computed in [5, 0] {
            let mut kept = model(name, &settings);
            assert_eq!(score(&mut kept, &pairs()), want);
            assert_eq!(kept.activations.usage().computed, computed, "{name}");
        }
    }
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(files.filter(|name| name.to_string_lossy().ends_with(".bin")).count(), 3);
}

/// A policy's answers, and requests to a server, come once.
#[test]
fn texts_that_come_once_are_not_kept() {
    let mut model = model("llama", &in_memory());
    model.score_truncated(&pairs(), &mut Context::silent()).unwrap();
    model.score_written(&["some text of a request"], &mut Context::silent()).unwrap();
    let usage = model.activations.usage();
    assert_eq!((usage.computed, usage.bytes), (6, 0));
}

/// Another adapter, none, and a merged one.
#[test]
fn kept_activations_serve_the_adapter_that_is_active() {
    let pairs = pairs();
    let (mut plain, mut kept) = (model("llama", &not_kept()), model("llama", &in_memory()));
    let check = |plain: &mut RewardModel, kept: &mut RewardModel| {
        let want = score(plain, &pairs);
        assert_eq!(score(kept, &pairs), want);
        want
    };
    let first = check(&mut plain, &mut kept);
    let computed = kept.activations.usage().computed;
    // While adapters are disabled, what was computed below one of them serves.
    let base = plain.with_adapter_disabled(|model| score(model, &pairs));
    assert_eq!(kept.with_adapter_disabled(|model| score(model, &pairs)), base);
    assert_ne!(base, first);
    for model in [&mut plain, &mut kept] {
        model.add_adapter("all", &LoraSettings::default(), 3).unwrap();
        for parameter in model.parameters().unwrap() {
            tch::no_grad(|| drop(parameter.tensor.shallow_clone().f_add_scalar_(0.03).unwrap()));
        }
    }
    // An adapter on the lowest layer leaves nothing to keep.
    assert_ne!(check(&mut plain, &mut kept), first);
    for model in [&mut plain, &mut kept] {
        model.set_adapter("default").unwrap();
        model.merge_adapter().unwrap();
    }
    check(&mut plain, &mut kept);
    assert_eq!(kept.activations.usage().computed, computed);
}

/// A resumed run may change memory and folder, on which results do not depend.
#[test]
fn only_the_format_is_recorded() {
    let json = |settings: &RewardModelSettings| serde_json::to_value(settings).unwrap();
    assert_eq!(json(&in_memory()), json(&in_folder(Path::new("somewhere"))));
    assert!(json(&in_memory()).get("activations").is_none());
    let rounded = ActivationSettings { format: ActivationFormat::Bfloat16, ..ActivationSettings::default() };
    assert_eq!(json(&settings(rounded))["activations"], serde_json::json!({"format": "bfloat16"}));
}
