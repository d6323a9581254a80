//! GGUF files against Python's gguf, transformers and tokenizers (tests/golden/gguf/make_gguf.py).

#![allow(clippy::unwrap_used)]

mod gguf_writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gguf_writer::{Value, llama, numbers};
use ser_data::{TemplateKind, TextSettings};
use ser_model::{
    CausalLm, CausalLmSettings, Device, GgufFile, NetworkConfig, Precision, RewardModel, RewardModelSettings,
    RopeScaling, has_chat_template, load_tokenizer, merge_adapter,
};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gguf")
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn raw() -> TextSettings {
    TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() }
}

/// Every storage type gives the numbers of Python's gguf, bit by bit.
#[test]
fn numbers_equal_those_of_python() {
    let file = GgufFile::open(&golden().join("quants.gguf")).unwrap();
    let tensors: Vec<_> = file.tensors().filter(|(name, ..)| !name.ends_with(".expected")).collect();
    assert_eq!(tensors.len(), 13);
    for (name, storage, shape) in tensors {
        assert_eq!((name, shape), (storage, &[3, 512][..]));
        let (found, expected) = (file.tensor(name).unwrap(), file.tensor(&format!("{name}.expected")).unwrap());
        assert_eq!((found.len(), expected.len()), (1536, 1536), "{name}");
        for (i, (x, y)) in found.iter().zip(&expected).enumerate() {
            assert!(x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan(), "{name}: number {i} is {x}, not {y}");
        }
    }
}

#[derive(serde::Deserialize)]
struct Expected {
    ids: Vec<Vec<u32>>,
    logprobs: Vec<Vec<f64>>,
}

/// Networks of every family, with interleaved heads, biases, windows and rotary scalings.
#[test]
fn log_probabilities_equal_those_of_transformers() {
    let expected: BTreeMap<String, Expected> = read(&golden().join("networks.json"));
    assert_eq!(expected.len(), 7);
    for (family, expected) in expected {
        let path = golden().join(format!("{family}.gguf"));
        let settings = CausalLmSettings { text: raw(), precision: Precision::F32, ..CausalLmSettings::default() };
        let model = CausalLm::from_folder(&path, &settings, Device::cpu()).unwrap();
        let texts: Vec<&[u32]> = expected.ids.iter().map(Vec::as_slice).collect();
        for (found, expected) in model.log_probs(&texts).unwrap().iter().zip(&expected.logprobs) {
            assert_eq!(found.len(), expected.len());
            for (x, y) in found.iter().zip(expected) {
                assert!((x - y).abs() < 1e-4, "{family}: {x} and not {y}");
            }
        }
        // The settings are those of the folder that it was made from, its tokenizer too.
        let folder = golden().join("..").join(&family);
        let (found, from) = (model.config().clone(), NetworkConfig::from_folder(&folder).unwrap());
        let rope = if family == "llama3" { found.rope_scaling.clone() } else { from.rope_scaling.clone() };
        let same = NetworkConfig { rope_scaling: rope, initializer_range: 0.02, pad_token_id: None, ..from };
        assert_eq!(found, same, "{family}");
        let [a, b] = [&path, &folder].map(|model| load_tokenizer(model, &raw()).unwrap());
        for text in ["", "Rhine, Rhône", "</s>x  y"] {
            assert_eq!(a.encode(text, true).unwrap(), b.encode(text, true).unwrap(), "{family}: {text:?}");
        }
    }
}

/// A llama with scales of its own for each frequency keeps them when it is written and read again.
#[test]
fn scales_of_single_frequencies_survive() {
    let config = NetworkConfig::from_folder(&golden().join("llama3.gguf")).unwrap();
    let RopeScaling::PerFrequency { factors } = &config.rope_scaling else { panic!("{:?}", config.rope_scaling) };
    assert_eq!((factors.len(), factors[3]), (4, 8.0));
    let again = NetworkConfig::from_json(&config.to_json().to_string(), Path::new("config.json")).unwrap();
    assert_eq!(again, config);
}

