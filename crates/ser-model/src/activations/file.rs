//! A file of activations, which several processes may use at the same time.
//!
//! The file is a header and records: the lengths of key and payload, the key, a checksum of these, the payload, and its checksum.
//! Records are only appended, each under the lock of the folder, behind the last complete record: an interrupted append leaves an
//! incomplete one, which the next append cuts off. A payload whose checksum is wrong, as after a power failure, counts as absent.
//! Reading takes no lock. A file that cannot be read or written any more is told once; activations are then computed instead.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::ModelError;

const MAGIC: &[u8; 8] = b"SERACTS1";
const HEADER: u64 = 8 + 32;
const LOCK: &str = "activations.lock";
const CHECKSUM: usize = 8;
/// The longest key in tokens; a longer one in a file is damage.
const LONGEST: u32 = 1 << 24;

/// The activations of the texts of one base model, layer, precision and format.
#[derive(Debug)]
pub(super) struct ActivationFile {
    path: PathBuf,
    file: File,
    /// The folder's lock, of which appending needs to be the owner; `None` if the file can only be read.
    lock: Option<File>,
    /// Where the payload of each key begins, and its bytes.
    records: HashMap<Box<[u32]>, (u64, usize)>,
    /// The end of the last record that was found.
    end: u64,
}

impl ActivationFile {
    /// Opens the file of `identity` in a folder, or makes both. A folder that this process may not write to is read only.
    ///
    /// # Errors
    /// The folder cannot be made, its file cannot be opened, or the file is not a file of activations.
    pub(super) fn open(folder: &Path, identity: &[u8; 32]) -> Result<Self, ModelError> {
        let name: String = identity.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(format!("activations-{name}.bin"));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ModelError::File { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let open = |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let (file, lock) = match open(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                (File::open(&path).map_err(failed(&path))?, None)
            }
            file => (file.map_err(failed(&path))?, Some(open(&folder.join(LOCK)).map_err(failed(&path))?)),
        };
        let mut opened = ActivationFile { path, file, lock, records: HashMap::new(), end: HEADER };
        let path = opened.path.clone();
        if !opened.locked(|file| file.check_header(identity)).map_err(failed(&path))? {
            return Err(ModelError::ActivationFile { path });
        }
        opened.scan().map_err(failed(&path))?;
        tracing::debug!(path = %path.display(), texts = opened.records.len(), "activations of earlier runs");
        Ok(opened)
    }

    /// The payload of a key; `None` if the key is not in the file.
    pub(super) fn read(&mut self, key: &[u32]) -> Option<Vec<u8>> {
        self.try_read(key).unwrap_or_else(|error| {
            tracing::warn!(path = %self.path.display(), %error, "kept activations cannot be read and are computed again");
            self.records.remove(key);
            None
        })
    }

    fn try_read(&mut self, key: &[u32]) -> io::Result<Option<Vec<u8>>> {
        if !self.records.contains_key(key) {
            // Another process may have added it.
            self.scan()?;
        }
        let Some(&(offset, length)) = self.records.get(key) else { return Ok(None) };
        let mut payload = self.bytes_at(offset, length + CHECKSUM)?;
        let sum = payload.split_off(length);
        if checksum(&payload).to_le_bytes() != *sum {
            return Err(io::Error::new(ErrorKind::InvalidData, "the checksum is wrong"));
        }
        Ok(Some(payload))
    }

    /// Adds a payload, unless another process has added the key.
    pub(super) fn append(&mut self, key: &[u32], payload: &[u8]) {
        if self.lock.is_none() {
            return;
        }
        if let Err(error) = self.locked(|file| file.try_append(key, payload)) {
            tracing::warn!(path = %self.path.display(), %error, "activations are not stored any more");
            self.lock = None;
        }
    }

    /// The caller owns the lock, so whatever lies behind the last complete record was interrupted.
    fn try_append(&mut self, key: &[u32], payload: &[u8]) -> io::Result<()> {
        self.scan()?;
        if self.records.contains_key(key) {
            return Ok(());
        }
        let discarded = self.file.metadata()?.len().saturating_sub(self.end);
        if discarded > 0 {
            tracing::warn!(path = %self.path.display(), bytes = discarded, "an incomplete record of activations is discarded");
            self.file.set_len(self.end)?;
        }
        let mut record = head(key, payload.len() as u64);
        let start = record.len();
        record.extend_from_slice(payload);
        record.extend_from_slice(&checksum(payload).to_le_bytes());
        self.file.seek(SeekFrom::Start(self.end))?;
        if let Err(error) = self.file.write_all(&record) {
            // No space is left on the device, most likely.
            self.file.set_len(self.end)?;
            return Err(error);
        }
        self.records.insert(key.into(), (self.end + start as u64, payload.len()));
        self.end += record.len() as u64;
        Ok(())
    }

