//! Files of answers, and the pairs of two of them, for a judge.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::{Message, Pair, PairId, RawText};
use serde::Deserialize;

use crate::EvalError;

/// The answers of a file of JSON lines: `prompt` (a text, or messages with role and content), `answer` or `response`,
/// and optionally `id`.
///
/// ```
/// use ser_eval::{AnswerFile, match_answers};
///
/// let ours = AnswerFile::parse("ours.jsonl", br#"{"prompt": "Why?", "answer": "It rains."}"#)?;
/// let theirs = AnswerFile::parse("theirs.jsonl", br#"{"prompt": "Why?", "answer": "So."}"#)?;
/// let (pairs, left_out) = match_answers(&ours, &theirs, false)?;
/// assert_eq!((pairs[0].responses[1].as_str(), left_out), ("So.", 0));
/// # Ok::<(), ser_eval::EvalError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AnswerFile {
    path: PathBuf,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    line: usize,
    /// The id that rows are matched by, if the file has ids.
    id: Option<String>,
    prompt: Vec<Message>,
    text: String,
}

/// A line of a file; other fields are ignored.
#[derive(Deserialize)]
struct Fields {
    id: Option<serde_json::Value>,
    prompt: Option<Prompt>,
    answer: Option<String>,
    response: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`prompt` must be a text, or a list of messages with role and content")]
enum Prompt {
    Text(String),
    Messages(Vec<Message>),
}

impl AnswerFile {
    /// Reads a file. Empty lines are left out.
    ///
    /// # Errors
    /// [`EvalError::Read`], and the errors of [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let bytes = fs::read(path).map_err(|source| EvalError::Read { path: path.to_owned(), source })?;
        AnswerFile::parse(path, &bytes)
    }

    /// The answers of a file's contents; errors name `path`.
    ///
    /// # Errors
    /// [`EvalError::BadAnswer`] for the first line that is not an answer, [`EvalError::NoAnswersInFile`] without lines.
    pub fn parse(path: impl Into<PathBuf>, bytes: &[u8]) -> Result<Self, EvalError> {
        let path = path.into();
        let mut rows = Vec::new();
        for (bytes, line) in bytes.split(|byte| *byte == b'\n').zip(1..) {
            let bad = |problem: String| EvalError::BadAnswer { path: path.clone(), line, problem };
            let text = std::str::from_utf8(bytes).map_err(|error| bad(format!("is not UTF-8: {error}")))?;
            if text.trim().is_empty() {
                continue;
            }
            let fields: Fields = serde_json::from_str(text.trim_start_matches('\u{feff}'))
                .map_err(|error| bad(format!("is not an answer: {error}")))?;
            let prompt = match fields.prompt {
                Some(Prompt::Text(text)) => vec![Message::user(text)],
                Some(Prompt::Messages(messages)) => messages,
                None => return Err(bad("has no \"prompt\"".to_owned())),
            };
            let text = match (fields.answer, fields.response) {
                (Some(text), None) | (None, Some(text)) => text,
                (Some(_), Some(_)) => {
                    return Err(bad("has both \"answer\" and \"response\": leave one out".to_owned()));
                }
                (None, None) => return Err(bad("has neither \"answer\" nor \"response\"".to_owned())),
            };
            let id = fields.id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
            rows.push(Row { line, id, prompt, text });
        }
        if rows.is_empty() {
            return Err(EvalError::NoAnswersInFile { path });
        }
        Ok(AnswerFile { path, rows })
    }

    /// The rows by id, or by prompt if the file has no ids.
    fn by_key(&self, by_id: bool) -> Result<HashMap<Key<'_>, &Row>, EvalError> {
        let mut rows = HashMap::new();
        for row in &self.rows {
            if let Some(before) = rows.insert(row.key(by_id), row) {
                return Err(EvalError::RepeatedAnswer {
                    path: self.path.clone(),
                    lines: [before.line, row.line],
                    id: row.id.clone().filter(|_| by_id),
                });
            }
        }
        Ok(rows)
    }
}

#[derive(PartialEq, Eq, Hash)]
enum Key<'r> {
    Id(&'r str),
    Prompt(&'r [Message]),
}

impl Row {
    fn key(&self, by_id: bool) -> Key<'_> {
        match &self.id {
            Some(id) if by_id => Key::Id(id),
            _ => Key::Prompt(&self.prompt),
        }
    }
}

/// One pair per prompt, answer A from the first file: by `id` where every row has one, else by prompt. With `common`, rows
/// that only one of the files has are left out. Returns the number of those too.
///
/// # Errors
/// [`EvalError::RepeatedAnswer`], [`EvalError::OtherPrompt`], [`EvalError::NoCommonPrompt`], and without `common`
/// [`EvalError::MissingAnswer`].
pub fn match_answers(a: &AnswerFile, b: &AnswerFile, common: bool) -> Result<(Vec<Arc<Pair>>, usize), EvalError> {
    let by_id = a.rows.iter().chain(&b.rows).all(|row| row.id.is_some());
    let (first, second) = (a.by_key(by_id)?, b.by_key(by_id)?);
    if !common {
        for (has, lacks, keys) in [(a, b, &second), (b, a, &first)] {
            let mut missing = has.rows.iter().filter(|row| !keys.contains_key(&row.key(by_id)));
            if let Some(row) = missing.next() {
                return Err(EvalError::MissingAnswer {
                    path: lacks.path.clone(),
                    key: if by_id { "id" } else { "prompt" },
                    other: has.path.clone(),
                    line: row.line,
                    more: missing.count(),
                });
            }
        }
    }
    let mut pairs = Vec::new();
    for row in &a.rows {
        let Some(other) = second.get(&row.key(by_id)) else { continue };
        if row.prompt != other.prompt {
            return Err(EvalError::OtherPrompt {
                paths: [a.path.clone(), b.path.clone()],
                lines: [row.line, other.line],
            });
        }
        pairs.push(Arc::new(Pair {
            id: PairId(pairs.len() as u64),
            prompt: row.prompt.clone(),
            responses: [row.text.clone(), other.text.clone()],
            response_turns: None,
            raw: RawText::None,
        }));
    }
    if pairs.is_empty() {
        return Err(EvalError::NoCommonPrompt { paths: [a.path.clone(), b.path.clone()] });
    }
    let left_out = a.rows.len() + b.rows.len() - 2 * pairs.len();
    Ok((pairs, left_out))
}
