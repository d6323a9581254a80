//! A memory-mapped file.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::DataError;

/// The largest range that Linux maps around a requested byte: a huge page, if the file uses them.
const WINDOW: u64 = 2 << 20;

/// Number of windows after which pages are released, since the system counts them as the process's memory; they stay in
/// the page cache, so reading them again is cheap.
const MOST_WINDOWS: u64 = (128 << 20) / WINDOW;

/// A file's bytes, read by the system on access.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// `None` for an empty file, which cannot be mapped.
    map: Option<memmap2::Mmap>,
    /// Windows accessed since pages were last released, including windows already mapped.
    windows: AtomicU64,
    /// The last window accessed.
    last: AtomicU64,
}

impl Mapped {
    #[allow(unsafe_code)]
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let fail = |error| DataError::io("read", path, error);
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() == 0 {
            return Ok(Mapped::of(None));
        }
        // Safety: the bytes are only read, as plain numbers for which every value is valid. A complete index is never
        // written again; a program that truncates the file meanwhile ends this process with SIGBUS.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail)?;
        Ok(Mapped::of(Some(map)))
    }

    fn of(map: Option<memmap2::Mmap>) -> Self {
        Mapped { map, windows: AtomicU64::new(0), last: AtomicU64::new(u64::MAX) }
    }

    pub(crate) fn len(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| map.len() as u64)
    }

    /// The `len` bytes from `start`.
    pub(crate) fn get(&self, start: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(start).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        match &self.map {
            Some(map) => {
                let bytes = map.get(start..end)?;
                self.note(map, start as u64 / WINDOW, end as u64 / WINDOW);
                Some(bytes)
            }
            None => (end == 0).then_some(&[]),
        }
    }

    /// Bounds the mapped memory for any access pattern. Counts come from several threads and need not be exact.
    fn note(&self, map: &memmap2::Mmap, first: u64, last: u64) {
        let again = u64::from(self.last.swap(last, Ordering::Relaxed) == first);
        let more = last - first + 1 - again;
        if more > 0 && self.windows.fetch_add(more, Ordering::Relaxed) + more >= MOST_WINDOWS {
            self.windows.store(0, Ordering::Relaxed);
            give_back(map);
        }
    }
}

#[cfg(unix)]
#[allow(unsafe_code)]
fn give_back(map: &memmap2::Mmap) {
    // Safety: the map is a shared one of a file that is never written, and is only read. Releasing its pages writes
    // nothing: existing references see the same bytes, which are mapped again on access. If the system refuses, the
    // only cost is memory.
    let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
}

/// On other systems the kernel bounds the mapped memory itself.
#[cfg(not(unix))]
fn give_back(_: &memmap2::Mmap) {}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// The resident memory of this map in kB.
    fn resident(map: &Mapped) -> u64 {
        let from = format!("{:x}-", map.map.as_ref().unwrap().as_ptr().addr());
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|line| !line.starts_with(&from));
        let line = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn pages_that_were_read_are_released() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        // 256 MiB; every page contains its number.
        const PAGE: usize = 4096;
        let pages = (256u64 << 20) / PAGE as u64;
        let bytes: Vec<u8> = (0..pages).flat_map(|page| [page; PAGE / 8].map(u64::to_le_bytes)).flatten().collect();
        std::fs::write(&path, bytes).unwrap();
        let map = Mapped::open(&path).unwrap();
        let held = map.get(PAGE as u64, 8).unwrap();
        for step in [1, 7919] {
            for i in 0..pages {
                let page = i * step % pages;
                assert_eq!(map.get(page * PAGE as u64 + 8, 8).unwrap(), page.to_le_bytes());
                if i % 1024 == 0 {
                    let resident = resident(&map);
                    assert!(resident <= 130 << 10, "{resident} of {} kB", map.len() / 1024);
                }
            }
        }
        assert_eq!(held, 1u64.to_le_bytes());
        assert_eq!((map.get(map.len(), 0), map.get(map.len(), 1)), (Some(&[][..]), None));
    }
}
