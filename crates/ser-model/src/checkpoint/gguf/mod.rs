//! GGUF files: network, weights and tokenizer in one file, as llama.cpp writes them.
//!
//! A file is mapped; its header is parsed here. Every count, length and offset is checked against the file's size before
//! it is used, so a damaged or hostile file gives an error and never a large allocation.

mod architecture;
mod blocks;
mod config;
mod cursor;
mod eog;
mod layers;
mod load;
mod metadata;
mod pre_tokenizer;
mod rope;
mod tokenizer;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ser_libtorch::MappedFile;

pub(crate) use self::blocks::Storage;
use self::cursor::Cursor;
pub(crate) use self::layers::RowOrder;
pub(crate) use self::load::Encoding;
use self::metadata::{Keys, Metadata};
use crate::ModelError;

const MAGIC: &[u8] = b"GGUF";
/// Most tensors a file may have; the largest models have about 2,000.
const TENSOR_LIMIT: usize = 1 << 16;
/// The longest name of a tensor in bytes; llama.cpp takes 63.
const NAME_BYTES: usize = 256;
/// Most dimensions a tensor may have, as in llama.cpp.
const DIMENSIONS: u32 = 4;
/// Alignment of the tensors where the file names none.
const ALIGNMENT: u64 = 32;
/// The largest alignment; it decides how many bytes may be skipped.
const ALIGNMENT_LIMIT: u64 = 1 << 20;

/// A tensor's position and form in the file.
#[derive(Clone, Debug)]
pub(crate) struct TensorEntry {
    /// How its numbers are stored.
    pub(crate) storage: Storage,
    /// Outermost dimension first, as in safetensors; the file has them the other way round.
    pub(crate) shape: Vec<i64>,
    /// Where its bytes lie.
    pub(crate) range: Range<usize>,
}

/// An open GGUF file with a checked header.
///
/// Wherever this crate takes a model folder, it takes the path of a GGUF file too; this type reads one directly.
///
/// ```no_run
/// # fn main() -> Result<(), ser_model::ModelError> {
/// let file = ser_model::GgufFile::open("model.gguf".as_ref())?;
/// for (name, storage, shape) in file.tensors() {
///     println!("{name}: {storage} {shape:?}");
/// }
/// println!("{}", file.config_json()?);
/// # Ok(())
/// # }
/// ```
pub struct GgufFile {
    path: PathBuf,
    bytes: MappedFile,
    metadata: Metadata,
    tensors: BTreeMap<String, TensorEntry>,
}

impl std::fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GgufFile")
            .field("path", &self.path)
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

