//! Damaged and hostile GGUF files: each is refused with one sentence, at once and without large allocations.

#![allow(clippy::unwrap_used)]

mod gguf_writer;

use std::path::Path;

use gguf_writer::{Tensor, Value, Writer, llama, text};
use ser_model::{GgufFile, ModelError};

fn open(folder: &Path, bytes: &[u8]) -> Result<GgufFile, ModelError> {
    let path = folder.join("hostile.gguf");
    std::fs::write(&path, bytes).unwrap();
    GgufFile::open(&path)
}

fn sentence(error: &ModelError) -> String {
    let said = error.to_string();
    assert!(said.contains("hostile.gguf: ") && said.lines().count() == 1 && said.len() < 1000, "{said}");
    said
}

fn with(change: impl FnOnce(&mut Writer)) -> Writer {
    let mut writer = llama();
    change(&mut writer);
    writer
}

fn tensor(name: &str, dims: &[u64], kind: u32, offset: Option<u64>) -> Tensor {
    Tensor { name: name.to_owned(), dims: dims.to_vec(), kind, bytes: Vec::new(), offset }
}

const HUGE: u64 = 1 << 60;

#[test]
fn every_hostile_field_gets_its_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let list = |kind, count, bytes| Value::List(kind, count, bytes);
    for (name, writer, said) in [
        ("magic", with(|w| w.magic = *b"GGML"), "begins with \"GGML\""),
        ("version 0", with(|w| w.version = 0), "version 0"),
        ("version 1", with(|w| w.version = 1), "version 1"),
        ("version 4", with(|w| w.version = 4), "version 4 of the format; versions 2 and 3 are read"),
        ("big-endian", with(|w| w.version = 3u32.swap_bytes()), "big-endian"),
        ("tensor count", with(|w| w.counts[0] = Some(HUGE)), "the number of tensors is 1152921504606846976"),
        ("tensor count", with(|w| w.counts[0] = Some(u64::MAX)), "the number of tensors is"),
        ("key count", with(|w| w.counts[1] = Some(HUGE)), "the number of metadata keys is 1152921504606846976"),
        ("text length", llama().key("x", Value::Raw(8, HUGE.to_le_bytes().into())), "1152921504606846976 bytes"),
        ("text length", llama().key("x", Value::Raw(8, u64::MAX.to_le_bytes().into())), "metadata key x takes"),
        ("list count", llama().key("x", list(8, HUGE, Vec::new())), "the number of entries of metadata key x is 1152"),
        ("list count", llama().key("x", list(0, u64::MAX, Vec::new())), "the number of entries of metadata key x is"),
        ("entry length", llama().key("x", list(8, 1, HUGE.to_le_bytes().into())), "inside entry 0 of 1"),
        ("list of lists", llama().key("x", list(9, 1, vec![0; 12])), "a list of lists"),
        ("list type", llama().key("x", list(13, 1, vec![0; 12])), "the unknown type 13"),
        ("key type", llama().key("x", Value::Raw(4096, Vec::new())), "the unknown type 4096"),
        ("flag", llama().key("x", Value::Raw(7, vec![2])), "it must be 0 or 1"),
        ("key with NUL", llama().key("a\0b", Value::U32(1)), "control character '\\0'"),
        ("empty key", llama().key("", Value::U32(1)), "has 0 bytes"),
        ("key twice", with(|w| w.keys.push(("general.architecture".into(), Value::U32(1)))), "occurs twice"),
        ("alignment 0", llama().key("general.alignment", Value::U32(0)), "general.alignment is 0"),
        ("alignment 3", llama().key("general.alignment", Value::U32(3)), "a power of two"),
        ("alignment 2^31", llama().key("general.alignment", Value::U32(1 << 31)), "a power of two up to"),
        ("alignment text", llama().key("general.alignment", Value::Text("x")), "general.alignment is a text"),
        ("name with NUL", llama().tensor("a\0b", &[8], 1.0), "control character '\\0'"),
        ("long name", llama().tensor(&"n".repeat(257), &[8], 1.0), "has 257 bytes; it may have 1 to 256"),
        ("tensor twice", llama().tensor("output_norm.weight", &[8], 1.0), "tensor output_norm.weight occurs twice"),
        ("no dimensions", with(|w| w.tensors.push(tensor("x", &[], 0, None))), "has 0 dimensions"),
        ("5 dimensions", with(|w| w.tensors.push(tensor("x", &[1; 5], 0, None))), "has 5 dimensions"),
        ("dimension 0", with(|w| w.tensors.push(tensor("x", &[0], 0, None))), "a dimension of size 0"),
        ("huge dimension", with(|w| w.tensors.push(tensor("x", &[u64::MAX], 0, None))), "a dimension of size"),
        ("overflow", with(|w| w.tensors.push(tensor("x", &[1 << 40, 1 << 40], 0, None))), "more numbers than"),
        ("overflow", with(|w| w.tensors.push(tensor("x", &[1 << 62], 0, None))), "more numbers than"),
        ("beyond the end", with(|w| w.tensors.push(tensor("x", &[1 << 40], 0, None))), "it is not complete"),
        ("half a block", with(|w| w.tensors.push(tensor("x", &[48], 8, None))), "Q8_0 cannot store in blocks of 32"),
        ("IQ type", with(|w| w.tensors.push(tensor("x", &[256], 16, None))), "type IQ2_XXS, which is not read"),
        ("unknown type", with(|w| w.tensors.push(tensor("x", &[256], 999, None))), "the unknown type 999"),
        ("odd offset", with(|w| w.tensors.push(tensor("x", &[8], 0, Some(7)))), "not a multiple of 32"),
        ("huge offset", with(|w| w.tensors.push(tensor("x", &[8], 0, Some(u64::MAX - 31)))), "tensor x"),
        ("overlap", with(|w| w.tensors[1].offset = Some(0)), "output_norm.weight and token_embd.weight overlap"),
    ] {
        let error = open(folder.path(), &writer.bytes().0).unwrap_err();
        let found = sentence(&error);
        assert!(found.contains(said), "{name}: {found}");
    }
    let not_text = llama().bytes().0;
    let at = not_text.windows(20).position(|window| window == b"general.architecture").unwrap();
    let mut bytes = not_text.clone();
    bytes[at] = 0xff;
    assert!(sentence(&open(folder.path(), &bytes).unwrap_err()).contains("is not UTF-8"));
}

