//! `cargo xtask test` and `cargo xtask ci`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::libtorch::Origin;
use crate::workspace::{Workspace, run};
use crate::{features, publish, reliability, setup};

/// Every test of the workspace. Tests that need something this machine lacks are skipped.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    test_with(workspace, &[])
}

/// Every check, cheapest first.
pub(crate) fn ci(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo(&["fmt", "--all", "--check"]))?;
    setup::run(workspace, &setup::Options::default())?;
    let lints = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    run(with_libtorch(workspace, &lints)?)?;
    let mut docs = with_libtorch(workspace, &["doc", "--workspace", "--no-deps", "--all-features"])?;
    docs.env("RUSTDOCFLAGS", "-D warnings");
    run(docs)?;
    features::check(workspace, &features::Options { depth: 1 })?;
    // With libtorch and without gguf, as most programs that embed the library have it.
    let embedded =
        ["clippy", "--package", "ser", "--package", "ser-model", "--features", "ser/libtorch", "--", "-D", "warnings"];
    run(with_libtorch(workspace, &embedded)?)?;
    // The fuzz targets are not members of the workspace, so nothing else compiles them.
    run(workspace.cargo(&["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz"]))?;
    test_with(workspace, &requirements(workspace))?;
    if cfg!(target_os = "linux") {
        reliability::run(workspace, &reliability::Options::quick())?;
    }
    publish::check(workspace)
}

fn test_with(workspace: &Workspace, variables: &[(&str, String)]) -> Result<()> {
    // The crates that build without libtorch are tested without it; then everything, with every feature.
    let mut tests = workspace.cargo(&["test"]);
    tests.envs(variables.iter().cloned());
    run(tests)?;
    setup::run(workspace, &setup::Options::default())?;
    let mut tests = with_libtorch(workspace, &["test", "--workspace", "--all-features"])?;
    tests.envs(variables.iter().cloned());
    run(tests)
}

/// The variables that turn skipped tests into failures where this machine has what the tests need.
fn requirements(workspace: &Workspace) -> Vec<(&'static str, String)> {
    let mut required: Vec<String> = env::var("SER_REQUIRE").into_iter().filter(|list| !list.is_empty()).collect();
    let mut variables = Vec::new();
    // The Python that `cargo xtask peers` installs has transformers and peft.
    let peers = workspace.path(".peers/venv");
    let python = env::var_os("SER_PYTHON").map(PathBuf::from);
    let python = python.or_else(|| peers.join("installed.txt").exists().then(|| peers.join("bin/python")));
    if let Some(python) = python {
        variables.push(("SER_PYTHON", python.to_string_lossy().into_owned()));
        required.push("python".into());
    }
    let cuda = workspace.path(".libtorch/lib/libtorch_cuda.so");
    let found = [
        ("shared", workspace.path("../shared").is_dir()),
        ("model", workspace.path(".models/SmolLM2-135M-Instruct.Q4_1.gguf").exists()),
        ("proc", Path::new("/proc/self/status").exists()),
        ("cuda", cuda.exists() && Path::new("/dev/nvidiactl").exists()),
    ];
    required.extend(found.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name.to_owned()));
    let list = required.join(",");
    eprintln!("\n==> SER_REQUIRE={list}: tests that need these fail instead of being skipped");
    variables.push(("SER_REQUIRE", list));
    variables
}

fn with_libtorch(workspace: &Workspace, arguments: &[&str]) -> Result<Command> {
    let mut command = workspace.cargo(arguments);
    Origin::find(workspace).apply(&mut command)?;
    Ok(command)
}
