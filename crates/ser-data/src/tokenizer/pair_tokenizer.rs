//! Tokenization of pairs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use ser_core::{Message, Pair, Screening, Side};
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use super::build::build;
use super::chat_template::ChatTemplate;
use super::folder::TokenizerConfig;
use super::turns::{raw_prompt, whole};
use crate::text::{authors_code_prompt, authors_code_text};
use crate::{DataError, TemplateKind, TextSettings, TokenizedPair};

/// The files of a folder that are read.
#[cfg(feature = "index")]
const FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
];

/// The tokenizer of a Hugging Face folder, with the settings of the texts.
///
/// Prompt and answer are tokenized together, so the tokens are those of `transformers` for the whole text.
pub struct PairTokenizer {
    folder: PathBuf,
    pub(super) tokenizer: Tokenizer,
    pub(super) chat_template: Option<ChatTemplate>,
    /// The chat template, if the settings use it.
    chat_source: Option<String>,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    vocab_size: usize,
    /// Rows of the network's embedding, if known.
    network_vocab: Option<usize>,
    /// The files where they do not lie in a folder.
    #[cfg(feature = "index")]
    texts: Option<Vec<(String, Vec<u8>)>>,
    pub(super) settings: TextSettings,
}

/// Whether a model folder has a chat template.
///
/// # Errors
/// A file of the folder that cannot be read or is not JSON.
pub fn has_chat_template(folder: impl AsRef<Path>) -> Result<bool, DataError> {
    Ok(TokenizerConfig::from_folder(folder.as_ref())?.chat_template.is_some())
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
    /// Loads tokenizer.json and the special tokens and chat template of the files beside it: tokenizer_config.json,
    /// special_tokens_map.json, added_tokens.json, config.json, generation_config.json and chat_template.jinja, each
    /// optional. The tokens are those of transformers 5's `AutoTokenizer`: flags of added tokens come from
    /// `added_tokens_decoder`, and the classes of Llama 2, GPT-2 and Qwen 2 build their own normalizer and
    /// pre-tokenizer. Truncation and padding settings of tokenizer.json are ignored.
    ///
    /// # Errors
    /// A missing or malformed file, and settings that the folder does not support: the chat template if it has none
    /// ([`DataError::NoChatTemplate`]), an appended end token if it names none ([`DataError::NoEndToken`]).
    pub fn from_folder(folder: impl AsRef<Path>, settings: &TextSettings) -> Result<Self, DataError> {
        settings.check()?;
        let folder = folder.as_ref();
        Self::from_config(folder, TokenizerConfig::from_folder(folder)?, settings)
    }

    /// The same from the texts of these files by their names, of which tokenizer.json must be there: for a tokenizer that
    /// lies elsewhere than in a folder. `origin` is where they come from; errors name it, and [`folder`](Self::folder)
    /// returns it.
    ///
    /// # Errors
    /// As [`from_folder`](Self::from_folder).
    ///
    /// ```
    /// # fn main() -> Result<(), ser_data::DataError> {
    /// use ser_data::{PairTokenizer, TextSettings};
    ///
    /// let tokenizer = r#"{"model": {"type": "WordLevel", "vocab": {"<unk>": 0, "yes": 1}, "unk_token": "<unk>"}}"#;
    /// let files = [("tokenizer.json", tokenizer.to_owned()), ("tokenizer_config.json", r#"{"eos_token": "yes"}"#.to_owned())];
    /// let tokenizer = PairTokenizer::from_texts("memory", &files, &TextSettings::default())?;
    /// assert_eq!((tokenizer.encode("yes", true)?, tokenizer.eos_id()), (vec![1], Some(1)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_texts(
        origin: impl AsRef<Path>,
        files: &[(&str, String)],
        settings: &TextSettings,
    ) -> Result<Self, DataError> {
        settings.check()?;
        let origin = origin.as_ref();
        let tokenizer = Self::from_config(origin, TokenizerConfig::from_texts(origin, files)?, settings)?;
        #[cfg(feature = "index")]
        let tokenizer = PairTokenizer {
            texts: Some(files.iter().map(|(name, text)| ((*name).to_owned(), text.clone().into_bytes())).collect()),
            ..tokenizer
        };
        Ok(tokenizer)
    }

    fn from_config(folder: &Path, config: TokenizerConfig, settings: &TextSettings) -> Result<Self, DataError> {
        let path = folder.join("tokenizer.json");
        let bad = |problem: String| DataError::ModelFile { path: path.clone(), problem };
        let tokenizer = build(&config).map_err(bad)?;
        let id = |name: &str| config.named(name).and_then(|token| tokenizer.token_to_id(token));
        let (bos_id, eos_id) = (id("bos_token").or(config.bos_id), id("eos_token").or(config.eos_id));

        if settings.template == TemplateKind::AuthorsCode && settings.append_eos && eos_id.is_none() {
            return Err(DataError::NoEndToken { folder: folder.to_path_buf() });
        }
        let chat_template = match (settings.template, &config.chat_template) {
            (TemplateKind::Chat, Some(source)) => {
                let named = config.named.iter().map(|(name, token)| (name.clone(), token.content.clone())).collect();
                Some(ChatTemplate::new(source, named, settings.date).map_err(|problem| DataError::ModelFile {
                    path: folder.to_path_buf(),
                    problem: format!("its chat template does not compile: {problem}"),
                })?)
            }
            (TemplateKind::Chat, None) => return Err(DataError::NoChatTemplate { folder: folder.to_path_buf() }),
            _ => None,
        };
        let chat_source = config.chat_template.filter(|_| settings.template == TemplateKind::Chat);
        let highest = tokenizer.get_vocab(true).into_values().max();
        let vocab_size = highest.map_or(0, |id| id as usize + 1);
        let folder = folder.to_path_buf();
        let settings = settings.clone();
        Ok(PairTokenizer {
            folder,
            tokenizer,
            chat_template,
            chat_source,
            bos_id,
            eos_id,
            vocab_size,
            network_vocab: None,
            #[cfg(feature = "index")]
            texts: None,
            settings,
        })
    }

    /// SHA-256, in hex, of everything that determines the tokens: vocabulary, rules, special tokens, and the chat
    /// template if the settings use it. The formatting of tokenizer.json and its truncation and padding settings are
    /// ignored.
    ///
    /// # Errors
    /// [`DataError::ModelFile`] if the tokenizer cannot be written as JSON.
    pub fn fingerprint(&self) -> Result<String, DataError> {
        let rules = self.tokenizer.to_string(false).map_err(|error| DataError::ModelFile {
            path: self.folder.join("tokenizer.json"),
            problem: error.to_string(),
        })?;
        let mut hasher = Sha256::new();
        let ids = format!("{:?} {:?}", self.bos_id, self.eos_id);
        for part in [rules.as_str(), self.chat_source.as_deref().unwrap_or_default(), &ids] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The folder it was loaded from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &TextSettings {
        &self.settings
    }

    /// The highest id plus one, including added tokens: the minimum number of embedding rows.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Allows the tokenizer more tokens than the network, which has `vocab` of them (such as a padding token that was
    /// added later): a text with a token of a higher id is refused.
    #[must_use]
    pub fn with_network_vocab(self, vocab: usize) -> Self {
        PairTokenizer { network_vocab: Some(vocab), ..self }
    }

    /// The id of the token that begins a text, if the folder names one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The id of the token that ends a text, if the folder names one.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_id
    }

    /// The files that determine the tokens, with their contents.
    #[cfg(feature = "index")]
    pub(crate) fn files(&self) -> Result<Vec<(String, Vec<u8>)>, DataError> {
        if let Some(texts) = &self.texts {
            return Ok(texts.clone());
        }
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

    /// A text's tokens; `add_special_tokens` adds the tokenizer's own tokens around a text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, DataError> {
        match self.tokenizer.encode_fast(text, add_special_tokens) {
            Ok(encoding) => {
                encoding.get_ids().iter().try_for_each(|&id| self.check_id(id, text))?;
                Ok(encoding.get_ids().to_vec())
            }
            Err(error) => Err(DataError::Tokenize { bytes: text.len(), problem: error.to_string() }),
        }
    }

    /// Refuses a token without an embedding in the network.
    pub(super) fn check_id(&self, id: u32, text: &str) -> Result<(), DataError> {
        match self.network_vocab {
            Some(vocab) if id as usize >= vocab => Err(DataError::TokenBeyondNetwork {
                token: self.tokenizer.id_to_token(id).unwrap_or_default(),
                id,
                vocab,
                text: excerpt(text),
            }),
            _ => Ok(()),
        }
    }

    /// The text of tokens, without special tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        self.tokenizer
            .decode(ids, true)
            .map_err(|error| DataError::Decode { count: ids.len(), problem: error.to_string() })
    }

    /// Tokenizes pairs in parallel; the result has the order of `pairs` for any number of threads.
    ///
    /// # Errors
    /// The error of the first pair, in order, that the template or the tokenizer refuses.
    pub fn tokenize(&self, pairs: &[Arc<Pair>]) -> Result<Vec<TokenizedPair>, DataError> {
        // Collected as results first, so that the error is that of the first pair, not of the fastest thread.
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
            TemplateKind::AuthorsCode | TemplateKind::Chat => {
                let what = || format!("pair {}", pair.id.0);
                let text = |side| match self.settings.template {
                    // The whole conversation of each answer, which may differ before the last turn.
                    TemplateKind::Chat => self.encode(&self.chat(&whole(pair, side), false, &what)?, false),
                    _ => self.templated(&pair.prompt, &Message::assistant(pair.response(side)), &what),
                };
                [text(Side::A)?, text(Side::B)?]
            }
        };
        Ok(TokenizedPair::from_tokens(&a, &b))
    }

    /// Screens pairs by their tokens: usable if neither text exceeds `max_length`, the texts differ, and no answer is
    /// without tokens. [`screen_pairs`](Self::screen_pairs) also detects blank answers.
    pub fn screen(&self, pairs: &[TokenizedPair]) -> Vec<Screening> {
        pairs.iter().map(|pair| self.screen_tokens(pair)).collect()
    }

    /// Tokenizes and screens pairs in parallel without keeping tokens: as [`screen`](Self::screen), and an answer of
    /// only whitespace is [`Screening::Empty`] even if the template adds tokens after it.
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
            Screening::Usable
        }
    }

    /// The tokens of a prompt, for a model to continue.
    ///
    /// With the authors' template they end in `Answer:`; the following space belongs to the response. The raw template
    /// accepts only a prompt of a single user turn.
    ///
    /// # Errors
    /// A conversation under the raw template ([`DataError::NoRawText`]), or one that the chat template refuses.
    pub fn encode_prompt(&self, prompt: &[Message]) -> Result<Vec<u32>, DataError> {
        match self.settings.template {
            TemplateKind::Raw => self.encode_open(&raw_prompt(prompt)?),
            TemplateKind::AuthorsCode => self.encode_open(&authors_code_prompt(prompt)),
            TemplateKind::Chat => self.encode(&self.chat(prompt, true, &|| "a prompt".to_string())?, false),
        }
    }

    /// A text that will be continued: a tokenizer that appends an end token must not do so here.
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

    pub(super) fn templated(
        &self,
        prompt: &[Message],
        response: &Message,
        what: &dyn Fn() -> String,
    ) -> Result<Vec<u32>, DataError> {
        if self.settings.template == TemplateKind::Chat {
            let turns: Vec<Message> = prompt.iter().chain([response]).cloned().collect();
            return self.encode(&self.chat(&turns, false, what)?, false);
        }
        self.encode_written(&authors_code_text(prompt, &response.content))
    }

    pub(super) fn chat(
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

/// The start of a text, for messages.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}
