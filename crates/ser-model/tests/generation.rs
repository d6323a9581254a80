//! Generation against transformers (golden/make_generation.py), and in different batches.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use approx::assert_abs_diff_eq;
use proptest::prelude::*;
use ser_core::testing::Requirement;
use ser_core::{Context, Control, Event, Generator, Message, Sampling, Stage, observer_fn};
use ser_data::{TemplateKind, TextSettings};
use ser_model::{CausalLm, CausalLmSettings, Device, GenerateOptions, ModelError, Precision, SampledAnswer, TextPiece};

const FAMILIES: [&str; 6] = ["llama", "llama3", "llama-linear", "mistral", "qwen2", "qwen3"];

#[derive(serde::Deserialize)]
struct Expected {
    penalty: f64,
    families: HashMap<String, Vec<Case>>,
}

#[derive(serde::Deserialize)]
struct Case {
    prompt: String,
    ids: Vec<u32>,
    greedy: Vec<u32>,
    penalised: Vec<u32>,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/generation")
}

fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(golden().join("answers.json")).unwrap()).unwrap()
}

fn raw() -> CausalLmSettings {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    CausalLmSettings { text, ..CausalLmSettings::default() }
}

fn load(family: &str, settings: &CausalLmSettings) -> CausalLm {
    CausalLm::from_folder(&golden().join(family), settings, Device::cpu()).unwrap()
}

fn greedy(max_new_tokens: usize) -> Sampling {
    Sampling { max_new_tokens, temperature: 0.0, ..Sampling::default() }
}

fn sample(model: &CausalLm, prompts: &[Vec<u32>], sampling: &Sampling) -> Vec<Vec<SampledAnswer>> {
    let options = GenerateOptions { log_probs: true, ..GenerateOptions::default() };
    model.sample(prompts, sampling, options, &mut Context::silent()).unwrap()
}

fn refused(model: &CausalLm, prompts: &[Vec<u32>], sampling: &Sampling) -> ModelError {
    model.sample(prompts, sampling, GenerateOptions::default(), &mut Context::silent()).unwrap_err()
}

fn tokens(answers: &[Vec<SampledAnswer>]) -> Vec<Vec<Vec<u32>>> {
    answers.iter().map(|samples| samples.iter().map(|s| s.response.tokens.clone()).collect()).collect()
}

/// Prompts of many lengths, one of them twice.
fn prompts() -> Vec<Vec<u32>> {
    let lengths = [1, 3, 40, 7, 33, 32, 12, 3];
    (0..).zip(lengths).map(|(i, n)| (0..n).map(|t| (t * 7 + i % 6 * 11) % 258 + 2).collect()).collect()
}

#[test]
fn greedy_tokens_equal_transformers() {
    let expected = expected();
    for family in FAMILIES {
        let cases = &expected.families[family];
        let model = load(family, &raw());
        let prompts: Vec<Vec<u32>> =
            cases.iter().map(|case| model.tokenize_prompt(&[Message::user(&case.prompt)]).unwrap()).collect();
        for (prompt, case) in prompts.iter().zip(cases) {
            assert_eq!(prompt, &case.ids, "{family}");
        }
        let penalised = Sampling { repetition_penalty: expected.penalty, ..greedy(20) };
        for (found, case) in sample(&model, &prompts, &greedy(20)).iter().zip(cases) {
            assert_eq!(found[0].response.tokens, case.greedy, "{family} {:?}", case.prompt);
        }
        for (found, case) in sample(&model, &prompts, &penalised).iter().zip(cases) {
            assert_eq!(found[0].response.tokens, case.penalised, "{family} {:?}", case.prompt);
        }
    }
}

#[test]
fn the_stories_model_generates_the_text_of_its_readme() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models");
    let Ok(readme) = std::fs::read_to_string(shared.join("README.md")) else {
        return Requirement::Shared.missing(format_args!("{} does not exist", shared.display()));
    };
    let lines = readme.lines().filter_map(|line| line.strip_prefix("> "));
    let story = lines.collect::<Vec<_>>().join("\n");
    assert!(story.starts_with("Once upon a time"));
    let mut model = CausalLm::from_folder(&shared.join("stories260k"), &raw(), Device::cpu()).unwrap();
    let answers = model.generate(&[vec![Message::user("")]], &greedy(200), &mut Context::silent()).unwrap();
    assert_eq!(answers[0][0].text, story);
    assert_eq!(answers[0][0].tokens[..4], [403, 407, 261, 378]);
}

