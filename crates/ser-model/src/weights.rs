//! Weights of a Hugging Face folder: one safetensors file or several by index, mapped, cast while copied.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use ser_libtorch::MappedFile;
use tch::{Device, Kind, Tensor};

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
}

/// The tensors of a folder or file, by name. Nothing is copied before it is asked for.
pub(crate) struct Weights {
    path: PathBuf,
    shards: Vec<Shard>,
    entries: HashMap<String, Entry>,
}

impl Weights {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    pub(crate) fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        if !single.exists() && index.exists() {
            return Self::open(folder, shards_of(folder, &index)?);
        }
        let pickle = ["pytorch_model.bin", "pytorch_model.bin.index.json"].map(|name| folder.join(name));
        match pickle.into_iter().find(|p| p.exists()) {
            Some(path) if !single.exists() => Err(ModelError::Pickled { path }),
            _ => Self::open(folder, vec![single]),
        }
    }

    /// Opens one file.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ModelError> {
        Self::open(path, vec![path.to_owned()])
    }

    fn open(path: &Path, files: Vec<PathBuf>) -> Result<Self, ModelError> {
        let mut weights = Weights { path: path.to_owned(), shards: Vec::new(), entries: HashMap::new() };
        for file in files {
            let damaged = |problem: String| ModelError::Safetensors { path: file.clone(), problem };
            let length = std::fs::metadata(&file).map_err(|e| ModelError::file(&file, e))?.len();
            if length == 0 {
                return Err(damaged("the file is empty".into()));
            }
            let bytes = MappedFile::open(&file).map_err(|e| ModelError::file(&file, e))?;
            let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
            for (name, view) in tensors.iter() {
                let entry = Entry {
                    shard: weights.shards.len(),
                    offset: view.data().as_ptr() as usize - bytes.as_ptr() as usize,
                    length: view.data().len(),
                    dtype: view.dtype(),
                    shape: view.shape().iter().map(|&n| n as i64).collect(),
                };
                weights.entries.insert(name.to_owned(), entry);
            }
            weights.shards.push(Shard { path: file, bytes });
        }
        Ok(weights)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The tensor `name`, which must have the shape `expected`, as `kind` on `device`.
    pub(crate) fn load(&self, name: &str, expected: &[i64], kind: Kind, device: Device) -> Result<Tensor, ModelError> {
        let missing = || ModelError::MissingTensor { path: self.path.clone(), name: name.to_owned() };
        let entry = self.entries.get(name).ok_or_else(missing)?;
        let shard = self.shards.get(entry.shard).ok_or_else(missing)?;
        if entry.shape != expected {
            return Err(ModelError::Shape {
                path: shard.path.clone(),
                name: name.to_owned(),
                found: entry.shape.clone(),
                expected: expected.to_owned(),
            });
        }
        let stored = match entry.dtype {
            Dtype::F64 => Kind::Double,
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            other => {
                return Err(ModelError::TensorKind {
                    path: shard.path.clone(),
                    name: name.to_owned(),
                    kind: format!("{other:?}"),
                });
            }
        };
        let bytes = shard.bytes.get(entry.offset..entry.offset + entry.length).ok_or_else(missing)?;
        let tensor = Tensor::f_from_data_size(bytes, &entry.shape, stored)?;
        Ok(tensor.f_to_device(device)?.f_to_kind(kind)?)
    }
}

/// The shard files that an index names, each once; names may not lead out of the folder.
fn shards_of(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, ModelError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(index).map_err(|e| ModelError::file(index, e))?;
    let parsed: Index = serde_json::from_str(&text).map_err(|e| ModelError::json(index, e))?;
    let mut names: Vec<String> = parsed.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let plain = Path::new(&name).file_name().is_some_and(|f| f == name.as_str());
            if plain {
                Ok(folder.join(name))
            } else {
                Err(ModelError::ShardName { path: index.to_owned(), shard: name })
            }
        })
        .collect()
}

/// Writes tensors, in f32, to a safetensors file that appears whole or not at all.
pub(crate) fn save(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), ModelError> {
    struct Bytes {
        shape: Vec<usize>,
        data: Vec<u8>,
    }
    impl safetensors::View for Bytes {
        fn dtype(&self) -> Dtype {
            Dtype::F32
        }
        fn shape(&self) -> &[usize] {
            &self.shape
        }
        fn data(&self) -> std::borrow::Cow<'_, [u8]> {
            self.data.as_slice().into()
        }
        fn data_len(&self) -> usize {
            self.data.len()
        }
    }
    let mut views = Vec::new();
    for (name, tensor) in tensors {
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        let mut data = vec![0u8; tensor.numel() * 4];
        tensor.f_copy_data_u8(&mut data, tensor.numel())?;
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        views.push((name.clone(), Bytes { shape, data }));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|e| ModelError::Safetensors { path: path.to_owned(), problem: e.to_string() })?;
    write_whole(path, &bytes)
}

/// Writes a file under another name first, so that nobody ever sees half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&partial)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(|source| ModelError::File { path: path.to_owned(), source })
}
