//! The text settings of a model's training, stored beside the weights as `ser.json` and checked when the model is loaded for
//! scoring or generation.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ser_data::{PairTokenizer, TemplateDate, TemplateKind, TextSettings};
use serde::{Deserialize, Serialize};

use super::writer::write_json;
use crate::ModelError;

/// The name of the record in the folder of an adapter or a model.
const FILE: &str = "ser.json";

/// The text settings and the tokenizer of a model's training: `ser.json` beside its weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRecord {
    /// The version of the library that wrote the record.
    pub version: String,
    /// Template, end token, longest text and date.
    pub text: TextSettings,
    /// [`PairTokenizer::fingerprint`] of the tokenizer.
    pub tokenizer_sha256: String,
}

impl TextRecord {
    /// The record of a tokenizer and its text settings.
    pub fn new(tokenizer: &PairTokenizer) -> Result<Self, ModelError> {
        Ok(TextRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            text: tokenizer.settings().clone(),
            tokenizer_sha256: tokenizer.fingerprint()?,
        })
    }

    /// Reads the record of a folder; `None` if there is none.
    ///
    /// # Errors
    /// [`ModelError::Json`] for a malformed record.
    pub fn read(folder: &Path) -> Result<Option<Self>, ModelError> {
        let path = folder.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| ModelError::json(&path, e)),
            // A GGUF file has no record beside its weights.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(ModelError::file(&path, error)),
        }
    }

    /// Writes the record into a folder.
    pub fn write(&self, folder: &Path) -> Result<(), ModelError> {
        let path = folder.join(FILE);
        write_json(&path, &serde_json::to_value(self).map_err(|e| ModelError::json(&path, e))?)
    }

    /// Copies the record of a folder, if there is one, into another.
    pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), ModelError> {
        match TextRecord::read(from)? {
            Some(record) => record.write(to),
            None => Ok(()),
        }
    }

    /// Refuses a tokenizer whose settings or tokens differ from the record in `folder`, if there is one.
    ///
    /// # Errors
    /// [`ModelError::OtherText`], [`ModelError::OtherTokenizer`].
    pub(crate) fn check(folder: &Path, tokenizer: &PairTokenizer) -> Result<(), ModelError> {
        let Some(record) = TextRecord::read(folder)? else { return Ok(()) };
        let asked = tokenizer.settings();
        let request = TextRequest {
            template: Some(asked.template),
            append_eos: Some(asked.append_eos),
            max_length: asked.max_length.filter(|_| record.text.max_length.is_some()),
            date: Some(asked.date),
            force: false,
        };
        request.check(&record.text, folder)?;
        record.check_tokenizer(folder, tokenizer)
    }

    fn check_tokenizer(&self, folder: &Path, tokenizer: &PairTokenizer) -> Result<(), ModelError> {
        // The fingerprint covers the template, so it is compared only for equal templates.
        let comparable = tokenizer.settings().template == self.text.template;
        if comparable && tokenizer.fingerprint()? != self.tokenizer_sha256 {
            return Err(ModelError::OtherTokenizer {
                record: folder.join(FILE),
                tokenizer: tokenizer.folder().to_owned(),
            });
        }
        Ok(())
    }
}

/// Text settings that a caller requests for a model. A field that is `None` has the value of the model's [`TextRecord`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextRequest {
    /// The template of the text.
    pub template: Option<TemplateKind>,
    /// Whether a text of the authors_code template ends with the end token.
    pub append_eos: Option<bool>,
    /// The longest text in tokens.
    pub max_length: Option<usize>,
    /// The current date for a chat template.
    pub date: Option<TemplateDate>,
    /// Overrides a record that contradicts the other fields, and accepts another tokenizer.
    #[serde(skip)]
    pub force: bool,
}

/// The result of a [`TextRequest`] for one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedText {
    /// Template, end token and longest text.
    pub settings: TextSettings,
    /// The folder of the record that was used; `None` if no folder has one, so the defaults apply.
    pub recorded_in: Option<PathBuf>,
    record: Option<TextRecord>,
    forced: bool,
}

impl TextRequest {
    /// The settings for a model with files in `folders` (the adapter's before the base's): those of the first record found,
    /// else `defaults`, replaced by the fields of the request.
    ///
    /// # Errors
    /// [`ModelError::OtherText`] if the request contradicts the record and [`force`](Self::force) is not set.
    pub fn resolve(&self, folders: &[&Path], defaults: &TextSettings) -> Result<ResolvedText, ModelError> {
        let mut found = None;
        for folder in folders {
            if let Some(record) = TextRecord::read(folder)? {
                found = Some((record, folder.to_path_buf()));
                break;
            }
        }
        let (record, recorded_in) = found.unzip();
        if let (Some(folder), true) = (&recorded_in, self.force) {
            tracing::warn!(record = %folder.join(FILE).display(), "the record of the text settings is overridden");
        }
        let from = record.as_ref().map_or(defaults, |record: &TextRecord| &record.text);
        if let (Some(folder), false) = (&recorded_in, self.force) {
            self.check(from, folder)?;
        }
        let settings = TextSettings {
            template: self.template.unwrap_or(from.template),
            append_eos: self.append_eos.unwrap_or(from.append_eos),
            max_length: self.max_length.or(from.max_length),
            date: self.date.unwrap_or(from.date),
        };
        Ok(ResolvedText { settings, recorded_in, record, forced: self.force })
    }

