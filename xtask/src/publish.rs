//! `cargo xtask publish-check`.

use anyhow::Result;

use crate::workspace::{Workspace, run};

/// The crates that need no libtorch, and so build wherever they are verified.
const TORCH_FREE: [&str; 6] = ["ser-core", "ser-data", "ser-status", "ser-loss", "ser-ppo", "ser-eval"];

/// Packages every crate, builds those that need no libtorch from their packages, and uploads nothing.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    // All in one set, since the facade may depend on ser-model; what it would take to build them is tested elsewhere.
    run(workspace.cargo(&["publish", "--dry-run", "--allow-dirty", "--no-verify", "--workspace"]))?;
    let mut verify = workspace.cargo(&["publish", "--dry-run", "--allow-dirty"]);
    for name in TORCH_FREE {
        verify.args(["--package", name]);
    }
    run(verify)
}