/// The log-probabilities of an answer, computed token by token with the cache, equal those of one pass over the whole text.
fn equals_a_full_pass(model: &CausalLm, prompts: &[Vec<u32>], answers: &[Vec<SampledAnswer>], tolerance: f64) {
    for (prompt, samples) in prompts.iter().zip(answers) {
        for sample in samples {
            let text: Vec<u32> = prompt.iter().chain(&sample.response.tokens).copied().collect();
            let full = model.log_probs(&[&text]).unwrap().remove(0).split_off(prompt.len() - 1);
            assert_eq!(full.len(), sample.log_probs.len());
            for (x, y) in full.iter().zip(&sample.log_probs) {
                assert_abs_diff_eq!(x, y, epsilon = tolerance);
            }
        }
    }
}

#[test]
fn the_cache_does_not_change_log_probabilities() {
    for family in FAMILIES {
        let model = load(family, &raw());
        // Long enough for several pages, and for many windows of 9 tokens.
        let sampling = Sampling { max_new_tokens: 80, samples_per_prompt: 2, seed: 5, ..Sampling::default() };
        let answers = sample(&model, &prompts(), &sampling);
        equals_a_full_pass(&model, &prompts(), &answers, 1e-4);
        assert_ne!(answers[1][0], answers[1][1]);
        assert_ne!(answers[1][0], answers[7][0], "the same prompt again is another draw");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_prompts_any_batch_any_sampling(
        prompts in prop::collection::vec(prop::collection::vec(2u32..260, 1..50), 1..7),
        (family, batch_answers, token_budget) in (0usize..6, 1usize..9, 1usize..90),
        (samples_per_prompt, max_new_tokens, seed) in (1usize..4, 1usize..40, 0u64..9),
        (temperature, top_k, top_p) in (0.3f64..2.0, 0usize..30, 0.2f64..1.0),
    ) {
        let model = load(FAMILIES[family], &CausalLmSettings { batch_answers, token_budget, ..raw() });
        let sampling = Sampling {
            max_new_tokens, samples_per_prompt, seed, temperature, top_k, top_p, ..Sampling::default()
        };
        let answers = sample(&model, &prompts, &sampling);
        prop_assert!(answers.iter().all(|samples| samples.len() == samples_per_prompt));
        equals_a_full_pass(&model, &prompts, &answers, 1e-4);
    }
}

#[test]
fn other_batches_and_other_orders_give_the_same_answers() {
    for sampling in [greedy(30), Sampling { max_new_tokens: 30, seed: 1, samples_per_prompt: 3, ..Sampling::default() }]
    {
        let together = tokens(&sample(&load("qwen3", &raw()), &prompts(), &sampling));
        let few = CausalLmSettings { batch_answers: 2, token_budget: 10, ..raw() };
        assert_eq!(together, tokens(&sample(&load("qwen3", &few), &prompts(), &sampling)));
        let backwards: Vec<Vec<u32>> = prompts().into_iter().rev().collect();
        let mut found = tokens(&sample(&load("qwen3", &raw()), &backwards, &sampling));
        found.reverse();
        // The two equal prompts are swapped.
        found.swap(1, 7);
        assert_eq!(together, found);
        for (prompt, answers) in prompts().iter().zip(&together).take(7) {
            assert_eq!(answers, &tokens(&sample(&load("qwen3", &raw()), std::slice::from_ref(prompt), &sampling))[0]);
        }
    }
}

#[test]
fn half_precision_is_close_to_f32() {
    for (precision, tolerance) in [(Precision::Bf16, 0.25), (Precision::F16, 0.05)] {
        let model = load("mistral", &CausalLmSettings { precision, ..raw() });
        let sampling = Sampling { max_new_tokens: 20, ..Sampling::default() };
        let answers = sample(&model, &prompts(), &sampling);
        equals_a_full_pass(&model, &prompts(), &answers, tolerance);
    }
}

#[test]
fn texts_are_streamed_during_generation() {
    let model = load("llama", &raw());
    let stop = vec!["e".to_owned()];
    let sampling =
        Sampling { max_new_tokens: 60, samples_per_prompt: 2, temperature: 3.0, stop, ..Sampling::default() };
    let mut texts = HashMap::<(usize, usize), (String, usize)>::new();
    let mut on_text = |piece: TextPiece<'_>| {
        let (text, ends) = texts.entry((piece.prompt, piece.sample)).or_default();
        text.push_str(piece.text);
        *ends += usize::from(piece.last);
    };
    let mut done = Vec::new();
    let mut observer = observer_fn(|event| {
        if let Event::Advanced { done: n, .. } = event {
            done.push(*n);
        }
        Control::Continue
    });
    let options = GenerateOptions { on_text: Some(&mut on_text), ..GenerateOptions::default() };
    let mut cx = Context::new(Stage::Generate, &mut observer);
    let answers = model.sample(&prompts(), &sampling, options, &mut cx).unwrap();
    assert_eq!(done.last(), Some(&16));
    let mut stopped = 0;
    for (prompt, samples) in answers.iter().enumerate() {
        for (i, sample) in samples.iter().enumerate() {
            assert_eq!(texts[&(prompt, i)], (sample.response.text.clone(), 1));
            assert!(!sample.response.text.contains('e') && sample.log_probs.is_empty());
            stopped += usize::from(sample.response.finished);
        }
    }
    assert!(stopped > 0);
}

