//! The packages of the workspace, as cargo describes them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace::{Workspace, shown};

/// A package of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Each feature with the features and dependencies that it turns on.
    features: BTreeMap<String, Vec<String>>,
    dependencies: Vec<Dependency>,
    /// The registries it may be published to: null for any, none for a package that stays here.
    publish: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    optional: bool,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// The packages that link libtorch.
const TORCH: [&str; 4] = ["ser-libtorch", "ser-model", "tch", "torch-sys"];

impl Package {
    /// Every package that is published, in the order of names.
    pub(crate) fn published(workspace: &Workspace) -> Result<Vec<Package>> {
        let mut command = workspace.cargo(&["metadata", "--format-version", "1", "--no-deps"]);
        let line = shown(&command);
        let output = command.output().with_context(|| format!("`{line}` could not be started"))?;
        if !output.status.success() {
            bail!("`{line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).with_context(|| format!("reading the output of `{line}`"))?;
        let mut packages = metadata.packages;
        packages.retain(|package| package.publish.as_ref().is_none_or(|registries| !registries.is_empty()));
        packages.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(packages)
    }

    /// Whether it builds without libtorch if its default features are off.
    pub(crate) fn is_torch_free(&self) -> bool {
        !self.dependencies.iter().any(|dependency| !dependency.optional && TORCH.contains(&dependency.name.as_str()))
    }

    /// Whether it can depend on libtorch, with whatever feature.
    pub(crate) fn may_link_torch(&self) -> bool {
        self.dependencies.iter().any(|dependency| TORCH.contains(&dependency.name.as_str()))
            || self.torch_free_features().len() < self.features.keys().filter(|name| *name != "default").count()
    }

    /// The features, `default` aside, that do not bring libtorch.
    pub(crate) fn torch_free_features(&self) -> Vec<&str> {
        let names = self.features.keys().map(String::as_str);
        names.filter(|name| *name != "default" && !self.brings_torch(name, &mut BTreeSet::new())).collect()
    }

    fn brings_torch<'a>(&'a self, feature: &'a str, seen: &mut BTreeSet<&'a str>) -> bool {
        if !seen.insert(feature) {
            return false;
        }
        self.features.get(feature).into_iter().flatten().any(|turned_on| match turned_on.strip_prefix("dep:") {
            Some(dependency) => TORCH.contains(&dependency),
            // `package/feature`: the feature that brings libtorch has one name in every package.
            None => turned_on.ends_with("/libtorch") || self.brings_torch(turned_on, seen),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facade() -> Package {
        serde_json::from_value(serde_json::json!({
            "name": "ser",
            "features": {
                "default": ["progress"],
                "hub": ["ser-data/hub"],
                "libtorch": ["dep:ser-model", "hub"],
                "full": ["libtorch"],
                "progress": ["dep:ctrlc"],
            },
            "dependencies": [{"name": "ser-core", "optional": false}, {"name": "ser-model", "optional": true}],
            "publish": null,
        }))
        .unwrap()
    }

    #[test]
    fn features_that_bring_libtorch_are_told_apart() {
        let facade = facade();
        assert!(facade.is_torch_free() && facade.may_link_torch());
        assert_eq!(facade.torch_free_features(), ["hub", "progress"]);
        let cli = Package { features: [("libtorch".to_owned(), vec!["ser/libtorch".to_owned()])].into(), ..facade };
        assert!(cli.torch_free_features().is_empty());
    }
}
