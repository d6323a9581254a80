//! DPO: it learns what is preferred, by finite differences of its loss, and resumes.

use std::path::Path;
use std::sync::Arc;

use ser_core::{Pair, PairId, Side};
use ser_data::{TemplateKind, TextSettings};
use ser_loss::DpoSettings;

use super::*;
use crate::{CausalLmSettings, Device, LoraSettings, TrainingSettings};

fn model() -> CausalLm {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama3");
    let text = TextSettings { template: TemplateKind::Raw, ..TextSettings::default() };
    CausalLm::from_folder(&folder, &CausalLmSettings { text, ..Default::default() }, Device::cpu()).unwrap()
}

fn preferences() -> Vec<Preference> {
    let texts = [("Why? ", "because", "no"), ("q", "yes, it is", "a"), ("Name a river: ", "the Danube", "I cannot")];
    (0..)
        .zip(texts)
        .map(|(id, (prompt, a, b))| Preference::human(Arc::new(Pair::from_text(PairId(id), prompt, a, b)), Side::A))
        .collect()
}

fn settings() -> DpoTrainingSettings {
    DpoTrainingSettings {
        training: TrainingSettings { learning_rate: 5e-3, batch_size: 3, epochs: 12, ..TrainingSettings::default() },
        lora: LoraSettings { rank: 4, dropout: 0.0, ..LoraSettings::default() },
        ..DpoTrainingSettings::default()
    }
}

fn figure(outcome: &StepOutcome, name: &str) -> f64 {
    outcome.values.iter().find(|(n, _)| *n == name).unwrap().1
}

#[test]
fn it_learns_what_is_preferred_from_where_it_is_its_reference() {
    let loss = DpoSettings::default().build().unwrap();
    let mut model = model();
    let mut training = DpoTraining::new(&mut model, &preferences(), &loss, &settings(), 0).unwrap();
    let steps: Vec<StepOutcome> = (0..training.total()).map(|_| training.step().unwrap()).collect();
    let (first, last) = (&steps[0], &steps[steps.len() - 1]);
    assert!((figure(first, "loss") - std::f64::consts::LN_2).abs() < 1e-6);
    assert!(figure(first, "rewards/margins").abs() < 1e-6);
    assert!(figure(last, "loss") < 0.6 && figure(last, "rewards/margins") > 0.2, "{last:?}");
    assert_eq!(figure(last, "rewards/accuracies"), 1.0);
    let margin = figure(last, "rewards/chosen") - figure(last, "rewards/rejected");
    assert_eq!(margin, figure(last, "rewards/margins"));
    assert_eq!(figure(last, "epoch"), 12.0);
}

#[test]
fn a_restored_training_ends_with_the_same_bits() {
    let loss = DpoSettings::default().build().unwrap();
    let settings = DpoTrainingSettings {
        training: TrainingSettings { batch_size: 1, epochs: 2, ..settings().training },
        lora: LoraSettings { dropout: 0.3, ..settings().lora },
        ..settings()
    };
    let (mut a, mut b) = (model(), model());
    let mut whole = DpoTraining::new(&mut a, &preferences(), &loss, &settings, 5).unwrap();
    let mut resumed = DpoTraining::new(&mut b, &preferences(), &loss, &settings, 5).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        whole.step().unwrap();
    }
    whole.snapshot(folder.path()).unwrap();
    resumed.restore(folder.path()).unwrap();
    for _ in 2..6 {
        assert_eq!(whole.step().unwrap(), resumed.step().unwrap());
    }
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let loss = DpoSettings::default().build().unwrap();
    let mut model = model();
    let mut refuse = |settings: DpoTrainingSettings, preferences: &[Preference]| {
        DpoTraining::new(&mut model, preferences, &loss, &settings, 0).err().unwrap().to_string()
    };
    assert!(refuse(DpoTrainingSettings { beta: 0.0, ..settings() }, &preferences()).contains("dpo.beta is 0"));
    assert!(refuse(settings(), &[]).contains("no preference fits"));
}
