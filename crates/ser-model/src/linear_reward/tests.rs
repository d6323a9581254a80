//! Linear reward models over nano networks: fitting, files, resumes, refusals.

use std::path::Path;
use std::sync::Arc;

use ser_core::{Context, Learner, Pair, Preference, Scorer, Side};
use ser_data::{TemplateKind, TextSettings};
use ser_loss::{LossKind, LossSettings, PairwiseLoss};

use super::{LinearRewardModel, LinearRewardModelSettings};
use crate::language_model::golden::{families, golden};
use crate::{AnyRewardModel, Device, HiddenStatesSettings, ModelError, RewardModelSettings};

fn text() -> TextSettings {
    TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() }
}

fn settings(committee: bool) -> LinearRewardModelSettings {
    let states = HiddenStatesSettings { mean_tokens: 5, text: text(), ..HiddenStatesSettings::default() };
    LinearRewardModelSettings { states, committee, ..LinearRewardModelSettings::default() }
}

fn loss() -> PairwiseLoss {
    LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() }.check().unwrap()
}

fn labelled(pairs: &[Arc<Pair>]) -> Vec<Preference> {
    pairs.iter().map(|pair| Preference::human(Arc::clone(pair), Side::A)).collect()
}

/// A model fitted on the pairs, with its states kept beside `folder`.
fn fitted(base: &Path, pairs: &[Arc<Pair>], committee: bool, folder: &Path) -> LinearRewardModel {
    let model = LinearRewardModel::from_folder(base, &settings(committee), Device::cpu()).unwrap();
    let mut model = model.keep_states(&folder.join("states")).unwrap();
    model.represent(pairs, &mut Context::silent()).unwrap();
    model.fit(&labelled(pairs), &loss(), &mut Context::silent()).unwrap();
    model
}

#[test]
fn a_saved_model_scores_the_same_from_its_folder_alone() {
    let (base, _, pairs) = golden(&families()[0]);
    for committee in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut model = fitted(&base, &pairs, committee, folder.path());
        let expected = model.score(&pairs, &mut Context::silent()).unwrap();
        assert!(expected.iter().any(|scores| scores.a != scores.b));
        let saved = folder.path().join("model");
        std::fs::create_dir(&saved).unwrap();
        model.snapshot(&saved).unwrap();
        let settings = RewardModelSettings { text: text(), ..RewardModelSettings::default() };
        for (given, named) in
            [(None, Some(saved.as_path())), (Some(base.as_path()), Some(&saved)), (Some(&saved), None)]
        {
            let mut loaded = AnyRewardModel::for_scoring(given, named, &settings, Device::cpu()).unwrap();
            assert!(matches!(loaded, AnyRewardModel::Linear(_)));
            assert_eq!(loaded.tokenizer().settings(), &text());
            let scores = loaded.score(&pairs, &mut Context::silent()).unwrap();
            for (found, expected) in scores.iter().zip(&expected) {
                // States that are computed with other pairs beside them differ in their last digits.
                approx::assert_abs_diff_eq!(found.a.0, expected.a.0, epsilon = 1e-4);
                approx::assert_abs_diff_eq!(found.b.0, expected.b.0, epsilon = 1e-4);
            }
            let (cut, none) = loaded.score_truncated(&pairs, &mut Context::silent()).unwrap();
            assert_eq!((cut.len(), none), (pairs.len(), 0));
            approx::assert_abs_diff_eq!(cut[0].b.0, expected[0].b.0, epsilon = 1e-4);
        }
    }
}

#[test]
fn written_texts_and_long_ones_score_as_answers() {
    let (base, _, pairs) = golden(&families()[0]);
    let folder = tempfile::tempdir().unwrap();
    let mut model = fitted(&base, &pairs, true, folder.path());
    let whole = |pair: &Pair| format!("{}{}", pair.prompt[0].content, pair.responses[0]);
    let single: Vec<_> = pairs.iter().filter(|pair| pair.prompt.len() == 1).cloned().collect();
    let texts: Vec<String> = single.iter().map(|pair| whole(pair)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (written, cut) = model.score_written(&texts, &mut Context::silent()).unwrap();
    let scores = model.score(&single, &mut Context::silent()).unwrap();
    assert_eq!(cut, 0);
    for (written, scores) in written.iter().zip(&scores) {
        approx::assert_abs_diff_eq!(*written, scores.a.0, epsilon = 1e-4);
    }
    let long = Pair::from_text(ser_core::PairId(9), "Why? ", "so ".repeat(5000), "no");
    let (_, cut) = model.score_truncated(&[Arc::new(long)], &mut Context::silent()).unwrap();
    assert_eq!(cut, 1);
}

#[test]
fn the_kept_states_are_computed_once() {
    let (base, _, pairs) = golden(&families()[0]);
    let folder = tempfile::tempdir().unwrap();
    let mut first = fitted(&base, &pairs, true, folder.path());
    let size = std::fs::metadata(folder.path().join("states")).unwrap().len();
    let mut again = fitted(&base, &pairs, true, folder.path());
    assert_eq!(std::fs::metadata(folder.path().join("states")).unwrap().len(), size);
    let cx = &mut Context::silent();
    assert_eq!(first.score(&pairs, cx).unwrap(), again.score(&pairs, cx).unwrap());
}

#[test]
fn another_base_model_is_refused() {
    let families = families();
    let ((base, _, pairs), (other, _, _)) = (golden(&families[0]), golden(&families[1]));
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("model");
    std::fs::create_dir(&saved).unwrap();
    fitted(&base, &pairs, true, folder.path()).snapshot(&saved).unwrap();
    let states = settings(true).states;
    let load = |base: Option<&Path>| match LinearRewardModel::for_scoring(&saved, base, &states, Device::cpu()) {
        Ok(_) => panic!("a wrong base model was accepted"),
        Err(error) => error,
    };
    let error = load(Some(&other));
    assert!(matches!(error, ModelError::Linear(_) | ModelError::OtherTokenizer { .. }), "{error}");
    // A base model that is gone, and a record that is damaged.
    let record = saved.join("base_model.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace(&base.file_name().unwrap().to_string_lossy()[..], "gone")).unwrap();
    let error = load(None).to_string();
    assert!(error.contains("base_model.json") && error.contains("gone") && error.contains("does not exist"), "{error}");
    std::fs::write(&record, "{}").unwrap();
    assert!(load(None).to_string().contains("base_model.json"));
    // The states of another model are not taken.
    let model = LinearRewardModel::from_folder(&other, &settings(true), Device::cpu()).unwrap();
    let error = model.keep_states(&folder.path().join("states")).err().unwrap().to_string();
    assert!(error.contains("another model, template or precision"), "{error}");
}
