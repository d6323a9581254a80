//! `cargo xtask publish-check`.

use anyhow::Result;

use crate::workspace::{Workspace, run};

/// The crates that need no libtorch, and so build wherever they are verified.
const CRATES: [&str; 6] = ["ser-core", "ser-data", "ser-status", "ser-loss", "ser-ppo", "ser-eval"];

/// Packages the crates as one set, builds each from its package, and uploads nothing.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo(&["publish", "--dry-run", "--allow-dirty", "--locked"]);
    for name in CRATES {
        command.args(["--package", name]);
    }
    run(command)
}
