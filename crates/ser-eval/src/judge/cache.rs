//! A file of answers, so that no request is sent or paid for twice.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ser_core::durable;
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// A cached answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The model's text.
    pub(super) answer: String,
    /// Prompt tokens.
    pub(super) prompt_tokens: u64,
    /// Completion tokens.
    pub(super) completion_tokens: u64,
    /// Whether the token limit ended it. Caches of the first version lack this field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) cut: bool,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// The request's hash.
    key: String,
    #[serde(flatten)]
    answer: Answer,
}

/// An append-only file of answers by request. One process uses it at a time.
pub(super) struct Cache {
    path: PathBuf,
    file: File,
}

impl Cache {
    /// Opens the file, or creates it with its folders, and reads its answers. An incomplete last line, which a killed
    /// process leaves, is cut off.
    pub(super) fn open(path: &Path) -> Result<(Self, HashMap<String, Answer>), EvalError> {
        let unreadable = |source| EvalError::Read { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            durable::create_folders(folder).map_err(|source| EvalError::Write { path: folder.to_owned(), source })?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(unreadable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(EvalError::CacheInUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(unreadable(source)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut answers = HashMap::new();
        let lines = bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n').zip(1..);
        for (line, number) in lines.filter(|(line, _)| !line.is_empty()) {
            let entry: Entry = serde_json::from_slice(line).map_err(|error| EvalError::BadCacheLine {
                path: path.to_owned(),
                line: number,
                reason: error.to_string(),
            })?;
            answers.insert(entry.key, entry.answer);
        }
        let cache = Cache { path: path.to_owned(), file };
        if whole < bytes.len() {
            cache.file.set_len(whole as u64).map_err(|source| cache.unwritable(source))?;
        }
        if let (true, Some(folder)) = (bytes.is_empty(), path.parent().filter(|p| !p.as_os_str().is_empty())) {
            durable::sync_folder(folder).map_err(|source| cache.unwritable(source))?;
        }
        Ok((cache, answers))
    }

    /// Appends an answer as a whole line and flushes it: an answer that was paid for survives a power loss.
    pub(super) fn keep(&mut self, key: &str, answer: &Answer) -> Result<(), EvalError> {
        let entry = Entry { key: key.to_owned(), answer: answer.clone() };
        let line = serde_json::to_string(&entry).map_err(|error| self.unwritable(error.into()))?;
        let end = self.file.metadata().map_err(|source| self.unwritable(source))?.len();
        if let Err(source) = self.file.write_all(format!("{line}\n").as_bytes()) {
            // On a full disk a part of the line may be there; the next line must not be appended to it.
            let _ = self.file.set_len(end);
            return Err(self.unwritable(source));
        }
        self.file.sync_data().map_err(|source| self.unwritable(source))
    }

    fn unwritable(&self, source: std::io::Error) -> EvalError {
        EvalError::Write { path: self.path.clone(), source }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn answer(text: &str) -> Answer {
        Answer { answer: text.to_owned(), prompt_tokens: 3, completion_tokens: 4, cut: false }
    }

    #[test]
    fn a_file_cut_at_any_byte_opens_and_continues() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("cache.jsonl");
        let (mut cache, empty) = Cache::open(&path).unwrap();
        assert!(empty.is_empty());
        for i in 0..3 {
            cache.keep(&format!("key {i}"), &answer(&format!("Ärger\n{i}"))).unwrap();
        }
        drop(cache);
        let whole = fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut cache, answers) = Cache::open(&path).unwrap();
            let ends = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(answers.len(), ends, "cut at {cut}");
            cache.keep("after", &answer("x")).unwrap();
            drop(cache);
            let (_, answers) = Cache::open(&path).unwrap();
            assert_eq!((answers.len(), answers.get("after")), (ends + 1, Some(&answer("x"))), "cut at {cut}");
        }
    }

    #[test]
    fn an_invalid_line_is_named_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.jsonl");
        let text = "{\"key\":\"a\",\"answer\":\"b\",\"prompt_tokens\":1,\"completion_tokens\":1}\nwhat?\n";
        fs::write(&path, text).unwrap();
        let error = Cache::open(&path).err().unwrap();
        assert!(matches!(&error, EvalError::BadCacheLine { line: 2, .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.jsonl");
        let first = Cache::open(&path).unwrap();
        assert!(matches!(Cache::open(&path), Err(EvalError::CacheInUse { .. })));
        drop(first);
        Cache::open(&path).unwrap();
    }
}
