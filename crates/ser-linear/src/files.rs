//! A model's folder: `linear_reward.json` and `linear_reward.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array1, Array2};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::committee::{Committee, View};
use crate::representation::Representation;
use crate::{CheckedLinearSettings, LinearError, LinearSettings};

const DESCRIPTION: &str = "linear_reward.json";
const TENSORS: &str = "linear_reward.safetensors";
const VERSION: u32 = 1;

/// Everything but the arrays.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    version: u32,
    /// The identity of the features.
    features: String,
    view_sizes: Vec<usize>,
    weights: Vec<f64>,
    settings: LinearSettings,
}

/// Whether a folder holds a model that the snapshot of a [`LinearReward`](crate::LinearReward) saved.
pub fn is_linear_reward(folder: &Path) -> bool {
    folder.join(DESCRIPTION).is_file()
}

/// Writes a model into an existing folder.
pub(crate) fn save(
    committee: &Committee,
    settings: &LinearSettings,
    features: &str,
    folder: &Path,
) -> Result<(), LinearError> {
    let mut arrays = BTreeMap::new();
    for (index, View { representation, head, .. }) in committee.views.iter().enumerate() {
        let Representation { mean, projection } = representation;
        arrays.insert(format!("{index}.mean"), (vec![mean.len()], bytes(mean.iter())));
        arrays.insert(format!("{index}.projection"), (projection.shape().to_vec(), bytes(projection.iter())));
        arrays.insert(format!("{index}.head"), (vec![head.len()], bytes(head.iter())));
    }
    let path = folder.join(TENSORS);
    let unwritten = |error: safetensors::SafeTensorError| LinearError::damaged(&path, error.to_string());
    let mut views = Vec::with_capacity(arrays.len());
    for (name, (shape, bytes)) in &arrays {
        views.push((name, TensorView::new(Dtype::F64, shape.clone(), bytes).map_err(unwritten)?));
    }
    let data = safetensors::serialize(views, None).map_err(unwritten)?;
    std::fs::write(&path, data).map_err(LinearError::file(&path))?;
    let description = Description {
        version: VERSION,
        features: features.to_owned(),
        view_sizes: committee.views.iter().map(|view| view.representation.mean.len()).collect(),
        weights: committee.views.iter().map(|view| view.weight).collect(),
        settings: settings.clone(),
    };
    let path = folder.join(DESCRIPTION);
    let text =
        serde_json::to_string_pretty(&description).map_err(|error| LinearError::damaged(&path, error.to_string()))?;
    std::fs::write(&path, text).map_err(LinearError::file(&path))
}

/// Reads a model that was saved over features of this identity and these sizes.
pub(crate) fn load(
    folder: &Path,
    features: &str,
    view_sizes: &[usize],
) -> Result<(Committee, CheckedLinearSettings), LinearError> {
    let path = folder.join(DESCRIPTION);
    let text = std::fs::read_to_string(&path).map_err(LinearError::file(&path))?;
    let Description { version, features: saved, view_sizes: saved_sizes, weights, settings } =
        serde_json::from_str(&text).map_err(|error| LinearError::damaged(&path, error.to_string()))?;
    if version != VERSION {
        return Err(LinearError::damaged(&path, format!("version is {version}; this program reads version {VERSION}")));
    }
    if saved != features || saved_sizes != view_sizes || weights.len() != view_sizes.len() {
        return Err(LinearError::damaged(
            &path,
            format!(
                "the model was fitted on features {saved:?} of sizes {saved_sizes:?}, but the features given are {features:?} \
                 of sizes {view_sizes:?}; give the model, template and precision it was fitted with"
            ),
        ));
    }
    let settings = settings.check()?;
    let path = folder.join(TENSORS);
    let data = std::fs::read(&path).map_err(LinearError::file(&path))?;
    let tensors = SafeTensors::deserialize(&data).map_err(|error| LinearError::damaged(&path, error.to_string()))?;
    let array = |name: String, dimensions: usize| {
        let view = tensors.tensor(&name).map_err(|error| LinearError::damaged(&path, error.to_string()))?;
        if view.dtype() != Dtype::F64 || view.shape().len() != dimensions {
            let (dtype, shape) = (view.dtype(), view.shape());
            let problem = format!(
                "tensor {name} has type {dtype:?} and shape {shape:?}; F64 in {dimensions} dimensions was expected"
            );
            return Err(LinearError::damaged(&path, problem));
        }
        let values: Vec<f64> =
            view.data().chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap_or_default())).collect();
        if let Some(value) = values.iter().find(|x| !x.is_finite()) {
            return Err(LinearError::damaged(&path, format!("tensor {name} contains {value}")));
        }
        Ok((view.shape().to_vec(), values))
    };
    let mut views = Vec::with_capacity(weights.len());
    for (index, (&size, weight)) in view_sizes.iter().zip(weights).enumerate() {
        let (_, mean) = array(format!("{index}.mean"), 1)?;
        let (shape, projection) = array(format!("{index}.projection"), 2)?;
        let (_, head) = array(format!("{index}.head"), 1)?;
        let wrong = || LinearError::damaged(&path, format!("the shapes of view {index} do not fit together"));
        if mean.len() != size {
            return Err(wrong());
        }
        let projection = Array2::from_shape_vec((size, head.len()), projection).map_err(|_| wrong())?;
        if shape != projection.shape() {
            return Err(wrong());
        }
        let representation = Representation { mean: Array1::from(mean), projection };
        views.push(View { representation, head: Array1::from(head), weight });
    }
    Ok((Committee { views }, settings))
}

fn bytes<'a>(values: impl Iterator<Item = &'a f64>) -> Vec<u8> {
    values.flat_map(|value| value.to_le_bytes()).collect()
}
