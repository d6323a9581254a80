//! The checks of docs/gpu.md. They are skipped without a GPU. SER_GOLDENS names a folder with golden models, beside or in
//! place of those of the sources.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::ndarray::{Array2, ArrayView2};
use ser_core::testing::Requirement;
use ser_core::{BoxError, Context, Learner, LossOutput, Pair, PairId, PairTarget, Preference, Scorer, Side, loss_fn};
use ser_data::{TemplateKind, TextSettings};
use ser_libtorch::{
    Dropout, Segment, VarlenSequences, compile_gpu_kernels, dropout, load_gpu_kernels, rotate, swiglu, varlen_attention,
};
use ser_model::{Device, DeviceChoice, Precision, RewardModel, RewardModelSettings, TrainingSettings};
use tch::{Kind, Tensor};

fn gpu() -> Option<Device> {
    match Device::choose(DeviceChoice::Cuda) {
        Ok((device, why)) => {
            eprintln!("{why}");
            Some(device)
        }
        Err(error) => {
            Requirement::Cuda.missing(error);
            None
        }
    }
}

/// Every golden folder with its pairs and the adapted scores.
fn goldens() -> Vec<(PathBuf, Vec<Arc<Pair>>, Vec<f64>)> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let more = std::env::var_os("SER_GOLDENS").map(PathBuf::from);
    let homes = [Some(home).filter(|home| home.is_dir()), more].into_iter().flatten();
    let folders = homes.flat_map(|home| fs::read_dir(home).unwrap()).map(|entry| entry.unwrap().path());
    let goldens: Vec<_> = folders
        .filter(|folder| folder.join("expected.json").exists())
        .map(|folder| {
            let text = fs::read_to_string(folder.join("expected.json")).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let texts: Vec<[String; 3]> = serde_json::from_value(value["pairs"].clone()).unwrap();
            let pair =
                |(i, [prompt, a, b]): (usize, &[String; 3])| Arc::new(Pair::from_text(PairId(i as u64), prompt, a, b));
            let pairs = texts.iter().enumerate().map(pair).collect();
            (folder, pairs, serde_json::from_value(value["adapted"].clone()).unwrap())
        })
        .collect();
    assert!(!goldens.is_empty());
    goldens
}

fn settings(precision: Precision) -> RewardModelSettings {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    RewardModelSettings { text, precision, ..Default::default() }
}

fn scores(model: &mut RewardModel, pairs: &[Arc<Pair>]) -> Vec<f64> {
    model.score(pairs, &mut Context::silent()).unwrap().iter().flat_map(|s| [s.a.0, s.b.0]).collect()
}

fn gap(one: &[f64], other: &[f64]) -> f64 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn scores_equal_transformers() {
    let Some(device) = gpu() else { return };
    for (folder, pairs, expected) in goldens() {
        let mut model =
            RewardModel::with_adapter(&folder, &folder.join("adapter"), &settings(Precision::F32), device).unwrap();
        let gap = gap(&scores(&mut model, &pairs), &expected);
        eprintln!("{}: {gap:.1e}", folder.display());
        assert!(gap < 1e-4, "{}: {gap}", folder.display());
    }
}

#[test]
fn other_pairs_do_not_change_a_score_in_bf16() {
    let Some(device) = gpu() else { return };
    for (folder, pairs, _) in goldens() {
        let mut model =
            RewardModel::with_adapter(&folder, &folder.join("adapter"), &settings(Precision::Bf16), device).unwrap();
        let together = scores(&mut model, &pairs);
        let alone: Vec<f64> = pairs.iter().flat_map(|pair| scores(&mut model, std::slice::from_ref(pair))).collect();
        let gap = gap(&alone, &together);
        eprintln!("{}: {gap:.1e}", folder.display());
        assert!(gap < 2e-2, "{}: {gap}", folder.display());
    }
}

fn hinge(scores: ArrayView2<'_, f64>, _: &[PairTarget]) -> Result<LossOutput, BoxError> {
    let gradient = Array2::from_shape_fn(scores.dim(), |(_, side)| if side == 0 { -1.0 } else { 1.0 });
    Ok(LossOutput { value: 0.0, gradient })
}

#[test]
fn a_step_in_bf16_learns_with_checkpointing_and_without() {
    let Some(device) = gpu() else { return };
    for (folder, pairs, _) in goldens() {
        for gradient_checkpointing in [false, true] {
            let training = TrainingSettings { learning_rate: 1e-2, gradient_checkpointing, ..Default::default() };
            let settings = RewardModelSettings { training, ..settings(Precision::Bf16) };
            let mut model = RewardModel::from_folder(&folder, &settings, device).unwrap();
            let margin = |scores: &[f64]| scores.chunks(2).map(|pair| pair[0] - pair[1]).sum::<f64>();
            let before = margin(&scores(&mut model, &pairs));
            let preferences: Vec<Preference> = pairs.iter().map(|p| Preference::human(p.clone(), Side::A)).collect();
            model.fit(&preferences, &loss_fn(hinge), &mut Context::silent().with_seed(0)).unwrap();
            let after = margin(&scores(&mut model, &pairs));
            assert!(after > before, "{}: {before} to {after}", folder.display());
        }
    }
}

