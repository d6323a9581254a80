//! Training of a byte-level BPE tokenizer, for a base model from scratch.

use std::path::Path;

use tokenizers::decoders::byte_level::ByteLevel as Decoder;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

use crate::DataError;

const BEGIN: &str = "<|begin|>";
const END: &str = "<|end|>";

/// Trains a byte-level BPE of at most `vocab_size` tokens and writes `tokenizer.json` and `tokenizer_config.json` into
/// `folder`, in the format of transformers. Equal texts give equal tokenizers. Returns the number of tokens.
///
/// # Errors
/// A vocabulary too small for the 256 bytes and two special tokens; a folder that is not writable.
pub fn train_tokenizer<'a>(
    texts: impl Iterator<Item = &'a str> + Send,
    vocab_size: usize,
    folder: &Path,
) -> Result<usize, DataError> {
    let alphabet = ByteLevel::alphabet();
    if vocab_size < alphabet.len() + 2 {
        return Err(DataError::Setting {
            name: "vocab_size",
            value: vocab_size.to_string(),
            problem: "is too small: 256 bytes and two special tokens take 258",
        });
    }
    let special = |token: &str| AddedToken::from(token, true);
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab_size)
        .special_tokens(vec![special(BEGIN), special(END)])
        .initial_alphabet(alphabet.into_iter().collect())
        .build();
    let path = folder.join("tokenizer.json");
    let failed = |error: tokenizers::Error| DataError::ModelFile { path: path.clone(), problem: error.to_string() };
    let byte_level = ByteLevel::default().add_prefix_space(false);
    let mut tokenizer = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(byte_level))
        .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
        .with_decoder(Some(Decoder::default()))
        .build()
        .map_err(failed)?;
    tokenizer.train(&mut trainer, texts).map_err(failed)?;
    let tokenizer: Tokenizer = tokenizer.into();
    tokenizer.save(&path, false).map_err(failed)?;
    let config = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BEGIN, "eos_token": END, "pad_token": END,
        "clean_up_tokenization_spaces": false,
    });
    let path = folder.join("tokenizer_config.json");
    std::fs::write(&path, format!("{config:#}\n")).map_err(|source| DataError::io("write", &path, source))?;
    Ok(tokenizer.get_vocab_size(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PairTokenizer, TextSettings};

    const TEXTS: [&str; 3] = ["the cat sat on the mat", "the dog sat on the log", "ünïcode, the bytes of it"];

    #[test]
    fn the_same_texts_give_the_same_tokenizer_and_it_reads_back() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &two] {
            assert_eq!(train_tokenizer(TEXTS.into_iter(), 270, folder.path()).unwrap(), 270);
        }
        let read = |folder: &tempfile::TempDir| std::fs::read(folder.path().join("tokenizer.json")).unwrap();
        assert_eq!(read(&one), read(&two));
        let tokenizer = PairTokenizer::from_folder(one.path(), &TextSettings::default()).unwrap();
        let tokens = tokenizer.encode("the cat, naïve 猫", true).unwrap();
        assert_eq!(tokenizer.decode(&tokens).unwrap(), "the cat, naïve 猫");
        assert!(tokens.len() < "the cat, naïve 猫".len(), "merges were learned");
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(0), Some(1)));
    }

    #[test]
    fn too_small_a_vocabulary_is_refused() {
        let error = train_tokenizer(TEXTS.into_iter(), 100, Path::new(".")).unwrap_err().to_string();
        assert!(error.contains("vocab_size = 100"), "{error}");
    }
}
