//! An answer during generation: its tokens, its text, and its end.

use ser_core::{Response, Sampling};
use ser_data::{IncrementalDecoder, PairTokenizer};

use crate::ModelError;

/// One answer, complete or not.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<u32>,
    pub(crate) log_probs: Vec<f64>,
    text: String,
    /// Bytes of the text that were emitted.
    emitted: usize,
    decoder: IncrementalDecoder,
    /// Whether the text's first space belongs to the template.
    strip_space: bool,
    /// Whether a stop text ended it.
    cut: bool,
    finished: bool,
}

impl Answer {
    pub(crate) fn new(prompt: &[u32], strip_space: bool) -> Self {
        Answer {
            tokens: Vec::new(),
            log_probs: Vec::new(),
            text: String::new(),
            emitted: 0,
            decoder: IncrementalDecoder::after(prompt),
            strip_space,
            cut: false,
            finished: false,
        }
    }

    /// Adds the next token. True if the answer ends with it.
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

    /// The text that became final since the last call: whole characters, without a possible start of a stop text.
    pub(crate) fn new_text(&mut self, stop: &[String], ended: bool) -> &str {
        let pending = if ended { 0 } else { stop.iter().map(|s| partial_stop(&self.text, s)).max().unwrap_or(0) };
        let from = self.emitted;
        self.emitted = self.emitted.max(self.text.len() - pending);
        self.text.get(from..self.emitted).unwrap_or_default()
    }

    /// Ends the text. Bytes that do not form a character become U+FFFD.
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
        // A stop text may start in the earlier text, but not end in it.
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

/// The number of bytes at the end of `text` that are a start of `stop`.
fn partial_stop(text: &str, stop: &str) -> usize {
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
    fn a_stop_text_across_tokens_ends_the_answer_and_is_not_emitted() {
        let folder = tempfile::tempdir().unwrap();
        train_tokenizer(["x"].into_iter(), 258, folder.path()).unwrap();
        let tokenizer = PairTokenizer::from_folder(folder.path(), &TextSettings::default()).unwrap();
        let stop = vec!["\n\nHuman".to_owned(), "!!".to_owned()];
        let sampling = Sampling { stop, ..Sampling::default() };
        // One token per byte.
        let run = |text: &str, strip: bool| {
            let mut answer = Answer::new(&[], strip);
            let mut emitted = Vec::new();
            for token in tokenizer.encode(text, false).unwrap() {
                let ended = answer.push(token, &sampling, &[1], &tokenizer).unwrap();
                if ended {
                    answer.close(&sampling, &tokenizer).unwrap();
                }
                emitted.push(answer.new_text(&sampling.stop, ended).to_owned());
                if ended {
                    break;
                }
            }
            answer.close(&sampling, &tokenizer).unwrap();
            emitted.push(answer.new_text(&sampling.stop, true).to_owned());
            let (response, _) = answer.into_response();
            assert_eq!(emitted.concat(), response.text);
            (response, emitted)
        };
        let (response, emitted) = run("é wahr\n\n\nHuman: more", false);
        assert_eq!((response.text.as_str(), response.finished), ("é wahr\n", true));
        assert_eq!(response.tokens.len(), "é wahr\n\n\nHuman".len());
        assert!(emitted.iter().all(|piece| !piece.contains("\n\n") && !piece.contains('\u{fffd}')), "{emitted:?}");
        let (response, _) = run(" so! no", true);
        assert_eq!((response.text.as_str(), response.finished), ("so! no", false));
        assert_eq!(run("so!! no", false).0.text, "so");
        assert_eq!(run("!", false).0.text, "!");
    }

    #[test]
    fn partial_stops_are_found() {
        assert_eq!(partial_stop("ab\n", "\n\nH"), 1);
        assert_eq!(partial_stop("ab\n\n", "\n\nH"), 2);
        assert_eq!(partial_stop("ab", "\n\nH"), 0);
        assert_eq!(partial_stop("é", "éa"), 2);
        assert_eq!(partial_stop("", "a"), 0);
    }
}