/// A file that ends anywhere in its header, or in its tensors, is refused.
#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, header) = llama().bytes();
    assert!(open(folder.path(), &bytes).is_ok());
    for length in 0..header {
        sentence(&open(folder.path(), &bytes[..length]).unwrap_err());
    }
    for length in (header..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        sentence(&open(folder.path(), &bytes[..length]).unwrap_err());
    }
}

/// With any byte changed, a file opens or is refused with a sentence, and so are the network's settings and its tokenizer.
#[test]
fn a_changed_byte_never_fails_in_another_way() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, header) = llama().bytes();
    for at in 0..header {
        for value in [0, 0xff, bytes[at].wrapping_add(1)] {
            let mut changed = bytes.clone();
            changed[at] = value;
            match open(folder.path(), &changed) {
                Err(error) => drop(sentence(&error)),
                Ok(file) => {
                    file.config_json().err().map(|error| sentence(&error));
                    file.tokenizer_files().err().map(|error| sentence(&error));
                    file.generation_config_json().err().map(|error| sentence(&error));
                }
            }
        }
    }
}

/// The format's older version 2 has the same layout; other alignments move the tensors.
#[test]
fn version_2_and_other_alignments_are_read() {
    let folder = tempfile::tempdir().unwrap();
    assert!(open(folder.path(), &with(|w| w.version = 2).bytes().0).is_ok());
    for alignment in [1usize, 8, 256] {
        let writer = with(|w| w.alignment = alignment).key("general.alignment", Value::U32(alignment as u32));
        let file = open(folder.path(), &writer.bytes().0).unwrap();
        assert_eq!(file.tensor("output_norm.weight").unwrap(), [1.0; 8]);
    }
    assert_eq!(text("ab").len(), 10);
}
