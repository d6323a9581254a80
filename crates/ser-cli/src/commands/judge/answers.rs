//! Files of answers, and the pairs of two of them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use ser::{Message, Pair, PairId, RawText};
use serde::Deserialize;

use crate::input::Input;

/// The answers of one file.
pub(crate) struct Answers {
    path: PathBuf,
    rows: Vec<Row>,
}

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

impl Answers {
    /// Reads a file of JSON lines; empty lines are left out.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let input = Input::open(path)?;
        let bytes = fs::read(input.path()).with_context(|| format!("cannot read {}", path.display()))?;
        let mut rows = Vec::new();
        for (bytes, line) in bytes.split(|byte| *byte == b'\n').zip(1..) {
            let here = || format!("{} line {line}", path.display());
            let text = std::str::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", here()))?;
            if text.trim().is_empty() {
                continue;
            }
            let fields: Fields = serde_json::from_str(text.trim_start_matches('\u{feff}'))
                .with_context(|| format!("{} is not an answer", here()))?;
            let prompt = match fields.prompt {
                Some(Prompt::Text(text)) => vec![Message::user(text)],
                Some(Prompt::Messages(messages)) => messages,
                None => bail!("{} has no \"prompt\"", here()),
            };
            let text = match (fields.answer, fields.response) {
                (Some(text), None) | (None, Some(text)) => text,
                (Some(_), Some(_)) => bail!("{} has both \"answer\" and \"response\": leave one out", here()),
                (None, None) => bail!("{} has neither \"answer\" nor \"response\"", here()),
            };
            let id = fields.id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
            rows.push(Row { line, id, prompt, text });
        }
        if rows.is_empty() {
            bail!("{} has no answers", path.display());
        }
        Ok(Answers { path: path.to_owned(), rows })
    }

    /// The rows by id, or by prompt if the file has no ids.
    fn by_key(&self, by_id: bool) -> anyhow::Result<HashMap<Key<'_>, &Row>> {
        let mut rows = HashMap::new();
        for row in &self.rows {
            if let Some(before) = rows.insert(row.key(by_id), row) {
                let (path, lines) = (self.path.display(), format!("lines {} and {}", before.line, row.line));
                match &row.id {
                    Some(id) if by_id => bail!("{path} has the id {id} twice, on {lines}"),
                    _ => bail!("{path} has the same prompt twice, on {lines}: give every row of both files an \"id\""),
                }
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
/// that only one of the files has are left out; the number of those is returned too.
pub(crate) fn matched(a: &Answers, b: &Answers, common: bool) -> anyhow::Result<(Vec<Arc<Pair>>, usize)> {
    let by_id = a.rows.iter().chain(&b.rows).all(|row| row.id.is_some());
    let (first, second) = (a.by_key(by_id)?, b.by_key(by_id)?);
    if !common {
        for (has, lacks, keys) in [(a, b, &second), (b, a, &first)] {
            let mut missing = has.rows.iter().filter(|row| !keys.contains_key(&row.key(by_id)));
            if let Some(row) = missing.next() {
                bail!(
                    "{} has nothing for the {} of {} line {} ({} more are missing): --common judges the rows that both files have",
                    lacks.path.display(),
                    if by_id { "id" } else { "prompt" },
                    has.path.display(),
                    row.line,
                    missing.count()
                );
            }
        }
    }
    let mut pairs = Vec::new();
    for row in &a.rows {
        let Some(other) = second.get(&row.key(by_id)) else { continue };
        if row.prompt != other.prompt {
            let (a, b) = (a.path.display(), b.path.display());
            bail!("{a} line {} and {b} line {} have the same id, but not the same prompt", row.line, other.line);
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
        bail!("{} and {} have no prompt in common", a.path.display(), b.path.display());
    }
    let left_out = a.rows.len() + b.rows.len() - 2 * pairs.len();
    Ok((pairs, left_out))
}
