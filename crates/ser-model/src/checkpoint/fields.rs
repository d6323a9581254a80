//! JSON objects as Python's `json` module reads them, with getters that check the type of a field.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::ModelError;

/// The fields of a JSON object. A `null` field counts as absent unless the getter says otherwise. A field of the wrong
/// type is an error that names the field.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    path: PathBuf,
    /// The prefix of field names in errors: empty, or `rope_scaling.`.
    prefix: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path).map_err(|e| ModelError::file(path, e))?;
        Self::parse(&text, path)
    }

    /// Parses the text of a file; errors name `path`. As in Python, the last of several fields with one name counts, and
    /// `NaN`, `Infinity` and `-Infinity` are allowed. These three become strings of the same spelling, so that a getter
    /// that needs a finite number refuses them.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ModelError> {
        let value = serde_json::from_str(text).or_else(|error| {
            serde_json::from_str(&quote_python_constants(text)).map_err(|_| ModelError::json(path, error))
        })?;
        match value {
            Value::Object(map) => Ok(Fields { path: path.to_owned(), prefix: String::new(), map }),
            other => Err(ModelError::json(path, format!("it contains {}, not an object", shown(&other)))),
        }
    }

    /// The raw value, `null` included.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name)
    }

    /// The value unless it is `null`.
    fn set(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether the object has no fields.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The names of the fields whose values are objects.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &str> {
        self.map.iter().filter(|(_, value)| value.is_object()).map(|(name, _)| name.as_str())
    }

    /// Sets a field.
    pub(crate) fn insert(&mut self, name: &str, value: Value) {
        self.map.insert(name.to_owned(), value);
    }

    /// A whole number, written as `8192` or `8192.0`.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, ModelError> {
        self.set(name).map(|value| whole(value).ok_or_else(|| self.wrong(name, "a whole number"))).transpose()
    }

    /// As [`integer`](Self::integer), but `null` is `Some(None)`: transformers distinguishes it from an absent field.
    pub(crate) fn nullable_integer(&self, name: &str) -> Result<Option<Option<i64>>, ModelError> {
        self.map.get(name).map(|_| self.integer(name)).transpose()
    }

    /// A whole number or a list of them; empty if absent.
    pub(crate) fn integers(&self, name: &str) -> Result<Vec<i64>, ModelError> {
        let wrong = || self.wrong(name, "a whole number or a list of them");
        match self.set(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|value| whole(value).ok_or_else(wrong)).collect(),
            Some(value) => Ok(vec![whole(value).ok_or_else(wrong)?]),
        }
    }

    /// A finite number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        let finite = |value: &Value| value.as_f64().filter(|x| x.is_finite());
        self.set(name).map(|value| finite(value).ok_or_else(|| self.wrong(name, "a finite number"))).transpose()
    }

    /// True or false.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ModelError> {
        self.set(name).map(|value| value.as_bool().ok_or_else(|| self.wrong(name, "true or false"))).transpose()
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ModelError> {
        self.set(name).map(|value| value.as_str().ok_or_else(|| self.wrong(name, "a text"))).transpose()
    }

    /// A text or a list of texts; empty if absent.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, ModelError> {
        let wrong = || self.wrong(name, "a text or a list of texts");
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
        match self.set(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(text).collect(),
            Some(value) => Ok(vec![text(value)?]),
        }
    }

    /// An object.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Fields>, ModelError> {
        match self.set(name) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                let prefix = format!("{}{name}.", self.prefix);
                Ok(Some(Fields { path: self.path.clone(), prefix, map: map.clone() }))
            }
            Some(_) => Err(self.wrong(name, "an object")),
        }
    }

    /// A field of any type that serde reads.
    pub(crate) fn parsed<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, ModelError> {
        let parse = |value: &Value| serde_json::from_value(value.clone()).map_err(|_| self.wrong(name, expected));
        self.set(name).map(parse).transpose()
    }

    /// The error of a field with a wrong value.
    pub(crate) fn wrong(&self, name: &str, expected: &str) -> ModelError {
        let value = self.map.get(name).map_or_else(|| "missing".to_owned(), shown);
        self.problem(format!("{}{name} is {value}; it must be {expected}", self.prefix))
    }

    /// An error about the file.
    pub(crate) fn problem(&self, problem: String) -> ModelError {
        ModelError::Config { path: self.path.clone(), problem }
    }
}

/// A number without a fractional part that an i64 represents exactly.
fn whole(value: &Value) -> Option<i64> {
    let exact = |x: f64| (x.fract() == 0.0 && x.abs() < 9e15).then_some(x as i64);
    value.as_i64().or_else(|| exact(value.as_f64()?))
}

/// A value for an error message: at most 60 characters.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() { short + "..." } else { short }
}

/// Quotes the constants that Python's `json` writes and JSON does not have, outside of strings.
fn quote_python_constants(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let (mut in_string, mut escaped) = (false, false);
    while let Some(c) = rest.chars().next() {
        let constant = ["NaN", "Infinity", "-Infinity"].into_iter().find(|name| !in_string && rest.starts_with(name));
        let token = match constant {
            Some(name) => {
                quoted.extend(["\"", name, "\""]);
                name.len()
            }
            None => {
                quoted.push(c);
                c.len_utf8()
            }
        };
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && c == '\\' && !escaped;
        rest = rest.get(token..).unwrap_or_default();
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text, Path::new("x.json")).unwrap()
    }

    #[test]
    fn whole_numbers_are_read_in_both_spellings_and_other_types_are_errors() {
        let f = fields(r#"{"a": 8192.0, "b": 3, "c": 2.5, "d": "7", "e": null, "g": [1.0, 2]}"#);
        assert_eq!((f.integer("a").unwrap(), f.integer("b").unwrap()), (Some(8192), Some(3)));
        assert_eq!((f.integer("e").unwrap(), f.nullable_integer("e").unwrap()), (None, Some(None)));
        assert_eq!((f.nullable_integer("z").unwrap(), f.integers("g").unwrap()), (None, vec![1, 2]));
        for name in ["c", "d"] {
            let error = f.integer(name).unwrap_err().to_string();
            assert!(error.contains(&format!("x.json: {name} is ")) && error.ends_with("a whole number"), "{error}");
        }
        assert_eq!(f.number("b").unwrap(), Some(3.0));
        assert!(f.number("d").is_err());
    }

    /// `json.loads('{"a": 1, "a": 2, "b": NaN, "c": "a \\" NaN", "d": [-Infinity]}')` in Python.
    #[test]
    fn python_reads_the_same() {
        let f = fields(r#"{"a": 1, "a": 2, "b": NaN, "c": "a \" NaN", "d": [-Infinity]}"#);
        assert_eq!(f.integer("a").unwrap(), Some(2));
        assert_eq!(f.text("c").unwrap(), Some("a \" NaN"));
        let error = f.number("b").unwrap_err().to_string();
        assert!(error.contains("b is \"NaN\"; it must be a finite number"), "{error}");
        assert!(Fields::parse("[1]", Path::new("x.json")).unwrap_err().to_string().contains("not an object"));
        assert!(Fields::parse("{", Path::new("x.json")).unwrap_err().to_string().contains("line 1"));
    }
}
