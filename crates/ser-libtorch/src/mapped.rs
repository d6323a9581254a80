use std::fs::File;
use std::ops::Deref;
use std::path::Path;

/// A file's bytes, mapped into memory: pages are read when touched and can be dropped again.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps a whole file for reading.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the bytes are only read. A file that another process cuts short while it is mapped would end this
        // process with SIGBUS; checkpoints are not written in place.
        Ok(MappedFile(unsafe { memmap2::Mmap::map(&file)? }))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
