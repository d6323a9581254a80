//! Tokens to text as they come, in pieces of whole characters.

use super::PairTokenizer;
use crate::DataError;

/// Tokens of the prompt that the first tokens of an answer are decoded with: some tokenizers drop a text's first space.
const CONTEXT: usize = 8;

/// Decodes an answer token by token; the pieces joined are its text.
///
/// A character whose bytes are spread over tokens comes whole, and special tokens give nothing.
#[derive(Clone, Debug)]
pub struct IncrementalDecoder {
    /// The last tokens given out, then those that are not.
    tokens: Vec<u32>,
    /// How many of them were given out.
    given: usize,
}

impl IncrementalDecoder {
    /// Begins after a prompt.
    pub fn after(prompt: &[u32]) -> Self {
        let tokens = prompt.get(prompt.len().saturating_sub(CONTEXT)..).unwrap_or_default().to_vec();
        IncrementalDecoder { given: tokens.len(), tokens }
    }

    /// Takes the next token and returns the text that it makes whole, often none.
    pub fn push(&mut self, tokenizer: &PairTokenizer, token: u32) -> Result<String, DataError> {
        self.tokens.push(token);
        let text = self.waiting(tokenizer)?;
        // The mark of bytes that are no character yet.
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.tokens.drain(..self.given);
        self.given = self.tokens.len();
        Ok(text)
    }

    /// What is left at the end: bytes that never became a character, as U+FFFD.
    pub fn finish(self, tokenizer: &PairTokenizer) -> Result<String, DataError> {
        self.waiting(tokenizer)
    }

    /// The text of the tokens not given out, decoded with those before them.
    fn waiting(&self, tokenizer: &PairTokenizer) -> Result<String, DataError> {
        if self.tokens.len() == self.given {
            return Ok(String::new());
        }
        let before = tokenizer.decode(self.tokens.get(..self.given).unwrap_or_default())?;
        let whole = tokenizer.decode(&self.tokens)?;
        let before = before.trim_end_matches(char::REPLACEMENT_CHARACTER);
        Ok(whole.strip_prefix(before).unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TextSettings, train_tokenizer};

    #[test]
    fn pieces_are_whole_characters_and_make_the_text() {
        let folder = tempfile::tempdir().unwrap();
        train_tokenizer(["the cat sat on the mat"].into_iter(), 264, folder.path()).unwrap();
        let tokenizer = PairTokenizer::from_folder(folder.path(), &TextSettings::default()).unwrap();
        let text = " naïve 猫 the cat 🐈.";
        let mut tokens = tokenizer.encode(text, false).unwrap();
        tokens.insert(4, tokenizer.eos_id().unwrap());
        for prompt in ["", "the mat", "long enough to be cut somewhere in the middle"] {
            let mut decoder = IncrementalDecoder::after(&tokenizer.encode(prompt, false).unwrap());
            let pieces: Vec<String> = tokens.iter().map(|&t| decoder.push(&tokenizer, t).unwrap()).collect();
            assert!(pieces.iter().all(|piece| !piece.contains(char::REPLACEMENT_CHARACTER)));
            assert!(pieces.iter().filter(|piece| !piece.is_empty()).count() > 10);
            assert_eq!(pieces.concat() + &decoder.finish(&tokenizer).unwrap(), text);
        }
        // Half a character at the end is not lost without a sign.
        let half = tokenizer.encode("猫", false).unwrap();
        let mut decoder = IncrementalDecoder::after(&[]);
        assert_eq!(decoder.push(&tokenizer, half[0]).unwrap(), "");
        assert_eq!(decoder.finish(&tokenizer).unwrap(), "\u{fffd}");
    }
}