    /// Finds the records behind the last one that is known, up to the first that is incomplete.
    fn scan(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        while self.end + 12 <= length {
            let sizes = self.bytes_at(self.end, 12)?;
            let (tokens, payload) = sizes.split_at(4);
            let tokens = u32::from_le_bytes(tokens.try_into().unwrap_or_default());
            let payload = u64::from_le_bytes(payload.try_into().unwrap_or_default());
            let head_bytes = 12 + 4 * u64::from(tokens) + CHECKSUM as u64;
            let end =
                self.end.checked_add(head_bytes).and_then(|at| at.checked_add(payload)?.checked_add(CHECKSUM as u64));
            let Some(end) = end.filter(|&end| tokens <= LONGEST && end <= length) else { break };
            let found = self.bytes_at(self.end, head_bytes as usize)?;
            let words = found.get(12..found.len() - CHECKSUM).unwrap_or_default().chunks_exact(4);
            let key: Box<[u32]> = words.map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default())).collect();
            if head(&key, payload) != found {
                break;
            }
            self.records.insert(key, (self.end + head_bytes, payload as usize));
            self.end = end;
        }
        Ok(())
    }

    /// Writes the header into an empty file. Returns whether the file has the header of `identity`.
    fn check_header(&mut self, identity: &[u8; 32]) -> io::Result<bool> {
        let header = [MAGIC.as_slice(), identity].concat();
        if self.file.metadata()?.len() < HEADER && self.lock.is_some() {
            // Empty, or interrupted.
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&header)?;
        }
        match self.bytes_at(0, HEADER as usize) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            found => Ok(found? == header),
        }
    }

    fn bytes_at(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Runs `work` as the owner of the lock, if the file can be written.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let Some(lock) = self.lock.as_ref().map(File::try_clone).transpose()? else { return work(self) };
        lock.lock()?;
        let result = work(self);
        lock.unlock()?;
        result
    }
}

/// A record up to its payload.
fn head(key: &[u32], payload: u64) -> Vec<u8> {
    let mut head = Vec::with_capacity(12 + 4 * key.len() + CHECKSUM);
    head.extend_from_slice(&(key.len() as u32).to_le_bytes());
    head.extend_from_slice(&payload.to_le_bytes());
    head.extend(key.iter().flat_map(|token| token.to_le_bytes()));
    head.extend_from_slice(&checksum(&head).to_le_bytes());
    head
}

