//! `cargo xtask test` and `cargo xtask ci`.

use std::process::Command;

use anyhow::Result;

use crate::libtorch::Origin;
use crate::workspace::{Workspace, run};
use crate::{publish, setup};

/// Every test of the workspace.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    // What builds without libtorch is tested without it; then everything, with every feature.
    run(workspace.cargo(&["test"]))?;
    setup::run(workspace, &setup::Options::default())?;
    run(with_libtorch(workspace, &["test", "--workspace", "--all-features"])?)
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
    test(workspace)?;
    publish::check(workspace)
}

fn with_libtorch(workspace: &Workspace, arguments: &[&str]) -> Result<Command> {
    let mut command = workspace.cargo(arguments);
    Origin::find(workspace).apply(&mut command)?;
    Ok(command)
}
