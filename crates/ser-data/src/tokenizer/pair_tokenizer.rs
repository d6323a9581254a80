//! Pairs to tokens.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use ser_core::{Message, Pair, Role, Screening, Side};
use tokenizers::{AddedToken, Tokenizer};

use super::chat_template::ChatTemplate;
use super::folder::TokenizerConfig;
use crate::text::{script_prompt, script_text};
use crate::{DataError, TemplateKind, TextSettings, TokenizedPair};

/// The files of a folder that are read.
#[cfg(feature = "index")]
const FILES: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
];

/// The tokenizer of a Hugging Face folder, with the settings that make texts of pairs.
///
/// Prompt and answer are tokenized together, so tokens are those that `transformers` gives for the whole text.
pub struct PairTokenizer {
    folder: PathBuf,
    tokenizer: Tokenizer,
    chat_template: Option<ChatTemplate>,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    vocab_size: usize,
    settings: TextSettings,
}

/// A prompt with one response as tokens, for training on responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedResponse {
    /// The whole text.
    pub tokens: Vec<u32>,
    /// How many of its tokens, from the start, are those of the prompt alone; at least one belongs to the response.
    pub prompt_len: usize,
}

/// A conversation as tokens, for training on every turn of the assistant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedConversation {
    /// The whole text.
    pub tokens: Vec<u32>,
    /// The places of each of the assistant's turns, in order; the last one is the response's.
    pub answers: Vec<Range<usize>>,
}

