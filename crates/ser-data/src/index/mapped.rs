//! A file as memory.

use std::fs::File;
use std::path::Path;

use crate::DataError;

/// A file's bytes, read by the system as they are asked for.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// `None` for an empty file, which cannot be mapped.
    map: Option<memmap2::Mmap>,
}

impl Mapped {
    #[allow(unsafe_code)]
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let fail = |error| DataError::io("read", path, error);
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() == 0 {
            return Ok(Mapped { map: None });
        }
        // Safety: the bytes are only ever read, as plain numbers of which every value is valid. An index that is whole is
        // not written to any more; a program that cuts the file short meanwhile ends this one with SIGBUS.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail)?;
        Ok(Mapped { map: Some(map) })
    }

    pub(crate) fn len(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| map.len() as u64)
    }

    /// `len` bytes from `start`, where they are.
    pub(crate) fn get(&self, start: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(start).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        match &self.map {
            Some(map) => map.get(start..end),
            None => (end == 0).then_some(&[]),
        }
    }
}
