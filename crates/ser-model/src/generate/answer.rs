//! An answer in the making: its tokens, its text, and where it ends.

use ser_core::{Response, Sampling};
use ser_data::{IncrementalDecoder, PairTokenizer};

use crate::ModelError;

/// One answer as far as it has come.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<u32>,
    pub(crate) log_probs: Vec<f64>,
    text: String,
    /// Bytes of the text that were shown.
    shown: usize,
    decoder: IncrementalDecoder,
    /// Whether the text's first space belongs to the template.
    strip_space: bool,
    /// Whether a stop text cut it.
    cut: bool,
    finished: bool,
}

impl Answer {
    pub(crate) fn new(prompt: &[u32], strip_space: bool) -> Self {
        Answer {
            tokens: Vec::new(),
            log_probs: Vec::new(),
            text: String::new(),
            shown: 0,
            decoder: IncrementalDecoder::after(prompt),
            strip_space,
            cut: false,
            finished: false,
        }
    }

    /// Takes the next token; true if the answer ends with it.
    pub(crate) fn push(
        &mut self,
        token: u32,
        sampling: &Sampling,
        stop_ids: &[u32],
        tokenizer: &PairTokenizer,
    ) -> Result<bool, ModelError> {
        self.tokens.push(token);
        if stop_ids.contains(&token) {
            self.finished = true;
        } else {
            let piece = self.decoder.push(tokenizer, token)?;
            self.append(&piece, &sampling.stop);
        }
        Ok(self.finished || self.tokens.len() >= sampling.max_new_tokens)
    }

    /// What has become certain of the text since the last call: no half characters, nothing that may still turn out to
    /// begin a stop text.
    pub(crate) fn news(&mut self, stop: &[String], ended: bool) -> &str {
        let held = if ended { 0 } else { stop.iter().map(|s| beginning(&self.text, s)).max().unwrap_or(0) };
        let from = self.shown;
        self.shown = self.shown.max(self.text.len() - held);
        self.text.get(from..self.shown).unwrap_or_default()
    }

    /// Ends the text: bytes that never became a character come as U+FFFD.
    pub(crate) fn close(&mut self, sampling: &Sampling, tokenizer: &PairTokenizer) -> Result<(), ModelError> {
        if !self.cut {
            let rest = std::mem::replace(&mut self.decoder, IncrementalDecoder::after(&[])).finish(tokenizer)?;
            self.append(&rest, &sampling.stop);
        }
        Ok(())
    }

    pub(crate) fn into_response(self) -> (Response, Vec<f64>) {
        (Response { text: self.text, tokens: self.tokens, finished: self.finished }, self.log_probs)
    }

    fn append(&mut self, piece: &str, stop: &[String]) {
        let mut piece = piece;
        if self.strip_space && !piece.is_empty() {
            piece = piece.strip_prefix(' ').unwrap_or(piece);
            self.strip_space = false;
        }
        let before = self.text.len();
        self.text.push_str(piece);
        // A stop text may have begun in what was there, but not ended in it.
        let found = stop.iter().filter_map(|s| {
            let mut from = before.saturating_sub(s.len());
            while !self.text.is_char_boundary(from) {
                from -= 1;
            }
            self.text.get(from..)?.find(s.as_str()).map(|at| from + at)
        });
        if let Some(at) = found.min() {
            self.text.truncate(at);
            (self.cut, self.finished) = (true, true);
        }
    }
}

/// How many bytes at the end of `text` begin `stop`.
fn beginning(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|&n| stop.is_char_boundary(n) && text.ends_with(stop.get(..n).unwrap_or("\0")))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ser_data::{TextSettings, train_tokenizer};

    #[test]
    fn a_stop_text_across_tokens_ends_the_answer_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        train_tokenizer(["x"].into_iter(), 258, folder.path()).unwrap();
        let tokenizer = PairTokenizer::from_folder(folder.path(), &TextSettings::default()).unwrap();
        let stop = vec!["\n\nHuman".to_owned(), "!!".to_owned()];
        let sampling = Sampling { stop, ..Sampling::default() };
        // One token a byte.
        let run = |text: &str, strip: bool| {
            let mut answer = Answer::new(&[], strip);
            let mut shown = Vec::new();
            for token in tokenizer.encode(text, false).unwrap() {
                let ended = answer.push(token, &sampling, &[1], &tokenizer).unwrap();
                if ended {
                    answer.close(&sampling, &tokenizer).unwrap();
                }
                shown.push(answer.news(&sampling.stop, ended).to_owned());
                if ended {
                    break;
                }
            }
            answer.close(&sampling, &tokenizer).unwrap();
            shown.push(answer.news(&sampling.stop, true).to_owned());
            let (response, _) = answer.into_response();
            assert_eq!(shown.concat(), response.text);
            (response, shown)
        };
        let (response, shown) = run("é wahr\n\n\nHuman: more", false);
        assert_eq!((response.text.as_str(), response.finished), ("é wahr\n", true));
        assert_eq!(response.tokens.len(), "é wahr\n\n\nHuman".len());
        assert!(shown.iter().all(|piece| !piece.contains("\n\n") && !piece.contains('\u{fffd}')), "{shown:?}");
        let (response, _) = run(" so! no", true);
        assert_eq!((response.text.as_str(), response.finished), ("so! no", false));
        assert_eq!(run("so!! no", false).0.text, "so");
        assert_eq!(run("!", false).0.text, "!");
    }

    #[test]
    fn beginnings() {
        assert_eq!(beginning("ab\n", "\n\nH"), 1);
        assert_eq!(beginning("ab\n\n", "\n\nH"), 2);
        assert_eq!(beginning("ab", "\n\nH"), 0);
        assert_eq!(beginning("é", "éa"), 2);
        assert_eq!(beginning("", "a"), 0);
    }
}
