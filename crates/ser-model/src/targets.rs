//! Which projections an adapter changes, and with what rank and scale: PEFT's rules on module names.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::{LoraSettings, ModelError};

/// The projections of a layer, by PEFT's short names.
pub(crate) const PROJECTIONS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// The projections that get an adapter, as PEFT's `target_modules` says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// Those whose names end with one of these, such as `q_proj` or `layers.0.self_attn.q_proj`.
    Names(Vec<String>),
    /// `all-linear`, or a regular expression over the whole of `model.layers.0.self_attn.q_proj`.
    Pattern(String),
}

impl<const N: usize> From<[&str; N]> for TargetModules {
    fn from(names: [&str; N]) -> Self {
        TargetModules::Names(names.map(str::to_owned).to_vec())
    }
}

impl TargetModules {
    fn is_all_linear(pattern: &str) -> bool {
        pattern.eq_ignore_ascii_case("all-linear")
    }

    /// The same with the shorthand `all-linear` as the names that it means.
    pub(crate) fn spelled_out(&self) -> Self {
        match self {
            TargetModules::Pattern(pattern) if Self::is_all_linear(pattern) => PROJECTIONS.into(),
            other => other.clone(),
        }
    }
}

/// An adapter's settings, ready to be asked about modules.
pub(crate) struct Targets<'a> {
    settings: &'a LoraSettings,
    whole: Option<Regex>,
    ranks: Vec<(Regex, i64)>,
    alphas: Vec<(Regex, f64)>,
}

/// The rank of one module's update, and what the update is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Update {
    pub(crate) rank: i64,
    pub(crate) scale: f64,
}

impl<'a> Targets<'a> {
    /// Compiles the patterns; one that cannot be read is an error with its text.
    pub(crate) fn new(settings: &'a LoraSettings) -> Result<Self, ModelError> {
        let whole = match &settings.target_modules {
            TargetModules::Pattern(pattern) if !TargetModules::is_all_linear(pattern) => {
                Some(compile("lora.target_modules", pattern, "")?)
            }
            _ => None,
        };
        fn ends<T: Copy>(name: &'static str, map: &BTreeMap<String, T>) -> Result<Vec<(Regex, T)>, ModelError> {
            map.iter().map(|(key, &value)| Ok((compile(name, key, r"(?:.*\.)?")?, value))).collect()
        }
        let ranks = ends("lora.rank_pattern", &settings.rank_pattern)?;
        let alphas = ends("lora.alpha_pattern", &settings.alpha_pattern)?;
        Ok(Targets { settings, whole, ranks, alphas })
    }

    /// The update of a module such as `model.layers.0.self_attn.q_proj`; `None` if it is left alone.
    pub(crate) fn update(&self, module: &str) -> Result<Option<Update>, ModelError> {
        let meant = match (&self.settings.target_modules, &self.whole) {
            (TargetModules::Names(names), _) => {
                names.iter().any(|n| module.strip_suffix(n.as_str()).is_some_and(|p| p.is_empty() || p.ends_with('.')))
            }
            (_, Some(pattern)) => pattern.is_match(module),
            (TargetModules::Pattern(_), None) => true,
        };
        if !meant {
            return Ok(None);
        }
        let rank = chosen("lora.rank_pattern", &self.ranks, module)?.unwrap_or(self.settings.rank);
        let alpha = chosen("lora.alpha_pattern", &self.alphas, module)?.unwrap_or(self.settings.alpha);
        let divisor = if self.settings.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        Ok(Some(Update { rank, scale: alpha / divisor }))
    }
}

/// A pattern over a whole module name, after `before`.
fn compile(name: &'static str, pattern: &str, before: &str) -> Result<Regex, ModelError> {
    Regex::new(&format!("^{before}(?:{pattern})$")).map_err(|_| ModelError::Setting {
        name,
        value: format!("{pattern:?}"),
        expected: "it must be a regular expression without look-around and back references",
    })
}

/// The value of the key that fits the module. PEFT takes the first that fits; JSON objects have no order here, so two
/// that contradict each other are refused.
fn chosen<T: Copy + PartialEq>(
    name: &'static str,
    patterns: &[(Regex, T)],
    module: &str,
) -> Result<Option<T>, ModelError> {
    let mut fitting = patterns.iter().filter(|(pattern, _)| pattern.is_match(module)).map(|&(_, value)| value);
    let first = fitting.next();
    if first.is_some_and(|first| fitting.any(|other| other != first)) {
        return Err(ModelError::Setting {
            name,
            value: format!("ambiguous for {module}"),
            expected: "at most one key may fit a module",
        });
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: &str = "model.layers.1.self_attn.q_proj";

    fn update(settings: &LoraSettings, module: &str) -> Option<Update> {
        Targets::new(settings).unwrap().update(module).unwrap()
    }

    /// The cases of PEFT's `check_target_module_exists`.
    #[test]
    fn modules_are_meant_as_in_peft() {
        let of = |target_modules: TargetModules| LoraSettings { target_modules, ..Default::default() };
        let meant = |target, module| update(&of(target), module).is_some();
        assert!(meant(["q_proj"].into(), Q) && meant(["self_attn.q_proj"].into(), Q) && meant([Q].into(), Q));
        assert!(meant(["layers.1.self_attn.q_proj"].into(), Q) && !meant(["layers.0.self_attn.q_proj"].into(), Q));
        assert!(!meant(["proj"].into(), Q) && !meant(["attn.q_proj"].into(), Q));
        let pattern = |text: &str| TargetModules::Pattern(text.into());
        assert!(meant(pattern("all-linear"), Q) && meant(pattern("All-Linear"), "model.layers.0.mlp.up_proj"));
        assert!(meant(pattern(r".*\.(q|v)_proj"), Q) && !meant(pattern("q_proj"), Q));
        assert!(Targets::new(&of(pattern("(?=x)"))).is_err());
    }

    /// By hand: alpha 8 over rank 4, or over its root; a pattern's rank and alpha in their place.
    #[test]
    fn ranks_and_scales() {
        let mut settings = LoraSettings { rank: 4, alpha: 8.0, ..Default::default() };
        assert_eq!(update(&settings, Q), Some(Update { rank: 4, scale: 2.0 }));
        settings.use_rslora = true;
        assert_eq!(update(&settings, Q), Some(Update { rank: 4, scale: 4.0 }));
        settings.rank_pattern.insert(r"layers\.1\..*".into(), 16);
        settings.alpha_pattern.insert("q_proj".into(), 12.0);
        assert_eq!(update(&settings, Q), Some(Update { rank: 16, scale: 3.0 }));
        assert_eq!(update(&settings, "model.layers.0.self_attn.v_proj"), Some(Update { rank: 4, scale: 4.0 }));
        settings.rank_pattern.insert("q_proj".into(), 2);
        let error = Targets::new(&settings).unwrap().update(Q).unwrap_err().to_string();
        assert!(error.contains("lora.rank_pattern is ambiguous for model.layers.1.self_attn.q_proj"), "{error}");
    }
}
