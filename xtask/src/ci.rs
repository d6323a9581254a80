//! `cargo xtask test` and `cargo xtask ci`.

use anyhow::Result;

use crate::libtorch::Origin;
use crate::workspace::{Workspace, run};
use crate::{publish, setup};

/// Every test of the workspace.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    // What builds without libtorch is tested without it.
    run(workspace.cargo(&["test"]))?;
    setup::run(workspace, &setup::Options::default())?;
    with_libtorch(
        workspace,
        &["test", "-p", "ser", "-p", "ser-model", "-p", "ser-libtorch", "--features", "ser/libtorch"],
    )
}

/// Every check, cheapest first.
pub(crate) fn ci(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo(&["fmt", "--all", "--check"]))?;
    setup::run(workspace, &setup::Options::default())?;
    with_libtorch(
        workspace,
        &["clippy", "--workspace", "--all-targets", "--features", "ser/libtorch", "--", "-D", "warnings"],
    )?;
    let mut doc = workspace.cargo(&["doc", "--workspace", "--no-deps", "--features", "ser/libtorch"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    Origin::find(workspace).apply(&mut doc)?;
    run(doc)?;
    test(workspace)?;
    publish::check(workspace)
}

fn with_libtorch(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let mut command = workspace.cargo(arguments);
    Origin::find(workspace).apply(&mut command)?;
    run(command)
}
