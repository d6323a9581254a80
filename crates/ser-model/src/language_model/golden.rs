//! The golden folders (tests/golden/make_models.py), and tests of the decoder against transformers' causal models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use approx::abs_diff_eq;
use ser_core::{Pair, PairId};
use ser_data::{PairTokenizer, TemplateKind, TextSettings};
use tch::{Kind, Tensor};

use crate::checkpoint::{Checkpoint, LayerMap, Weights};
use crate::network::{Network, PackedBatch, Rows};
use crate::{Device, NetworkConfig};

#[derive(serde::Deserialize)]
pub(crate) struct Expected {
    pairs: Vec<[String; 3]>,
    pub(crate) base: Vec<f64>,
    pub(crate) adapted: Vec<f64>,
    pub(crate) bf16: f64,
    pub(crate) f16: f64,
    pub(crate) weights: Vec<f64>,
    logprobs: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
    greedy: Vec<u32>,
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All golden folders, with those in the folder that SER_GOLDENS names.
pub(crate) fn families() -> Vec<String> {
    let more = std::env::var_os("SER_GOLDENS").map(PathBuf::from);
    let mut folders: Vec<String> = [Some(home()), more]
        .into_iter()
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.json").exists())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    folders.sort();
    assert!(folders.len() >= 9, "{folders:?}");
    folders
}

/// A golden folder by its name or path.
pub(crate) fn golden(family: &str) -> (PathBuf, Expected, Vec<Arc<Pair>>) {
    let folder = home().join(family);
    let expected: Expected =
        serde_json::from_str(&std::fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
    let pairs = expected
        .pairs
        .iter()
        .enumerate()
        .map(|(i, [prompt, a, b])| Arc::new(Pair::from_text(PairId(i as u64), prompt, a, b)))
        .collect();
    (folder, expected, pairs)
}

#[test]
fn logits_and_values_equal_transformers() {
    for family in &families() {
        let (folder, expected, pairs) = golden(family);
        let (network, texts) = causal(&folder, &pairs);
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        // All texts in one batch here, one text at a time in transformers.
        let batch = PackedBatch::of_texts(&texts, &network.config, network.device).unwrap();
        let hidden = tch::no_grad(|| network.forward(&batch, Rows::All, None).unwrap());
        let logprobs = network.logits(&hidden).unwrap().log_softmax(-1, Kind::Float);
        let head = Tensor::arange(network.config.hidden_size, (Kind::Float, network.device)).sin();
        let values = Vec::<f32>::try_from(hidden.matmul(&head) + 0.5).unwrap();
        for ((text, segment), (want_logprobs, want_values)) in
            texts.iter().zip(&batch.segments).zip(expected.logprobs.iter().zip(&expected.values))
        {
            let start = segment.start as usize;
            for (position, (&token, want)) in text[1..].iter().zip(want_logprobs).enumerate() {
                let got = logprobs.double_value(&[(start + position) as i64, i64::from(token)]);
                assert!(
                    abs_diff_eq!(got, *want, epsilon = 1e-4),
                    "{family}: log-probability {position} is {got}, not {want}"
                );
            }
            for (position, (got, want)) in values[start..start + text.len()].iter().zip(want_values).enumerate() {
                assert!(
                    abs_diff_eq!(f64::from(*got), *want, epsilon = 1e-4),
                    "{family}: value {position} is {got}, not {want}"
                );
            }
            assert_eq!((want_logprobs.len(), want_values.len()), (text.len() - 1, text.len()));
        }
    }
}

#[test]
fn twenty_greedy_tokens_equal_transformers() {
    for family in &families() {
        let (folder, expected, pairs) = golden(family);
        let (network, mut texts) = causal(&folder, &pairs);
        let text = &mut texts[0];
        let length = text.len();
        while text.len() < length + expected.greedy.len() {
            let batch = PackedBatch::of_texts(&[text.as_slice()], &network.config, network.device).unwrap();
            let hidden = tch::no_grad(|| network.forward(&batch, Rows::Last, None).unwrap());
            text.push(network.logits(&hidden).unwrap().argmax(-1, false).int64_value(&[0]) as u32);
        }
        assert_eq!(text[length..], expected.greedy, "{family}");
    }
}

/// The checkpoint of a folder as a causal model, and the texts of the pairs as tokens.
fn causal(folder: &Path, pairs: &[Arc<Pair>]) -> (Network, Vec<Vec<u32>>) {
    let config = NetworkConfig::from_folder(folder).unwrap();
    let weights = Weights::from_folder(folder).unwrap();
    let cpu = tch::Device::Cpu;
    let map = LayerMap::new(&config.weight_sizes(Kind::Float), Device::cpu()).unwrap();
    let mut source = Checkpoint::new(&weights, Kind::Float, map);
    let network = Network::new(config, &mut source, true, Kind::Float, cpu).unwrap();
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    let tokenizer = PairTokenizer::from_folder(folder, &text).unwrap();
    let texts = tokenizer.tokenize(pairs).unwrap();
    let texts = texts.iter().flat_map(|pair| [ser_core::Side::A, ser_core::Side::B].map(|side| pair.text(side)));
    (network, texts.collect())
}
