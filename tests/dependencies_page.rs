//! docs/dependencies.md lists exactly the direct dependencies of the workspace, who uses them, and their licences.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

/// The licence and the users of each crate of the page.
fn page() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let &[name, licence, users, purpose, reason] = cells.as_slice() else { panic!("five cells: {line}") };
        assert!(!purpose.is_empty() && !reason.is_empty(), "{line}");
        let users = users.split(", ").map(str::to_owned).collect();
        assert!(rows.insert(name.to_owned(), (licence.to_owned(), users)).is_none(), "{name} has two rows");
    }
    rows
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn manifest(path: &Path) -> Table {
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// The users of each external dependency, as the page names them.
fn direct() -> BTreeMap<String, BTreeSet<String>> {
    let crates = std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let manifests = crates.chain([root(), root().join("xtask")]).map(|folder| folder.join("Cargo.toml"));
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for path in manifests.filter(|path| path.exists()) {
        let manifest = manifest(&path);
        let name = manifest["package"]["name"].as_str().unwrap();
        let name = if name == "ser" { "facade" } else { name.trim_start_matches("ser-") };
        let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
        let tables = targets.filter_map(Value::as_table).chain([&manifest]);
        for table in tables {
            for (section, suffix) in
                [("dependencies", ""), ("dev-dependencies", " (dev)"), ("build-dependencies", " (build)")]
            {
                let dependencies = table.get(section).and_then(Value::as_table);
                let names = dependencies.into_iter().flat_map(Table::keys);
                for dependency in names.filter(|name| *name != "ser" && !name.starts_with("ser-")) {
                    found.entry(dependency.clone()).or_default().insert(format!("{name}{suffix}"));
                }
            }
        }
    }
    found
}

#[test]
fn the_page_lists_the_direct_dependencies_and_their_users() {
    let (page, direct) = (page(), direct());
    let names = |map: Vec<&String>| map.into_iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(page.keys().collect()), names(direct.keys().collect()));
    for (name, users) in &direct {
        assert_eq!(&page[name].1, users, "users of {name}");
    }
    // The workspace's table has no entry that nothing uses.
    let workspace = manifest(&root().join("Cargo.toml"));
    let table = workspace["workspace"]["dependencies"].as_table().unwrap();
    let external: BTreeSet<_> =
        table.keys().filter(|name| *name != "ser" && !name.starts_with("ser-")).cloned().collect();
    assert_eq!(external, names(direct.keys().collect()));
}

#[test]
fn licences_are_those_of_the_crates() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform"];
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo).args(arguments).arg(host).current_dir(root()).output().unwrap();
    if !output.status.success() {
        // Crates of features that were never built are not on the machine.
        return eprintln!("skipped: cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    for (name, (licence, _)) in page() {
        let of_crate: BTreeSet<&str> =
            packages.iter().filter(|package| package["name"] == *name).filter_map(|p| p["license"].as_str()).collect();
        assert!(of_crate.is_empty() || of_crate.contains(licence.as_str()), "{name}: {licence}, not {of_crate:?}");
    }
}
