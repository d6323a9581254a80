//! Everything that can be wrong with data, one cause a variant.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::{Place, RowProblem};

/// Why data could not be used. Each message is one sentence with the place, the value and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder that is not there.
    #[error("there is no {}; check the path", .path.display())]
    Missing {
        /// The path given.
        path: PathBuf,
    },
    /// A file that cannot be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of a format that is not read.
    #[error("{} is {format}, which cannot be read; {remedy}", .path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// Its format, with an article.
        format: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Rows that compare no two answers.
    #[error("{} holds no pairs: {problem}", .path.display())]
    NotPairs {
        /// The file.
        path: PathBuf,
        /// What its rows are, and what to do.
        problem: &'static str,
    },
    /// A folder that Hugging Face datasets' `save_to_disk` wrote.
    #[error(
        "{} was written by save_to_disk of Hugging Face datasets, whose Arrow files cannot be read; convert it in Python: datasets.load_from_disk(FOLDER).to_json(\"pairs.jsonl\")",
        .path.display()
    )]
    SavedToDisk {
        /// The folder.
        path: PathBuf,
    },
    /// Something that this build of the crate leaves out.
    #[error(
        "{what} needs the feature `{feature}` of ser-data, which this program was built without; build it with --features {feature}"
    )]
    NeedsFeature {
        /// The file or address.
        what: String,
        /// The feature.
        feature: &'static str,
    },
    /// A folder or pattern with nothing to read.
    #[error("{} holds no data files; give a folder or pattern with .jsonl, .json, .csv, .tsv or .parquet files (.gz and .zst too)", .path.display())]
    NoDataFiles {
        /// The folder or pattern.
        path: PathBuf,
    },
    /// A glob that is none.
    #[error("{pattern} is no pattern of file names ({problem}); write * for any characters and ** for any folders")]
    BadGlob {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        problem: String,
    },
    /// A folder with files of several splits.
    #[error("{} holds several splits ({found}); name one as the setting data.split, or give a pattern such as train*.parquet", .path.display())]
    SeveralSplits {
        /// The folder or repository.
        path: PathBuf,
        /// The splits.
        found: String,
    },
    /// A set of shards that is not whole.
    #[error("{} has only {found} of the {of} shards of {set}; fetch the others, or give those that are meant as a pattern", .path.display())]
    MissingShards {
        /// The folder or repository.
        path: PathBuf,
        /// What their names begin with.
        set: String,
        /// How many are there.
        found: usize,
        /// How many there should be.
        of: usize,
    },
    /// A split that is not there.
    #[error("{} has no split `{split}` (it has {found}); set data.split to one of those, or leave it out", .path.display())]
    NoSuchSplit {
        /// The folder or repository.
        path: PathBuf,
        /// The split asked for.
        split: String,
        /// The splits there are.
        found: String,
    },
    /// A compressed file that holds far more than its size.
    #[error("{} unpacks to more than {limit} times its size ({place}); if that is meant, raise max_expansion", .path.display())]
    Expands {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
        /// Where.
        place: Place,
    },
    /// A parquet file that is cut short or damaged.
    #[error("{} is no readable parquet file ({problem}); fetch or write the file again", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        problem: String,
    },
    /// A compressed file that ends early.
    #[error("{} is cut short: its compressed stream ends in line {line}; fetch or write the file again", .path.display())]
    CutShort {
        /// The file.
        path: PathBuf,
        /// The line being read, from 1.
        line: u64,
    },
    /// A file whose bytes cannot be unpacked or make no sense.
    #[error("{} is damaged at {place} ({problem}); fetch or write the file again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        place: Place,
        /// What the decoder says.
        problem: String,
    },
    /// A JSON array, or objects over several lines, of which the end of one cannot be told.
    #[error("{}, line {line}: {problem}; mend the JSON, or write one object a line", .path.display())]
    BrokenJson {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A table whose rows or columns cannot be told apart.
    #[error("{}, line {line}: {problem}; write the table again, by a program that quotes its fields", .path.display())]
    BrokenTable {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A row that cannot be used.
    #[error("{}, {place}: {problem}; {}", .path.display(), .problem.remedy())]
    Row {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        place: Place,
        /// What is wrong.
        problem: RowProblem,
    },
    /// A file with nothing in it.
    #[error("{} holds no rows; give a file with one pair a line", .path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// A file of which no row gave a pair.
    #[error("{} holds no usable pair: none of its {rows} rows gives one, {why}", .path.display())]
    NoUsableRow {
        /// The file.
        path: PathBuf,
        /// Rows in the file.
        rows: u64,
        /// The first bad row and what is wrong with it, or that all are ties.
        why: String,
    },
    /// Two pairs of one id.
    #[error("two pairs have the id {id}; give every pair of a run an id of its own")]
    DuplicateId {
        /// The id.
        id: u64,
    },
    /// A split that leaves a part without which nothing works.
    #[error("{pairs} pairs are too few: the split leaves none for {part}; give more pairs or a larger share")]
    TooFewPairs {
        /// The part.
        part: &'static str,
        /// How many pairs there are in all.
        pairs: usize,
    },
    /// A setting that makes no sense.
    #[error("{name} = {value} {problem}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What is wrong with it and what to do.
        problem: &'static str,
    },
    /// A parquet file's columns hold one kind of thing.
    #[error("pair {id} has not the form (whole texts, text or messages) of the first pair of {}; write such pairs to .jsonl, or to a file of their own", .path.display())]
    MixedForms {
        /// The file.
        path: PathBuf,
        /// The pair.
        id: u64,
    },
    /// A parquet file's messages have a role and content only.
    #[error("pair {id} has messages with fields such as tool_calls or reasoning_content, which {} cannot hold; write such pairs to .jsonl", .path.display())]
    ExtraFields {
        /// The file.
        path: PathBuf,
        /// The pair.
        id: u64,
    },
    /// An index that is not as it should be.
    #[error("the index file {} is damaged ({problem}); remove the index's folder, and it is built again", .path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An index that another process is building.
    #[error("another process is building the index in {}; wait for it, or stop it", .folder.display())]
    IndexInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// An index whose building was stopped.
    #[error("stopped; {} keeps what is done, and the same call goes on with it", .folder.display())]
    Stopped {
        /// The folder.
        folder: PathBuf,
    },
    /// An address on a hub that is none.
    #[error("{address} is no address on a hub; write hf://owner/name, or hf://owner/name@revision")]
    HubAddress {
        /// The address given.
        address: String,
    },
    /// A repository that the hub does not show.
    #[error(
        "{endpoint} has no {name}, or does not show it to you ({problem}); check the name, and for a private or gated repository accept its terms and set HF_TOKEN"
    )]
    HubRefused {
        /// `owner/name`.
        name: String,
        /// The hub.
        endpoint: String,
        /// What it says.
        problem: String,
    },
    /// A hub that cannot be reached, or answers nonsense.
    #[error(
        "cannot fetch {name} from {endpoint}: {problem}; check the connection, or use what is in the cache with HF_HUB_OFFLINE=1"
    )]
    Hub {
        /// `owner/name`.
        name: String,
        /// The hub.
        endpoint: String,
        /// What went wrong.
        problem: String,
    },
    /// Something that is not in the cache while nothing may be fetched.
    #[error("{name} is not in the cache {}, and HF_HUB_OFFLINE forbids to fetch it; unset it, or fetch it elsewhere and copy the cache", .cache.display())]
    HubOffline {
        /// `owner/name`.
        name: String,
        /// The cache.
        cache: PathBuf,
    },
    /// A model whose weights are pickles.
    #[error(
        "{name} has its weights only as a pickle ({file}), which can run code and is not read; take a revision with safetensors (hf://{name}@refs%2Fpr%2FN, if somebody has proposed one), or convert it in Python: AutoModel.from_pretrained(...).save_pretrained(FOLDER), and give the folder"
    )]
    OnlyPickles {
        /// `owner/name`.
        name: String,
        /// One of the pickles.
        file: String,
    },
    /// A repository without weights.
    #[error("{name} holds no *.safetensors, so it is no model; check the name (a dataset goes to --data)")]
    NoWeights {
        /// `owner/name`.
        name: String,
    },
    /// A layout that is not known.
    #[error("there is no layout `{name}`; use {}", layout_names())]
    UnknownLayout {
        /// The name given.
        name: String,
    },
    /// A template name that is not known.
    #[error("there is no template `{name}`; use raw, script or chat")]
    UnknownTemplate {
        /// The name given.
        name: String,
    },
    /// A file of a model folder that does not hold what it should.
    #[error("{} is not as it should be: {problem}", .path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The chat template was asked for, and the folder has none.
    #[error(
        "the tokenizer in {} has no chat template; use --template script, or add a chat_template.jinja to the folder",
        .folder.display()
    )]
    NoChatTemplate {
        /// The model folder.
        folder: PathBuf,
    },
    /// An end token is asked for, and the tokenizer names none.
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
        "the chat template fails on {what}: {problem}; mend or leave out the conversation, or use --template script"
    )]
    ChatTemplate {
        /// Which conversation.
        what: String,
        /// What the template engine, or the template by `raise_exception`, says.
        problem: String,
    },
    /// The tokenizer fails.
    #[error("the tokenizer fails on a text of {bytes} bytes: {problem}")]
    Tokenize {
        /// The text's size.
        bytes: usize,
        /// What the tokenizer says.
        problem: String,
    },
    /// A token that the tokenizer has and the network has not.
    #[error(
        "the text {text:?} has the token {token:?} (id {id}), but the network has only {vocab} token ids; \
         remove the token from the text, or take the tokenizer that belongs to the network"
    )]
    TokenBeyondNetwork {
        /// The token.
        token: String,
        /// Its id.
        id: u32,
        /// How many ids the network has.
        vocab: usize,
        /// The beginning of the text.
        text: String,
    },
    /// Tokens that are no text.
    #[error("the tokenizer cannot decode {count} tokens: {problem}")]
    Decode {
        /// How many tokens.
        count: usize,
        /// What the tokenizer says.
        problem: String,
    },
    /// The raw template on a conversation that only a template makes text of.
    #[error("{what} holds messages, which have no raw text; use --template chat or --template script")]
    NoRawText {
        /// Which pair or prompt.
        what: String,
    },
}

impl DataError {
    /// What the system says of a path, with a missing file told apart.
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        if action == "read" && source.kind() == std::io::ErrorKind::NotFound {
            DataError::Missing { path: path.to_path_buf() }
        } else {
            DataError::Io { action, path: path.to_path_buf(), source }
        }
    }
}

fn layout_names() -> String {
    let names: Vec<&str> = crate::Layout::ALL.iter().map(|layout| layout.as_str()).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
