//! Any bytes as a GGUF file: it opens or gives an error of one sentence, and so do its settings, its tokenizer and its
//! numbers.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use ser_model::{GgufFile, ModelError, NetworkConfig};

fn sentence(error: ModelError) {
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    // The header's first 8 bytes are given, so that every input gets past them.
    file.write_all(b"GGUF\x03\0\0\0").unwrap();
    file.write_all(bytes).unwrap();
    file.flush().unwrap();
    match GgufFile::open(file.path()) {
        Err(error) => sentence(error),
        Ok(gguf) => {
            let names: Vec<String> = gguf.tensors().map(|(name, ..)| name.to_owned()).collect();
            for name in names {
                gguf.tensor(&name).unwrap();
            }
            gguf.tokenizer_files().err().map(sentence);
            gguf.generation_config_json().err().map(sentence);
            NetworkConfig::from_folder(file.path()).err().map(sentence);
        }
    }
});
