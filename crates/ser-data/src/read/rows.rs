//! Files to rows of bytes: JSON lines or one JSON array, gzipped or not, a row at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::DataError;

const BUFFER: usize = 1 << 18;

/// The rows of a file, streamed.
pub(crate) struct Rows {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    container: Container,
    /// The line being read, from 1.
    line: u64,
    max_row_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Unknown,
    Lines,
    /// Inside `[`; whether an element was read.
    Array {
        begun: bool,
    },
    Ended,
}

/// A row's place; its bytes are in the buffer handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowPlace {
    /// The line it begins on, from 1.
    pub(crate) line: u64,
    /// Whether it is over the limit; its bytes are then not all there.
    pub(crate) too_long: bool,
}

impl Rows {
    /// Opens a file; gzip is known by its first bytes.
    pub(crate) fn open(path: &Path, max_row_bytes: usize) -> Result<Self, DataError> {
        let fail = |error| DataError::io("read", path, error);
        let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(fail)?);
        let start = file.fill_buf().map_err(fail)?;
        let unsupported = |format| DataError::UnsupportedFormat { path: path.to_path_buf(), format };
        let input: Box<dyn BufRead + Send> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Err(unsupported("zstd"));
        } else if start.starts_with(b"PAR1") {
            return Err(unsupported("parquet"));
        } else if start.starts_with(b"PK\x03\x04") {
            return Err(unsupported("zip"));
        } else {
            Box::new(file)
        };
        Ok(Rows { path: path.to_path_buf(), input, container: Container::Unknown, line: 1, max_row_bytes })
    }

    /// Puts the next row's bytes into `row`; `None` at the end. Blank lines are no rows.
    pub(crate) fn next(&mut self, row: &mut Vec<u8>) -> Result<Option<RowPlace>, DataError> {
        row.clear();
        if self.container == Container::Unknown {
            self.find_container()?;
        }
        match self.container {
            Container::Array { begun } => self.next_element(row, begun),
            Container::Lines => self.next_line(row),
            Container::Unknown | Container::Ended => Ok(None),
        }
    }

    fn find_container(&mut self) -> Result<(), DataError> {
        let bom = self.input.fill_buf().map(|bytes| bytes.starts_with(b"\xef\xbb\xbf"));
        if bom.map_err(|error| self.broken(error))? {
            self.input.consume(3);
        }
        self.container = match self.skip_whitespace()? {
            Some(b'[') => {
                self.input.consume(1);
                Container::Array { begun: false }
            }
            Some(_) => Container::Lines,
            None => Container::Ended,
        };
        Ok(())
    }

    fn next_line(&mut self, row: &mut Vec<u8>) -> Result<Option<RowPlace>, DataError> {
        // One byte over the limit tells a row that is too long, one more is its newline.
        let limit = (self.max_row_bytes as u64).saturating_add(2);
        loop {
            row.clear();
            let read = self.input.by_ref().take(limit).read_until(b'\n', row);
            if read.map_err(|error| self.broken(error))? == 0 {
                self.container = Container::Ended;
                return Ok(None);
            }
            let line = self.line;
            let ended = row.pop_if(|last| *last == b'\n').is_some();
            let too_long = row.len() > self.max_row_bytes;
            if !ended && too_long {
                self.input.skip_until(b'\n').map_err(|error| self.broken(error))?;
            }
            self.line += 1;
            if !row.trim_ascii().is_empty() {
                return Ok(Some(RowPlace { line, too_long }));
            }
        }
    }

    fn next_element(&mut self, row: &mut Vec<u8>, begun: bool) -> Result<Option<RowPlace>, DataError> {
        let mut next = self.skip_whitespace()?;
        if begun && next == Some(b',') {
            self.input.consume(1);
            next = self.skip_whitespace()?;
        } else if begun && next.is_some_and(|byte| byte != b']') {
            return Err(self.array_problem("a comma or the closing bracket is missing"));
        }
        if next == Some(b']') {
            self.input.consume(1);
            self.container = Container::Ended;
            return match self.skip_whitespace()? {
                None => Ok(None),
                Some(_) => Err(self.array_problem("something follows the closing bracket")),
            };
        }
        self.container = Container::Array { begun: true };
        let line = self.line;
        let (mut depth, mut in_string, mut escaped, mut length) = (0usize, false, false, 0usize);
        loop {
            let Some(byte) = self.peek()? else {
                return Err(self.array_problem("the file ends before the closing bracket; it may be cut short"));
            };
            if depth == 0 && !in_string && matches!(byte, b',' | b']' | b'}') {
                break;
            }
            self.input.consume(1);
            self.line += u64::from(byte == b'\n');
            length += 1;
            if length <= self.max_row_bytes {
                row.push(byte);
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => depth += 1,
                // Whatever else is wrong inside, the JSON parser says; only the end is sought here.
                b'}' | b']' if !in_string => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        if length == 0 {
            return Err(self.array_problem("an element is missing"));
        }
        Ok(Some(RowPlace { line, too_long: length > self.max_row_bytes }))
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

    fn array_problem(&self, problem: &'static str) -> DataError {
        DataError::BrokenArray { path: self.path.clone(), line: self.line, problem }
    }

    /// Reading went wrong: gzip that ends early or is damaged is told apart from the disk's errors.
    fn broken(&self, error: io::Error) -> DataError {
        let (path, line) = (self.path.clone(), self.line);
        match error.kind() {
            io::ErrorKind::UnexpectedEof => DataError::CutShort { path, line },
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                DataError::Damaged { path, line, problem: error.to_string() }
            }
            _ => DataError::io("read", &path, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn rows(bytes: &[u8], limit: usize) -> Result<Vec<(u64, String, bool)>, DataError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut rows = Rows::open(file.path(), limit)?;
        let (mut row, mut all) = (Vec::new(), Vec::new());
        while let Some(place) = rows.next(&mut row)? {
            all.push((place.line, String::from_utf8_lossy(&row).trim().to_string(), place.too_long));
        }
        assert_eq!(rows.next(&mut row)?, None, "the end stays the end");
        Ok(all)
    }

    fn row(line: u64, text: &str) -> (u64, String, bool) {
        (line, text.to_string(), false)
    }

    #[test]
    fn lines_arrays_and_gzip_hold_the_same_rows() {
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
    fn a_cut_or_damaged_gzip_is_told() {
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
        assert!(matches!(rows(b"PAR1...", 99), Err(DataError::UnsupportedFormat { format: "parquet", .. })));
    }

    #[test]
    fn rows_over_the_limit_are_passed_by() {
        let found = rows(b"12345\n123456\n1234567890123\n1", 5).unwrap();
        assert_eq!(
            found.iter().map(|row| (row.0, row.2)).collect::<Vec<_>>(),
            [(1, false), (2, true), (3, true), (4, false)]
        );
        let found = rows(b"[12345,\"3456\", 1]", 5).unwrap();
        assert_eq!(found.iter().map(|row| row.2).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn broken_arrays_are_told() {
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
