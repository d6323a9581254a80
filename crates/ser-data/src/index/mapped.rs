//! A file as memory.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::DataError;

/// The most that Linux maps around a byte that is asked for: a huge page, where it holds the file in such.
const WINDOW: u64 = 2 << 20;

/// After so many windows the process gives its pages back, which the system counts as its memory; they stay in the
/// system's cache, from which they cost next to nothing.
const MOST_WINDOWS: u64 = (128 << 20) / WINDOW;

/// A file's bytes, read by the system as they are asked for.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// `None` for an empty file, which cannot be mapped.
    map: Option<memmap2::Mmap>,
    /// Windows asked for since pages were last given back, those that were mapped already among them.
    windows: AtomicU64,
    /// The window asked for last.
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
        // Safety: the bytes are only ever read, as plain numbers of which every value is valid. An index that is whole is
        // not written to any more; a program that cuts the file short meanwhile ends this one with SIGBUS.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail)?;
        Ok(Mapped::of(Some(map)))
    }

    fn of(map: Option<memmap2::Mmap>) -> Self {
        Mapped { map, windows: AtomicU64::new(0), last: AtomicU64::new(u64::MAX) }
    }

    pub(crate) fn len(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| map.len() as u64)
    }

    /// `len` bytes from `start`, where they are.
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

    /// Keeps what is mapped small, whatever is read and in whatever order. Counts are of several threads and need not
    /// be exact.
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
    // Safety: the map is a shared one of a file that nobody writes to, and is only read. Giving its pages back writes
    // nothing: whoever still holds bytes of it finds the same ones, mapped anew when they are next read.
    // Where the system refuses, more memory is all that it costs.
    let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
}

/// Elsewhere the system trims what a process has mapped by itself.
#[cfg(not(unix))]
fn give_back(_: &memmap2::Mmap) {}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// The memory of this map that the system counts, in kB.
    fn resident(map: &Mapped) -> u64 {
        let from = format!("{:x}-", map.map.as_ref().unwrap().as_ptr().addr());
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|line| !line.starts_with(&from));
        let line = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_was_read_does_not_stay_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        // 256 MiB, of which every page holds its number.
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
