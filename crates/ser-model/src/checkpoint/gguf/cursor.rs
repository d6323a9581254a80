//! Reads numbers and texts from the bytes of a GGUF file, with every length checked before it is used.

use std::ops::Range;

/// Largest header in bytes: metadata and tensor table. The largest vocabularies take about 20 MB.
const HEADER_LIMIT: usize = 128 << 20;

/// A position in the bytes of a file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The range of the next `length` bytes; `what` they belong to is named in errors.
    pub(super) fn range(&mut self, length: u64, what: &str) -> Result<Range<usize>, String> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        match end.filter(|&end| end <= self.bytes.len()) {
            Some(end) if end <= HEADER_LIMIT => {
                let range = self.at..end;
                self.at = end;
                Ok(range)
            }
            Some(_) => Err(format!("its metadata and tensor table take over {} MiB", HEADER_LIMIT >> 20)),
            None => {
                let size = self.bytes.len();
                Err(format!("{what} takes {length} bytes from byte {} on, but the file has {size} bytes", self.at))
            }
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let range = self.range(N as u64, what)?;
        let bytes = self.bytes.get(range).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| format!("{what} could not be read"))
    }

    pub(super) fn u8(&mut self, what: &str) -> Result<u8, String> {
        self.array(what).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, what: &str) -> Result<u16, String> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// The range of a text, which is its length followed by its bytes.
    pub(super) fn text(&mut self, what: &str) -> Result<Range<usize>, String> {
        let length = self.u64(what)?;
        self.range(length, what)
    }

    /// A name: UTF-8 of 1 to `limit` bytes without control characters.
    pub(super) fn name(&mut self, what: &str, limit: usize) -> Result<&'a str, String> {
        let range = self.text(what)?;
        let length = range.len();
        if length == 0 || length > limit {
            return Err(format!("{what} has {length} bytes; it may have 1 to {limit}"));
        }
        let bytes = self.bytes.get(range).unwrap_or_default();
        let name = std::str::from_utf8(bytes).map_err(|_| format!("{what} is not UTF-8"))?;
        match name.chars().find(|c| c.is_control()) {
            Some(c) => Err(format!("{what}, {name:?}, contains the control character {c:?}")),
            None => Ok(name),
        }
    }

    /// A count of items that take at least `size` bytes each, checked against the bytes that are left.
    pub(super) fn count(&mut self, what: &str, size: usize) -> Result<usize, String> {
        let count = self.u64(what)?;
        let fits = (self.left() / size) as u64;
        match usize::try_from(count) {
            Ok(small) if count <= fits => Ok(small),
            _ => Err(format!(
                "{what} is {count}, but the {} bytes that follow have space for at most {fits}",
                self.left()
            )),
        }
    }
}
