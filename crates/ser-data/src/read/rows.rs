//! Splits text into rows of bytes, one at a time: lines, elements of a JSON array, or multi-line objects.

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use super::container::{Container, Scan};
use super::open::{Text, TooLarge};
use super::settings::ReadSettings;
use crate::DataError;
use crate::RowPosition;

/// The rows of a text file, streamed.
pub(crate) struct TextRows {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    state: State,
    /// The line being read, from 1.
    line: u64,
    max_row_bytes: usize,
    max_expansion: u64,
    /// The rest of a row that is too long, to be skipped; done when the next row is requested, since often none is.
    rest: Rest,
}

/// The end of a row that was too long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    None,
    Line,
    Element(Scan),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Lines,
    /// Before the array's `[`, which follows after this number of bytes.
    BeforeArray {
        bytes: usize,
        wrapped: bool,
    },
    /// Inside the array.
    Array {
        /// Whether an element was read.
        begun: bool,
        /// Whether the array is inside an object.
        wrapped: bool,
    },
    /// Between objects.
    Objects,
    Ended,
}

/// Progress of reading an element.
enum Scanned {
    Whole { length: usize },
    Part { scan: Scan },
}

/// A row's position; its bytes are in the buffer passed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowPlace {
    /// Its first line, from 1.
    pub(crate) line: u64,
    /// Whether it exceeds the limit; its bytes are then incomplete.
    pub(crate) too_long: bool,
}

impl TextRows {
    pub(crate) fn new(path: &Path, text: Text, container: Container, settings: &ReadSettings) -> Self {
        let blank = text.head.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        TextRows {
            path: path.to_path_buf(),
            input: text.input,
            state: match container {
                Container::Array => State::BeforeArray { bytes: blank, wrapped: false },
                Container::Wrapped(bytes) => State::BeforeArray { bytes, wrapped: true },
                Container::Objects => State::Objects,
                Container::Lines | Container::Plain | Container::Empty | Container::Table(_) => State::Lines,
            },
            line: 1,
            max_row_bytes: settings.max_row_bytes,
            max_expansion: settings.max_expansion,
            rest: Rest::None,
        }
    }

    /// Puts the next row's bytes into `row`; `None` at the end. Blank lines are not rows.
    pub(crate) fn next(&mut self, row: &mut Vec<u8>) -> Result<Option<RowPlace>, DataError> {
        row.clear();
        match std::mem::replace(&mut self.rest, Rest::None) {
            Rest::None => {}
            Rest::Line => {
                self.input.skip_until(b'\n').map_err(|error| self.broken(error))?;
            }
            Rest::Element(scan) => {
                self.scan_element(row, scan, self.max_row_bytes, usize::MAX)?;
            }
        }
        row.clear();
        if let State::BeforeArray { bytes, wrapped } = self.state {
            for _ in 0..=bytes {
                let byte = self.peek()?;
                self.line += u64::from(byte == Some(b'\n'));
                self.input.consume(1);
            }
            self.state = State::Array { begun: false, wrapped };
        }
        match self.state {
            State::Array { begun, wrapped } => self.next_element(row, begun, wrapped),
            State::Objects => match self.skip_whitespace()? {
                Some(_) => self.read_element(row).map(Some),
                None => Ok(self.end()),
            },
            State::Lines => self.next_line(row),
            State::BeforeArray { .. } | State::Ended => Ok(None),
        }
    }

    fn end<T>(&mut self) -> Option<T> {
        self.state = State::Ended;
        None
    }

    fn next_line(&mut self, row: &mut Vec<u8>) -> Result<Option<RowPlace>, DataError> {
        // One byte over the limit detects a row that is too long, one more is its newline.
        let limit = (self.max_row_bytes as u64).saturating_add(2);
        loop {
            row.clear();
            let read = self.input.by_ref().take(limit).read_until(b'\n', row);
            if read.map_err(|error| self.broken(error))? == 0 {
                return Ok(self.end());
            }
            let line = self.line;
            let ended = row.pop_if(|last| *last == b'\n').is_some();
            let too_long = row.len() > self.max_row_bytes;
            if !ended && too_long {
                self.rest = Rest::Line;
            }
            self.line += 1;
            if !row.trim_ascii().is_empty() {
                return Ok(Some(RowPlace { line, too_long }));
            }
        }
    }