#[derive(serde::Deserialize)]
struct Tokens {
    texts: Vec<String>,
    /// By kind and text: with special tokens, and without.
    ids: BTreeMap<String, Vec<[Vec<u32>; 2]>>,
}

#[test]
fn tokens_equal_those_of_hugging_face() {
    let expected: Tokens = read(&golden().join("tokens.json"));
    assert_eq!(expected.ids.len(), 8);
    check_tokens(&golden(), &expected);
    // Further ones that the script made.
    if let Some(folder) = std::env::var_os("SER_GGUF").map(PathBuf::from) {
        check_tokens(&folder, &read(&folder.join("tokens.json")));
    }
}

fn check_tokens(folder: &Path, expected: &Tokens) {
    for (kind, ids) in &expected.ids {
        let tokenizer = load_tokenizer(&folder.join(format!("tokens-{kind}.gguf")), &raw()).unwrap();
        for (text, [with, without]) in expected.texts.iter().zip(ids) {
            assert_eq!(&tokenizer.encode(text, true).unwrap(), with, "{kind}: {text:?}");
            assert_eq!(&tokenizer.encode(text, false).unwrap(), without, "{kind}: {text:?}");
        }
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()).0.is_some(), tokenizer.eos_id().is_some());
        let text = "Once upon a time, 12 cats.";
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, true).unwrap()).unwrap(), text, "{kind}");
    }
}

