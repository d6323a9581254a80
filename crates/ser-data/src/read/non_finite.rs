//! `NaN` and `Infinity`, which Python writes into JSON although the standard forbids them.

use serde_json::{Map, Value};

/// The only key of the object that represents such a number, so that no reader takes it for a number, text or null.
const KEY: &str = "\u{0}not finite";

/// Parses a row's JSON.
///
/// # Errors
/// The parser's error for other faults of the JSON.
pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes).or_else(|error| {
        let replace = |with: fn(&str) -> String| replaced(bytes, with);
        let Some(marked) = replace(|number| value(number).to_string()) else { return Err(error) };
        serde_json::from_slice(&marked).or_else(|_| {
            // Zeros of the same length preserve the column of errors with another cause.
            let zeros = replace(|number| format!("{:0<1$}", "0.", number.len())).unwrap_or_default();
            serde_json::from_slice(&zeros)
        })
    })
}

/// The value that represents a number that is not finite.
pub(crate) fn value(number: &str) -> Value {
    Value::Object(Map::from_iter([(KEY.to_string(), Value::from(number))]))
}

/// The number that a value represents.
pub(crate) fn non_finite(value: &Value) -> Option<&str> {
    value.as_object()?.get(KEY)?.as_str()
}

/// Replaces every number that is not finite, outside of strings; `None` if there is none.
fn replaced(bytes: &[u8], with: fn(&str) -> String) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut rest, mut copied) = (bytes, bytes);
    let mut any = false;
    while let Some(&byte) = rest.first() {
        match byte {
            b'"' => rest = after_string(rest),
            b'-' | b'0'..=b'9' | b'N' | b'I' => {
                let length =
                    rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
                let (token, after) = rest.split_at(length);
                if let Some(number) = std::str::from_utf8(token).ok().filter(|token| is_non_finite(token)) {
                    out.extend_from_slice(copied.get(..copied.len() - rest.len())?);
                    out.extend_from_slice(with(number).as_bytes());
                    (any, copied) = (true, after);
                }
                rest = after;
            }
            _ => rest = rest.get(1..)?,
        }
    }
    out.extend_from_slice(copied);
    any.then_some(out)
}

/// Python's names, and numbers that overflow a 64-bit float.
fn is_non_finite(token: &str) -> bool {
    let named = matches!(token, "NaN" | "Infinity" | "-Infinity");
    let number = token.ends_with(|last: char| last.is_ascii_digit());
    named || (number && token.parse().is_ok_and(f64::is_infinite))
}

/// The rest after a string that begins here.
fn after_string(text: &[u8]) -> &[u8] {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return text.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_are_marked() {
        let row =
            parse(br#"{"a": NaN, "b": [Infinity,-Infinity, 1e999], "NaN": "NaN \" Infinity", "c": -1.5e3}"#).unwrap();
        assert_eq!(non_finite(&row["a"]), Some("NaN"));
        let list: Vec<_> = row["b"].as_array().unwrap().iter().map(non_finite).collect();
        assert_eq!(list, [Some("Infinity"), Some("-Infinity"), Some("1e999")]);
        assert_eq!((row["NaN"].as_str(), row["c"].as_f64()), (Some("NaN \" Infinity"), Some(-1500.0)));
    }

    #[test]
    fn other_faults_keep_their_column() {
        for (text, column) in
            [("{\"a\": NaN, \"b\" 1}", 16), ("{\"a\": nan}", 8), ("{\"a\": -Infinity, b}", 18), ("[NaN", 4)]
        {
            assert_eq!(parse(text.as_bytes()).unwrap_err().column(), column, "{text}");
        }
        assert!(parse(b"{\"a\": Infinit}").is_err() && parse(b"{\"a\": NaN1}").is_err());
    }
}
