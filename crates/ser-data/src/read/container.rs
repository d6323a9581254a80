//! The structure of a text file: lines, a JSON array, multi-line objects, a table, or plain text.

use std::path::Path;

use super::layouts::{ID_COLUMNS, known_column};

/// Handling of text that is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlainText {
    /// One row per line.
    Lines,
    /// An error.
    Refused,
}

/// How a text file contains its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// One JSON value per line.
    Lines,
    /// The elements of one JSON array.
    Array,
    /// Consecutive JSON objects, each over several lines.
    Objects,
    /// The elements of the array that begins at this byte, a member of a JSON object.
    Wrapped(usize),
    /// Comma-separated values, or another delimiter; the first line has the column names.
    Table(u8),
    /// Text that is not JSON.
    Plain,
    /// Only whitespace.
    Empty,
}

impl Container {
    /// The container by a file's name and first bytes. Text that begins with `[` may also be plain text where plain
    /// text is accepted (`[INST] …`).
    pub(crate) fn of(path: &Path, head: &[u8], plain_text: PlainText) -> Container {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
        let start = head.trim_ascii_start();
        let after = |start: &[u8]| start.get(1..).unwrap_or_default().trim_ascii_start().first().copied();
        if name.ends_with(".tsv") {
            return Container::Table(b'\t');
        }
        if name.ends_with(".csv") {
            return Container::Table(delimiter(start));
        }
        match start.first() {
            None => Container::Empty,
            Some(b'{') => match wrapped_rows(head) {
                Some(offset) => Container::Wrapped(offset),
                None if over_several_lines(start) => Container::Objects,
                None => Container::Lines,
            },
            Some(b'[')
                if plain_text == PlainText::Refused
                    || matches!(after(start), None | Some(b'{' | b'[' | b']' | b'"')) =>
            {
                Container::Array
            }
            // The name's format is assumed, so that errors refer to it.
            Some(_) if [".json", ".jsonl", ".ndjson"].iter().any(|end| name.ends_with(end)) => Container::Lines,
            Some(_) => Container::Plain,
        }
    }
}

/// The delimiter of a table by its first line: Excel's depends on the locale.
fn delimiter(start: &[u8]) -> u8 {
    let header = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|delimiter| header.contains(delimiter)).unwrap_or(b',')
}

/// Whether the first line only begins an object, as in indented JSON. A line that ends within a string or a number is a
/// damaged row of a file with one row per line.
fn over_several_lines(start: &[u8]) -> bool {
    let mut lines = start.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let mut scan = Scan::default();
    first.iter().for_each(|byte| scan.step(*byte));
    let open = first.ends_with(b"\n") && scan.depth > 0 && !scan.in_string;
    open && matches!(first.trim_ascii_end().last(), Some(b'{' | b'[' | b','))
}

/// Names of members that contain a file's rows.
const WRAPPERS: [&str; 6] = ["data", "rows", "examples", "instances", "records", "items"];

/// The start of the array of rows, if the file is an object with a member such as `data` that is a list of objects.
fn wrapped_rows(head: &[u8]) -> Option<usize> {
    let mut at = skip_whitespace(head, 0);
    loop {
        // After `{`, or after the comma that follows a member.
        at = skip_whitespace(head, at + 1);
        let end = value_end(head, at)?;
        let key = std::str::from_utf8(head.get(at..end)?).ok()?.strip_prefix('"')?.strip_suffix('"')?;
        // An id does not make the object a row: `{"id": …, "data": […]}` is a wrapper.
        if known_column(key).is_some() && !ID_COLUMNS.contains(&key) {
            return None;
        }
        at = skip_whitespace(head, end);
        if head.get(at) != Some(&b':') {
            return None;
        }
        at = skip_whitespace(head, at + 1);
        if head.get(at) == Some(&b'[') && WRAPPERS.contains(&key) {
            let inside = skip_whitespace(head, at + 1);
            return (head.get(inside) == Some(&b'{')).then_some(at);
        }
        at = skip_whitespace(head, value_end(head, at)?);
        if head.get(at) != Some(&b',') {
            return None;
        }
    }
}

fn skip_whitespace(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The end of the JSON value that begins at `at`; `None` if it is not within the bytes.
fn value_end(text: &[u8], at: usize) -> Option<usize> {
    let mut scan = Scan::default();
    for (length, &byte) in text.get(at..)?.iter().enumerate() {
        let bare = scan.depth == 0 && !scan.in_string;
        if bare && length > 0 && (matches!(byte, b',' | b':' | b'}' | b']') || byte.is_ascii_whitespace()) {
            return Some(at + length);
        }
        scan.step(byte);
    }
    None
}

/// State of the scan for the end of a JSON value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) depth: usize,
    pub(crate) in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Starts inside an object that was not read from its beginning.
    pub(crate) fn inside() -> Self {
        Scan { depth: 1, ..Scan::default() }
    }

    /// Consumes the next byte.
    pub(crate) fn step(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            b'{' | b'[' if !self.in_string => self.depth += 1,
            // Only the end is searched here; the JSON parser reports other errors.
            b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_first_bytes_determine_the_container() {
        for (name, head, container) in [
            ("a.jsonl", "{\"a\": 1}\n{\"a\": 2}", Container::Lines),
            ("a.jsonl", "{\"a\": \"cut\n{\"a\": 2}", Container::Lines),
            ("a.jsonl", "{\"a\": 1\n{\"a\": 2}", Container::Lines),
            ("a.jsonl", "prompt,chosen", Container::Lines),
            ("a", "\n [\n{\"a\": 1}]", Container::Array),
            ("a", "[", Container::Array),
            ("a", "[\"x\"]", Container::Array),
            ("a.txt", "[INST] hi", Container::Plain),
            ("a.json", "{\n \"a\": 1\n}\n{\n", Container::Objects),
            ("a.json", "{\"a\": 1,\n \"b\": 2}\n", Container::Objects),
            ("a.json", "{\"version\": {\"a\": [1]}, \"data\": [ {\"a\": 1}]}", Container::Wrapped(32)),
            ("a.json", "{ \"rows\":\n[{", Container::Wrapped(10)),
            ("a.json", "{\"data\": [1, 2]}", Container::Lines),
            ("a.json", "{\"prompt\": \"q\", \"data\": [{\"a\": 1}]}", Container::Lines),
            ("A.CSV.gz", "a,b", Container::Table(b',')),
            ("a.csv", "a;b\n1,5;2", Container::Table(b';')),
            ("a.csv", "a\tb", Container::Table(b'\t')),
            ("a.tsv", "a,b", Container::Table(b'\t')),
            ("a.txt", "Why?\n", Container::Plain),
            ("a.txt", " \n\n", Container::Empty),
        ] {
            let found = Container::of(Path::new(name), head.as_bytes(), PlainText::Lines);
            assert_eq!(found, container, "{name}: {head}");
        }
        assert_eq!(Container::of(Path::new("a"), b"[1, 2]", PlainText::Refused), Container::Array);
    }
}