    fn next_element(&mut self, row: &mut Vec<u8>, begun: bool, wrapped: bool) -> Result<Option<RowPlace>, DataError> {
        let mut next = self.skip_whitespace()?;
        if begun && next == Some(b',') {
            self.input.consume(1);
            next = self.skip_whitespace()?;
        } else if begun && next.is_some_and(|byte| byte != b']') {
            return Err(self.json_problem("a comma or the closing bracket is missing"));
        }
        if next == Some(b']') {
            self.input.consume(1);
            if wrapped {
                // Skips the members after the array, to the end of the object around it.
                self.scan_element(row, Scan::inside(), self.max_row_bytes, usize::MAX)?;
                row.clear();
            }
            return match self.skip_whitespace()? {
                None => Ok(self.end()),
                Some(_) if wrapped => Err(self.json_problem("something follows the closing brace")),
                Some(_) => Err(self.json_problem("something follows the closing bracket")),
            };
        }
        self.state = State::Array { begun: true, wrapped };
        self.read_element(row).map(Some)
    }

    /// Reads the value that begins here.
    fn read_element(&mut self, row: &mut Vec<u8>) -> Result<RowPlace, DataError> {
        let line = self.line;
        let over = self.max_row_bytes.saturating_add(1);
        let length = match self.scan_element(row, Scan::default(), 0, over)? {
            Scanned::Whole { length } => length,
            Scanned::Part { scan } => {
                self.rest = Rest::Element(scan);
                over
            }
        };
        match length {
            0 if self.state == State::Objects => Err(self.json_problem("an object is missing")),
            0 => Err(self.json_problem("an element is missing")),
            _ => Ok(RowPlace { line, too_long: length > self.max_row_bytes }),
        }
    }

