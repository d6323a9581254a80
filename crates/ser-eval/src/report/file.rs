//! Reports as files: `report.json` and `report.html`, written atomically.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use ser_core::durable;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{Report, Timing};
use crate::EvalError;

impl Report {
    /// The report as pretty JSON. Fields keep their order, settings are sorted by name, and floats have enough digits
    /// to be read back exactly: equal reports give equal bytes.
    ///
    /// # Errors
    /// [`EvalError::NotFinite`], as JSON has no NaN.
    pub fn to_json(&self) -> Result<String, EvalError> {
        let broken = |error: serde_json::Error| EvalError::Unserializable { reason: error.to_string() };
        // Absent values are left out, so a null can only be a float that JSON cannot represent.
        let value = serde_json::to_value(Report { settings: Value::Bool(true), ..self.clone() }).map_err(broken)?;
        if let Some(pointer) = find_null(&value, String::new()) {
            return Err(EvalError::NotFinite { pointer });
        }
        let mut json = serde_json::to_string_pretty(self).map_err(broken)?;
        json.push('\n');
        Ok(json)
    }

    /// The report without timing: equal for two runs that did the same.
    pub fn without_timing(&self) -> Report {
        Report { timing: Timing::default(), ..self.clone() }
    }

    /// Writes `report.json` and `report.html` into a folder, which is created if it does not exist. Each file is
    /// replaced in one step, so a reader sees the old one or the new one.
    ///
    /// # Errors
    /// [`EvalError::NotFinite`], [`EvalError::Write`].
    pub fn write(&self, folder: &Path) -> Result<(), EvalError> {
        let json = self.to_json()?;
        fs::create_dir_all(folder).map_err(|source| EvalError::Write { path: folder.to_owned(), source })?;
        write_whole(folder, "report.json", &json)?;
        write_whole(folder, "report.html", &self.to_html())
    }

    /// Reads a `report.json`.
    ///
    /// # Errors
    /// [`EvalError::Read`], [`EvalError::BadReport`].
    pub fn read(path: &Path) -> Result<Report, EvalError> {
        let text = fs::read_to_string(path).map_err(|source| EvalError::Read { path: path.to_owned(), source })?;
        serde_json::from_str(&text).map_err(|error| EvalError::BadReport {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
            reason: error.to_string(),
        })
    }
}

/// JSON pointer to the first null.
fn find_null(value: &Value, pointer: String) -> Option<String> {
    match value {
        Value::Null => Some(pointer),
        Value::Array(items) => items.iter().enumerate().find_map(|(i, item)| find_null(item, format!("{pointer}/{i}"))),
        Value::Object(fields) => fields.iter().find_map(|(name, item)| find_null(item, format!("{pointer}/{name}"))),
        _ => None,
    }
}

/// Writes a temporary file and renames it, so that a kill at any instant leaves a whole file or none.
pub(crate) fn write_whole(folder: &Path, name: &str, text: &str) -> Result<(), EvalError> {
    let path = folder.join(name);
    durable::replace(&path, |out| out.write_all(text.as_bytes())).map_err(|source| EvalError::Write { path, source })
}

/// Serializes a value with every object's fields sorted, independent of the map's own order.
pub(super) fn sorted<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    Sorted(value).serialize(serializer)
}

struct Sorted<'v>(&'v Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(name, v)| (name, Sorted(v))).collect::<BTreeMap<_, _>>())
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            other => other.serialize(serializer),
        }
    }
}
