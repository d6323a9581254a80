//! Writes labelled pairs to files, with the origin of their labels.

#[cfg(feature = "parquet")]
mod parquet_file;
mod row;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use ser_core::Preference;

use crate::DataError;
use row::Row;

/// Writes preferences as JSON lines, compressed if the name ends in `.gz` or (feature `zstd`) `.zst`, or as parquet
/// (feature `parquet`) if it ends in `.parquet`.
///
/// `prompt`, `chosen` and `rejected` have the form in which the pair was read: whole texts without `prompt` (HH-RLHF,
/// byte by byte), plain text, or lists of messages; so the selected pairs work with every trainer that read the
/// original file, such as TRL's. Further columns are `id`, `origin` (`human` or `pseudo`), `weight`, `probability`,
/// `margin` if there is one, and for a pseudo-label `round`, `status`, `flipped`, `score_chosen` and `score_rejected`.
/// In a parquet file all pairs have the form of the first, and messages have only a role and content.
///
/// The file appears under its name only when [`finish`](PreferenceWriter::finish) is called; a writer that is dropped
/// before leaves nothing behind.
pub struct PreferenceWriter {
    path: PathBuf,
    partial: PathBuf,
    /// `None` once finished.
    output: Option<Output>,
}

enum Output {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::stream::write::Encoder<'static, BufWriter<File>>>),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet_file::ParquetOutput>),
}

impl Output {
    fn create(path: &Path, file: File) -> Result<Self, DataError> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        #[cfg(not(all(feature = "zstd", feature = "parquet")))]
        let lacking = |feature| DataError::NeedsFeature { what: format!("writing {}", path.display()), feature };
        Ok(match extension {
            "gz" => Output::Gzip(Box::new(GzEncoder::new(BufWriter::new(file), Compression::default()))),
            #[cfg(feature = "zstd")]
            "zst" => {
                let encoder = zstd::stream::write::Encoder::new(BufWriter::new(file), 0);
                Output::Zstd(Box::new(encoder.map_err(|error| DataError::io("write", path, error))?))
            }
            #[cfg(not(feature = "zstd"))]
            "zst" => return Err(lacking("zstd")),
            #[cfg(feature = "parquet")]
            "parquet" => Output::Parquet(Box::new(parquet_file::ParquetOutput::new(path, file))),
            #[cfg(not(feature = "parquet"))]
            "parquet" => return Err(lacking("parquet")),
            _ => Output::Plain(BufWriter::new(file)),
        })
    }
}

