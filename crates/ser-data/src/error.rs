//! Everything that can be wrong with data, one cause a variant.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::RowProblem;

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
    /// A file of a format that nobody reads here.
    #[error("{} is a {format} file, which cannot be read; convert it to JSON lines (.jsonl or .jsonl.gz)", .path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: &'static str,
    },
    /// A gzip file that ends early.
    #[error("{} is cut short: its gzip stream ends in line {line}; fetch or write the file again", .path.display())]
    CutShort {
        /// The file.
        path: PathBuf,
        /// The line being read, from 1.
        line: u64,
    },
    /// A gzip file that cannot be unpacked.
    #[error("{} is damaged at line {line} ({problem}); fetch or write the file again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line being read, from 1.
        line: u64,
        /// What the decoder says.
        problem: String,
    },
    /// A JSON array whose elements cannot be told apart.
    #[error("{}, line {line}: {problem}; mend the JSON array, or write one object a line", .path.display())]
    BrokenArray {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A row that cannot be used.
    #[error("{}, line {line}: {problem}; mend the row, or leave such rows out with --on-bad-row skip", .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        problem: RowProblem,
    },
    /// A file with nothing in it.
    #[error("{} holds no rows; give a file with one pair a line", .path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// A file of which every row was left out.
    #[error("{} holds no usable pair: all its {rows} rows were left out, the first of them (line {line}) because {problem}",
        .path.display())]
    NoUsableRow {
        /// The file.
        path: PathBuf,
        /// Rows in the file.
        rows: u64,
        /// The first bad row's line.
        line: u64,
        /// What is wrong with it.
        problem: String,
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
