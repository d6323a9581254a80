use std::fs::File;
use std::ops::Deref;
use std::path::Path;

/// The bytes of a file, mapped into memory: pages are read on access and can be released.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps a whole file for reading.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the bytes are only read. If another process truncates the mapped file, access to it ends this process with
        // SIGBUS; checkpoints are not written in place.
        Ok(MappedFile(unsafe { memmap2::Mmap::map(&file)? }))
    }

    /// Releases the memory of these bytes. A later access reads them from the file again. Systems without this keep them.
    pub fn release(&self, offset: usize, length: usize) {
        #[cfg(unix)]
        if offset.checked_add(length).is_some_and(|end| end <= self.0.len()) {
            // SAFETY: the range is inside the mapping, which is read-only and backed by a file, so its pages come back with
            // the same bytes.
            let _ = unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, length) };
        }
        #[cfg(not(unix))]
        let _ = (offset, length);
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_bytes_come_back() {
        let path = std::env::temp_dir().join(format!("ser-mapped-{}", std::process::id()));
        let bytes: Vec<u8> = (0..20_000u32).map(|i| i as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mapped = MappedFile::open(&path).unwrap();
        assert_eq!(&*mapped, bytes);
        mapped.release(5_000, 9_000);
        mapped.release(19_000, 9_000);
        assert_eq!(&*mapped, bytes);
        std::fs::remove_file(&path).unwrap();
    }
}