#[test]
fn an_observer_can_stop_a_generation() {
    let model = load("llama", &raw());
    let mut events = 0;
    let mut observer = observer_fn(|_| {
        events += 1;
        if events > 3 { Control::Stop } else { Control::Continue }
    });
    let mut cx = Context::new(Stage::Generate, &mut observer);
    let error = model.sample(&prompts(), &greedy(50), GenerateOptions::default(), &mut cx).unwrap_err();
    assert!(matches!(error, ModelError::Stopped(_)) && cx.is_stopped(), "{error}");
}

#[test]
fn lengths_have_limits() {
    let model = load("llama", &raw());
    // The prompt takes 120 of 128 positions.
    let answers = sample(&model, &[vec![9; 120]], &Sampling { min_new_tokens: 50, ..greedy(50) });
    assert_eq!((answers[0][0].response.tokens.len(), answers[0][0].response.finished), (8, false));
    let error = refused(&model, &[vec![9; 3], vec![9; 128]], &greedy(1)).to_string();
    assert!(error.contains("prompt 1") && error.contains("128 tokens") && error.contains("128 positions"), "{error}");
    let error = refused(&model, &[vec![]], &greedy(1));
    assert!(matches!(error, ModelError::EmptyPrompt));
    let error = refused(&model, &[vec![260]], &greedy(1));
    assert!(matches!(error, ModelError::TokenId { id: 260, vocab: 260 }));
    let error = refused(&model, &prompts(), &greedy(0));
    assert!(error.to_string().contains("max_new_tokens is 0"));
    assert!(sample(&model, &[], &greedy(1)).is_empty());
}

#[test]
fn every_end_token_of_both_files_ends_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(golden().join("llama").join(name), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [44, 55]}"#).unwrap();
    let model = CausalLm::from_folder(folder.path(), &raw(), Device::cpu()).unwrap();
    assert_eq!(model.stop_ids(), [1, 44, 55]);
    let case = &expected().families["llama"][2];
    let end = case.greedy[6];
    std::fs::write(folder.path().join("generation_config.json"), format!(r#"{{"eos_token_id": {end}}}"#)).unwrap();
    let model = CausalLm::from_folder(folder.path(), &raw(), Device::cpu()).unwrap();
    let first = case.greedy.iter().position(|&t| t == end).unwrap();
    let answers = sample(&model, std::slice::from_ref(&case.ids), &greedy(20));
    assert_eq!(answers[0][0].response.tokens, case.greedy[..=first]);
    assert!(answers[0][0].response.finished);
    let without = model.tokenizer().decode(&case.greedy[..first]).unwrap();
    assert_eq!(answers[0][0].response.text, without, "the end token is not part of the text");
}