    /// Reads to the end of an element of which `length` bytes are read, up to `stop` bytes.
    fn scan_element(
        &mut self,
        row: &mut Vec<u8>,
        mut scan: Scan,
        mut length: usize,
        stop: usize,
    ) -> Result<Scanned, DataError> {
        loop {
            let Some(byte) = self.peek()? else {
                return Err(self.json_problem(match self.state {
                    State::Objects => "the file ends before the closing brace; it may be cut short",
                    _ => "the file ends before the closing bracket; it may be cut short",
                }));
            };
            if scan.depth == 0 && !scan.in_string && matches!(byte, b',' | b']' | b'}') {
                return Ok(Scanned::Whole { length });
            }
            self.input.consume(1);
            self.line += u64::from(byte == b'\n');
            length = length.saturating_add(1);
            if length <= self.max_row_bytes {
                row.push(byte);
            }
            scan.step(byte);
            if scan.depth == 0 && !scan.in_string && matches!(byte, b']' | b'}') {
                return Ok(Scanned::Whole { length });
            }
            if length == stop {
                return Ok(Scanned::Part { scan });
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, DataError> {
        match self.input.fill_buf() {
            Ok(bytes) => Ok(bytes.first().copied()),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn skip_whitespace(&mut self) -> Result<Option<u8>, DataError> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.line += u64::from(byte == b'\n');
            self.input.consume(1);
        }
        Ok(None)
    }

    fn json_problem(&self, problem: &'static str) -> DataError {
        DataError::BrokenJson { path: self.path.clone(), line: self.line, problem }
    }

    fn broken(&self, error: io::Error) -> DataError {
        stream_error(&self.path, self.line, self.max_expansion, error)
    }
}

/// The error of a text file that cannot be read further: an incomplete or damaged compressed stream is distinguished
/// from I/O errors.
pub(crate) fn stream_error(path: &Path, line: u64, max_expansion: u64, error: io::Error) -> DataError {
    let (path, position) = (path.to_path_buf(), RowPosition::Line(line));
    if error.get_ref().is_some_and(|cause| cause.is::<TooLarge>()) {
        return DataError::Expands { path, limit: max_expansion, position };
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => DataError::CutShort { path, line },
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other => {
            DataError::Damaged { path, position, problem: error.to_string() }
        }
        _ => DataError::io("read", &path, error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::read::container::PlainText;
    use crate::read::open::open_text;

    fn rows(bytes: &[u8], limit: usize) -> Result<Vec<(u64, String, bool)>, DataError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let settings = ReadSettings { max_row_bytes: limit, ..ReadSettings::default() };
        let text = open_text(file.path(), settings.max_expansion)?;
        let container = Container::of(file.path(), &text.head, PlainText::Refused);
        let mut rows = TextRows::new(file.path(), text, container, &settings);
        let (mut row, mut all) = (Vec::new(), Vec::new());
        while let Some(position) = rows.next(&mut row)? {
            all.push((position.line, String::from_utf8_lossy(&row).trim().to_string(), position.too_long));
        }
        assert_eq!(rows.next(&mut row)?, None, "the end stays the end");
        Ok(all)
    }

    fn row(line: u64, text: &str) -> (u64, String, bool) {
        (line, text.to_string(), false)
    }

    #[test]
    fn lines_arrays_and_gzip_give_the_same_rows() {
        let lines = b"\xef\xbb\xbf\n{\"a\": 1}\r\n\n  \n[2]\n\"x\"";
        assert_eq!(rows(lines, 99).unwrap(), [row(2, "{\"a\": 1}"), row(5, "[2]"), row(6, "\"x\"")]);
        let array = b" [\n{\"a\": \"]},\\\"\\\\\", \"b\": [1, {}]} ,\n3\n,\"y\"]\n";
        let found = rows(array, 99).unwrap();
        assert_eq!(found, [row(2, "{\"a\": \"]},\\\"\\\\\", \"b\": [1, {}]}"), row(3, "3"), row(4, "\"y\"")]);
        assert!(
            rows(b"[ ]", 9).unwrap().is_empty()
                && rows(b" \n", 9).unwrap().is_empty()
                && rows(b"", 9).unwrap().is_empty()
        );

        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(lines).unwrap();
        let gz = gz.finish().unwrap();
        assert_eq!(rows(&gz, 99).unwrap(), rows(lines, 99).unwrap());
        assert_eq!(rows(&[gz.clone(), gz.clone()].concat(), 99).unwrap().len(), 6, "members follow each other");
    }

    #[test]
    fn a_cut_or_damaged_gzip_is_an_error() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for i in 0..20_000u32 {
            writeln!(gz, "{{\"row\": {}}}", i.wrapping_mul(2_654_435_761)).unwrap();
        }
        let gz = gz.finish().unwrap();
        for cut in [gz.len() - 1, gz.len() / 2, 12] {
            assert!(matches!(rows(&gz[..cut], 99), Err(DataError::CutShort { .. })), "cut at {cut}");
        }
        let mut damaged = gz.clone();
        let end = damaged.len() - 6;
        damaged[end] ^= 0xff;
        assert!(matches!(rows(&damaged, 99), Err(DataError::Damaged { .. })), "the checksum is wrong");
        assert!(matches!(rows(b"PK\x03\x04...", 99), Err(DataError::UnsupportedFormat { format: "a zip file", .. })));
    }

    #[test]
    fn rows_over_the_limit_are_skipped() {
        let found = rows(b"12345\n123456\n1234567890123\n1", 5).unwrap();
        assert_eq!(
            found.iter().map(|row| (row.0, row.2)).collect::<Vec<_>>(),
            [(1, false), (2, true), (3, true), (4, false)]
        );
        let found = rows(b"[12345,\"3456\", [[2], \"]\\\"\"], {\"a\":[]}, 1]", 5).unwrap();
        assert_eq!(found.iter().map(|row| row.2).collect::<Vec<_>>(), [false, true, true, true, false]);
        let error = rows(b"[\"1234567", 5).unwrap_err().to_string();
        assert!(error.contains("cut short"), "{error}");
    }

    #[test]
    fn broken_arrays_are_reported() {
        for (bytes, word) in [
            (b"[{\"a\": 1},\n{\"b\"".as_slice(), "cut short"),
            (b"[1, 2", "cut short"),
            (b"[{} {}]", "comma"),
            (b"[1,,2]", "element is missing"),
            (b"[1] 2", "follows"),
        ] {
            let error = rows(bytes, 99).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
