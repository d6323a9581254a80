//! Labelled pairs back to JSON lines, with where the labels come from.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use ser_core::{LearningStatus, Message, Origin, PairId, Preference, RawText, Side};
use serde::Serialize;

use crate::DataError;

/// Writes preferences as JSON lines, gzipped where the name ends in `.gz`.
///
/// `prompt`, `chosen` and `rejected` have the form in which the pair was read: whole texts without `prompt` (HH-RLHF,
/// byte by byte), plain text, or lists of messages; so what SER selected trains whatever the file trained before.
/// Beside them stand `id`, `origin` (`human` or `pseudo`), `weight`, `probability`, `margin` where there is one, and for
/// a pseudo-label `round`, `status`, `flipped`, `score_chosen` and `score_rejected`.
///
/// The file appears under its name when [`finish`](PreferenceWriter::finish) is called, whole or not at all; a writer
/// that is dropped before leaves nothing behind.
pub struct PreferenceWriter {
    path: PathBuf,
    partial: PathBuf,
    /// `None` once finished.
    output: Option<Output>,
}

enum Output {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Column<'a> {
    Text(&'a str),
    Turns(&'a [Message]),
    Turn([&'a Message; 1]),
}

#[derive(Serialize)]
struct Row<'a> {
    id: PairId,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<Column<'a>>,
    chosen: Column<'a>,
    rejected: Column<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    margin: Option<f64>,
    weight: f64,
    probability: f64,
    origin: &'static str,
    #[serde(flatten)]
    lineage: Option<Lineage>,
}

#[derive(Serialize)]
struct Lineage {
    round: u32,
    status: LearningStatus,
    flipped: bool,
    score_chosen: f64,
    score_rejected: f64,
}

impl PreferenceWriter {
    /// Begins a file beside `path`.
    ///
    /// # Errors
    /// A folder that is not there or cannot be written to.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref().to_path_buf();
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let file = File::create(&partial).map_err(|error| DataError::io("create", &partial, error))?;
        let file = BufWriter::new(file);
        let output = if path.extension().is_some_and(|extension| extension == "gz") {
            Output::Gzip(Box::new(GzEncoder::new(file, Compression::default())))
        } else {
            Output::Plain(file)
        };
        Ok(PreferenceWriter { path, partial, output: Some(output) })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// A disk that is full, say.
    pub fn write(&mut self, preference: &Preference) -> Result<(), DataError> {
        let pair = &preference.pair;
        let [a, b] = &pair.responses;
        let answers = [Message::assistant(a), Message::assistant(b)];
        let [turn_a, turn_b] = &answers;
        let (prompt, [a, b]) = match &pair.raw {
            RawText::Whole([a, b]) => (None, [Column::Text(a), Column::Text(b)]),
            RawText::Joined if pair.prompt.len() == 1 => {
                (pair.prompt.first().map(|turn| Column::Text(&turn.content)), [Column::Text(a), Column::Text(b)])
            }
            _ => (Some(Column::Turns(&pair.prompt)), [Column::Turn([turn_a]), Column::Turn([turn_b])]),
        };
        let (chosen, rejected) = match preference.preferred {
            Side::A => (a, b),
            Side::B => (b, a),
        };
        let (origin, lineage) = match &preference.origin {
            Origin::Human => ("human", None),
            Origin::Pseudo(label) => {
                let (a, b) = (label.scores.a.0, label.scores.b.0);
                let (score_chosen, score_rejected) = if preference.preferred == Side::A { (a, b) } else { (b, a) };
                let (round, status, flipped) = (label.round, label.status, label.flipped);
                ("pseudo", Some(Lineage { round, status, flipped, score_chosen, score_rejected }))
            }
        };
        let Preference { margin, weight, probability, .. } = *preference;
        let row = Row { id: pair.id, prompt, chosen, rejected, margin, weight, probability, origin, lineage };
        let written = match &mut self.output {
            Some(Output::Plain(file)) => write_row(file, &row),
            Some(Output::Gzip(file)) => write_row(file, &row),
            None => Ok(()),
        };
        written.map_err(|error| DataError::io("write", &self.partial, error))
    }

    /// Writes what is left and puts the file in its place.
    ///
    /// # Errors
    /// A disk that is full, say.
    pub fn finish(mut self) -> Result<(), DataError> {
        let file = match self.output.take() {
            Some(Output::Plain(file)) => Ok(file),
            Some(Output::Gzip(file)) => file.finish(),
            None => return Ok(()),
        };
        file.and_then(|file| file.into_inner().map_err(std::io::IntoInnerError::into_error))
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&self.partial, &self.path))
            .map_err(|error| {
                // What is left of it helps nobody; that it stays where even removing fails is no second error.
                let _ = std::fs::remove_file(&self.partial);
                DataError::io("write", &self.path, error)
            })
    }
}

impl Drop for PreferenceWriter {
    fn drop(&mut self) {
        if self.output.take().is_some() {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

impl std::fmt::Debug for PreferenceWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreferenceWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

fn write_row(output: &mut impl Write, row: &Row<'_>) -> std::io::Result<()> {
    serde_json::to_writer(&mut *output, row)?;
    output.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ser_core::{Pair, PairScores, PseudoLabel};

    use super::*;
    use crate::{PreferenceFile, ReadSettings};

    #[test]
    fn rows_come_back_as_they_were_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = Pair::from_text(PairId(0), "Why?\n", "So \u{e9}.", "\"No\"");
        let whole = ["\n\nHuman: hi\n\nAssistant: a ".to_string(), "\n\nHuman: hi\n\nAssistant:  b".to_string()];
        let answers = ["a".to_string(), "b".to_string()];
        let hh =
            Pair { id: PairId(0), prompt: vec![Message::user("hi")], responses: answers, raw: RawText::Whole(whole) };
        let turns = vec![Message::user("x"), Message::assistant("y"), Message::user("z")];
        let messages = Pair { prompt: turns, raw: RawText::None, ..text.clone() };
        let label = |status| PseudoLabel { round: 2, scores: PairScores::new(0.1, 0.7), status, flipped: true };
        for (pair, name) in [(text, "a.jsonl"), (hh, "b.jsonl.gz"), (messages, "c.jsonl")] {
            let path = folder.path().join(name);
            let pair = Arc::new(pair);
            let human = Preference { margin: Some(0.5), ..Preference::human(Arc::clone(&pair), Side::A) };
            let pseudo = Preference::pseudo(Arc::clone(&pair), Side::B, label(LearningStatus::Status1));
            let mut writer = PreferenceWriter::create(&path).unwrap();
            writer.write(&human).unwrap();
            writer.write(&pseudo).unwrap();
            assert!(!path.exists(), "not before it is whole");
            writer.finish().unwrap();
            let (read, _) = PreferenceFile::open(&path, &ReadSettings::default()).unwrap().read_all().unwrap();
            assert_eq!(read[0], human, "{name}");
            let swapped = Pair { id: PairId(1), ..Pair::clone(&pair).swapped() };
            assert_eq!(*read[1].pair, swapped, "{name}: the better answer is now A");
        }
        let lines = std::fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
        let row: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
        assert_eq!(
            row,
            serde_json::json!({
                "id": 0, "prompt": "Why?\n", "chosen": "\"No\"", "rejected": "So \u{e9}.", "weight": 1.0, "probability": 1.0,
                "origin": "pseudo", "round": 2, "status": "status1", "flipped": true,
                "score_chosen": 0.7, "score_rejected": 0.1,
            })
        );
        drop(PreferenceWriter::create(folder.path().join("a.jsonl")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
        assert_eq!(std::fs::read_to_string(folder.path().join("a.jsonl")).unwrap(), lines, "the old file is untouched");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = PreferenceWriter::create("/nowhere/at/all.jsonl").unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.jsonl.partial"), "{error}");
    }
}
