//! Converts UTF-16 to UTF-8 as a stream; Windows PowerShell's `>` and some exports write UTF-16.

use std::io::{self, Read};

/// The byte order of UTF-16 units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endianness {
    Little,
    Big,
}

impl Endianness {
    /// The byte order, if a file begins as UTF-16: with a byte order mark, or with two ASCII characters.
    pub(crate) fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0xff, 0xfe, ..] => Some(Endianness::Little),
            [0xfe, 0xff, ..] => Some(Endianness::Big),
            [1..0x80, 0, 1..0x80, 0, ..] => Some(Endianness::Little),
            [0, 1..0x80, 0, 1..0x80, ..] => Some(Endianness::Big),
            _ => None,
        }
    }

    fn unit(self, bytes: [u8; 2]) -> u16 {
        match self {
            Endianness::Little => u16::from_le_bytes(bytes),
            Endianness::Big => u16::from_be_bytes(bytes),
        }
    }
}

/// Errors in UTF-16 text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Utf16Problem {
    #[error("its UTF-16 has half of a character, a surrogate without the other")]
    LoneSurrogate,
    #[error("its UTF-16 ends within a character")]
    CutShort,
}

/// Reads UTF-16 bytes as UTF-8.
pub(crate) struct Utf16Reader<R> {
    input: R,
    endianness: Endianness,
    /// The first half of a character whose second half follows.
    high: Option<u16>,
    /// Half of a unit.
    byte: Option<u8>,
    /// Decoded text that is not yet read.
    decoded: Vec<u8>,
    /// Number of bytes of `decoded` that were read.
    read: usize,
}

impl<R: Read> Utf16Reader<R> {
    pub(crate) fn new(input: R, endianness: Endianness) -> Self {
        Utf16Reader { input, endianness, high: None, byte: None, decoded: Vec::new(), read: 0 }
    }

    /// Decodes the next bytes of the input; false at the end.
    fn decode(&mut self) -> io::Result<bool> {
        let problem = |problem: Utf16Problem| io::Error::new(io::ErrorKind::InvalidData, problem);
        let mut bytes = [0; 8192];
        let count = self.input.read(&mut bytes)?;
        if count == 0 {
            let whole = self.high.is_none() && self.byte.is_none();
            return if whole { Ok(false) } else { Err(problem(Utf16Problem::CutShort)) };
        }
        self.decoded.clear();
        self.read = 0;
        for &byte in bytes.iter().take(count) {
            let Some(first) = self.byte.take() else {
                self.byte = Some(byte);
                continue;
            };
            self.push(self.endianness.unit([first, byte])).map_err(problem)?;
        }
        Ok(true)
    }

    /// Decodes one unit.
    fn push(&mut self, unit: u16) -> Result<(), Utf16Problem> {
        let low = (0xdc00..0xe000).contains(&unit);
        let units = match self.high.take() {
            Some(high) if low => [high, unit],
            Some(_) => return Err(Utf16Problem::LoneSurrogate),
            None if (0xd800..0xdc00).contains(&unit) => {
                self.high = Some(unit);
                return Ok(());
            }
            // A unit that is a whole character: the second is ignored.
            None => [unit, 0],
        };
        let character = char::decode_utf16(units).next().and_then(Result::ok).ok_or(Utf16Problem::LoneSurrogate)?;
        self.decoded.extend(character.encode_utf8(&mut [0; 4]).bytes());
        Ok(())
    }
}

impl<R: Read> Read for Utf16Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.decoded.len() {
            if !self.decode()? {
                return Ok(0);
            }
        }
        let mut left = self.decoded.get(self.read..).unwrap_or_default();
        let count = left.read(buffer)?;
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        Utf16Reader::new(bytes, Endianness::of(bytes).unwrap()).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn both_orders_of_bytes_give_the_text() {
        let text = format!("\u{feff}{{\"a\": \"é 猫 😀\"}}\n{}", "x😀".repeat(9000));
        let of = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for bytes in [of(u16::to_le_bytes), of(u16::to_be_bytes)] {
            assert_eq!(decoded(&bytes).unwrap(), text);
            assert_eq!(decoded(&bytes[2..]).unwrap(), text.trim_start_matches('\u{feff}'), "without a mark");
        }
        assert_eq!(Endianness::of(b"{\"a\": 1}"), None);
        assert_eq!(Endianness::of("éa".as_bytes()), None);
    }

    #[test]
    fn halves_of_characters_are_reported() {
        for (units, said) in [
            ([0xfeff, 0xd83d, 0x61].as_slice(), "half of a character"),
            (&[0xfeff, 0xde00, 0x61], "half of a character"),
            (&[0xfeff, 0xd83d], "ends within a character"),
        ] {
            let bytes: Vec<u8> = units.iter().flat_map(|unit: &u16| unit.to_le_bytes()).collect();
            assert!(decoded(&bytes).unwrap_err().to_string().contains(said));
        }
        assert!(decoded(&[0xff, 0xfe, 0x61]).unwrap_err().to_string().contains("ends within"));
    }
}
