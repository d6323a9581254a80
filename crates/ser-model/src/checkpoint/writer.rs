//! Writing safetensors files, one or several with an index. A file appears complete or not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::{Dtype, View};
use ser_core::durable;
use tch::{Device, Kind, Tensor};

use crate::ModelError;

/// The bytes of a tensor to be written, borrowed or owned.
pub(crate) struct Bytes<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Cow<'a, [u8]>,
}

impl Bytes<'_> {
    /// The bytes of a tensor in its own kind, or in f32 if safetensors does not have that kind.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self, ModelError> {
        let (dtype, kind, width) = match tensor.kind() {
            Kind::BFloat16 => (Dtype::BF16, Kind::BFloat16, 2),
            Kind::Half => (Dtype::F16, Kind::Half, 2),
            Kind::Double => (Dtype::F64, Kind::Double, 8),
            _ => (Dtype::F32, Kind::Float, 4),
        };
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(kind)?.f_contiguous()?;
        let mut data = vec![0u8; tensor.numel() * width];
        tensor.f_copy_data_u8(&mut data, tensor.numel())?;
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        Ok(Bytes { dtype, shape, data: data.into() })
    }
}

impl<'a> Bytes<'a> {
    /// The same bytes, borrowed.
    pub(crate) fn borrowed(&'a self) -> Self {
        Bytes { dtype: self.dtype, shape: self.shape.clone(), data: self.data.as_ref().into() }
    }
}

impl View for &Bytes<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.data.as_ref())
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// Writes tensors to one file, in f32.
pub(crate) fn save(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), ModelError> {
    let tensors = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), Bytes::of(&tensor.f_to_kind(Kind::Float)?)?)))
        .collect::<Result<Vec<_>, ModelError>>()?;
    save_bytes(path, &tensors)
}

/// Writes tensors to one file.
pub(crate) fn save_bytes(path: &Path, tensors: &[(String, Bytes<'_>)]) -> Result<(), ModelError> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let views = tensors.iter().map(|(name, bytes)| (name.as_str(), bytes));
    let partial = durable::incomplete(path);
    safetensors::serialize_to_file(views, Some(metadata), &partial)
        .map_err(|e| ModelError::Writing { path: path.to_owned(), problem: e.to_string() })?;
    let finish = || durable::sync_file(&partial).and_then(|()| durable::rename(&partial, path));
    finish().map_err(|source| ModelError::File { path: path.to_owned(), source })
}

/// The tensors of each file: in order, with a new file where the current one would exceed `limit` bytes. `sizes` has names
/// and bytes.
pub(crate) fn plan_shards(sizes: &[(String, u64)], limit: u64) -> Vec<Vec<String>> {
    let mut shards: Vec<Vec<String>> = Vec::new();
    let mut filled = 0;
    for (name, size) in sizes {
        match shards.last_mut() {
            Some(shard) if filled + size <= limit => {
                shard.push(name.clone());
                filled += size;
            }
            _ => {
                shards.push(vec![name.clone()]);
                filled = *size;
            }
        }
    }
    shards
}

/// The name of shard `i` (from 0) of `count`.
pub(crate) fn shard_name(i: usize, count: usize) -> String {
    match count {
        1 => "model.safetensors".into(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
    }
}

/// Writes the index of shards, `model.safetensors.index.json`.
pub(crate) fn save_index(folder: &Path, shards: &[Vec<String>], total: u64) -> Result<(), ModelError> {
    let map: BTreeMap<&str, String> = shards
        .iter()
        .enumerate()
        .flat_map(|(i, names)| names.iter().map(move |name| (name.as_str(), shard_name(i, shards.len()))))
        .collect();
    let index = serde_json::json!({"metadata": {"total_size": total}, "weight_map": map});
    write_json(&folder.join("model.safetensors.index.json"), &index)
}

/// Writes indented JSON.
pub(crate) fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), ModelError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| ModelError::json(path, e))?;
    write_atomically(path, (text + "\n").as_bytes())
}

/// Writes a file under a temporary name and renames it, so that a partial file is never visible.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let written = durable::replace(path, |out| std::io::Write::write_all(out, bytes));
    written.map_err(|source| ModelError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_filled_in_order() {
        let sizes: Vec<(String, u64)> =
            [("a", 5), ("b", 5), ("c", 30), ("d", 1), ("e", 9)].map(|(n, s)| (n.to_owned(), s)).to_vec();
        let names = |limit| plan_shards(&sizes, limit).iter().map(|s| s.concat()).collect::<Vec<_>>();
        assert_eq!(names(100), ["abcde"]);
        assert_eq!(names(10), ["ab", "c", "de"]);
        assert_eq!(names(1), ["a", "b", "c", "d", "e"]);
    }
}
