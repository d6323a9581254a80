//! Linear maps and their low-rank adapters (LoRA; Hu et al., 2022).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::ModelError;
use crate::kernels::linear;
use crate::seeds::Seeds;
use crate::source::{AdapterSource, Initial};
use crate::targets::{PROJECTIONS, TargetModules, Targets, Update};

/// An adapter's settings, under PEFT's names. `Default` = the paper: rank 8, alpha 32, dropout 0.1, on q and v.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSettings {
    /// Rank r of the update.
    pub rank: i64,
    /// The update is scaled by alpha / r.
    pub alpha: f64,
    /// Dropout on the adapter's input while training.
    pub dropout: f64,
    /// The projections that get an adapter.
    pub target_modules: TargetModules,
    /// Scales by alpha / sqrt(r) instead (rank-stabilized LoRA; Kalajdzievski, 2023).
    pub use_rslora: bool,
    /// Which of the network's own biases are trained too.
    pub bias: LoraBias,
    /// A bias on B's output.
    pub lora_bias: bool,
    /// Other ranks for some modules, by patterns over the ends of their names.
    pub rank_pattern: BTreeMap<String, i64>,
    /// Other alphas for some modules, in the same way.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Projections that get no adapter though `target_modules` names them.
    pub exclude_modules: Option<TargetModules>,
    /// The layers, from 0, whose projections get an adapter; all if empty. Goes with names in `target_modules`.
    pub layers_to_transform: Vec<i64>,
    /// What stands before the layer's index in a module's name, as patterns; anything if empty.
    pub layers_pattern: Vec<String>,
    /// Weight-decomposed adaptation (DoRA; Liu et al., 2024): the rows of the updated weight are scaled to magnitudes
    /// that are trained.
    pub use_dora: bool,
}

/// The biases that an adapter trains beside its update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraBias {
    /// None.
    #[default]
    None,
    /// Those of all projections that have one.
    All,
    /// Those of the projections that get an update.
    LoraOnly,
}

impl Default for LoraSettings {
    fn default() -> Self {
        LoraSettings {
            rank: 8,
            alpha: 32.0,
            dropout: 0.1,
            target_modules: ["q_proj", "v_proj"].into(),
            use_rslora: false,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            bias: LoraBias::None,
            lora_bias: false,
            exclude_modules: None,
            layers_to_transform: Vec::new(),
            layers_pattern: Vec::new(),
            use_dora: false,
        }
    }
}