/// The tokenizer of a folder that was written from a file is the same one, also where a class of transformers rebuilds it.
#[test]
fn written_tokenizers_have_the_same_fingerprint() {
    let home = tempfile::tempdir().unwrap();
    // transformers' class of Qwen 2 adds this token where it is not there; Qwen's vocabularies have it.
    let qwen = home.path().join("qwen.gguf");
    llama()
        .key("tokenizer.ggml.pre", Value::Text("qwen2"))
        .key("tokenizer.ggml.tokens", gguf_writer::texts(&["<|endoftext|>", "a", "b", "ab"]))
        .write(&qwen);
    for (path, model_type) in [
        (qwen, "qwen2"),
        (golden().join("tokens-qwen2.gguf"), "qwen3"),
        (golden().join("tokens-llama-bpe.gguf"), "llama"),
        (golden().join("tokens-spm.gguf"), "mistral"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in GgufFile::open(&path).unwrap().tokenizer_files().unwrap() {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let config = format!("{{\"model_type\": \"{model_type}\"}}");
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let [a, b] = [path.as_path(), folder.path()].map(|model| load_tokenizer(model, &raw()).unwrap());
        assert_eq!(a.fingerprint().unwrap(), b.fingerprint().unwrap(), "{model_type}");
    }
}

#[test]
fn chat_templates_and_ends_of_answers_come_from_the_file() {
    let path = golden().join("tokens-smollm.gguf");
    assert!(has_chat_template(&path).unwrap() && !has_chat_template(&golden().join("llama.gguf")).unwrap());
    let chat = TextSettings { template: TemplateKind::Chat, ..TextSettings::default() };
    let tokenizer = load_tokenizer(&path, &chat).unwrap();
    let ids = tokenizer.encode_prompt(&[ser_core::Message::user("a")]).unwrap();
    assert_eq!(ids, tokenizer.encode("<s>user: a</s>", false).unwrap());
    assert_eq!((ids.first(), ids.last()), (Some(&0), Some(&1)));
    let generation = GgufFile::open(&path).unwrap().generation_config_json().unwrap();
    assert!(generation.contains(r#""eos_token_id":[1,2]"#), "{generation}");
}

/// A folder written from a GGUF file is the same model: weights, tokenizer and what ends an answer.
#[test]
fn a_folder_written_from_the_file_is_the_same_model() {
    for family in ["llama", "qwen2", "qwen3", "llama3"] {
        let path = golden().join(format!("{family}.gguf"));
        let settings = CausalLmSettings { text: raw(), ..CausalLmSettings::default() };
        let model = CausalLm::from_folder(&path, &settings, Device::cpu()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        model.save_with_tokenizer(folder.path()).unwrap();
        let again = CausalLm::from_folder(folder.path(), &settings, Device::cpu()).unwrap();
        assert_eq!(model.stop_ids(), again.stop_ids(), "{family}");
        let text = model.tokenizer().encode("the same answer", true).unwrap();
        assert_eq!(text, again.tokenizer().encode("the same answer", true).unwrap());
        assert_eq!(model.log_probs(&[&text]).unwrap(), again.log_probs(&[&text]).unwrap(), "{family}");
        assert!(RewardModel::from_folder(&path, &RewardModelSettings::default(), Device::cpu()).is_ok());
    }
}

/// An adapter merges into a GGUF base: a folder with dequantized weights, rows of k in transformers' order.
#[test]
fn adapters_merge_into_the_file() {
    let out = tempfile::tempdir().unwrap();
    let (path, folder) = (golden().join("llama.gguf"), golden().join("../llama"));
    let merged = merge_adapter(&path, &folder.join("adapter"), out.path(), u64::MAX).unwrap();
    assert_eq!((merged.architecture.as_str(), merged.shards), ("LlamaForSequenceClassification", 1));
    let [written, original] =
        [out.path(), &folder].map(|folder| std::fs::read(folder.join("model.safetensors")).unwrap());
    let [written, original] = [&written, &original].map(|bytes| safetensors::SafeTensors::deserialize(bytes).unwrap());
    let numbers = |view: safetensors::tensor::TensorView<'_>| -> Vec<f32> {
        view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let [found, exact] =
        [&written, &original].map(|file| numbers(file.tensor("model.layers.1.self_attn.k_proj.weight").unwrap()));
    assert_eq!(found.len(), exact.len());
    for (x, y) in found.iter().zip(&exact) {
        // Half a step of Q8_0.
        assert!((x - y).abs() < 0.005, "{x} {y}");
    }
    let up = numbers(written.tensor("model.layers.0.mlp.up_proj.weight").unwrap());
    assert_eq!(up, GgufFile::open(&path).unwrap().tensor("blk.0.ffn_up.weight").unwrap());
    let settings = RewardModelSettings { text: raw(), ..RewardModelSettings::default() };
    let reloaded = RewardModel::from_folder(out.path(), &settings, Device::cpu()).unwrap();
    assert_eq!(reloaded.config().rope_theta, 500_000.0);
}

#[test]
fn files_of_the_test_writer_load_and_settings_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.GGUF");
    let config = |writer: gguf_writer::Writer| {
        writer.write(&path);
        NetworkConfig::from_folder(&path)
    };
    let plain = config(llama()).unwrap();
    assert_eq!((plain.model_type, plain.heads, plain.kv_heads, plain.head_dim), ("llama", 2, 1, 4));
    assert_eq!((plain.rms_norm_eps, plain.rope_theta, plain.tied, plain.vocab_size), (1e-5, 10_000.0, true, 4));
    let settings = CausalLmSettings { text: raw(), ..CausalLmSettings::default() };
    CausalLm::from_folder(&path, &settings, Device::cpu()).unwrap();

    let window = config(llama().key("llama.attention.sliding_window", Value::U32(16))).unwrap();
    assert_eq!((window.model_type, window.window(0)), ("mistral", Some(16)));
    let wide = config(llama().key("llama.attention.sliding_window", Value::U32(64))).unwrap();
    assert_eq!((wide.model_type, wide.window(0)), ("llama", None));
    let list = config(llama().key("llama.attention.head_count_kv", numbers(&[1]))).unwrap();
    assert_eq!(list, plain);
    let linear = config(llama().key("llama.rope.scale_linear", Value::F32(2.0))).unwrap();
    assert_eq!(linear.rope_scaling, RopeScaling::Linear { factor: 2.0 });
    let none = config(llama().key("llama.rope.scaling.type", Value::Text("none"))).unwrap();
    assert_eq!(none, plain);
    assert!(!config(llama().tensor("output.weight", &[8, 4], 1.0)).unwrap().tied);

    for (writer, said) in [
        (
            llama().key("general.architecture", Value::Text("gemma3")),
            "general.architecture \"gemma3\" is not supported",
        ),
        (llama().key("general.type", Value::Text("adapter")), "\"adapter\""),
        (llama().key("split.count", Value::U32(3)), "one of 3 parts"),
        (llama().without("llama.block_count"), "llama.block_count is missing"),
        (
            llama().key("llama.block_count", Value::Text("one")),
            "llama.block_count is a text; it must be a whole number",
        ),
        (llama().key("llama.block_count", Value::U32(1_000_000)), "num_hidden_layers is 1000000"),
        (llama().key("llama.attention.head_count", Value::U32(0)), "head_count is 0"),
        (llama().key("llama.attention.head_count_kv", numbers(&[1, 2])), "the same for all layers"),
        (llama().key("llama.rope.dimension_count", Value::U32(2)), "llama.rope.dimension_count 2"),
        (llama().key("llama.attention.value_length", Value::U32(2)), "llama.attention.value_length 2"),
        (llama().key("llama.rope.scaling.type", Value::Text("longrope")), "\"longrope\" is not supported"),
        (llama().key("llama.expert_count", Value::U32(8)), "llama.expert_count 8"),
        (llama().key("llama.logit_scale", Value::F32(0.5)), "llama.logit_scale 0.5"),
        (llama().tensor("rope_freqs.weight", &[3], 1.0), "3 factors for heads of size 4"),
        (llama().tensor("rope_freqs.weight", &[2], -1.0), "the factor -1"),
    ] {
        let error = config(writer).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("model.GGUF") && error.lines().count() == 1, "{error}");
    }
    llama().tensor("blk.0.ffn_gate_inp.weight", &[8, 2], 1.0).write(&path);
    let error = CausalLm::from_folder(&path, &settings, Device::cpu()).err().unwrap().to_string();
    assert!(error.contains("tensor blk.0.ffn_gate_inp.weight belongs to no network"), "{error}");
}

#[test]
fn tokenizers_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    const TOKENS: &str = "tokenizer.ggml.tokens";
    for (writer, said) in [
        (llama().key("tokenizer.ggml.model", Value::Text("bert")), "\"bert\" is not supported; supported: gpt2, llama"),
        (llama().key("tokenizer.ggml.pre", Value::Text("new-bpe")), "\"new-bpe\" is not supported"),
        (llama().without(TOKENS), "the file has no tokenizer"),
        (llama().key(TOKENS, Value::Text("a")), "tokenizer.ggml.tokens is a text"),
        (llama().key(TOKENS, Value::List(8, 1, [&1u64.to_le_bytes()[..], &[0xff]].concat())), "is not UTF-8"),
        (llama().key("tokenizer.ggml.merges", gguf_writer::texts(&["a c"])), "\"a c\", does not make a token"),
        (llama().without("tokenizer.ggml.merges"), "merges is missing"),
        (llama().key("tokenizer.ggml.token_type", numbers(&[1])), "has 1 entries for 4 tokens"),
        (llama().key("tokenizer.ggml.bos_token_id", Value::U32(4)), "bos_token_id is 4, but there are 4 tokens"),
        (
            llama().without("tokenizer.ggml.eos_token_id").key("tokenizer.ggml.add_eos_token", Value::Bool(true)),
            "add_eos_token is true",
        ),
        (
            llama().key("tokenizer.ggml.model", Value::Text("llama")).without("tokenizer.ggml.merges"),
            "neither tokenizer.ggml.scores nor tokenizer.ggml.merges",
        ),
    ] {
        writer.write(&path);
        let error = load_tokenizer(&path, &raw()).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("model.gguf") && error.lines().count() == 1, "{error}");
    }
    let missing = load_tokenizer(&folder.path().join("none.gguf"), &raw()).unwrap_err().to_string();
    assert!(missing.contains("none.gguf: no such file"), "{missing}");
}
