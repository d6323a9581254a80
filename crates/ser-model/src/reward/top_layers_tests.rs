//! Adapters on the top layers alone: settings, files, and backward passes that end at the lowest adapter.

use ser_core::{Context, Learner, Preference, Scorer, Side, Training};
use ser_data::{TemplateKind, TextSettings};
use ser_loss::{LossKind, LossSettings};
use tch::Tensor;

use super::{RewardModel, RewardModelSettings, RewardTraining};
use crate::language_model::golden::golden;
use crate::network::{ForwardMode, Rows};
use crate::seeds::Seeds;
use crate::train::CheckpointedForward;
use crate::{Device, LoraBias, LoraSettings, ModelError, TargetModules, TrainingSettings};

fn settings(lora: LoraSettings) -> RewardModelSettings {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    RewardModelSettings { lora, text, ..RewardModelSettings::default() }
}

fn load(family: &str, lora: LoraSettings) -> Result<RewardModel, ModelError> {
    RewardModel::from_folder(&golden(family).0, &settings(lora), Device::cpu())
}

fn top(layers: i64) -> LoraSettings {
    LoraSettings { layers: Some(layers), dropout: 0.0, ..LoraSettings::default() }
}

#[test]
fn the_top_layers_get_the_adapter_and_the_file_lists_them() {
    let all = TargetModules::Pattern("all-linear".into());
    for lora in [top(1), LoraSettings { target_modules: all, ..top(1) }] {
        let (folder, _, pairs) = golden("llama");
        let mut model = load("llama", lora).unwrap();
        let names: Vec<String> = model.parameters().unwrap().into_iter().map(|p| p.name).collect();
        assert!(names.iter().all(|name| name.starts_with("model.layers.1.") || name == "score.weight"), "{names:?}");
        assert!(names.len() > 1);
        for parameter in model.parameters().unwrap() {
            tch::no_grad(|| drop(parameter.tensor.shallow_clone().f_add_scalar_(0.05).unwrap()));
        }
        let adapter = tempfile::tempdir().unwrap();
        model.save_adapter(adapter.path()).unwrap();
        let text = std::fs::read_to_string(adapter.path().join("adapter_config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["layers_to_transform"], serde_json::json!([1]));
        assert!(config["target_modules"].is_array() && config.get("layers").is_none(), "{text}");
        // The file gives the same scores, and goes back into the model.
        let want = model.score(&pairs, &mut Context::silent()).unwrap();
        let base = settings(LoraSettings::default());
        let mut read = RewardModel::with_adapter(&folder, adapter.path(), &base, Device::cpu()).unwrap();
        assert_eq!(read.score(&pairs, &mut Context::silent()).unwrap(), want);
        model.restore(adapter.path()).unwrap();
        assert_eq!(model.score(&pairs, &mut Context::silent()).unwrap(), want);
    }
}

/// As many layers as there are is the same as no number.
#[test]
fn all_layers_from_the_top_are_all_layers() {
    let names = |lora| -> Vec<String> {
        load("llama", lora).unwrap().parameters().unwrap().into_iter().map(|parameter| parameter.name).collect()
    };
    assert_eq!(names(top(2)), names(LoraSettings::default()));
}

#[test]
fn layers_that_the_network_does_not_have_are_named() {
    let pattern = TargetModules::Pattern(".*q_proj".into());
    for (lora, message) in [
        (top(0), "lora.layers is 0; it must be at least 1"),
        (top(3), "lora.layers is 3; the network has 2 layers, numbered from 0"),
        (
            LoraSettings { layers_to_transform: vec![1], ..top(1) },
            "lora.layers is 1; give layers or layers_to_transform, not both",
        ),
        (
            LoraSettings { target_modules: pattern, ..top(1) },
            "lora.layers is 1; it needs names in target_modules, or all-linear, not a pattern",
        ),
        (
            LoraSettings { layers_to_transform: vec![1, 2], ..LoraSettings::default() },
            "lora.layers_to_transform is [1, 2]; the network has 2 layers, numbered from 0",
        ),
        (
            LoraSettings { layers_to_transform: vec![-1], ..LoraSettings::default() },
            "lora.layers_to_transform is [-1]; layers are numbered from 0",
        ),
    ] {
        let error = load("llama", lora).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(message));
    }
}

/// Whether the input of each layer, and the last layer's output, are part of a training step's backward pass.
fn differentiated(model: &RewardModel) -> Vec<bool> {
    let (_, _, pairs) = golden("llama-linear");
    let tokens = model.tokenized(&pairs).unwrap();
    let batch = model.pack(&tokens.iter().collect::<Vec<_>>()).unwrap();
    let (network, tables) = (&model.network, model.network.tables(&batch, Rows::Last).unwrap());
    let mode = ForwardMode::without_dropout(network.adapters.active());
    let mut x = network.embed(&batch.tokens).unwrap();
    let mut all = vec![x.requires_grad()];
    for i in 0..network.layers.len() {
        x = network.layer(i, &x, &mut &batch, &tables, mode).unwrap();
        all.push(x.requires_grad());
    }
    all
}

fn require_gradients(model: &RewardModel) -> Vec<Tensor> {
    let leaves: Vec<Tensor> = model.parameters().unwrap().into_iter().map(|parameter| parameter.tensor).collect();
    leaves.iter().for_each(|leaf| drop(leaf.set_requires_grad(true)));
    leaves
}

#[test]
fn no_backward_pass_is_made_below_the_lowest_adapter() {
    for (lora, want, lowest) in [
        (top(1), [false, false, true], 1),
        // With adapters on all layers the embeddings are not part of it.
        (LoraSettings::default(), [false, true, true], 0),
        // Trained biases count too.
        (LoraSettings { bias: LoraBias::All, ..top(1) }, [false, true, true], 0),
    ] {
        let model = load("llama-linear", lora).unwrap();
        require_gradients(&model);
        assert_eq!(differentiated(&model), want);
        assert_eq!(model.network.lowest_trained(), lowest);
    }
}

/// With checkpointing, layers below the lowest adapter are not computed a second time, and the gradients stay the same.
#[test]
fn checkpointing_stores_no_inputs_below_the_lowest_adapter() {
    let (_, _, pairs) = golden("llama");
    for (layers, stored) in [(1, 1), (2, 2)] {
        let gradients = [false, true].map(|checkpointing| {
            let model = load("llama", LoraSettings { dropout: 0.3, ..top(layers) }).unwrap();
            let leaves = require_gradients(&model);
            let tokens = model.tokenized(&pairs).unwrap();
            let batch = model.pack(&tokens.iter().collect::<Vec<_>>()).unwrap();
            let seeds = Seeds::new(5);
            let forward =
                CheckpointedForward::forward(&model.network, batch, None, Rows::Last, Some(&seeds), checkpointing)
                    .unwrap();
            assert_eq!(forward.stored_inputs(), if checkpointing { stored } else { 0 });
            model.scores_of(&forward.hidden).unwrap().square().sum(tch::Kind::Float).backward();
            forward.finish().unwrap();
            leaves.iter().map(Tensor::grad).collect::<Vec<Tensor>>()
        });
        assert_eq!(gradients[0], gradients[1]);
    }
}

#[test]
fn training_lowers_the_loss_and_keeps_the_frozen_weights() {
    let (folder, _, pairs) = golden("llama");
    let preferences: Vec<Preference> = pairs.iter().map(|pair| Preference::human(pair.clone(), Side::A)).collect();
    let loss = LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() }.check().unwrap();
    let training = TrainingSettings { learning_rate: 1e-2, epochs: 4, ..TrainingSettings::default() };
    let settings = RewardModelSettings { training, ..settings(top(1)) };
    let mut model = RewardModel::from_folder(&folder, &settings, Device::cpu()).unwrap();
    let before: Vec<Tensor> = model.network.tensors().into_iter().map(|(_, tensor)| tensor.copy()).collect();
    let mut steps = RewardTraining::new(&mut model, &preferences, &loss, 1).unwrap();
    let first = steps.step().unwrap().values[0].1;
    steps.run(&mut Context::silent()).unwrap();
    let last = steps.summary();
    drop(steps);
    assert!(last.loss < first, "{last:?} after {first}");
    let after: Vec<Tensor> = model.network.tensors().into_iter().map(|(_, tensor)| tensor.copy()).collect();
    assert_eq!(before, after);
}