impl std::fmt::Debug for PairTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairTokenizer")
            .field("folder", &self.folder)
            .field("vocab_size", &self.vocab_size)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl PairTokenizer {
    /// Loads tokenizer.json and what the files beside it say of special tokens and the chat template:
    /// tokenizer_config.json, special_tokens_map.json, config.json, generation_config.json and chat_template.jinja,
    /// each where it is there. Truncation and padding that tokenizer.json asks for are not done.
    ///
    /// # Errors
    /// A missing or malformed file, and settings that the folder cannot serve: the chat template where it has none
    /// ([`DataError::NoChatTemplate`]), an appended end token where it names none ([`DataError::NoEndToken`]).
    pub fn from_folder(folder: impl AsRef<Path>, settings: &TextSettings) -> Result<Self, DataError> {
        settings.check()?;
        let folder = folder.as_ref();
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|error| DataError::io("read", &path, error))?;
        let bad = |problem: String| DataError::ModelFile { path: path.clone(), problem };
        let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| bad(error.to_string()))?;
        tokenizer.with_truncation(None).map_err(|error| bad(error.to_string()))?;
        tokenizer.with_padding(None);

        let config = TokenizerConfig::from_folder(folder)?;
        register_tokens(&mut tokenizer, &config).map_err(bad)?;
        let id = |name: &str| config.named.get(name).and_then(|token| tokenizer.token_to_id(token));
        let (bos_id, eos_id) = (id("bos_token").or(config.bos_id), id("eos_token").or(config.eos_id));

        if settings.template == TemplateKind::Script && settings.append_eos && eos_id.is_none() {
            return Err(DataError::NoEndToken { folder: folder.to_path_buf() });
        }
        let chat_template = match (settings.template, &config.chat_template) {
            (TemplateKind::Chat, Some(source)) => {
                Some(ChatTemplate::new(source, config.named.clone()).map_err(|problem| DataError::ModelFile {
                    path: folder.to_path_buf(),
                    problem: format!("its chat template does not compile: {problem}"),
                })?)
            }
            (TemplateKind::Chat, None) => return Err(DataError::NoChatTemplate { folder: folder.to_path_buf() }),
            _ => None,
        };
        let highest = tokenizer.get_vocab(true).into_values().max();
        let vocab_size = highest.map_or(0, |id| id as usize + 1);
        let folder = folder.to_path_buf();
        Ok(PairTokenizer { folder, tokenizer, chat_template, bos_id, eos_id, vocab_size, settings: settings.clone() })
    }

    /// The folder it was loaded from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &TextSettings {
        &self.settings
    }

    /// The highest id plus one, added tokens included: an embedding needs at least as many rows.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The id of the token that begins a text, where the folder names one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The id of the token that ends a text, where the folder names one.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_id
    }

    /// The files that say how it tokenizes, with what is in them.
    #[cfg(feature = "index")]
    pub(crate) fn files(&self) -> Result<Vec<(String, Vec<u8>)>, DataError> {
        let mut files = Vec::new();
        for name in FILES {
            let path = self.folder.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => files.push((name.to_string(), bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(DataError::io("read", &path, error)),
            }
        }
        Ok(files)
    }

    /// A text's tokens; `add_special_tokens` adds what the tokenizer itself puts around a text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, DataError> {
        match self.tokenizer.encode_fast(text, add_special_tokens) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(DataError::Tokenize { bytes: text.len(), problem: error.to_string() }),
        }
    }

    /// Tokens as text, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        self.tokenizer
            .decode(ids, true)
            .map_err(|error| DataError::Decode { count: ids.len(), problem: error.to_string() })
    }

    /// Tokenizes pairs in parallel; the result is in the order of `pairs` whatever the thread count.
    ///
    /// # Errors
    /// The first pair, in order, that the template or the tokenizer cannot take.
    pub fn tokenize(&self, pairs: &[Arc<Pair>]) -> Result<Vec<TokenizedPair>, DataError> {
        // Collected as results first: the error is then that of the first pair, not of the fastest thread.
        let results: Vec<_> = pairs.par_iter().map(|pair| self.tokenize_pair(pair)).collect();
        results.into_iter().collect()
    }

    /// Tokenizes one pair.
    pub fn tokenize_pair(&self, pair: &Pair) -> Result<TokenizedPair, DataError> {
        let [a, b] = match self.settings.template {
            TemplateKind::Raw => {
                let Some([a, b]) = pair.raw_texts() else {
                    return Err(DataError::NoRawText { what: format!("pair {}", pair.id.0) });
                };
                [self.encode(&a, true)?, self.encode(&b, true)?]
            }
            TemplateKind::Script | TemplateKind::Chat => {
                let what = || format!("pair {}", pair.id.0);
                let text = |side| self.templated(&pair.prompt, pair.response(side), &what);
                [text(Side::A)?, text(Side::B)?]
            }
        };
        Ok(TokenizedPair::from_tokens(&a, &b))
    }

    /// Which pairs can be used, as far as tokens tell: neither text over `max_length`, nor both the same, nor an
    /// answer without tokens. [`screen_pairs`](Self::screen_pairs) also sees blank answers.
    pub fn screen(&self, pairs: &[TokenizedPair]) -> Vec<Screening> {
        pairs.iter().map(|pair| self.screen_tokens(pair)).collect()
    }

    /// Tokenizes and screens pairs in parallel, keeping no tokens: as [`screen`](Self::screen), and an answer of
    /// nothing but whitespace is [`Screening::Empty`] though the template puts tokens after it.
    pub fn screen_pairs(&self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, DataError> {
        let results: Vec<_> = pairs
            .par_iter()
            .map(|pair| {
                if pair.responses.iter().any(|response| response.trim().is_empty()) {
                    return Ok(Screening::Empty);
                }
                Ok(self.screen_tokens(&self.tokenize_pair(pair)?))
            })
            .collect();
        results.into_iter().collect()
    }

    fn screen_tokens(&self, pair: &TokenizedPair) -> Screening {
        let [a, b] = &pair.answers;
        let longest = pair.text_len(Side::A).max(pair.text_len(Side::B));
        if a.is_empty() || b.is_empty() {
            Screening::Empty
        } else if self.settings.max_length.is_some_and(|limit| longest > limit) {
            Screening::TooLong
        } else if a == b {
            Screening::Identical
        } else {
            Screening::Fit
        }
    }

    /// A prompt's tokens, after which a model is to answer.
    ///
    /// With the script template they end in `Answer:`; the space that follows belongs to the response. The raw
    /// template takes a prompt of a single user turn as it stands.
    ///
    /// # Errors
    /// A conversation under the raw template ([`DataError::NoRawText`]), or one that the chat template refuses.
    pub fn encode_prompt(&self, prompt: &[Message]) -> Result<Vec<u32>, DataError> {
        match self.settings.template {
            TemplateKind::Raw => self.encode_open(&raw_prompt(prompt)?),
            TemplateKind::Script => self.encode_open(&script_prompt(prompt)),
            TemplateKind::Chat => self.encode(&self.chat(prompt, true, &|| "a prompt".to_string())?, false),
        }
    }

    /// A text that something follows: a tokenizer that ends every text itself must not end this one.
    fn encode_open(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let mut tokens = self.encode(text, true)?;
        if self.eos_id.is_some()
            && tokens.last().copied() == self.eos_id
            && self.encode(text, false)?.last().copied() != self.eos_id
        {
            tokens.pop();
        }
        Ok(tokens)
    }

    /// A prompt and one response tokenized together, for training on the response.
    pub fn tokenize_response(&self, prompt: &[Message], response: &str) -> Result<TokenizedResponse, DataError> {
        let tokens = match self.settings.template {
            TemplateKind::Raw => self.encode(&format!("{}{response}", raw_prompt(prompt)?), true)?,
            TemplateKind::Script | TemplateKind::Chat => {
                self.templated(prompt, response, &|| "a prompt with its response".to_string())?
            }
        };
        let alone = self.encode_prompt(prompt)?;
        let shared = tokens.iter().zip(&alone).take_while(|(x, y)| x == y).count();
        let prompt_len = shared.min(tokens.len().saturating_sub(1));
        Ok(TokenizedResponse { tokens, prompt_len })
    }

    /// A prompt and one response tokenized together, for training on every turn of the assistant: on its tokens and on
    /// the special token that ends it.
    ///
    /// # Errors
    /// As [`tokenize_response`](Self::tokenize_response), and a chat template that changes what the assistant says.
    pub fn tokenize_conversation(
        &self,
        prompt: &[Message],
        response: &str,
    ) -> Result<TokenizedConversation, DataError> {
        let last = self.tokenize_response(prompt, response)?;
        let earlier: Vec<&Message> = prompt.iter().filter(|turn| turn.role == Role::Assistant).collect();
        let mut answers = Vec::with_capacity(earlier.len() + 1);
        if !earlier.is_empty() {
            let what = || "a prompt with its response".to_string();
            let (text, special) = match self.settings.template {
                TemplateKind::Raw => (format!("{}{response}", raw_prompt(prompt)?), true),
                TemplateKind::Script => (script_text(prompt, response), true),
                TemplateKind::Chat => {
                    let turns: Vec<Message> = prompt.iter().cloned().chain([Message::assistant(response)]).collect();
                    (self.chat(&turns, false, &what)?, false)
                }
            };
            let encoding = self
                .tokenizer
                .encode(text.as_str(), special)
                .map_err(|error| DataError::Tokenize { bytes: text.len(), problem: error.to_string() })?;
            let (offsets, marks) = (encoding.get_offsets(), encoding.get_special_tokens_mask());
            let mut from = 0;
            for turn in prompt {
                let said = turn.content.trim();
                let found = text.get(from..).and_then(|rest| rest.find(said)).map(|at| from + at);
                let Some(start) = found else {
                    let problem = format!("it changes the turn {said:?}, so its tokens cannot be found");
                    return Err(DataError::ChatTemplate { what: what(), problem });
                };
                from = start + said.len();
                if turn.role == Role::Assistant && !said.is_empty() {
                    // A token that begins with the space before the answer belongs to it.
                    let said = |&(begin, end): &(usize, usize)| begin < from && end > start;
                    let begins = offsets.iter().position(said).unwrap_or(last.prompt_len);
                    let mut ends = offsets.iter().rposition(said).map_or(begins, |place| place + 1);
                    ends += usize::from(marks.get(ends) == Some(&1));
                    answers.push(begins..ends.min(last.prompt_len));
                }
            }
        }
        answers.push(last.prompt_len..last.tokens.len());
        Ok(TokenizedConversation { tokens: last.tokens, answers })
    }

    fn templated(&self, prompt: &[Message], response: &str, what: &dyn Fn() -> String) -> Result<Vec<u32>, DataError> {
        if self.settings.template == TemplateKind::Chat {
            let turns: Vec<Message> = prompt.iter().cloned().chain([Message::assistant(response)]).collect();
            return self.encode(&self.chat(&turns, false, what)?, false);
        }
        let mut tokens = self.encode(&script_text(prompt, response), true)?;
        if let (true, Some(eos)) = (self.settings.append_eos, self.eos_id)
            && tokens.last() != Some(&eos)
        {
            tokens.push(eos);
        }
        Ok(tokens)
    }

    fn chat(
        &self,
        turns: &[Message],
        add_generation_prompt: bool,
        what: &dyn Fn() -> String,
    ) -> Result<String, DataError> {
        let Some(template) = &self.chat_template else {
            return Err(DataError::NoChatTemplate { folder: self.folder.clone() });
        };
        template
            .render(turns, add_generation_prompt)
            .map_err(|problem| DataError::ChatTemplate { what: what(), problem })
    }
}

