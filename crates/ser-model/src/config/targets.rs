//! The projections that an adapter updates, with rank and scale, by PEFT's rules for module names.

use std::collections::BTreeMap;

use fancy_regex::Regex;

use super::lora::{LoraSettings, PROJECTIONS, TargetModules};
use crate::ModelError;

impl LoraSettings {
    /// Checks the values and compiles the patterns.
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
        if let Some(layers) = self.layers {
            let expected = match &self.target_modules {
                _ if layers < 1 => Some("it must be at least 1"),
                _ if !self.layers_to_transform.is_empty() => Some("give layers or layers_to_transform, not both"),
                TargetModules::Pattern(pattern) if !TargetModules::is_all_linear(pattern) => {
                    Some("it needs names in target_modules, or all-linear, not a pattern")
                }
                _ => None,
            };
            if let Some(expected) = expected {
                return bad("lora.layers", layers.to_string(), expected);
            }
        }
        if self.layers_to_transform.iter().any(|&layer| layer < 0) {
            let value = format!("{:?}", self.layers_to_transform);
            return bad("lora.layers_to_transform", value, "layers are numbered from 0");
        }
        if matches!(self.target_modules, TargetModules::Pattern(_)) && !self.layers_to_transform.is_empty() {
            return bad(
                "lora.layers_to_transform",
                format!("{:?}", self.layers_to_transform),
                "it needs names in target_modules, not a pattern",
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

/// An adapter's settings with compiled patterns.
pub(crate) struct Targets<'a> {
    settings: &'a LoraSettings,
    /// The pattern of `target_modules`, if it is one.
    whole: Option<Regex>,
    /// The pattern of `exclude_modules`, if it is one.
    excluded: Option<Regex>,
    /// Patterns that find the index of the layer in a module's name; the first match counts.
    layers: Vec<Regex>,
    ranks: Vec<(Regex, i64)>,
    alphas: Vec<(Regex, f64)>,
}

/// Rank and scale of the update of one module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LoraSpec {
    pub(crate) rank: i64,
    pub(crate) scale: f64,
}

impl<'a> Targets<'a> {
    /// Compiles the patterns. An invalid pattern is an error that quotes it.
    pub(crate) fn new(settings: &'a LoraSettings) -> Result<Self, ModelError> {
        let whole = match &settings.target_modules {
            TargetModules::Pattern(pattern) if !TargetModules::is_all_linear(pattern) => {
                Some(compile("lora.target_modules", pattern, "")?)
            }
            _ => None,
        };
        let excluded = match &settings.exclude_modules {
            Some(TargetModules::Pattern(pattern)) => Some(compile("lora.exclude_modules", pattern, "")?),
            _ => None,
        };
        // PEFT's patterns: any name before the index, or one of those given.
        let layers = match settings.layers_pattern.as_slice() {
            [] => vec![r".*?\.[^.]*".to_owned()],
            patterns => patterns.iter().map(|pattern| format!(r"(?:^|.*?\.){pattern}")).collect(),
        };
        let index = |pattern: &String| compile("lora.layers_pattern", &format!(r"{pattern}\.(?P<index>\d+)\..*"), "");
        let layers = layers.iter().map(index).collect::<Result<_, _>>()?;
        fn ends<T: Copy>(name: &'static str, map: &BTreeMap<String, T>) -> Result<Vec<(Regex, T)>, ModelError> {
            map.iter().map(|(key, &value)| Ok((compile(name, key, r"(?:.*\.)?")?, value))).collect()
        }
        let ranks = ends("lora.rank_pattern", &settings.rank_pattern)?;
        let alphas = ends("lora.alpha_pattern", &settings.alpha_pattern)?;
        Ok(Targets { settings, whole, excluded, layers, ranks, alphas })
    }

    /// The update of a module such as `model.layers.0.self_attn.q_proj`; `None` if it has none.
    pub(crate) fn spec(&self, module: &str) -> Result<Option<LoraSpec>, ModelError> {
        if self.is_excluded(module)? || !self.is_target(module)? {
            return Ok(None);
        }
        let rank = chosen("lora.rank_pattern", &self.ranks, module)?.unwrap_or(self.settings.rank);
        let alpha = chosen("lora.alpha_pattern", &self.alphas, module)?.unwrap_or(self.settings.alpha);
        let divisor = if self.settings.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        Ok(Some(LoraSpec { rank, scale: alpha / divisor }))
    }

    fn is_excluded(&self, module: &str) -> Result<bool, ModelError> {
        match (&self.settings.exclude_modules, &self.excluded) {
            (Some(TargetModules::Names(names)), _) => Ok(names.iter().any(|name| ends_with(module, name))),
            (_, Some(pattern)) => matches("lora.exclude_modules", pattern, module),
            _ => Ok(false),
        }
    }

    fn is_target(&self, module: &str) -> Result<bool, ModelError> {
        match (&self.settings.target_modules, &self.whole) {
            // A full name matches whatever the layer is.
            (TargetModules::Names(names), _) if names.iter().any(|name| name == module) => Ok(true),
            (TargetModules::Names(names), _) => {
                Ok(names.iter().any(|name| ends_with(module, name)) && self.is_in_layer(module)?)
            }
            (_, Some(pattern)) => matches("lora.target_modules", pattern, module),
            (TargetModules::Pattern(_), None) => Ok(true),
        }
    }