impl LoraSettings {
    /// Refuses settings that mean nothing.
    pub fn check(&self) -> Result<(), ModelError> {
        let bad = |name, value: String, expected| Err(ModelError::Setting { name, value, expected });
        let ranks = self.rank_pattern.values().map(|r| ("lora.rank_pattern", r));
        if let Some((name, rank)) = [("lora.rank", &self.rank)].into_iter().chain(ranks).find(|&(_, &r)| r < 1) {
            return bad(name, rank.to_string(), "it must be at least 1");
        }
        let alphas = self.alpha_pattern.values().map(|a| ("lora.alpha_pattern", a));
        let sound = |alpha: &f64| alpha.is_finite() && *alpha > 0.0;
        if let Some((name, alpha)) = [("lora.alpha", &self.alpha)].into_iter().chain(alphas).find(|(_, a)| !sound(a)) {
            return bad(name, alpha.to_string(), "it must be over 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("lora.dropout", self.dropout.to_string(), "it must be from 0 up to, not including, 1");
        }
        if let TargetModules::Names(names) = &self.target_modules {
            if names.is_empty() {
                return bad("lora.target_modules", "empty".into(), "name at least one projection, such as q_proj");
            }
            let projection = |name: &str| PROJECTIONS.contains(&name.rsplit('.').next().unwrap_or(name));
            if let Some(name) = names.iter().find(|name| !projection(name)) {
                return bad(
                    "lora.target_modules",
                    format!("{name:?}"),
                    "names may end with q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
                );
            }
        }
        if matches!(self.target_modules, TargetModules::Pattern(_)) && !self.layers_to_transform.is_empty() {
            return bad(
                "lora.layers_to_transform",
                format!("{:?}", self.layers_to_transform),
                "it goes with names in target_modules, not with a pattern",
            );
        }
        if self.layers_to_transform.is_empty() && !self.layers_pattern.is_empty() {
            return bad("lora.layers_pattern", format!("{:?}", self.layers_pattern), "it needs layers_to_transform");
        }
        if self.use_dora && self.lora_bias {
            return bad("lora.use_dora", "true".into(), "it cannot be combined with lora_bias");
        }
        Targets::new(self).map(drop)
    }
}

/// A low-rank update: y += scale * (dropout(x) A^T B^T + bias). All are f32 masters whatever the network computes in.
///
/// With magnitudes m (DoRA, Eq. 5) the updated weight V = W + scale * B A counts as m / |V| * V, |V| being the norms of
/// its rows, which are constants in the gradient.
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
    /// For the map `module`.
    fn new(
        module: &str,
        base: &BaseMap<'_>,
        update: Update,
        settings: &LoraSettings,
        source: &mut dyn AdapterSource,
    ) -> Result<Self, ModelError> {
        let ([out, input], device) = (base.shape, base.device);
        // PEFT's default: A as Kaiming has it with a = sqrt 5, B zero.
        let bound = 1.0 / (input as f64).sqrt();
        let a = source.tensor(&format!("{module}.lora_A.weight"), &[update.rank, input], Initial::Uniform(bound))?;
        let b = source.tensor(&format!("{module}.lora_B.weight"), &[out, update.rank], Initial::Zero)?;
        let mut bias = || source.tensor(&format!("{module}.lora_B.bias"), &[out], Initial::Zero);
        let bias = settings.lora_bias.then(&mut bias).transpose()?;
        let bias = bias.map(|bias| bias.f_to_device(device)).transpose()?;
        let (a, b) = (a.f_to_device(device)?, b.f_to_device(device)?);
        let magnitude = match base.weight.filter(|_| settings.use_dora) {
            Some(weight) => {
                // Fresh magnitudes are the norms that there are, so that nothing changes before training.
                let norms = row_norms(&weight.f_to_kind(Kind::Float)?)?;
                let name = format!("{module}.lora_magnitude_vector");
                Some(source.tensor(&name, &[out], Initial::Copy(&norms))?.f_to_device(device)?)
            }
            None => None,
        };
        Ok(Lora { a, b, bias, magnitude, scale: update.scale, dropout: settings.dropout })
    }

    /// m / |V|, [out] in f32, with the norms detached; `None` without magnitudes.
    fn row_scales(&self, weight: &Tensor) -> Result<Option<Tensor>, ModelError> {
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

/// The linear map that an adapter changes.
pub(crate) struct BaseMap<'a> {
    /// [out, in]
    pub(crate) shape: [i64; 2],
    pub(crate) device: tch::Device,
    /// [out, in]; needed where the adapter is a DoRA.
    pub(crate) weight: Option<&'a Tensor>,
    /// [out]
    pub(crate) bias: Option<&'a Tensor>,
}

/// What one adapter changes of a linear map.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) lora: Option<Lora>,
    /// Stands in for the map's own bias. An f32 master.
    pub(crate) bias: Option<Tensor>,
}

impl Change {
    /// A new adapter's change of the map `module`: an update if there is to be one, and a bias in place of the map's own
    /// if that is trained.
    pub(crate) fn new(
        module: &str,
        base: &BaseMap<'_>,
        update: Option<Update>,
        settings: &LoraSettings,
        source: &mut dyn AdapterSource,
    ) -> Result<Self, ModelError> {
        let lora = update.map(|u| Lora::new(module, base, u, settings, source)).transpose()?;
        let trained = match settings.bias {
            LoraBias::None => false,
            LoraBias::All => true,
            LoraBias::LoraOnly => lora.is_some(),
        };
        let name = Change::bias_name(module, lora.is_some());
        let own = base.bias.filter(|_| trained);
        let bias = own.map(|own| source.tensor(&name, &own.size(), Initial::Copy(own))).transpose()?;
        Ok(Change { lora, bias: bias.map(|bias| bias.f_to_device(base.device)).transpose()? })
    }

    /// PEFT's name for the bias: a map with an update is wrapped.
    pub(crate) fn bias_name(module: &str, wrapped: bool) -> String {
        format!("{module}{}.bias", if wrapped { ".base_layer" } else { "" })
    }

    /// The weight of a map with this change worked in: computed in f32, in the weight's own kind.
    pub(crate) fn merged(&self, weight: &Tensor) -> Result<Tensor, ModelError> {
        let Some(lora) = &self.lora else { return Ok(weight.shallow_clone()) };
        let mut updated = lora.updated(weight)?;
        if let Some(scales) = lora.row_scales(weight)? {
            updated = updated.f_mul(&scales.f_unsqueeze(1)?)?;
        }
        Ok(updated.f_to_kind(weight.kind())?)
    }