fn raw_prompt(prompt: &[Message]) -> Result<Cow<'_, str>, DataError> {
    match prompt {
        [Message { role: ser_core::Role::User, content, .. }] => Ok(Cow::Borrowed(content)),
        _ => Err(DataError::NoRawText { what: format!("a prompt of {} turns", prompt.len()) }),
    }
}

/// Makes the tokenizer know the special tokens that only the files beside it name, as transformers does.
fn register_tokens(tokenizer: &mut Tokenizer, config: &TokenizerConfig) -> Result<(), String> {
    let known: Vec<String> = tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    let mut new: Vec<AddedToken> = Vec::new();
    let named = config.named.values().chain(&config.unnamed);
    for (_, token) in &config.added {
        new.push(
            AddedToken::from(token.content.clone(), token.special || named.clone().any(|name| *name == token.content))
                .single_word(token.single_word)
                .lstrip(token.lstrip)
                .rstrip(token.rstrip)
                .normalized(token.normalized),
        );
    }
    for token in named {
        if !new.iter().any(|other| other.content == *token) {
            new.push(AddedToken::from(token.clone(), true).normalized(false));
        }
    }
    new.retain(|token| !known.contains(&token.content));
    tokenizer.add_tokens(new).map(drop).map_err(|error| error.to_string())
}