impl GgufFile {
    /// Maps a file and checks its header: versions 2 and 3, little-endian.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] for anything that is damaged or not supported: the problem in one sentence.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let length = std::fs::metadata(path).map_err(|e| ModelError::file(path, e))?.len();
        let bad = |problem: String| ModelError::Gguf { path: path.to_owned(), problem };
        if length == 0 {
            return Err(bad("the file is empty".to_owned()));
        }
        let bytes = MappedFile::open(path).map_err(|e| ModelError::file(path, e))?;
        let (metadata, tensors) = parse(&bytes).map_err(bad)?;
        tracing::debug!(path = %path.display(), tensors = tensors.len(), "opened a GGUF file");
        Ok(GgufFile { path: path.to_owned(), bytes, metadata, tensors })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names, storage types and shapes of its tensors, in order of their names; shapes have the outermost dimension
    /// first.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &'static str, &[i64])> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.storage.name(), entry.shape.as_slice()))
    }

    /// The numbers of a tensor in row-major order, dequantized, as the file has them.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`].
    pub fn tensor(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let missing = || ModelError::MissingTensor { path: self.path.clone(), name: name.to_owned() };
        let entry = self.tensors.get(name).ok_or_else(missing)?;
        let bytes = self.bytes.get(entry.range.clone()).ok_or_else(missing)?;
        let (numbers, size) = entry.storage.block();
        let mut out = vec![0.0; bytes.len() / size * numbers];
        entry.storage.dequantize(bytes, &mut out);
        self.bytes.release(entry.range.start, entry.range.len());
        Ok(out)
    }

    /// The network's settings as the text of a Hugging Face `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] for an architecture or a setting that this crate does not compute.
    pub fn config_json(&self) -> Result<String, ModelError> {
        config::config(self.keys(), &self.tensors).map(|config| config.to_string()).map_err(|p| self.problem(p))
    }

    /// The tokenizer as the texts of a Hugging Face folder's files, by their names: `tokenizer.json` and
    /// `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] for a kind of tokenizer that is not supported, or a damaged one.
    pub fn tokenizer_files(&self) -> Result<Vec<(&'static str, String)>, ModelError> {
        tokenizer::files(self.keys()).map_err(|p| self.problem(p))
    }

    /// Whether it has a chat template.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] for a template that is not a text.
    pub fn has_chat_template(&self) -> Result<bool, ModelError> {
        self.keys().text("tokenizer.chat_template").map(|text| text.is_some()).map_err(|p| self.problem(p))
    }

    /// The tokens that end a generated answer, as the text of a `generation_config.json`.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] for an id outside of the vocabulary.
    pub fn generation_config_json(&self) -> Result<String, ModelError> {
        eog::generation_config(self.keys()).map(|config| config.to_string()).map_err(|p| self.problem(p))
    }

    /// The tensors by the names that Hugging Face's checkpoints have, with the order of their rows; those that only say
    /// something about rotary frequencies are left out.
    pub(crate) fn weights(&self) -> Result<Vec<(String, TensorEntry, RowOrder)>, ModelError> {
        layers::weights(self.keys(), &self.tensors).map_err(|p| self.problem(p))
    }

    /// Its mapped bytes.
    pub(crate) fn into_bytes(self) -> MappedFile {
        self.bytes
    }

    fn keys(&self) -> Keys<'_> {
        Keys { metadata: &self.metadata, bytes: &self.bytes }
    }

    fn problem(&self, problem: String) -> ModelError {
        ModelError::Gguf { path: self.path.clone(), problem }
    }
}

/// The header of a file's bytes.
fn parse(bytes: &[u8]) -> Result<(Metadata, BTreeMap<String, TensorEntry>), String> {
    if !bytes.starts_with(MAGIC) {
        let begins = bytes.get(..4).unwrap_or(bytes).escape_ascii();
        return Err(format!("it begins with \"{begins}\" and not with \"GGUF\", so it is not a GGUF file"));
    }
    let mut cursor = Cursor::new(bytes);
    cursor.u32("the magic number")?;
    let version = cursor.u32("the version")?;
    match version {
        2 | 3 => {}
        1 => return Err("it has version 1 of the format; convert the model again for version 3".to_owned()),
        _ if matches!(version.swap_bytes(), 1..=3) => {
            return Err("it is a big-endian file; only little-endian ones are read".to_owned());
        }
        _ => return Err(format!("it has version {version} of the format; versions 2 and 3 are read")),
    }
    let tensors = cursor.u64("the number of tensors")?;
    // A key takes at least its length, one byte, a type and one more byte.
    let keys = cursor.count("the number of metadata keys", 14)?;
    let metadata = Metadata::read(&mut cursor, keys)?;
    // A tensor takes at least its name's length, one byte, its dimensions, its type and its offset.
    let fits = (cursor.left() / 33) as u64;
    if tensors > fits.min(TENSOR_LIMIT as u64) {
        let most = fits.min(TENSOR_LIMIT as u64);
        return Err(format!(
            "the number of tensors is {tensors}, but the {} bytes that follow have space for at most {most}",
            cursor.left()
        ));
    }
    let alignment = alignment(Keys { metadata: &metadata, bytes })?;
    let mut table = BTreeMap::new();
    for index in 0..tensors {
        let name = cursor.name(&format!("the name of tensor {index} (from 0)"), NAME_BYTES)?;
        let entry = tensor_info(&mut cursor, name, alignment)?;
        if table.insert(name.to_owned(), entry).is_some() {
            return Err(format!("tensor {name} occurs twice"));
        }
    }
    position(&mut table, cursor.position().next_multiple_of(alignment), bytes.len())?;
    Ok((metadata, table))
}

