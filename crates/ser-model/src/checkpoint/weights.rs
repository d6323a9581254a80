//! Weights of a Hugging Face folder: one safetensors file, or several with an index; or those of a GGUF file, dequantized
//! while they are copied. Files are memory-mapped. The pages of a tensor are released once it is copied, so loading needs
//! little more memory than the network.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use ser_libtorch::MappedFile;
use tch::{Device, Kind, Tensor};

#[cfg(feature = "gguf")]
use super::gguf::{Encoding, GgufFile};
use super::model_files::is_gguf;
use crate::ModelError;

struct Shard {
    path: PathBuf,
    bytes: MappedFile,
}

struct Entry {
    shard: usize,
    offset: usize,
    length: usize,
    dtype: Dtype,
    shape: Vec<i64>,
    /// How a tensor of a GGUF file is stored.
    #[cfg(feature = "gguf")]
    encoding: Option<Encoding>,
}

/// The tensors of a folder or file, by name. A tensor is copied when it is loaded.
pub(crate) struct Weights {
    path: PathBuf,
    shards: Vec<Shard>,
    entries: HashMap<String, Entry>,
}

impl Weights {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    /// A path to a GGUF file opens that.
    pub(crate) fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        if is_gguf(folder) {
            return Self::from_gguf(folder);
        }
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        if !single.exists() && index.exists() {
            return Self::from_index(folder, &index);
        }
        let pickle = ["pytorch_model.bin", "pytorch_model.bin.index.json"].map(|name| folder.join(name));
        match pickle.into_iter().find(|p| p.exists()) {
            Some(path) if !single.exists() => Err(ModelError::Pickled { path }),
            _ => Self::from_file(&single),
        }
    }

    /// Opens one file.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ModelError> {
        let mut weights = Weights { path: path.to_owned(), shards: Vec::new(), entries: HashMap::new() };
        weights.open(path)?;
        Ok(weights)
    }

    #[cfg(feature = "gguf")]
    fn from_gguf(path: &Path) -> Result<Self, ModelError> {
        let file = GgufFile::open(path)?;
        let mut entries = HashMap::new();
        for (name, tensor, order) in file.weights()? {
            let encoding = Encoding { storage: tensor.storage, order };
            let entry = Entry {
                shard: 0,
                offset: tensor.range.start,
                length: tensor.range.len(),
                dtype: encoding.dtype(),
                shape: tensor.shape,
                encoding: Some(encoding),
            };
            entries.insert(name, entry);
        }
        let shard = Shard { path: path.to_owned(), bytes: file.into_bytes() };
        Ok(Weights { path: path.to_owned(), shards: vec![shard], entries })
    }

    #[cfg(not(feature = "gguf"))]
    fn from_gguf(path: &Path) -> Result<Self, ModelError> {
        Err(super::model_files::without_gguf(path))
    }

    /// Opens the shards of an index and checks that each contains the tensors that the index names for it.
    fn from_index(folder: &Path, index: &Path) -> Result<Self, ModelError> {
        let map = weight_map(index)?;
        let mut weights = Weights { path: folder.to_owned(), shards: Vec::new(), entries: HashMap::new() };
        let names: BTreeSet<&String> = map.values().collect();
        for name in names {
            // A name may not leave the folder.
            if Path::new(name).file_name().is_none_or(|f| f != name.as_str()) {
                return Err(ModelError::ShardName { path: index.to_owned(), shard: name.clone() });
            }
            weights.open(&folder.join(name))?;
        }
        for (tensor, name) in &map {
            let entry = weights.entries.get(tensor).and_then(|entry| weights.shards.get(entry.shard));
            if entry.is_none_or(|shard| shard.path.file_name().is_none_or(|f| f != name.as_str())) {
                return Err(ModelError::Index { path: index.to_owned(), tensor: tensor.clone(), shard: name.clone() });
            }
        }
        Ok(weights)
    }

    fn open(&mut self, file: &Path) -> Result<(), ModelError> {
        let damaged = |problem: String| ModelError::Safetensors { path: file.to_owned(), problem };
        let length = std::fs::metadata(file).map_err(|e| ModelError::file(file, e))?.len();
        if length == 0 {
            return Err(damaged("the file is empty".into()));
        }
        tracing::debug!(file = %file.display(), bytes = length, "map weights");
        let bytes = MappedFile::open(file).map_err(|e| ModelError::file(file, e))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        for (name, view) in tensors.iter() {
            let entry = Entry {
                shard: self.shards.len(),
                offset: view.data().as_ptr() as usize - bytes.as_ptr() as usize,
                length: view.data().len(),
                dtype: view.dtype(),
                // A size over i64::MAX never equals an expected size.
                shape: view.shape().iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX)).collect(),
                #[cfg(feature = "gguf")]
                encoding: None,
            };
            if self.entries.insert(name.to_owned(), entry).is_some() {
                return Err(damaged(format!("tensor {name} is also in another shard")));
            }
        }
        self.shards.push(Shard { path: file.to_owned(), bytes });
        Ok(())
    }

    /// The folder or file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The tensor `name`, which must have the shape `expected`, as `kind` on `device`.
    pub(crate) fn load(&self, name: &str, expected: &[i64], kind: Kind, device: Device) -> Result<Tensor, ModelError> {
        let (entry, shard, bytes) = self.entry(name)?;
        if entry.shape != expected {
            return Err(ModelError::Shape {
                path: shard.path.clone(),
                name: name.to_owned(),
                found: entry.shape.clone(),
                expected: expected.to_owned(),
            });
        }
        let plain = || -> Result<Tensor, ModelError> {
            let stored = self.stored_kind(name)?;
            Ok(ser_libtorch::tensor_from_bytes(bytes, &entry.shape, stored, kind, device)?)
        };
        #[cfg(feature = "gguf")]
        let tensor = match entry.encoding.filter(|encoding| !encoding.is_plain()) {
            Some(encoding) => encoding.tensor(bytes, &entry.shape, kind, device),
            None => plain(),
        }?;
        #[cfg(not(feature = "gguf"))]
        let tensor = plain()?;
        self.release(name);
        Ok(tensor)
    }

    fn entry(&self, name: &str) -> Result<(&Entry, &Shard, &[u8]), ModelError> {
        let missing = || ModelError::MissingTensor { path: self.path.clone(), name: name.to_owned() };
        let entry = self.entries.get(name).ok_or_else(missing)?;
        let shard = self.shards.get(entry.shard).ok_or_else(missing)?;
        let bytes = shard.bytes.get(entry.offset..entry.offset + entry.length).ok_or_else(missing)?;
        Ok((entry, shard, bytes))
    }

    /// The kind of a tensor as [`stored`](Self::stored) gives it.
    pub(crate) fn stored_kind(&self, name: &str) -> Result<Kind, ModelError> {
        let (entry, shard, _) = self.entry(name)?;
        match entry.dtype {
            Dtype::F64 => Ok(Kind::Double),
            Dtype::F32 => Ok(Kind::Float),
            Dtype::F16 => Ok(Kind::Half),
            Dtype::BF16 => Ok(Kind::BFloat16),
            other => Err(ModelError::TensorKind {
                path: shard.path.clone(),
                name: name.to_owned(),
                kind: format!("{other:?}"),
            }),
        }
    }

    /// The bytes of a tensor as [`stored`](Self::stored) gives it.
    pub(crate) fn stored_size(&self, name: &str) -> Result<u64, ModelError> {
        let kind = self.stored_kind(name)?;
        let (entry, ..) = self.entry(name)?;
        Ok(entry.shape.iter().product::<i64>().unsigned_abs() * kind.elt_size_in_bytes() as u64)
    }

    /// A tensor as it lies in its file; quantized ones as f32.
    pub(crate) fn stored(&self, name: &str) -> Result<Stored<'_>, ModelError> {
        let kind = self.stored_kind(name)?;
        let (entry, _, bytes) = self.entry(name)?;
        #[cfg(feature = "gguf")]
        let bytes = match entry.encoding {
            Some(encoding) => encoding.plain_bytes(bytes, &entry.shape),
            None => Cow::Borrowed(bytes),
        };
        #[cfg(not(feature = "gguf"))]
        let bytes = Cow::Borrowed(bytes);
        Ok(Stored { dtype: entry.dtype, kind, shape: &entry.shape, bytes })
    }

    /// Releases the pages of a tensor.
    pub(crate) fn release(&self, name: &str) {
        let Some(entry) = self.entries.get(name) else { return };
        if let Some(shard) = self.shards.get(entry.shard) {
            shard.bytes.release(entry.offset, entry.length);
        }
    }
}

/// A tensor in its file.
pub(crate) struct Stored<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) kind: Kind,
    pub(crate) shape: &'a [i64],
    pub(crate) bytes: Cow<'a, [u8]>,
}

impl Stored<'_> {
    /// A copy on the CPU.
    pub(crate) fn tensor(&self) -> Result<Tensor, ModelError> {
        Ok(ser_libtorch::tensor_from_bytes(&self.bytes, self.shape, self.kind, self.kind, Device::Cpu)?)
    }
}

/// Tensor names to shard names.
fn weight_map(index: &Path) -> Result<BTreeMap<String, String>, ModelError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(index).map_err(|e| ModelError::file(index, e))?;
    let parsed: Index = serde_json::from_str(&text).map_err(|e| ModelError::json(index, e))?;
    Ok(parsed.weight_map)
}