/// Flash attention in bf16 against products per sequence in f32, forward and backward.
#[test]
fn flash_attention_equals_products_per_sequence() {
    let Some(_) = gpu() else { return };
    let device = tch::Device::Cuda(0);
    let all = vec![Segment::pair(0, 100, 37, 61), Segment::single(198, 300), Segment::pair(498, 0, 5, 9)];
    let ends = [Segment::pair(0, 100, 37, 61), Segment::pair(198, 250, 25, 25), Segment::pair(498, 1, 5, 8)];
    let ends = ends.into_iter().zip([0, 2, 4]).map(|(segment, row)| segment.with_last_queries(row)).collect();
    for (heads, kv_heads, dim) in [(32, 8, 128), (9, 3, 64), (8, 8, 16)] {
        for (segments, queries, window) in
            [(&all, 512, None), (&all, 512, Some(40)), (&ends, 6, None), (&ends, 6, Some(40))]
        {
            tch::manual_seed(4);
            let random = |rows: i64, heads: i64| Tensor::randn([rows, heads, dim], (Kind::BFloat16, device));
            let inputs = [random(queries, heads), random(512, kv_heads), random(512, kv_heads)];
            let slopes = random(queries, heads);
            let sequences = VarlenSequences::new(segments, device).unwrap();
            let run = |kind: Kind| {
                let [q, k, v] = inputs.each_ref().map(|x| x.detach().to_kind(kind).set_requires_grad(true));
                let out = varlen_attention(&q, &k, &v, &sequences, window).unwrap();
                (&out * slopes.to_kind(kind)).sum(Kind::Float).backward();
                [out.detach(), q.grad(), k.grad(), v.grad()].map(|x| x.to_kind(Kind::Float))
            };
            let (flash, products) = (run(Kind::BFloat16), run(Kind::Float));
            for ((ours, want), what) in flash.iter().zip(&products).zip(["output", "grad q", "grad k", "grad v"]) {
                let gap = ((ours - want).norm() / want.norm()).double_value(&[]);
                eprintln!("heads {heads}/{kv_heads} x {dim}, {queries} queries, window {window:?}: {what} {gap:.1e}");
                assert!(gap < 1e-2, "{what}: {gap}");
            }
        }
    }
}

/// The largest difference between ours, on the GPU, and what f64 has on the CPU, beyond half of the last bit of the kind and a part
/// of `size`, the size of what is added in an entry; at most 0 is right.
fn beyond_rounding(ours: &Tensor, want: &Tensor, size: &Tensor) -> f64 {
    let bit = match ours.kind() {
        Kind::BFloat16 => 1.0 / 256.0,
        Kind::Half => 1.0 / 2048.0,
        _ => 0.0,
    };
    let gap = (ours.to_device(tch::Device::Cpu).to_kind(Kind::Double) - want).abs();
    (gap - want.abs() * bit - size * 4e-6 - 1e-6).max().double_value(&[])
}

const KINDS: [Kind; 3] = [Kind::Float, Kind::BFloat16, Kind::Half];

/// Entries on the GPU that start `shift` entries after an aligned address.
fn random_on_gpu(shape: &[i64], kind: Kind, shift: i64) -> Tensor {
    let count: i64 = shape.iter().product();
    Tensor::randn([count + shift], (kind, tch::Device::Cuda(0))).narrow(0, shift, count).view(shape)
}

fn exact(x: &Tensor) -> Tensor {
    x.detach().to_device(tch::Device::Cpu).to_kind(Kind::Double)
}

/// SwiGLU and its gradients in every kind against f64 on the CPU: counts with and without a rest, aligned and not, and
/// transposed.
#[test]
fn swiglu_on_a_gpu_equals_the_formula() {
    let Some(_) = gpu() else { return };
    load_gpu_kernels(0).unwrap();
    tch::manual_seed(5);
    for kind in KINDS {
        for (shape, shift) in
            [([1, 1], 0), ([3, 7], 0), ([3, 8], 1), ([1000, 37], 0), ([257, 1024], 0), ([257, 1024], 3), ([0, 8], 0)]
        {
            for transposed in [false, true] {
                let made = |scale: f64| {
                    // In place: a new tensor is aligned.
                    let x = random_on_gpu(&shape, kind, shift).g_mul_scalar_(scale);
                    if transposed { x.transpose(0, 1).contiguous().transpose(0, 1) } else { x }
                };
                let (gate, up, slopes) = (made(6.0), made(1.0), made(1.0));
                let (gate, up) = (gate.set_requires_grad(true), up.set_requires_grad(true));
                let y = swiglu(&gate, &up).unwrap();
                let gradients = Tensor::run_backward(&[(&y * &slopes).sum(kind)], &[&gate, &up], false, false);
                if gate.numel() == 0 {
                    assert_eq!(y.size(), shape);
                    continue;
                }
                let (g, u, d) = (exact(&gate), exact(&up), exact(&slopes));
                let s = g.sigmoid();
                let both = (&d * &u * &s, 1.0 + g.abs());
                let results = [
                    ("y", &y.detach(), &g * &s * &u, (&g * &s * &u).abs()),
                    ("gradient by gate", &gradients[0], &both.0 * (1.0 + &g * (1.0 - &s)), both.0.abs() * both.1),
                    ("gradient by up", &gradients[1], &d * &g * &s, (&d * &g * &s).abs()),
                ];
                for (what, ours, want, size) in results {
                    assert_eq!((ours.kind(), ours.size()), (kind, want.size()));
                    let beyond = beyond_rounding(ours, &want, &size);
                    assert!(beyond <= 0.0, "{what} of {shape:?} in {kind:?}, {shift}, {transposed}: {beyond}");
                }
            }
        }
    }
}