fn alignment(keys: Keys<'_>) -> Result<usize, String> {
    let alignment = keys.integer("general.alignment")?.map_or(ALIGNMENT, i64::unsigned_abs);
    if alignment.is_power_of_two() && alignment <= ALIGNMENT_LIMIT {
        Ok(alignment as usize)
    } else {
        Err(format!("general.alignment is {alignment}; it must be a power of two up to {ALIGNMENT_LIMIT}"))
    }
}

/// One row of the tensor table; its range is relative to the first tensor.
fn tensor_info(cursor: &mut Cursor<'_>, name: &str, alignment: usize) -> Result<TensorEntry, String> {
    let what = format!("tensor {name}");
    let dimensions = cursor.u32(&what)?;
    if !(1..=DIMENSIONS).contains(&dimensions) {
        return Err(format!("{what} has {dimensions} dimensions; it may have 1 to {DIMENSIONS}"));
    }
    let mut shape = Vec::with_capacity(DIMENSIONS as usize);
    for _ in 0..dimensions {
        let size = cursor.u64(&what)?;
        match i64::try_from(size) {
            Ok(size) if size > 0 => shape.push(size),
            _ => return Err(format!("{what} has a dimension of size {size}; it must be from 1 to 2^63 - 1")),
        }
    }
    let storage = cursor.u32(&what)?;
    let offset = cursor.u64(&what)?;
    let storage = Storage::of(storage)
        .map_err(|found| format!("{what} is stored as {found}, which is not read; supported: {}", blocks::SUPPORTED))?;
    let (numbers, size) = storage.block();
    if let Some(&row) = shape.first()
        && row % numbers as i64 != 0
    {
        let storage = storage.name();
        return Err(format!("{what} has rows of {row} numbers, which {storage} cannot store in blocks of {numbers}"));
    }
    let elements = shape.iter().try_fold(1i64, |all, &size| all.checked_mul(size));
    let length = elements
        .and_then(|elements| usize::try_from(elements).ok())
        .and_then(|elements| (elements / numbers).checked_mul(size));
    let Some(length) = length else { return Err(format!("{what} has more numbers than can be addressed: {shape:?}")) };
    if offset % alignment as u64 != 0 {
        return Err(format!("{what} begins at byte {offset} of the data, which is not a multiple of {alignment}"));
    }
    let end = usize::try_from(offset).ok().and_then(|offset| Some(offset..offset.checked_add(length)?));
    let Some(range) = end else { return Err(format!("{what} begins at byte {offset}, beyond the end of the file")) };
    shape.reverse();
    Ok(TensorEntry { storage, shape, range })
}

/// Moves the tensors to their position in the file, and refuses those outside of it and those that overlap.
fn position(table: &mut BTreeMap<String, TensorEntry>, data: usize, size: usize) -> Result<(), String> {
    for (name, entry) in table.iter_mut() {
        match (data.checked_add(entry.range.start), data.checked_add(entry.range.end)) {
            (Some(start), Some(end)) if end <= size => entry.range = start..end,
            _ => {
                let Range { start, end } = entry.range;
                return Err(format!(
                    "tensor {name} takes bytes {start} to {end} of the data, but the file has {} bytes of data; it is \
                     not complete",
                    size.saturating_sub(data)
                ));
            }
        }
    }
    let mut ranges: Vec<(&Range<usize>, &String)> = table.iter().map(|(name, entry)| (&entry.range, name)).collect();
    ranges.sort_by_key(|(range, _)| (range.start, range.end));
    for pair in ranges.windows(2) {
        if let [(first, name), (second, other)] = pair
            && second.start < first.end
        {
            return Err(format!("tensors {name} and {other} overlap"));
        }
    }
    Ok(())
}