    /// The bias of a map, which has `own`, with this change worked in, in f32; `None` if it has none then either.
    pub(crate) fn merged_bias(&self, own: Option<&Tensor>) -> Result<Option<Tensor>, ModelError> {
        let kept = self.bias.as_ref().or(own).map(|bias| bias.f_to_kind(Kind::Float)).transpose()?;
        let more = self.lora.as_ref().and_then(|lora| Some((lora.bias.as_ref()?, lora.scale)));
        let Some((more, scale)) = more else { return Ok(kept) };
        let more = more.f_mul_scalar(scale)?;
        Ok(Some(kept.map_or_else(|| Ok(more.shallow_clone()), |bias| bias.f_add(&more))?))
    }
}

/// What holds for one way through the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    /// The place of the adapter that computes; none for the base model alone.
    pub(crate) adapter: Option<usize>,
    /// Seeds of the dropouts, while training.
    pub(crate) dropout: Option<&'a Seeds>,
}

/// y = x W^T + bias, with the change of the adapter that computes.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    /// One change per adapter of the network, in order.
    changes: Vec<Change>,
    /// Weight and bias with the change of the adapter at that place worked in.
    merged: Option<(usize, Tensor, Option<Tensor>)>,
}

impl Linear {
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Linear { weight, bias, changes: Vec::new(), merged: None }
    }

    /// `x`: [rows, in] -> [rows, out].
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass<'_>) -> Result<Tensor, ModelError> {
        let Some((place, change)) = pass.adapter.and_then(|place| Some((place, self.changes.get(place)?))) else {
            return linear(x, &self.weight, self.bias.as_ref());
        };
        match &self.merged {
            Some((merged, weight, bias)) if *merged == place => return linear(x, weight, bias.as_ref()),
            _ => {}
        }
        let kind = x.kind();
        let own = change.bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
        let y = linear(x, &self.weight, own.as_ref().or(self.bias.as_ref()))?;
        let Some(lora) = &change.lora else { return Ok(y) };
        let dropped = match pass.dropout {
            Some(seeds) if lora.dropout > 0.0 => Some(ser_libtorch::dropout(x, lora.dropout, seeds.draw())?),
            _ => None,
        };
        let input = dropped.as_ref().unwrap_or(x);
        let low = input.f_matmul(&lora.a.f_to_kind(kind)?.f_transpose(0, 1)?)?;
        // tch's addmm takes no factor; scaling the narrow operand costs next to nothing.
        let low = low.f_mul_scalar(lora.scale)?;
        let up = lora.b.f_to_kind(kind)?.f_transpose(0, 1)?;
        if let Some(scales) = lora.row_scales(&self.weight)? {
            // As in PEFT: y + (s - 1) * dropout(x) W^T + s * update, s being m / |V|.
            let scales = scales.f_to_kind(kind)?;
            let plain = linear(input, &self.weight, None)?.f_mul(&scales.f_sub_scalar(1.0)?)?;
            return Ok(y.f_add(&plain)?.f_add(&low.f_matmul(&up)?.f_mul(&scales)?)?);
        }
        let y = y.f_addmm(&low, &up)?;
        match &lora.bias {
            Some(bias) => Ok(y.f_add(&bias.f_mul_scalar(lora.scale)?.f_to_kind(kind)?)?),
            None => Ok(y),
        }
    }

    /// Room for a new adapter.
    pub(crate) fn add_change(&mut self, change: Change) {
        self.changes.push(change);
    }

    pub(crate) fn remove_last_change(&mut self) {
        self.changes.pop();
    }

    /// What the adapter at a place changes.
    pub(crate) fn change(&self, place: usize) -> Option<&Change> {
        self.changes.get(place)
    }

    /// Keeps weight and bias with an adapter's change worked in beside its own; without `place`, drops them.
    pub(crate) fn merge(&mut self, place: Option<usize>) -> Result<(), ModelError> {
        self.merged = None;
        if let Some((place, change)) = place.and_then(|place| Some((place, self.changes.get(place)?)))
            && (change.lora.is_some() || change.bias.is_some())
        {
            let bias = change.merged_bias(self.bias.as_ref())?;
            let bias = bias.map(|bias| bias.f_to_kind(self.weight.kind())).transpose()?;
            self.merged = Some((place, change.merged(&self.weight)?, bias));
        }
        Ok(())
    }
}
