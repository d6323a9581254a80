//! Low-rank updates of linear maps (LoRA; Hu et al., 2022).

use tch::{Kind, Tensor};

use crate::ModelError;
use crate::checkpoint::{AdapterSource, Initial};
use crate::config::{LoraBias, LoraSettings, LoraSpec};

/// A low-rank update: y += scale * (dropout(x) A^T B^T + bias). All tensors are f32, also in half-precision networks.
///
/// With magnitudes m (DoRA, Eq. 5) the updated weight V = W + scale * B A is replaced by m / |V| * V, where |V| are the norms
/// of its rows. The norms are constants in the gradient.
#[derive(Debug)]
pub(crate) struct Lora {
    /// [rank, in]
    pub(crate) a: Tensor,
    /// [out, rank]
    pub(crate) b: Tensor,
    /// [out]
    pub(crate) bias: Option<Tensor>,
    /// [out], with DoRA.
    pub(crate) magnitude: Option<Tensor>,
    pub(crate) scale: f64,
    pub(crate) dropout: f64,
}

impl Lora {
    /// The update of the linear map `module`.
    fn new(
        module: &str,
        base: &BaseLinear<'_>,
        spec: LoraSpec,
        settings: &LoraSettings,
        source: &mut dyn AdapterSource,
    ) -> Result<Self, ModelError> {
        let ([out, input], device) = (base.shape, base.device);
        // PEFT's default: A by Kaiming's uniform distribution with a = sqrt 5, B zero.
        let bound = 1.0 / (input as f64).sqrt();
        let a = source.tensor(&format!("{module}.lora_A.weight"), &[spec.rank, input], Initial::Uniform(bound))?;
        let b = source.tensor(&format!("{module}.lora_B.weight"), &[out, spec.rank], Initial::Zero)?;
        let mut bias = || source.tensor(&format!("{module}.lora_B.bias"), &[out], Initial::Zero);
        let bias = settings.lora_bias.then(&mut bias).transpose()?;
        let bias = bias.map(|bias| bias.f_to_device(device)).transpose()?;
        let (a, b) = (a.f_to_device(device)?, b.f_to_device(device)?);
        let magnitude = match base.weight.filter(|_| settings.use_dora) {
            Some(weight) => {
                // Fresh magnitudes equal the norms, so that a fresh adapter does not change the network.
                let norms = row_norms(&weight.f_to_kind(Kind::Float)?)?;
                let name = format!("{module}.lora_magnitude_vector");
                Some(source.tensor(&name, &[out], Initial::Copy(&norms))?.f_to_device(device)?)
            }
            None => None,
        };
        Ok(Lora { a, b, bias, magnitude, scale: spec.scale, dropout: settings.dropout })
    }

    /// m / |V|, [out] in f32, with the norms detached; `None` without magnitudes.
    pub(super) fn row_scales(&self, weight: &Tensor) -> Result<Option<Tensor>, ModelError> {
        let Some(magnitude) = &self.magnitude else { return Ok(None) };
        let norms = tch::no_grad(|| row_norms(&self.updated(weight)?))?;
        Ok(Some(magnitude.f_div(&norms)?))
    }

    /// W + scale * B A, in f32.
    fn updated(&self, weight: &Tensor) -> Result<Tensor, ModelError> {
        let delta = self.b.f_matmul(&self.a)?.f_mul_scalar(self.scale)?;
        Ok(weight.f_to_kind(Kind::Float)?.f_add(&delta)?)
    }
}

/// The Euclidean norm of each row.
fn row_norms(weight: &Tensor) -> Result<Tensor, ModelError> {
    Ok(weight.f_square()?.f_sum_dim_intlist(&[1i64][..], false, Kind::Float)?.f_sqrt()?)
}

/// The linear map that an adapter updates.
pub(crate) struct BaseLinear<'a> {
    /// [out, in]
    pub(crate) shape: [i64; 2],
    pub(crate) device: tch::Device,
    /// [out, in]; needed for DoRA only.
    pub(crate) weight: Option<&'a Tensor>,
    /// [out]
    pub(crate) bias: Option<&'a Tensor>,
}

/// The changes of one adapter to a linear map.
#[derive(Debug)]
pub(crate) struct AdapterDelta {
    pub(crate) lora: Option<Lora>,
    /// Replaces the map's own bias. f32.
    pub(crate) bias: Option<Tensor>,
}

impl AdapterDelta {
    /// The delta of a new adapter for the linear map `module`: a low-rank update if `spec` is given, and a copy of the
    /// map's bias if the settings train biases.
    pub(crate) fn new(
        module: &str,
        base: &BaseLinear<'_>,
        spec: Option<LoraSpec>,
        settings: &LoraSettings,
        source: &mut dyn AdapterSource,
    ) -> Result<Self, ModelError> {
        let lora = spec.map(|spec| Lora::new(module, base, spec, settings, source)).transpose()?;
        let trained = match settings.bias {
            LoraBias::None => false,
            LoraBias::All => true,
            LoraBias::LoraOnly => lora.is_some(),
        };
        let name = AdapterDelta::bias_name(module, lora.is_some());
        let own = base.bias.filter(|_| trained);
        let bias = own.map(|own| source.tensor(&name, &own.size(), Initial::Copy(own))).transpose()?;
        Ok(AdapterDelta { lora, bias: bias.map(|bias| bias.f_to_device(base.device)).transpose()? })
    }

    /// Whether it changes its map.
    pub(crate) fn is_some(&self) -> bool {
        self.lora.is_some() || self.bias.is_some()
    }

    /// Whether one of its tensors is trained.
    pub(super) fn is_trained(&self) -> bool {
        let lora = self.lora.iter().flat_map(|lora| {
            [Some(&lora.a), Some(&lora.b), lora.bias.as_ref(), lora.magnitude.as_ref()].into_iter().flatten()
        });
        lora.chain(&self.bias).any(Tensor::requires_grad)
    }

    /// PEFT's name of the bias. PEFT wraps a map that has an update.
    pub(crate) fn bias_name(module: &str, wrapped: bool) -> String {
        format!("{module}{}.bias", if wrapped { ".base_layer" } else { "" })
    }

    /// The weight with this delta added: computed in f32, returned in the kind of `weight`.
    pub(crate) fn merged(&self, weight: &Tensor) -> Result<Tensor, ModelError> {
        let Some(lora) = &self.lora else { return Ok(weight.shallow_clone()) };
        let mut updated = lora.updated(weight)?;
        if let Some(scales) = lora.row_scales(weight)? {
            updated = updated.f_mul(&scales.f_unsqueeze(1)?)?;
        }
        Ok(updated.f_to_kind(weight.kind())?)
    }

    /// The bias with this delta added, in f32. `own` is the map's bias; `None` if neither has one.
    pub(crate) fn merged_bias(&self, own: Option<&Tensor>) -> Result<Option<Tensor>, ModelError> {
        let bias = self.bias.as_ref().or(own).map(|bias| bias.f_to_kind(Kind::Float)).transpose()?;
        let more = self.lora.as_ref().and_then(|lora| Some((lora.bias.as_ref()?, lora.scale)));
        let Some((more, scale)) = more else { return Ok(bias) };
        let more = more.f_mul_scalar(scale)?;
        Ok(Some(bias.map_or_else(|| Ok(more.shallow_clone()), |bias| bias.f_add(&more))?))
    }
}
