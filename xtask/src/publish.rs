//! `cargo xtask publish-check`.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::packages::Package;
use crate::workspace::{Workspace, run};

/// Packages every crate, builds from their packages those that cannot depend on libtorch, and uploads nothing.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let packages = Package::published(workspace)?;
    for package in &packages {
        check_files(workspace, &package.name)?;
    }
    // All in one set: the facade and the program may depend on ser-model, which cannot be verified without libtorch.
    run(workspace.cargo(&["publish", "--dry-run", "--allow-dirty", "--no-verify", "--workspace"]))?;
    // cargo keeps unpacked packages by the path of the target folder and the version, so a path used before would
    // compile an older commit's ser-core against this one's crates.
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_secs();
    let target = workspace.path(format!("target/publish-{seconds}-{}", std::process::id()));
    let mut verify = workspace.cargo(&["publish", "--dry-run", "--allow-dirty", "--target-dir"]);
    verify.arg(&target);
    for package in packages.iter().filter(|package| !package.may_link_torch()) {
        verify.args(["--package", &package.name]);
    }
    run(verify)?;
    fs::remove_dir_all(&target).with_context(|| format!("{} could not be removed", target.display()))
}

/// Golden files are megabytes that only the tests of this repository read.
fn check_files(workspace: &Workspace, name: &str) -> Result<()> {
    let mut list = workspace.cargo(&["package", "--list", "--allow-dirty", "--package", name]);
    let output = list.output().context("`cargo package` could not be started")?;
    if !output.status.success() {
        bail!("the files of {name} could not be listed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let files = String::from_utf8_lossy(&output.stdout);
    match files.lines().find(|file| file.split(['/', '\\']).any(|part| part == "golden" || part == "snapshots")) {
        Some(file) => bail!("the package of {name} contains {file}: add its folder to `exclude` in Cargo.toml"),
        None => Ok(()),
    }
}