    /// Refuses a request that contradicts recorded settings. The end token is compared only under the authors_code template: the
    /// other templates define the end of a text.
    fn check(&self, recorded: &TextSettings, folder: &Path) -> Result<(), ModelError> {
        let other = |setting, recorded: String, asked: String| {
            Err(ModelError::OtherText { record: folder.join(FILE), setting, recorded, asked })
        };
        let template = self.template.unwrap_or(recorded.template);
        if template != recorded.template {
            return other("template", recorded.template.to_string(), template.to_string());
        }
        let append_eos = self.append_eos.unwrap_or(recorded.append_eos);
        if template == TemplateKind::AuthorsCode && append_eos != recorded.append_eos {
            return other("append_eos", recorded.append_eos.to_string(), append_eos.to_string());
        }
        let date = self.date.unwrap_or(recorded.date);
        if template == TemplateKind::Chat && date != recorded.date {
            return other("date", recorded.date.to_string(), date.to_string());
        }
        match self.max_length {
            Some(asked) if recorded.max_length != Some(asked) => {
                let recorded = recorded.max_length.map_or_else(|| "no limit".to_owned(), |length| length.to_string());
                other("max_length", recorded, asked.to_string())
            }
            _ => Ok(()),
        }
    }
}

impl ResolvedText {
    /// Refuses a tokenizer that differs from the recorded one, unless the request was forced.
    ///
    /// # Errors
    /// [`ModelError::OtherTokenizer`].
    pub fn check_tokenizer(&self, tokenizer: &PairTokenizer) -> Result<(), ModelError> {
        match (&self.record, &self.recorded_in) {
            (Some(record), Some(folder)) if !self.forced => record.check_tokenizer(folder, tokenizer),
            _ => Ok(()),
        }
    }

    /// Whether the request was forced.
    pub fn forced(&self) -> bool {
        self.forced
    }
}

impl std::fmt::Display for ResolvedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TextSettings { template, append_eos, max_length, date } = &self.settings;
        write!(f, "texts: template {template}")?;
        if *template == TemplateKind::AuthorsCode {
            write!(f, ", {} end token", if *append_eos { "with" } else { "without" })?;
        }
        if *template == TemplateKind::Chat {
            write!(f, ", dated {date}")?;
        }
        if let Some(length) = max_length {
            write!(f, ", at most {length} tokens")?;
        }
        match &self.recorded_in {
            Some(folder) if self.forced => {
                write!(f, " (forced over {})", folder.join(FILE).display())
            }
            Some(folder) => write!(f, " (from {})", folder.join(FILE).display()),
            None => write!(f, " (the model has no {FILE})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(folder: &Path, text: TextSettings) {
        TextRecord { version: "0.1.0".into(), text, tokenizer_sha256: "00".into() }.write(folder).unwrap();
    }

    #[test]
    fn a_request_that_contradicts_the_record_is_refused_unless_forced() {
        let (adapter, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let raw = TextSettings {
            template: TemplateKind::Raw,
            append_eos: false,
            max_length: None,
            ..TextSettings::default()
        };
        let folders = [adapter.path(), base.path()];
        let nothing = TextRequest::default().resolve(&folders, &raw).unwrap();
        assert_eq!((&nothing.settings, &nothing.recorded_in), (&raw, &None));
        record(base.path(), raw.clone());
        record(adapter.path(), TextSettings::default());
        let found = TextRequest::default().resolve(&folders, &raw).unwrap();
        assert_eq!((found.settings, found.recorded_in), (TextSettings::default(), Some(adapter.path().to_owned())));
        let same =
            TextRequest { template: Some(TemplateKind::AuthorsCode), max_length: Some(512), ..Default::default() };
        assert_eq!(same.resolve(&folders, &raw).unwrap().settings, TextSettings::default());
        for (request, said) in [
            (TextRequest { template: Some(TemplateKind::Raw), ..Default::default() }, "template authors_code, but raw"),
            (TextRequest { append_eos: Some(false), ..Default::default() }, "append_eos true, but false"),
            (TextRequest { max_length: Some(64), ..Default::default() }, "max_length 512, but 64"),
        ] {
            let error = request.resolve(&folders, &raw).unwrap_err().to_string();
            assert!(error.contains("ser.json") && error.contains(said), "{error}");
            let forced = TextRequest { force: true, ..request.clone() }.resolve(&folders, &raw).unwrap();
            assert_ne!(forced.settings, TextSettings::default());
        }
        // append_eos applies to the authors_code template only.
        let eos = TextRequest { append_eos: Some(true), ..Default::default() };
        assert!(eos.resolve(&[base.path()], &raw).is_ok());
    }

    #[test]
    fn a_malformed_record_is_an_error_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{}").unwrap();
        let error = TextRequest::default().resolve(&[folder.path()], &TextSettings::default()).unwrap_err();
        assert!(error.to_string().contains("ser.json"), "{error}");
    }
}
