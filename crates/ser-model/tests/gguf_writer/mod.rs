//! Writes GGUF files for tests, sound ones and others.

#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;

/// A value of a key, with the number of its type in the file.
#[derive(Clone)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(&'static str),
    /// Entries of one type, already as bytes.
    List(u32, u64, Vec<u8>),
    /// Any type and bytes.
    Raw(u32, Vec<u8>),
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

pub(crate) fn texts(list: &[&str]) -> Value {
    Value::List(8, list.len() as u64, list.iter().flat_map(|entry| text(entry)).collect())
}

pub(crate) fn numbers(list: &[i32]) -> Value {
    Value::List(5, list.len() as u64, list.iter().flat_map(|n| n.to_le_bytes()).collect())
}

/// A tensor: name, dimensions with the innermost one first, type, bytes; the offset is that of its position unless given.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dims: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offset: Option<u64>,
}

/// A file to be written.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    pub(crate) keys: Vec<(String, Value)>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) alignment: usize,
    /// Counts to be written instead of the true ones.
    pub(crate) counts: [Option<u64>; 2],
}

impl Writer {
    pub(crate) fn new() -> Self {
        let (magic, keys, tensors) = (*b"GGUF", Vec::new(), Vec::new());
        Writer { magic, version: 3, keys, tensors, alignment: 32, counts: [None, None] }
    }

    pub(crate) fn key(mut self, key: &str, value: Value) -> Self {
        self.keys.retain(|(found, _)| found != key);
        self.keys.push((key.to_owned(), value));
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(found, _)| found != key);
        self
    }

    /// A tensor of f32 numbers, all of them `value`.
    pub(crate) fn tensor(mut self, name: &str, dims: &[u64], value: f32) -> Self {
        let count = dims.iter().product::<u64>() as usize;
        let bytes = vec![value.to_le_bytes(); count].concat();
        self.tensors.push(Tensor { name: name.to_owned(), dims: dims.to_vec(), kind: 0, bytes, offset: None });
        self
    }

    /// The bytes, and how many of them are the header.
    pub(crate) fn bytes(&self) -> (Vec<u8>, usize) {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.counts[0].unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.counts[1].unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend(text(key));
            let (kind, bytes) = match value {
                Value::U32(n) => (4, n.to_le_bytes().to_vec()),
                Value::F32(x) => (6, x.to_le_bytes().to_vec()),
                Value::Bool(flag) => (7, vec![u8::from(*flag)]),
                Value::Text(value) => (8, text(value)),
                Value::List(kind, count, entries) => {
                    (9, [&kind.to_le_bytes()[..], &count.to_le_bytes(), entries].concat())
                }
                Value::Raw(kind, bytes) => (*kind, bytes.clone()),
            };
            out.extend(u32::to_le_bytes(kind));
            out.extend(bytes);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            data.resize(data.len().next_multiple_of(self.alignment), 0);
            out.extend(text(&tensor.name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|n| n.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.bytes);
        }
        let header = out.len();
        out.resize(header.next_multiple_of(self.alignment), 0);
        out.extend(data);
        (out, header)
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes().0).unwrap();
    }
}

/// A whole Llama with one layer of width 8 and a vocabulary of single bytes.
pub(crate) fn llama() -> Writer {
    let mut writer = Writer::new()
        .key("general.architecture", Value::Text("llama"))
        .key("llama.block_count", Value::U32(1))
        .key("llama.context_length", Value::U32(64))
        .key("llama.embedding_length", Value::U32(8))
        .key("llama.feed_forward_length", Value::U32(12))
        .key("llama.attention.head_count", Value::U32(2))
        .key("llama.attention.head_count_kv", Value::U32(1))
        .key("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5))
        .key("tokenizer.ggml.model", Value::Text("gpt2"))
        .key("tokenizer.ggml.pre", Value::Text("gpt-2"))
        .key("tokenizer.ggml.tokens", texts(&["<s>", "a", "b", "ab"]))
        .key("tokenizer.ggml.token_type", numbers(&[3, 1, 1, 1]))
        .key("tokenizer.ggml.merges", texts(&["a b"]))
        .key("tokenizer.ggml.bos_token_id", Value::U32(0))
        .key("tokenizer.ggml.eos_token_id", Value::U32(0))
        .tensor("token_embd.weight", &[8, 4], 0.5)
        .tensor("output_norm.weight", &[8], 1.0);
    for (name, dims) in [
        ("attn_norm", &[8][..]),
        ("ffn_norm", &[8]),
        ("attn_q", &[8, 8]),
        ("attn_k", &[8, 4]),
        ("attn_v", &[8, 4]),
        ("attn_output", &[8, 8]),
        ("ffn_gate", &[8, 12]),
        ("ffn_up", &[8, 12]),
        ("ffn_down", &[12, 8]),
    ] {
        writer = writer.tensor(&format!("blk.0.{name}.weight"), dims, 0.25);
    }
    writer
}
