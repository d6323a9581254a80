//! Incremental decoding of tokens, in pieces of whole characters.

use super::PairTokenizer;
use crate::DataError;

/// Number of the prompt's tokens that precede an answer in decoding: some tokenizers drop a text's first space.
const CONTEXT: usize = 8;

/// Decodes an answer token by token; the joined pieces are its text.
///
/// A character whose bytes are spread over several tokens is returned whole; special tokens give no text.
#[derive(Clone, Debug)]
pub struct IncrementalDecoder {
    /// The last tokens returned, then those that are not.
    tokens: Vec<u32>,
    /// Number of returned tokens among them.
    given: usize,
}

impl IncrementalDecoder {
    /// Starts after a prompt.
    pub fn after(prompt: &[u32]) -> Self {
        let tokens = prompt.get(prompt.len().saturating_sub(CONTEXT)..).unwrap_or_default().to_vec();
        IncrementalDecoder { given: tokens.len(), tokens }
    }

    /// Adds the next token and returns the text that it completes, often none.
    pub fn push(&mut self, tokenizer: &PairTokenizer, token: u32) -> Result<String, DataError> {
        self.tokens.push(token);
        let text = self.waiting(tokenizer)?;
        // The replacement character of incomplete bytes.
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.tokens.drain(..self.given);
        self.given = self.tokens.len();
        Ok(text)
    }

    /// The rest at the end: bytes of incomplete characters, as U+FFFD.
    pub fn finish(self, tokenizer: &PairTokenizer) -> Result<String, DataError> {
        self.waiting(tokenizer)
    }

    /// The text of the pending tokens, decoded with those before them.
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
        // Half a character at the end is not lost silently.
        let half = tokenizer.encode("猫", false).unwrap();
        let mut decoder = IncrementalDecoder::after(&[]);
        assert_eq!(decoder.push(&tokenizer, half[0]).unwrap(), "");
        assert_eq!(decoder.finish(&tokenizer).unwrap(), "\u{fffd}");
    }
}
