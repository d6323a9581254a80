//! Hidden states against the scores of transformers, and against one text at a time.

use std::path::Path;

use approx::assert_abs_diff_eq;
use ser_core::Context;
use ser_data::{TemplateKind, TextSettings};
use ser_linear::Features;
use tch::{Kind, Tensor};

use super::{HiddenStates, HiddenStatesSettings};
use crate::language_model::golden::{families, golden};
use crate::network::{ForwardMode, PackedBatch, Rows};
use crate::{Device, RewardModel, RewardModelSettings};

fn raw() -> TextSettings {
    TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() }
}

fn states(folder: &Path, last: &[usize], mean: &[usize], mean_tokens: usize) -> HiddenStates {
    let settings = HiddenStatesSettings {
        last: last.to_vec(),
        mean: mean.to_vec(),
        mean_tokens,
        text: raw(),
        ..Default::default()
    };
    HiddenStates::from_folder(folder, &settings, Device::cpu()).unwrap()
}

#[test]
fn the_last_state_gives_the_scores_of_transformers() {
    for family in &families() {
        let (folder, expected, pairs) = golden(family);
        let mut states = states(&folder, &[2], &[1], 5);
        let all = states.features(&pairs, &mut Context::silent()).unwrap();
        let hidden = states.view_sizes()[0];
        let settings = RewardModelSettings { text: raw(), ..Default::default() };
        let model = RewardModel::from_folder(&folder, &settings, Device::cpu()).unwrap();
        for ((pair, answer), expected) in (0..pairs.len()).flat_map(|pair| [(pair, 0), (pair, 1)]).zip(&expected.base) {
            let state: Vec<f32> = all.slice(ndarray::s![pair, answer, ..hidden]).to_vec();
            let score = model.scores_of(&Tensor::from_slice(&state).view([1, -1])).unwrap();
            assert_abs_diff_eq!(score.double_value(&[0]), *expected, epsilon = 2e-5 * expected.abs().max(1.0));
        }
    }
}

/// The states of one text after each layer, `[rows, hidden]`.
fn one_text(model: &HiddenStates, text: &[u32]) -> Vec<Tensor> {
    let network = &model.network;
    let batch = PackedBatch::of_texts(&[text], &network.config, network.device).unwrap();
    let tables = network.tables(&batch, Rows::All).unwrap();
    let mode = ForwardMode::without_dropout(None);
    let mut x = network.embed(&batch.tokens).unwrap();
    (0..network.layers.len())
        .map(|layer| {
            x = network.layer(layer, &x, &mut &batch, &tables, mode).unwrap();
            x.shallow_clone()
        })
        .collect()
}

#[test]
fn states_and_means_equal_one_text_at_a_time() {
    for family in &families() {
        let (folder, _, pairs) = golden(family);
        for mean_tokens in [1, 3, 1000] {
            let mut model = states(&folder, &[1], &[1], mean_tokens);
            let all = model.features(&pairs, &mut Context::silent()).unwrap();
            let hidden = model.view_sizes()[0];
            for (index, pair) in pairs.iter().enumerate() {
                let tokens = model.tokenizer.tokenize_pair(pair).unwrap();
                for side in [ser_core::Side::A, ser_core::Side::B] {
                    let state = &one_text(&model, &tokens.text(side))[0];
                    let rows = state.size()[0];
                    let last = Vec::<f32>::try_from(state.get(rows - 1)).unwrap();
                    let count = rows.min(mean_tokens as i64);
                    let mean = state.narrow(0, rows - count, count).mean_dim(0, false, Kind::Float);
                    let mean = Vec::<f32>::try_from(mean).unwrap();
                    let got = all.slice(ndarray::s![index, side.index(), ..]).to_vec();
                    for (got, want) in got.iter().zip(last.iter().chain(&mean)) {
                        assert_abs_diff_eq!(got, want, epsilon = 2e-5);
                    }
                    assert_eq!(got.len(), 2 * hidden);
                }
            }
        }
    }
}

#[test]
fn the_identity_tells_weights_template_and_depths_apart() {
    let families = families();
    let (folder, _, _) = golden(&families[0]);
    let (other, _, _) = golden(&families[1]);
    let identity = states(&folder, &[1], &[1], 5).identity();
    assert_eq!(identity, states(&folder, &[1], &[1], 5).identity());
    assert_ne!(identity, states(&other, &[1], &[1], 5).identity());
    assert_ne!(identity, states(&folder, &[2], &[1], 5).identity());
    assert_ne!(identity, states(&folder, &[1], &[1], 6).identity());
    let settings = HiddenStatesSettings {
        last: vec![1],
        mean: vec![1],
        mean_tokens: 5,
        text: TextSettings { append_eos: true, ..raw() },
        ..Default::default()
    };
    assert_ne!(identity, HiddenStates::from_folder(&folder, &settings, Device::cpu()).unwrap().identity());
    let deep = HiddenStatesSettings { last: vec![99], text: raw(), ..Default::default() };
    let error = HiddenStates::from_folder(&folder, &deep, Device::cpu()).err().unwrap().to_string();
    assert!(error.contains("99"), "{error}");
}