/// A checksum against torn and damaged writes: four hashes of every fourth word, which the processor computes side by side.
/// Bytes that are all 0, as a file system may leave them, do not have the checksum 0.
fn checksum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(PRIME).rotate_left(29);
    let mut lanes = [1u64, 2, 3, 4];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            *lane = mix(*lane, u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
    }
    let rest = blocks.remainder().iter().fold(bytes.len() as u64, |sum, &byte| mix(sum, u64::from(byte)));
    lanes.into_iter().fold(rest, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: [u8; 32] = [7; 32];

    fn open(folder: &Path) -> ActivationFile {
        ActivationFile::open(folder, &IDENTITY).unwrap()
    }

    fn payload(i: u32) -> Vec<u8> {
        (0..1000 + i).map(|byte| (byte * (i + 1)) as u8).collect()
    }

    fn path_in(folder: &Path) -> PathBuf {
        folder.join("activations-0707070707070707.bin")
    }

    /// A folder with three records, and the file's length after each.
    fn three() -> (tempfile::TempDir, Vec<u64>) {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path());
        let ends = (0..3).map(|i| {
            file.append(&[i, 9], &payload(i));
            std::fs::metadata(path_in(folder.path())).unwrap().len()
        });
        let ends = ends.collect();
        (folder, ends)
    }

    #[test]
    fn records_come_back_in_another_process() {
        let (folder, _) = three();
        let mut file = open(folder.path());
        for i in 0..3 {
            assert_eq!(file.read(&[i, 9]), Some(payload(i)));
        }
        assert_eq!(file.read(&[3, 9]), None);
        // Other weights, or another precision, have a file of their own.
        assert_eq!(ActivationFile::open(folder.path(), &[8; 32]).unwrap().read(&[0, 9]), None);
    }

    /// A process killed while it appends leaves a part of a record.
    #[test]
    fn an_interrupted_append_loses_that_record_alone() {
        let (folder, ends) = three();
        let whole = std::fs::read(path_in(folder.path())).unwrap();
        for length in (ends[1] + 1)..ends[2] {
            std::fs::write(path_in(folder.path()), &whole[..length as usize]).unwrap();
            let mut file = open(folder.path());
            assert_eq!(file.read(&[1, 9]), Some(payload(1)));
            assert_eq!(file.read(&[2, 9]), None, "{length}");
            file.append(&[2, 9], &payload(2));
            assert_eq!(std::fs::read(path_in(folder.path())).unwrap(), whole, "{length}");
        }
        // An interrupted header.
        for length in 0..HEADER {
            std::fs::write(path_in(folder.path()), &whole[..length as usize]).unwrap();
            let mut file = open(folder.path());
            file.append(&[0, 9], &payload(0));
            assert_eq!(open(folder.path()).read(&[0, 9]), Some(payload(0)));
        }
    }

    #[test]
    fn damaged_payloads_are_computed_again() {
        let (folder, ends) = three();
        let mut bytes = std::fs::read(path_in(folder.path())).unwrap();
        // The payload of the second record: zeros, as after a power failure.
        let payload_end = ends[1] as usize - CHECKSUM;
        bytes[payload_end - 500..payload_end + CHECKSUM].fill(0);
        std::fs::write(path_in(folder.path()), &bytes).unwrap();
        let mut file = open(folder.path());
        assert_eq!(file.read(&[1, 9]), None);
        assert_eq!(file.read(&[2, 9]), Some(payload(2)));
        file.append(&[1, 9], &payload(1));
        assert_eq!(file.read(&[1, 9]), Some(payload(1)));
        assert_eq!(open(folder.path()).read(&[1, 9]), Some(payload(1)));
    }

    /// Every byte of the heads, and of the sizes in them, may be wrong.
    #[test]
    fn damaged_heads_are_never_trusted() {
        let (folder, ends) = three();
        let whole = std::fs::read(path_in(folder.path())).unwrap();
        for at in ends[0] as usize..ends[0] as usize + 28 {
            for value in [0, 255] {
                let mut bytes = whole.clone();
                if bytes[at] == value {
                    continue;
                }
                bytes[at] = value;
                std::fs::write(path_in(folder.path()), &bytes).unwrap();
                let mut file = open(folder.path());
                assert_eq!(file.read(&[0, 9]), Some(payload(0)));
                assert_eq!(file.read(&[1, 9]), None, "{at}");
            }
        }
    }

    #[test]
    fn another_file_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path_in(folder.path()), [1; 100]).unwrap();
        let error = ActivationFile::open(folder.path(), &IDENTITY).unwrap_err().to_string();
        assert!(error.contains("0707.bin is not a file of activations"), "{error}");
        assert_eq!(std::fs::read(path_in(folder.path())).unwrap(), [1; 100]);
    }

    /// Two handles stand for two processes: each sees what the other appends, and neither damages the other's records.
    #[test]
    fn two_processes_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (open(folder.path()), open(folder.path()));
        one.append(&[0, 9], &payload(0));
        two.append(&[1, 9], &payload(1));
        one.append(&[2, 9], &payload(2));
        // It has the key already.
        two.append(&[0, 9], &payload(0));
        for i in 0..3 {
            assert_eq!(one.read(&[i, 9]), Some(payload(i)));
            assert_eq!(two.read(&[i, 9]), Some(payload(i)));
        }
        let threads: Vec<_> = (0..4u32)
            .map(|thread| {
                let mut file = open(folder.path());
                std::thread::spawn(move || (0..50).for_each(|i| file.append(&[10 + i, thread % 2], &payload(i))))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mut file = open(folder.path());
        assert_eq!(file.records.len(), 103);
        for i in 0..50 {
            assert_eq!(file.read(&[10 + i, 1]), Some(payload(i)));
        }
    }
}
