//! How activations below an adapter on the top layers are kept.

use std::path::PathBuf;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use tch::Kind;

/// How the activations of the frozen layers below an adapter are kept, if it is on the top layers alone
/// ([`LoraSettings::layers`](crate::LoraSettings::layers)). They are computed once per text instead of in every epoch, iteration
/// and scoring. An adapter on the lowest layer leaves nothing to keep.
///
/// Whether activations are kept does not change results: the frozen layers always compute one text or pair at a time, so its
/// activations depend on nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActivationSettings {
    /// The most main memory for them, in MiB; 0 keeps none there. It is used as texts come.
    pub memory: usize,
    /// A folder in which all of them are also stored in files, one per base model, layer, precision and format. Runs may share
    /// it, at the same time too. The files take as much disk as the texts need.
    pub folder: Option<PathBuf>,
    /// The number format in which they are kept.
    pub format: ActivationFormat,
}

/// The number format of kept activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationFormat {
    /// That of the computation.
    #[default]
    Exact,
    /// bfloat16, half the size of float32. The layers above compute from the rounded numbers, whether they were kept or not.
    Bfloat16,
}

impl Default for ActivationSettings {
    fn default() -> Self {
        ActivationSettings { memory: 1024, folder: None, format: ActivationFormat::Exact }
    }
}

impl ActivationSettings {
    /// Keeps nothing.
    pub fn off() -> Self {
        ActivationSettings { memory: 0, ..ActivationSettings::default() }
    }

    /// Whether results are those of the computation's precision.
    pub(crate) fn is_exact(&self) -> bool {
        self.format == ActivationFormat::Exact
    }

    /// Serializes what results depend on: not memory and folder, which a resumed run may change.
    pub(crate) fn serialize_format<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ActivationSettings", 1)?;
        fields.serialize_field("format", &self.format)?;
        fields.end()
    }

    /// The kind that rows of a network of `kind` are kept in.
    pub(super) fn kind(&self, kind: Kind) -> Kind {
        match self.format {
            ActivationFormat::Exact => kind,
            ActivationFormat::Bfloat16 => Kind::BFloat16,
        }
    }
}
