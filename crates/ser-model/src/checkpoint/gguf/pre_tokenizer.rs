//! How byte-level vocabularies split a text before their merges, by the name in `tokenizer.ggml.pre`.

use serde_json::{Value, json};

/// Contractions, letters, digits one by one.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with digits in groups of up to three.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words split where a capital letter follows a small one.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As `TEKKEN`, with contractions and digits in groups.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// llama.cpp's rule for a file that names none: runs of punctuation, then GPT-2's rule, then digits in threes.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

/// The rule of a vocabulary.
pub(super) struct Rule {
    /// `normalizer` of tokenizer.json.
    pub(super) normalizer: Value,
    /// `pre_tokenizer` of tokenizer.json.
    pub(super) pre_tokenizer: Value,
    /// Whether a word that is a token needs no merges.
    pub(super) ignore_merges: bool,
    /// Whether a text begins with the bos token where the file does not say.
    pub(super) add_bos: bool,
}

/// The names that are read.
const NAMES: &str = "default, gpt-2, phi-2, olmo, smollm, starcoder, refact, codeshell, llama-bpe, llama3, llama-v3, \
                     falcon3, dbrx, smaug-bpe, lfm2, qwen2, deepseek-r1-qwen, megrez, stablelm2, tekken, gpt-4o, llama4";

fn byte_level(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

fn split(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}

fn sequence(parts: &[Value]) -> Value {
    json!({"type": "Sequence", "pretokenizers": parts})
}

/// The rule with this name.
pub(super) fn rule(name: &str) -> Result<Rule, String> {
    let by = |pattern: &str| sequence(&[split(pattern), byte_level(false)]);
    let plain = |pre_tokenizer| Rule { normalizer: Value::Null, pre_tokenizer, ignore_merges: false, add_bos: false };
    Ok(match name {
        "gpt-2" | "phi-2" | "olmo" => plain(byte_level(true)),
        "default" => {
            let mut parts: Vec<Value> = DEFAULT.into_iter().map(split).collect();
            parts.push(byte_level(false));
            plain(sequence(&parts))
        }
        "smollm" | "starcoder" | "refact" | "codeshell" => {
            plain(sequence(&[json!({"type": "Digits", "individual_digits": true}), byte_level(true)]))
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "lfm2" => {
            Rule { ignore_merges: true, add_bos: true, ..plain(by(LLAMA3)) }
        }
        "dbrx" | "smaug-bpe" => plain(by(LLAMA3)),
        // Qwen's tokenizer.json composes characters; llama.cpp does not.
        "qwen2" => Rule { normalizer: json!({"type": "NFC"}), ..plain(by(QWEN2)) },
        "deepseek-r1-qwen" | "megrez" | "stablelm2" => plain(by(QWEN2)),
        "tekken" => Rule { ignore_merges: true, add_bos: true, ..plain(by(TEKKEN)) },
        "gpt-4o" | "llama4" => plain(by(GPT4O)),
        other => {
            let shown: String = other.chars().take(60).collect();
            return Err(format!("tokenizer.ggml.pre {shown:?} is not supported; supported: {NAMES}"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_in_the_list_has_a_rule() {
        for name in NAMES.split(", ") {
            rule(name).unwrap();
        }
        let error = rule("deepseek-v9").err().unwrap();
        assert!(error.contains("\"deepseek-v9\"") && error.contains("smollm"), "{error}");
    }
}
