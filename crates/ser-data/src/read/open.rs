//! Files to bytes: plain, gzipped, or by zstd, known by their first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::DataError;

const BUFFER: usize = 1 << 18;

/// Under so many bytes any file may unpack to, whatever its own size.
pub(crate) const FREE_EXPANSION: u64 = 256 << 20;

/// Opens a text file. `max_expansion` is how many times its size a compressed one may unpack to.
pub(crate) fn open_text(path: &Path, max_expansion: u64) -> Result<Box<dyn BufRead + Send>, DataError> {
    let fail = |error| DataError::io("read", path, error);
    let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(fail)?);
    let limit = file.get_ref().metadata().map_err(fail)?.len().saturating_mul(max_expansion).max(FREE_EXPANSION);
    let start = file.fill_buf().map_err(fail)?;
    let unsupported = |format| DataError::UnsupportedFormat { path: path.to_path_buf(), format };
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(limited(MultiGzDecoder::new(file), limit))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        #[cfg(feature = "zstd")]
        return Ok(limited(zstd::stream::read::Decoder::with_buffer(file).map_err(fail)?, limit));
        #[cfg(not(feature = "zstd"))]
        Err(DataError::NeedsFeature { what: path.display().to_string(), feature: "zstd" })
    } else if start.starts_with(b"PAR1") {
        Err(DataError::NeedsFeature { what: path.display().to_string(), feature: "parquet" })
    } else if start.starts_with(b"PK\x03\x04") {
        Err(unsupported("zip"))
    } else if start.starts_with(b"ARROW1") {
        Err(unsupported("arrow"))
    } else {
        Ok(Box::new(file))
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

/// Fails when more comes out than should.
struct Limited<R> {
    unpacked: R,
    left: u64,
}

/// That a file unpacks to more than it may.
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
