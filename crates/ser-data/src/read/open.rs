//! Opens files as text: plain, gzip or zstd, in UTF-8 or UTF-16, detected by their first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::utf16::{Endianness, Utf16Reader};
use crate::DataError;

const BUFFER: usize = 1 << 18;

/// Bytes of text that are inspected to detect a file's structure.
const HEAD: u64 = 1 << 16;

/// Below this number of bytes the expansion limit does not apply.
pub(crate) const FREE_EXPANSION: u64 = 256 << 20;

/// Unsupported formats, by their first bytes.
const UNSUPPORTED: [(&[u8], &str, &str); 14] = [
    (b"PK\x03\x04", "a zip file", UNPACK),
    (b"ARROW1", "an Arrow file", ARROW),
    // A stream begins with a continuation marker, then the length of its schema.
    (b"\xff\xff\xff\xff", "an Arrow stream (what save_to_disk of Hugging Face datasets writes)", ARROW),
    (b"FEA1", "a Feather file", CONVERT),
    (b"BZh", "a bzip2 file", UNPACK),
    (b"\xfd7zXZ\0", "an xz file", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip file", UNPACK),
    (b"Obj\x01", "an Avro file", CONVERT),
    (b"SQLite format 3\0", "an SQLite database", CONVERT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", CONVERT),
    (b"\x93NUMPY", "a NumPy file", CONVERT),
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer", "fetch its contents with `git lfs pull`"),
    (b"<!DOCTYPE", "an HTML page, perhaps of a failed download", HTML),
    (b"<html", "an HTML page, perhaps of a failed download", HTML),
];

const UNPACK: &str = "unpack it, or pack the file inside with gzip (.gz) instead";
const CONVERT: &str = "convert it to JSON lines (.jsonl or .jsonl.gz)";
const ARROW: &str = "convert it in Python: datasets.load_from_disk(FOLDER).to_json(\"pairs.jsonl\") for a folder of \
                     save_to_disk, Dataset.from_file(FILE).to_json(\"pairs.jsonl\") for one file";
const HTML: &str = "fetch the data file itself";

/// A text file's contents in UTF-8, without a byte order mark.
pub(crate) struct Text {
    /// Its first bytes, which `input` still returns.
    pub(crate) head: Vec<u8>,
    pub(crate) input: Box<dyn BufRead + Send>,
}

/// Opens a text file. `max_expansion` limits the size of a compressed file's contents, as a multiple of its size.
pub(crate) fn open_text(path: &Path, max_expansion: u64) -> Result<Text, DataError> {
    let fail = |error| DataError::io("read", path, error);
    let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(fail)?);
    let limit = file.get_ref().metadata().map_err(fail)?.len().saturating_mul(max_expansion).max(FREE_EXPANSION);
    let start = file.fill_buf().map_err(fail)?;
    let unpacked: Box<dyn BufRead + Send> = if start.starts_with(&[0x1f, 0x8b]) {
        limited(MultiGzDecoder::new(file), limit)
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        #[cfg(feature = "zstd")]
        {
            limited(zstd::stream::read::Decoder::with_buffer(file).map_err(fail)?, limit)
        }
        #[cfg(not(feature = "zstd"))]
        return Err(DataError::NeedsFeature { what: path.display().to_string(), feature: "zstd" });
    } else {
        Box::new(file)
    };
    let (mut start, mut input) = peek(unpacked, 64);
    if start.starts_with(b"PAR1") {
        return Err(DataError::NeedsFeature { what: path.display().to_string(), feature: "parquet" });
    }
    if let Some((_, format, remedy)) = UNSUPPORTED.iter().find(|(magic, ..)| starts_with(&start, magic)) {
        return Err(DataError::UnsupportedFormat { path: path.to_path_buf(), format, remedy });
    }
    if let Some(endianness) = Endianness::of(&start) {
        input = Box::new(BufReader::with_capacity(BUFFER, Utf16Reader::new(input, endianness)));
    }
    (start, input) = peek(input, HEAD);
    const BOM: &[u8] = "\u{feff}".as_bytes();
    if start.starts_with(BOM) {
        start.drain(..BOM.len());
        input.consume(BOM.len());
    }
    Ok(Text { head: start, input })
}

/// Whether a file begins with a magic number; markup may be in upper or lower case.
fn starts_with(start: &[u8], magic: &[u8]) -> bool {
    let start = start.get(..magic.len()).unwrap_or_default();
    if magic.starts_with(b"<") { start.eq_ignore_ascii_case(magic) } else { start == magic }
}

/// The first `count` bytes of an input, and the same input with these bytes still unread. An input that fails here
/// fails again at the same position when it is read.
fn peek(mut input: Box<dyn BufRead + Send>, count: u64) -> (Vec<u8>, Box<dyn BufRead + Send>) {
    let mut head = Vec::new();
    let failed = input.by_ref().take(count).read_to_end(&mut head).err();
    let first = Cursor::new(head.clone());
    match failed {
        None => (head, Box::new(first.chain(input))),
        Some(error) => (head, Box::new(first.chain(BufReader::new(Failed(Some(error)))))),
    }
}

/// An input that fails on the first read.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0.take() {
            Some(error) => Err(error),
            None => Ok(0),
        }
    }
}

/// Whether a file is parquet, by its first bytes.
#[cfg(feature = "parquet")]
pub(crate) fn is_parquet(path: &Path) -> Result<bool, DataError> {
    let fail = |error| DataError::io("read", path, error);
    let mut start = Vec::new();
    File::open(path).map_err(fail)?.take(4).read_to_end(&mut start).map_err(fail)?;
    Ok(start == b"PAR1")
}

fn limited(unpacked: impl Read + Send + 'static, limit: u64) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(BUFFER, Limited { unpacked, left: limit }))
}

/// Fails when the output exceeds the limit.
struct Limited<R> {
    unpacked: R,
    left: u64,
}

/// A file expands beyond the limit.
#[derive(Debug, thiserror::Error)]
#[error("the limit is reached")]
pub(crate) struct TooLarge;

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.unpacked.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(TooLarge))?;
        Ok(read)
    }
}
