//! Features kept in a file, so that each pair's are computed once, for any number of runs.
//!
//! The file is a header and records of one size, appended under a lock: the pair's key, its features, a checksum. An interrupted
//! write leaves a part of a record, which the next append cuts off; a record whose checksum is wrong is computed again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use ndarray::{Array3, ArrayViewMut2, Axis, Zip, s};
use ser_core::{BoxError, Context, Pair, Screening};
use sha2::{Digest, Sha256};

use crate::{Features, LinearError};

const MAGIC: &[u8; 8] = b"SERFEAT1";
const HEADER: u64 = 8 + 32;
const KEY: usize = 16;
const CHECKSUM: usize = 8;
/// Pairs that are written together: an interruption loses at most so many.
const BATCH: usize = 64;

/// Features of another source, kept in a file.
#[derive(Debug)]
pub struct CachedFeatures<F> {
    inner: F,
    path: PathBuf,
    file: File,
    /// The number of features of one answer.
    size: usize,
    /// The offset of each pair's newest record.
    offsets: HashMap<[u8; KEY], u64>,
}

impl<F: Features> CachedFeatures<F> {
    /// Opens the cache `path`, or makes it. Several processes may use it at once.
    ///
    /// # Errors
    /// [`LinearError::File`]; [`LinearError::Damaged`] if the file is not a cache or contains features of another identity.
    pub fn open(inner: F, path: impl Into<PathBuf>) -> Result<Self, LinearError> {
        let path = path.into();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(LinearError::file(&path))?;
        let size = inner.view_sizes().iter().sum();
        let mut cache = CachedFeatures { inner, path, file, size, offsets: HashMap::new() };
        cache.locked(Self::read_index)?;
        Ok(cache)
    }

    /// The number of pairs whose features are stored.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// The source of the features.
    pub fn inner(&self) -> &F {
        &self.inner
    }

    /// The source of the features, to compute some that are not stored.
    pub fn inner_mut(&mut self) -> &mut F {
        &mut self.inner
    }

    /// Whether no features are stored.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, LinearError>) -> Result<T, LinearError> {
        self.file.lock().map_err(LinearError::file(&self.path))?;
        let result = work(self);
        self.file.unlock().map_err(LinearError::file(&self.path))?;
        result
    }

    /// Checks the header, or writes it to an empty file, and collects the keys.
    fn read_index(&mut self) -> Result<(), LinearError> {
        let path = self.path.clone();
        let error = || LinearError::file(&path);
        let identity = Sha256::digest(format!("{}\n{:?}", self.inner.identity(), self.inner.view_sizes()));
        let length = self.file.metadata().map_err(error())?.len();
        let mut header = [0; HEADER as usize];
        if length >= HEADER {
            self.file.seek(SeekFrom::Start(0)).map_err(error())?;
            self.file.read_exact(&mut header).map_err(error())?;
        }
        // Empty, or a header that was interrupted: after a power loss its end may be zeros.
        if length < HEADER || (length == HEADER && header.ends_with(&[0; 4])) {
            self.file.set_len(0).map_err(error())?;
            self.file.seek(SeekFrom::Start(0)).map_err(error())?;
            // Flushed before any record is there.
            let written = self.file.write_all(&[MAGIC.as_slice(), &identity].concat());
            return written.and_then(|()| self.file.sync_data()).map_err(error());
        }
        if !header.starts_with(MAGIC) {
            return Err(LinearError::damaged(&path, "the file is not a feature cache; name another one"));
        }
        if !header.ends_with(&identity) {
            let problem = "the cache has features of another model, template or precision; name another file";
            return Err(LinearError::damaged(&path, problem));
        }
        let record = self.record();
        let mut key = [0; KEY];
        for index in 0..(length - HEADER) / record {
            let offset = HEADER + index * record;
            self.file.seek(SeekFrom::Start(offset)).map_err(error())?;
            self.file.read_exact(&mut key).map_err(error())?;
            self.offsets.insert(key, offset);
        }
        Ok(())
    }

    /// Bytes of a record.
    fn record(&self) -> u64 {
        (KEY + 2 * self.size * size_of::<f32>() + CHECKSUM) as u64
    }

    /// The stored features of a key, `[2 * size]`; `None` if they are missing or their checksum is wrong.
    fn stored(&mut self, key: &[u8; KEY]) -> Result<Option<Vec<f32>>, LinearError> {
        let Some(&offset) = self.offsets.get(key) else { return Ok(None) };
        let mut record = vec![0; self.record() as usize];
        self.file.seek(SeekFrom::Start(offset)).map_err(LinearError::file(&self.path))?;
        self.file.read_exact(&mut record).map_err(LinearError::file(&self.path))?;
        let (content, sum) = record.split_at(record.len() - CHECKSUM);
        if !content.starts_with(key) || checksum(content) != sum {
            tracing::warn!(path = %self.path.display(), "a record of the feature cache is damaged and is computed again");
            self.offsets.remove(key);
            return Ok(None);
        }
        let values = content.get(KEY..).unwrap_or_default().chunks_exact(4);
        Ok(Some(values.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap_or_default())).collect()))
    }

    /// Appends records behind the last whole one.
    fn append(&mut self, keys: &[[u8; KEY]], features: &Array3<f32>) -> Result<(), LinearError> {
        let path = self.path.clone();
        let error = || LinearError::file(&path);
        let record = self.record();
        let length = self.file.metadata().map_err(error())?.len();
        let mut offset = HEADER + length.saturating_sub(HEADER) / record * record;
        self.file.set_len(offset).map_err(error())?;
        let mut bytes = Vec::with_capacity(keys.len() * record as usize);
        for (key, row) in keys.iter().zip(features.outer_iter()) {
            let start = bytes.len();
            bytes.extend_from_slice(key);
            bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
            let sum = checksum(bytes.get(start..).unwrap_or_default());
            bytes.extend_from_slice(&sum);
        }
        self.file.seek(SeekFrom::Start(offset)).map_err(error())?;
        self.file.write_all(&bytes).map_err(error())?;
        for key in keys {
            self.offsets.insert(*key, offset);
            offset += record;
        }
        Ok(())
    }
}

