//! JSON as Python's `json.dumps(…, ensure_ascii=False)` writes it, for the `tojson` filter of chat templates.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// `value` on one line with `", "` and `": "`, or indented by `indent` spaces.
pub(crate) fn to_python_json<T: Serialize>(value: &T, indent: Option<usize>) -> serde_json::Result<String> {
    let mut out = Vec::new();
    match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut out, OneLine))?,
        Some(width) => {
            let spaces = " ".repeat(width);
            value.serialize(&mut Serializer::with_formatter(
                &mut out,
                PrettyFormatter::with_indent(spaces.as_bytes()),
            ))?;
        }
    }
    String::from_utf8(out).map_err(serde::ser::Error::custom)
}

struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_python_writes_it() {
        let value: serde_json::Value = serde_json::from_str(r#"{"a":[1,"<é>\n"],"b":{}}"#).unwrap();
        // json.dumps({"a": [1, "<é>\n"], "b": {}}, ensure_ascii=False)
        assert_eq!(to_python_json(&value, None).unwrap(), "{\"a\": [1, \"<é>\\n\"], \"b\": {}}");
        // The same with indent=2.
        let expected = "{\n  \"a\": [\n    1,\n    \"<é>\\n\"\n  ],\n  \"b\": {}\n}";
        assert_eq!(to_python_json(&value, Some(2)).unwrap(), expected);
    }
}
