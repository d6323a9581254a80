//! Errors of this crate, one cause per variant.

use std::path::PathBuf;

use thiserror::Error;

use super::{RowPosition, RowProblem};

/// Why data could not be used. Each message is one sentence with the position, the value and a remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file or folder does not exist.
    #[error("there is no {}; check the path", .path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file has an unsupported format.
    #[error("{} is {format}, which cannot be read; {remedy}", .path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// Its format, with an article.
        format: &'static str,
        /// The remedy.
        remedy: &'static str,
    },
    /// The rows are not pairs.
    #[error("{} has no pairs: {problem}", .path.display())]
    NotPairs {
        /// The file.
        path: PathBuf,
        /// The kind of the rows, and the remedy.
        problem: &'static str,
    },
    /// The folder was written by `save_to_disk` of Hugging Face datasets.
    #[error(
        "{} was written by save_to_disk of Hugging Face datasets, whose Arrow files cannot be read; convert it in Python: datasets.load_from_disk(FOLDER).to_json(\"pairs.jsonl\")",
        .path.display()
    )]
    SavedToDisk {
        /// The folder.
        path: PathBuf,
    },
    /// The feature is missing in this build.
    #[error(
        "{what} needs the feature `{feature}` of ser-data, which this program was built without; build it with --features {feature}"
    )]
    NeedsFeature {
        /// The file or address.
        what: String,
        /// The feature.
        feature: &'static str,
    },
    /// The folder or pattern has no data files.
    #[error("{} has no data files; give a folder or pattern with .jsonl, .json, .csv, .tsv or .parquet files (.gz and .zst too)", .path.display())]
    NoDataFiles {
        /// The folder or pattern.
        path: PathBuf,
    },
    /// Invalid glob.
    #[error(
        "{pattern} is not a valid pattern of file names ({problem}); write * for any characters and ** for any folders"
    )]
    BadGlob {
        /// The pattern.
        pattern: String,
        /// The reason.
        problem: String,
    },
    /// The folder has files of several splits.
    #[error("{} has several splits ({found}); name one with the setting data.split, or give a pattern such as train*.parquet", .path.display())]
    SeveralSplits {
        /// The folder or repository.
        path: PathBuf,
        /// The splits found.
        found: String,
    },
    /// The set of shards is incomplete.
    #[error("{} has only {found} of the {of} shards of {set}; fetch the others, or give a pattern for the shards to read", .path.display())]
    MissingShards {
        /// The folder or repository.
        path: PathBuf,
        /// Common start of the shards' names.
        set: String,
        /// Number of shards found.
        found: usize,
        /// Number of shards expected.
        of: usize,
    },
    /// The split does not exist.
    #[error("{} has no split `{split}` (it has {found}); set data.split to one of those, or leave it out", .path.display())]
    NoSuchSplit {
        /// The folder or repository.
        path: PathBuf,
        /// The requested split.
        split: String,
        /// The splits found.
        found: String,
    },
    /// The compressed file expands beyond the limit.
    #[error("{} unpacks to more than {limit} times its size ({position}); raise max_expansion if this is intended", .path.display())]
    Expands {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
        /// Position in the file.
        position: RowPosition,
    },
    /// The parquet file is cut short or damaged.
    #[error("{} is not a readable parquet file ({problem}); fetch or write the file again", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reader's message.
        problem: String,
    },
    /// The compressed file ends early.
    #[error("{} is cut short: its compressed stream ends in line {line}; fetch or write the file again", .path.display())]
    CutShort {
        /// The file.
        path: PathBuf,
        /// The line being read, from 1.
        line: u64,
    },
    /// The file's bytes cannot be unpacked or interpreted.
    #[error("{} is damaged at {position} ({problem}); fetch or write the file again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Position in the file.
        position: RowPosition,
        /// The decoder's message.
        problem: String,
    },
    /// The end of a JSON array or of a multi-line object cannot be found.
    #[error("{}, line {line}: {problem}; correct the JSON, or write one object per line", .path.display())]
    BrokenJson {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The reason.
        problem: &'static str,
    },
    /// The rows or columns of the table cannot be determined.
    #[error("{}, line {line}: {problem}; write the table again with a program that quotes its fields", .path.display())]
    BrokenTable {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The reason.
        problem: String,
    },
    /// The row cannot be used.
    #[error("{}, {position}: {problem}; {}", .path.display(), .problem.remedy())]
    Row {
        /// The file.
        path: PathBuf,
        /// Position in the file.
        position: RowPosition,
        /// The reason.
        problem: RowProblem,
    },
    /// The file is empty.
    #[error("{} has no rows; give a file with one pair per line", .path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// No row of the file gave a pair.
    #[error("{} has no usable pair: none of its {rows} rows gives one, {why}", .path.display())]
    NoUsableRow {
        /// The file.
        path: PathBuf,
        /// Rows in the file.
        rows: u64,
        /// The first bad row with its reason, or that all comparisons are ties.
        why: String,
    },
    /// Two pairs have the same id.
    #[error("two pairs have the id {id}; give every pair of a run a distinct id")]
    DuplicateId {
        /// The id.
        id: u64,
    },
    /// The split leaves a required part empty.
    #[error("{pairs} pairs are too few: the split leaves none for {part}; give more pairs or a larger share")]
    TooFewPairs {
        /// The part.
        part: &'static str,
        /// Total number of pairs.
        pairs: usize,
    },
    /// Invalid setting.
    #[error("{name} = {value} {problem}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// The problem, and the remedy.
        problem: &'static str,
    },
    /// The pair's form differs from the parquet file's columns.
    #[error("pair {id} does not have the form (whole texts, text or messages) of the first pair of {}; write such pairs to .jsonl, or to another file", .path.display())]
    MixedForms {
        /// The file.
        path: PathBuf,
        /// The pair.
        id: u64,
    },
    /// The messages have fields that cannot be stored in parquet files.
    #[error("pair {id} has messages with fields such as tool_calls or reasoning_content, which cannot be stored in {}; write such pairs to .jsonl", .path.display())]
    ExtraFields {
        /// The file.
        path: PathBuf,
        /// The pair.
        id: u64,
    },
    /// The index is damaged.
    #[error("the index file {} is damaged ({problem}); remove the index's folder to build it again", .path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// Another process is building the index.
    #[error("another process is building the index in {}; wait for it, or stop it", .folder.display())]
    IndexInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// Building the index was stopped.
    #[error("stopped; {} keeps the progress, and the same call continues from it", .folder.display())]
    Stopped {
        /// The folder.
        folder: PathBuf,
    },
    /// Invalid address on a hub.
    #[error("{address} is not an address on a hub; write hf://owner/name, or hf://owner/name@revision")]
    HubAddress {
        /// The address.
        address: String,
    },
    /// The hub has no such repository, or hides it.
    #[error(
        "{endpoint} has no {name}, or does not show it to you ({problem}); check the name, and for a private or gated repository accept its terms and set HF_TOKEN"
    )]
    HubRefused {
        /// `owner/name`.
        name: String,
        /// The hub.
        endpoint: String,
        /// The hub's message.
        problem: String,
    },
    /// The hub cannot be reached, or its reply is invalid.
    #[error(
        "cannot fetch {name} from {endpoint}: {problem}; check the connection, or use what is in the cache with HF_HUB_OFFLINE=1"
    )]
    Hub {
        /// `owner/name`.
        name: String,
        /// The hub.
        endpoint: String,
        /// The reason.
        problem: String,
    },
    /// The file is not in the cache, and fetching is disabled.
    #[error("{name} is not in the cache {}, and HF_HUB_OFFLINE forbids fetching it; unset it, or fetch it elsewhere and copy the cache", .cache.display())]
    HubOffline {
        /// `owner/name`.
        name: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The model's weights are pickles.
    #[error(
        "{name} has its weights only as a pickle ({file}), which can run code and is not read; take a revision with safetensors (hf://{name}@refs%2Fpr%2FN, if somebody has proposed one), or convert it in Python: AutoModel.from_pretrained(...).save_pretrained(FOLDER), and give the folder"
    )]
    OnlyPickles {
        /// `owner/name`.
        name: String,
        /// One of the pickles.
        file: String,
    },
    /// The repository has no weights.
    #[error("{name} has no *.safetensors, so it is not a model; check the name (a dataset goes to --data)")]
    NoWeights {
        /// `owner/name`.
        name: String,
    },
    /// Unknown layout.
    #[error("there is no layout `{name}`; use {known}")]
    UnknownLayout {
        /// The name given.
        name: String,
        /// The known layouts.
        known: String,
    },
    /// Unknown template.
    #[error("there is no template `{name}`; use raw, authors_code or chat")]
    UnknownTemplate {
        /// The name given.
        name: String,
    },
    /// The file of a model folder has unexpected contents.
    #[error("{} is invalid: {problem}", .path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The chat template was requested, and the folder has none.
    #[error(
        "the tokenizer in {} has no chat template; use --template authors_code, or add a chat_template.jinja to the folder",
        .folder.display()
    )]
    NoChatTemplate {
        /// The model folder.
        folder: PathBuf,
    },
    /// An end token is required, and the tokenizer names none.
    #[error(
        "the tokenizer in {} names no end token; name one (`eos_token`) in its tokenizer_config.json, \
         or set append_eos = false",
        .folder.display()
    )]
    NoEndToken {
        /// The model folder.
        folder: PathBuf,
    },
    /// The chat template fails on a conversation.
    #[error(
        "the chat template fails on {what}: {problem}; correct or remove the conversation, or use --template authors_code"
    )]
    ChatTemplate {
        /// The conversation.
        what: String,
        /// The message of the template engine, or of the template's `raise_exception`.
        problem: String,
    },
    /// The tokenizer fails.
    #[error("the tokenizer fails on a text of {bytes} bytes: {problem}")]
    Tokenize {
        /// The text's size.
        bytes: usize,
        /// The tokenizer's message.
        problem: String,
    },
    /// The tokenizer has a token that the network lacks.
    #[error(
        "the text {text:?} has the token {token:?} (id {id}), but the network has only {vocab} token ids; \
         remove the token from the text, or take the tokenizer that belongs to the network"
    )]
    TokenBeyondNetwork {
        /// The token.
        token: String,
        /// Its id.
        id: u32,
        /// Number of ids of the network.
        vocab: usize,
        /// Start of the text.
        text: String,
    },
    /// The tokens cannot be decoded.
    #[error("the tokenizer cannot decode {count} tokens: {problem}")]
    Decode {
        /// Number of tokens.
        count: usize,
        /// The tokenizer's message.
        problem: String,
    },
    /// The raw template was applied to messages.
    #[error("{what} has messages, which have no raw text; use --template chat or --template authors_code")]
    NoRawText {
        /// The pair or prompt.
        what: String,
    },
}