impl PreferenceWriter {
    /// Creates a temporary file beside `path`.
    ///
    /// # Errors
    /// A folder that does not exist or is not writable; a format that this build leaves out.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref().to_path_buf();
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let file = File::create(&partial).map_err(|error| DataError::io("create", &partial, error))?;
        match Output::create(&path, file) {
            Ok(output) => Ok(PreferenceWriter { path, partial, output: Some(output) }),
            Err(error) => {
                let _ = std::fs::remove_file(&partial);
                Err(error)
            }
        }
    }

    /// Writes a row.
    ///
    /// # Errors
    /// I/O errors; in a parquet file, a pair of another form than the first, or messages with further fields.
    pub fn write(&mut self, preference: &Preference) -> Result<(), DataError> {
        let written = match &mut self.output {
            Some(Output::Plain(file)) => write_line(file, preference),
            Some(Output::Gzip(file)) => write_line(file, preference),
            #[cfg(feature = "zstd")]
            Some(Output::Zstd(file)) => write_line(file, preference),
            #[cfg(feature = "parquet")]
            Some(Output::Parquet(file)) => return file.write(preference),
            None => Ok(()),
        };
        written.map_err(|error| DataError::io("write", &self.partial, error))
    }

    /// Writes the rest and renames the file to its final name.
    ///
    /// # Errors
    /// I/O errors.
    pub fn finish(mut self) -> Result<(), DataError> {
        let buffered = |file: BufWriter<File>| file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let file = match self.output.take() {
            Some(Output::Plain(file)) => buffered(file),
            Some(Output::Gzip(file)) => file.finish().and_then(buffered),
            #[cfg(feature = "zstd")]
            Some(Output::Zstd(file)) => file.finish().and_then(buffered),
            #[cfg(feature = "parquet")]
            Some(Output::Parquet(file)) => file.finish(),
            None => return Ok(()),
        };
        file.and_then(|file| file.sync_all())
            .and_then(|()| ser_core::durable::rename(&self.partial, &self.path))
            .map_err(|error| {
                // The temporary file is useless; a failure to remove it is not another error.
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

fn write_line(output: &mut impl Write, preference: &Preference) -> std::io::Result<()> {
    serde_json::to_writer(&mut *output, &Row::of(preference))?;
    output.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ser_core::{LearningStatus, Message, Pair, PairId, PairScores, PseudoLabel, RawText, Side};

    use super::*;
    use crate::{PreferenceFile, ReadSettings};

    #[test]
    fn rows_come_back_as_they_were_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = Pair::from_text(PairId(0), "Why?\n", "So \u{e9}.", "\"No\"");
        let whole = ["\n\nHuman: hi\n\nAssistant: a ".to_string(), "\n\nHuman: hi\n\nAssistant:  b".to_string()];
        let answers = ["a".to_string(), "b".to_string()];
        let hh = Pair {
            id: PairId(0),
            prompt: vec![Message::user("hi")],
            responses: answers,
            response_turns: None,
            raw: RawText::Whole(whole),
        };
        let turns = vec![Message::user("x"), Message::assistant("y"), Message::user("z")];
        let messages = Pair { prompt: turns, raw: RawText::None, ..text.clone() };
        let mut thinks = Message::assistant("So \u{e9}.");
        thinks.extra.insert("reasoning_content".into(), "Because.".into());
        let parted = [vec![thinks], vec![Message::assistant("\"No\""), Message::user("Why?")]];
        let responses = [text.responses[0].clone(), "\"No\"\n\nHuman: Why?".to_string()];
        let reasoned = Pair { responses, response_turns: Some(Box::new(parted)), ..messages.clone() };
        let label = |status| PseudoLabel { iteration: 2, scores: PairScores::new(0.1, 0.7), status, flipped: true };
        #[cfg_attr(not(any(feature = "zstd", feature = "parquet")), expect(unused_mut))]
        let mut files = vec![
            (text.clone(), "a.jsonl"),
            (hh.clone(), "b.jsonl.gz"),
            (messages.clone(), "c.jsonl"),
            (reasoned.clone(), "h.jsonl"),
        ];
        #[cfg(feature = "zstd")]
        files.push((hh.clone(), "d.jsonl.zst"));
        #[cfg(feature = "parquet")]
        files.extend([(text, "e.parquet"), (hh, "f.parquet"), (messages, "g.parquet")]);
        let count = files.len();
        for (pair, name) in files {
            let path = folder.path().join(name);
            let pair = Arc::new(pair);
            let human = Preference { margin: Some(0.5), ..Preference::human(Arc::clone(&pair), Side::A) };
            let pseudo = Preference::pseudo(Arc::clone(&pair), Side::B, label(LearningStatus::Status1));
            let mut writer = PreferenceWriter::create(&path).unwrap();
            writer.write(&human).unwrap();
            writer.write(&pseudo).unwrap();
            assert!(!path.exists(), "not before it is complete");
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
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), count, "nothing else is left");
        assert_eq!(std::fs::read_to_string(folder.path().join("a.jsonl")).unwrap(), lines, "the old file is untouched");
    }

    #[cfg(feature = "parquet")]
    #[test]
    fn parquet_refuses_fields_that_it_cannot_store() {
        let folder = tempfile::tempdir().unwrap();
        let mut pair = Pair { raw: RawText::None, ..Pair::from_text(PairId(7), "q", "a", "b") };
        pair.prompt[0].extra.insert("name".into(), "me".into());
        let mut writer = PreferenceWriter::create(folder.path().join("a.parquet")).unwrap();
        let error = writer.write(&Preference::human(Arc::new(pair), Side::A)).unwrap_err().to_string();
        assert!(error.starts_with("pair 7 has messages with fields") && error.ends_with("to .jsonl"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = PreferenceWriter::create("/nowhere/at/all.jsonl").unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.jsonl.partial"), "{error}");
    }
}
