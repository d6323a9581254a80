//! Tokens of texts that are written already.

use super::PairTokenizer;
use crate::{DataError, TemplateKind};

impl PairTokenizer {
    /// The tokens of a whole text that the template, or a program in its place, has already written.
    ///
    /// As in the tokens of pairs, the tokenizer's own tokens are added, except with a chat template, whose texts contain them;
    /// and the end token, if the template is that of the authors' code and `append_eos` is set.
    ///
    /// # Errors
    /// A text that the tokenizer refuses, or a token without an embedding in the network.
    pub fn encode_written(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let settings = self.settings();
        let mut tokens = self.encode(text, settings.template != TemplateKind::Chat)?;
        if let (TemplateKind::AuthorsCode, true, Some(eos)) = (settings.template, settings.append_eos, self.eos_id())
            && tokens.last() != Some(&eos)
        {
            self.check_id(eos, "the end token that append_eos adds")?;
            tokens.push(eos);
        }
        Ok(tokens)
    }
}
