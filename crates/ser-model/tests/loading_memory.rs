//! Loading needs little more memory than the network: the pages of a shard are released while its tensors are copied.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::{Dtype, tensor::TensorView};
use ser_core::testing::Requirement;
use ser_data::{TemplateKind, TextSettings};
use ser_model::{Device, Precision, RewardModel, RewardModelSettings};
use serde_json::json;

const LAYERS: usize = 8;
const HIDDEN: usize = 512;
const INNER: usize = 2048;

fn memory(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// A model of 67 MB in bf16, one file per layer. Returns the bytes of all files and of the largest.
fn write_model(folder: &Path) -> (u64, u64) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama");
    fs::copy(golden.join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    let config = json!({"model_type": "llama", "vocab_size": 260, "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": 8, "max_position_embeddings": 64});
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let zeros = vec![0u8; INNER * HIDDEN * 2];
    let mut map = BTreeMap::new();
    let (mut total, mut largest) = (0, 0);
    for layer in 0..=LAYERS {
        let mut shapes: Vec<(String, Vec<usize>)> = Vec::new();
        if layer == LAYERS {
            shapes.push(("model.embed_tokens.weight".into(), vec![260, HIDDEN]));
            shapes.push(("model.norm.weight".into(), vec![HIDDEN]));
        } else {
            let mut add =
                |name: &str, shape: Vec<usize>| shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
            ["q", "k", "v", "o"].iter().for_each(|p| add(&format!("self_attn.{p}_proj"), vec![HIDDEN, HIDDEN]));
            add("mlp.gate_proj", vec![INNER, HIDDEN]);
            add("mlp.up_proj", vec![INNER, HIDDEN]);
            add("mlp.down_proj", vec![HIDDEN, INNER]);
            add("input_layernorm", vec![HIDDEN]);
            add("post_attention_layernorm", vec![HIDDEN]);
        }
        let file = format!("shard-{layer}.safetensors");
        let views = shapes.iter().map(|(name, shape)| {
            let bytes = shape.iter().product::<usize>() * 2;
            (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), &zeros[..bytes]).unwrap())
        });
        safetensors::serialize_to_file(views, None::<HashMap<String, String>>, &folder.join(&file)).unwrap();
        map.extend(shapes.iter().map(|(name, _)| (name.clone(), file.clone())));
        let size = fs::metadata(folder.join(&file)).unwrap().len();
        total += size;
        largest = largest.max(size);
    }
    fs::write(folder.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    (total, largest)
}

#[test]
fn peak_is_the_network_and_at_most_a_shard_more() {
    if memory("VmHWM:").is_none() {
        return Requirement::Proc.missing("/proc/self/status does not tell the peak memory of a process");
    }
    let folder = tempfile::tempdir().unwrap();
    let (total, largest) = write_model(folder.path());
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    // Cast to f32, which is twice the stored size.
    let size = 2 * total;
    let before = memory("VmRSS:").unwrap();
    let settings = RewardModelSettings { text, precision: Precision::F32, ..Default::default() };
    let model = RewardModel::from_folder(folder.path(), &settings, Device::cpu()).unwrap();
    let peak = memory("VmHWM:").unwrap() - before;
    println!("network {size}, largest shard {largest}, peak {peak}");
    assert!(peak < size + largest * 6 / 5, "{peak} bytes for a network of {size} in shards of {largest}");
    drop(model);
}