    /// Whether the module is in one of `layers_to_transform`; an empty list means all layers.
    fn is_in_layer(&self, module: &str) -> Result<bool, ModelError> {
        let wanted = &self.settings.layers_to_transform;
        if wanted.is_empty() {
            return Ok(true);
        }
        for pattern in &self.layers {
            let found = pattern.captures(module).map_err(|_| unreadable("lora.layers_pattern", pattern.as_str()))?;
            if let Some(index) = found.and_then(|found| found.name("index")?.as_str().parse::<i64>().ok()) {
                return Ok(wanted.contains(&index));
            }
        }
        Ok(false)
    }
}

/// Whether a module's name is `end`, or ends with it after a dot.
fn ends_with(module: &str, end: &str) -> bool {
    module.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Compiles a pattern over a full module name that starts with `before`.
fn compile(name: &'static str, pattern: &str, before: &str) -> Result<Regex, ModelError> {
    Regex::new(&format!("^{before}(?:{pattern})$")).map_err(|_| unreadable(name, pattern))
}

fn unreadable(name: &'static str, pattern: &str) -> ModelError {
    let pattern: String = pattern.chars().take(200).collect();
    ModelError::Setting { name, value: format!("{pattern:?}"), expected: "it must be a regular expression" }
}

/// Whether a pattern matches; one that takes too many steps is an error.
fn matches(name: &'static str, pattern: &Regex, module: &str) -> Result<bool, ModelError> {
    pattern.is_match(module).map_err(|_| unreadable(name, pattern.as_str()))
}

/// The value of the key that matches the module. PEFT takes the first match; JSON objects are unordered here, so matches
/// with different values are refused.
fn chosen<T: Copy + PartialEq>(
    name: &'static str,
    patterns: &[(Regex, T)],
    module: &str,
) -> Result<Option<T>, ModelError> {
    let mut first = None;
    for (pattern, value) in patterns {
        match first {
            _ if !matches(name, pattern, module)? => {}
            None => first = Some(*value),
            Some(first) if first == *value => {}
            Some(_) => {
                return Err(ModelError::Setting {
                    name,
                    value: format!("ambiguous for {module}"),
                    expected: "at most one key may match a module",
                });
            }
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: &str = "model.layers.1.self_attn.q_proj";

    fn spec(settings: &LoraSettings, module: &str) -> Option<LoraSpec> {
        Targets::new(settings).unwrap().spec(module).unwrap()
    }

    /// The cases of PEFT's `check_target_module_exists`.
    #[test]
    fn module_names_match_as_in_peft() {
        let of = |target_modules: TargetModules| LoraSettings { target_modules, ..Default::default() };
        let meant = |target, module| spec(&of(target), module).is_some();
        assert!(meant(["q_proj"].into(), Q) && meant(["self_attn.q_proj"].into(), Q) && meant([Q].into(), Q));
        assert!(meant(["layers.1.self_attn.q_proj"].into(), Q) && !meant(["layers.0.self_attn.q_proj"].into(), Q));
        assert!(!meant(["proj"].into(), Q) && !meant(["attn.q_proj"].into(), Q));
        let pattern = |text: &str| TargetModules::Pattern(text.into());
        assert!(meant(pattern("all-linear"), Q) && meant(pattern("All-Linear"), "model.layers.0.mlp.up_proj"));
        assert!(meant(pattern(r".*\.(q|v)_proj"), Q) && !meant(pattern("q_proj"), Q));
        assert!(Targets::new(&of(pattern("(x"))).is_err());
    }

    /// Every case as PEFT 0.21's `check_target_module_exists` decides it (tests/golden/targets.py).
    #[test]
    fn targets_are_those_of_peft() {
        #[derive(serde::Deserialize)]
        struct Case {
            settings: LoraSettings,
            targets: Vec<String>,
        }
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/golden/targets.json")).unwrap();
        assert!(cases.len() >= 15);
        for Case { settings, targets } in cases {
            let modules = (0..12).flat_map(|layer| {
                PROJECTIONS.map(|name| {
                    let part = if name.ends_with("gate_proj") || name.ends_with("up_proj") || name == "down_proj" {
                        "mlp"
                    } else {
                        "self_attn"
                    };
                    format!("model.layers.{layer}.{part}.{name}")
                })
            });
            let meant: Vec<String> = modules.filter(|module| spec(&settings, module).is_some()).collect();
            assert_eq!(meant, targets, "{settings:?}");
        }
    }

    /// Computed by hand: alpha 8 over rank 4, or over its square root; patterns replace rank and alpha.
    #[test]
    fn ranks_and_scales() {
        let mut settings = LoraSettings { rank: 4, alpha: 8.0, ..Default::default() };
        assert_eq!(spec(&settings, Q), Some(LoraSpec { rank: 4, scale: 2.0 }));
        settings.use_rslora = true;
        assert_eq!(spec(&settings, Q), Some(LoraSpec { rank: 4, scale: 4.0 }));
        settings.rank_pattern.insert(r"layers\.1\..*".into(), 16);
        settings.alpha_pattern.insert("q_proj".into(), 12.0);
        assert_eq!(spec(&settings, Q), Some(LoraSpec { rank: 16, scale: 3.0 }));
        assert_eq!(spec(&settings, "model.layers.0.self_attn.v_proj"), Some(LoraSpec { rank: 4, scale: 4.0 }));
        settings.rank_pattern.insert("q_proj".into(), 2);
        let error = Targets::new(&settings).unwrap().spec(Q).unwrap_err().to_string();
        assert!(error.contains("lora.rank_pattern is ambiguous for model.layers.1.self_attn.q_proj"), "{error}");
    }
}