/// Rotations and their gradients in every kind against f64 on the CPU, heads that fit 16 bytes and others.
#[test]
fn rotation_on_a_gpu_equals_the_formula() {
    let Some(_) = gpu() else { return };
    load_gpu_kernels(0).unwrap();
    tch::manual_seed(6);
    for kind in KINDS {
        for (dim, heads, shift) in
            [(2, 1, 0), (6, 3, 0), (16, 3, 0), (64, 9, 0), (64, 3, 1), (128, 32, 0), (128, 8, 0), (256, 2, 0)]
        {
            for rows in [0, 1, 3, 1000] {
                let x = random_on_gpu(&[rows, heads, dim], kind, shift).set_requires_grad(true);
                let slopes = random_on_gpu(&[rows, heads, dim], kind, shift);
                let table = || random_on_gpu(&[rows, 1, dim], kind, shift);
                let (cos, sin) = (table(), table());
                let y = rotate(&x, &cos, &sin).unwrap();
                let gradient = Tensor::run_backward(&[(&y * &slopes).sum(kind)], &[&x], false, false);
                if rows == 0 {
                    assert_eq!(y.size(), x.size());
                    continue;
                }
                let swap = |x: &Tensor| Tensor::cat(&[x.narrow(2, dim / 2, dim / 2), x.narrow(2, 0, dim / 2)], 2);
                let (c, s) = (exact(&cos), exact(&sin));
                let terms = |x: &Tensor, s: &Tensor| (x * &c, swap(x) * s);
                let back = swap(&s);
                for (what, ours, (a, b)) in [
                    ("y", &y.detach(), terms(&exact(&x), &s)),
                    ("gradient", &gradient[0], terms(&exact(&slopes), &back)),
                ] {
                    assert_eq!((ours.kind(), ours.size()), (kind, x.size()));
                    let beyond = beyond_rounding(ours, &(&a + &b), &(a.abs() + b.abs()));
                    assert!(beyond <= 0.0, "{what} of {rows} x {heads} x {dim} in {kind:?}, {shift}: {beyond}");
                }
            }
        }
    }
}

/// Needs NVRTC alone.
#[test]
fn gpu_kernels_compile_and_spill_nothing() {
    for architecture in ["sm_80", "sm_90"] {
        match compile_gpu_kernels(architecture) {
            Ok(log) => {
                let kernels = log.matches("Compiling entry function").count();
                let without = log.matches(" 0 bytes spill stores, 0 bytes spill loads").count();
                if log.is_empty() {
                    // NVRTC returns what it compiled earlier from its cache, without a log.
                    eprintln!("{architecture}: no log, so spills are not checked");
                } else {
                    assert_eq!((kernels, without), (12, 12), "{log}");
                }
            }
            Err(error) if error.to_string().contains("were not found") => return Requirement::Cuda.missing(error),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn dropout_depends_on_the_seed_alone() {
    let Some(_) = gpu() else { return };
    let x = Tensor::ones([1000, 100], (Kind::BFloat16, tch::Device::Cuda(0))).set_requires_grad(true);
    let run = |seed| dropout(&x, Dropout { p: 0.1, seed, rows: &[] }).unwrap();
    let y = run(3);
    assert_eq!(y, run(3));
    assert_ne!(y, run(4));
    assert!((y.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.01);
    y.sum(Kind::Float).backward();
    assert_eq!(x.grad(), y.detach());
}

/// Scores in bf16 are those in f32, but for rounding.
#[test]
fn half_precision_scores_are_near_full_precision() {
    let Some(device) = gpu() else { return };
    for (folder, pairs, expected) in goldens() {
        for (precision, bound) in [(Precision::Bf16, 3e-2), (Precision::F16, 4e-3)] {
            let mut model =
                RewardModel::with_adapter(&folder, &folder.join("adapter"), &settings(precision), device).unwrap();
            let gap = gap(&scores(&mut model, &pairs), &expected);
            eprintln!("{} in {precision:?}: {gap:.1e}", folder.display());
            assert!(gap < bound, "{}: {gap}", folder.display());
        }
    }
}