impl<F: Features> Features for CachedFeatures<F> {
    type Error = BoxError;

    fn view_sizes(&self) -> Vec<usize> {
        self.inner.view_sizes()
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn features(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Array3<f32>, BoxError> {
        let keys = pairs.iter().map(|pair| key(pair)).collect::<Result<Vec<_>, _>>()?;
        let mut all = Array3::zeros((pairs.len(), 2, self.size));
        let mut missing = Vec::new();
        for (index, ((key, is_swapped), mut answers)) in keys.iter().zip(all.outer_iter_mut()).enumerate() {
            match self.stored(key)? {
                Some(values) => {
                    answers.iter_mut().zip(values).for_each(|(to, from)| *to = from);
                    if *is_swapped {
                        swap(&mut answers);
                    }
                }
                None => missing.push(index),
            }
        }
        for batch in missing.chunks(BATCH) {
            let mut computed = Array3::zeros((batch.len(), 2, self.size));
            let mut keys_of_batch = Vec::with_capacity(batch.len());
            for (&index, mut record) in batch.iter().zip(computed.outer_iter_mut()) {
                let (Some(pair), Some((key, is_swapped))) = (pairs.get(index), keys.get(index)) else { continue };
                // Beside other pairs, features may differ in their last digits: alone, they are the same in every call and
                // run, and a run that was interrupted repeats an uninterrupted one.
                let features = self.inner.features(std::slice::from_ref(pair), cx).map_err(Into::into)?;
                let expected = [1, 2, self.size];
                if features.shape() != expected {
                    return Err(LinearError::Shape { found: features.shape().to_vec(), expected }.into());
                }
                record.assign(&features.index_axis(Axis(0), 0));
                all.index_axis_mut(Axis(0), index).assign(&record);
                if *is_swapped {
                    swap(&mut record);
                }
                keys_of_batch.push(*key);
            }
            self.locked(|cache| cache.append(&keys_of_batch, &computed))?;
        }
        Ok(all)
    }

    fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, BoxError> {
        self.inner.screen(pairs).map_err(Into::into)
    }
}

/// A pair's key, and whether its record has the answers in the other order.
///
/// The key is a hash of the texts, which are all that features depend on, with the answers in an order of their own: each run
/// blinds its pool in a new order, and both orders share a record. Ids are left out: two data sets may use the same.
fn key(pair: &Pair) -> Result<([u8; KEY], bool), BoxError> {
    let texts = |pair: &Pair| serde_json::to_vec(&(&pair.prompt, &pair.responses, &pair.response_turns, &pair.raw));
    let (given, swapped) = (texts(pair)?, texts(&pair.clone().swapped())?);
    Ok((prefix(&Sha256::digest(given.as_slice().min(&swapped))), swapped < given))
}

/// Exchanges answer A's features with answer B's.
fn swap(answers: &mut ArrayViewMut2<'_, f32>) {
    let (a, b) = answers.multi_slice_mut((s![0, ..], s![1, ..]));
    Zip::from(a).and(b).for_each(std::mem::swap);
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    prefix(&Sha256::digest(bytes))
}

fn prefix<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut prefix = [0; N];
    for (to, from) in prefix.iter_mut().zip(digest) {
        *to = *from;
    }
    prefix
}
