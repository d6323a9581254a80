//! Tensors by the names of Hugging Face's checkpoints.

use std::collections::BTreeMap;

use super::TensorEntry;
use super::architecture::Architecture;
use super::config::heads;
use super::metadata::Keys;

/// The order of the rows of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// As in the checkpoint.
    Same,
    /// llama.cpp turns neighbouring numbers of a head, transformers turns number `i` with number `i + size / 2`: the rows
    /// of a head of this size are interleaved.
    Interleaved {
        /// Rows of one head.
        size: usize,
    },
}

impl RowOrder {
    /// The row of the file that is row `row` of the checkpoint.
    pub(crate) fn stored(self, row: usize) -> usize {
        match self {
            RowOrder::Same => row,
            RowOrder::Interleaved { size } => {
                let (head, within) = (row / size, row % size);
                let half = size / 2;
                head * size + within % half * 2 + within / half
            }
        }
    }
}

/// Names outside of the layers.
const TOP: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// Names within a layer.
const WITHIN: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The checkpoint's name of a tensor; `None` for one that no supported network has.
fn checkpoint_name(name: &str) -> Option<String> {
    let (module, part) = name.rsplit_once('.').filter(|(_, part)| matches!(*part, "weight" | "bias"))?;
    let find = |table: &[(&str, &'static str)], module: &str| {
        table.iter().find(|(found, _)| *found == module).map(|(_, name)| *name)
    };
    match module.strip_prefix("blk.") {
        None => find(&TOP, module).map(|name| format!("{name}.{part}")),
        Some(rest) => {
            let (layer, module) = rest.split_once('.')?;
            let layer: u32 = layer.parse().ok()?;
            find(&WITHIN, module).map(|name| format!("model.layers.{layer}.{name}.{part}"))
        }
    }
}

/// Tensors that are not weights: frequencies and their factors.
fn is_rotary(name: &str) -> bool {
    name.starts_with("rope_freqs.") || name.ends_with(".rope_freqs.weight") || name.ends_with(".attn_rot_embd.weight")
}

/// The weights by their names in a checkpoint.
pub(super) fn weights(
    keys: Keys<'_>,
    tensors: &BTreeMap<String, TensorEntry>,
) -> Result<Vec<(String, TensorEntry, RowOrder)>, String> {
    let architecture = Architecture::of(keys)?;
    let (heads, kv_heads) = heads(keys, architecture)?;
    let mut weights = Vec::with_capacity(tensors.len());
    for (name, entry) in tensors.iter().filter(|(name, _)| !is_rotary(name)) {
        let Some(checkpoint) = checkpoint_name(name) else {
            return Err(format!("tensor {name} belongs to no network of architecture {}", architecture.name()));
        };
        let heads = match name.split('.').nth(2) {
            Some("attn_q") if architecture == Architecture::Llama => Some(heads),
            Some("attn_k") if architecture == Architecture::Llama => Some(kv_heads),
            _ => None,
        };
        let order = match heads {
            None => RowOrder::Same,
            Some(heads) => interleaved(name, entry, heads)?,
        };
        weights.push((checkpoint, entry.clone(), order));
    }
    Ok(weights)
}

fn interleaved(name: &str, entry: &TensorEntry, heads: i64) -> Result<RowOrder, String> {
    let rows = entry.shape.first().copied().unwrap_or_default();
    match usize::try_from(rows / heads) {
        Ok(size) if rows % heads == 0 && size >= 2 && size % 2 == 0 => Ok(RowOrder::Interleaved { size }),
        _ => Err(format!("tensor {name} has {rows} rows, which {heads} heads of an even size cannot have")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_those_of_a_checkpoint() {
        for (name, expected) in [
            ("token_embd.weight", Some("model.embed_tokens.weight")),
            ("output.weight", Some("lm_head.weight")),
            ("blk.12.attn_k.bias", Some("model.layers.12.self_attn.k_proj.bias")),
            ("blk.0.ffn_norm.weight", Some("model.layers.0.post_attention_layernorm.weight")),
            ("blk.0.ffn_gate_inp.weight", None),
            ("blk.x.ffn_norm.weight", None),
            ("blk.0.ffn_norm.scale", None),
            ("blk.0.output.weight", None),
        ] {
            assert_eq!(checkpoint_name(name).as_deref(), expected, "{name}");
        }
    }

    /// The permutation of llama.cpp's converter: `w.reshape(heads, 2, size / 2).swapaxes(1, 2)`.
    #[test]
    fn interleaved_rows_go_back_to_their_halves() {
        let order = RowOrder::Interleaved { size: 6 };
        let written: Vec<usize> = (0..2).flat_map(|h| [0, 3, 1, 4, 2, 5].map(|r| h * 6 + r)).collect();
        for row in 0..12 {
            assert_eq!(written[order.stored(row)], row);
        }
    }
}
