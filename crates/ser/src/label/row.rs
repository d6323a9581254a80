//! Rows of JSON: their scores, and their fields with the label.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use ser_core::{LearningStatus, PairProbabilities, Side};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::LabelError;

pub(super) fn not_an_object(line: u64, error: &serde_json::Error) -> LabelError {
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or_default().to_owned();
    LabelError::NotAnObject { line, column: error.column(), problem }
}

/// The fields of a row in order, their values as they were written.
pub(super) struct Row<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Row<'a> {
    pub(super) fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Both scores, by the names of the authors' code or of `ser score`.
    pub(super) fn scores(&self) -> Result<[f64; 2], String> {
        let fields = ["score_j", "score_k"].map(|name| (name, self.field(name)));
        match fields {
            [(_, None), (_, None)] => {}
            [(j, Some(score_j)), (k, Some(score_k))] => return Ok([number(j, score_j)?, number(k, score_k)?]),
            [(j, score_j), (k, _)] => {
                return Err(format!("the row has no field {}", if score_j.is_none() { j } else { k }));
            }
        }
        let Some(raw) = self.field("probability") else {
            let problem =
                "the row has neither score_j and score_k nor probability: give the sigmoid scores of both answers";
            return Err(problem.to_owned());
        };
        let Ok(both) = serde_json::from_str::<[&RawValue; 2]>(raw) else {
            return Err(format!("probability is {}, not a list of two numbers", beginning(raw)));
        };
        // JSON has no NaN: `ser score` writes null for a score that is NaN.
        let score = |raw: &RawValue| match raw.get() {
            "null" => Ok(f64::NAN),
            raw => number("probability", raw),
        };
        let [j, k] = both;
        Ok([score(j)?, score(k)?])
    }

    /// A field's value as it was written. The last of several fields of the same name counts, as in Python.
    fn field(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rfind(|(key, _)| key == name).map(|(_, raw)| raw.get())
    }

    pub(super) fn write(
        &self,
        output: &mut impl Write,
        pair: PairProbabilities,
        status: LearningStatus,
    ) -> io::Result<()> {
        output.write_all(b"{")?;
        for (key, value) in self.0.iter().filter(|(key, _)| !matches!(&**key, "status" | "preferred" | "delta")) {
            serde_json::to_writer(&mut *output, key)?;
            write!(output, ":{},", value.get())?;
        }
        let (status, preferred) = match (status, pair.higher()) {
            (LearningStatus::Status1, Some(side)) => ("status1", Some(side)),
            (LearningStatus::Status2, Some(side)) => ("status2", Some(side)),
            _ => ("stop", None),
        };
        let preferred = match preferred {
            Some(Side::A) => "\"j\"",
            Some(Side::B) => "\"k\"",
            None => "null",
        };
        write!(output, "\"status\":\"{status}\",\"preferred\":{preferred},\"delta\":")?;
        serde_json::to_writer(&mut *output, &pair.delta())?;
        output.write_all(b"}\n")
    }
}

/// A score as Python's `float(row[name])` reads it.
fn number(name: &str, raw: &str) -> Result<f64, String> {
    let value = match raw.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => raw.parse().ok(),
        Some(b'"') => serde_json::from_str::<String>(raw).ok().and_then(|text| python_float(&text)),
        _ => None,
    };
    value.ok_or_else(|| format!("{name} is {}, not a number", beginning(raw)))
}

/// At most 40 characters, for an error.
fn beginning(raw: &str) -> String {
    let shown: String = raw.chars().take(40).collect();
    if shown.len() < raw.len() { shown + "..." } else { shown }
}

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Row<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with score_j and score_k, or probability")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry()? {
                    fields.push((key, value));
                }
                Ok(Row(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Python's `float` of a text in ASCII digits.
fn python_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c));
    if !text.contains('_') {
        return text.parse().ok();
    }
    // An underscore may stand between two digits.
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let misplaced =
        |i: usize| bytes.get(i) == Some(&b'_') && !(i > 0 && digit(bytes.get(i - 1)) && digit(bytes.get(i + 1)));
    if (0..bytes.len()).any(misplaced) { None } else { text.replace('_', "").parse().ok() }
}

/// Puts quotes around the `NaN`, `Infinity` and `-Infinity` that Python's `json` writes.
pub(super) fn quote_python_constants(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 8);
    let mut rest = text;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        let constant = ["NaN", "Infinity", "-Infinity"].into_iter().find(|name| !in_string && rest.starts_with(name));
        let taken = match (constant, c) {
            (Some(name), _) => name.len(),
            // A backslash takes the next character with it.
            (None, '\\') if in_string => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            _ => c.len_utf8(),
        };
        in_string ^= c == '"';
        let (token, after) = rest.split_at(taken);
        if constant.is_some() {
            quoted.extend(["\"", token, "\""]);
        } else {
            quoted.push_str(token);
        }
        rest = after;
    }
    quoted
}
