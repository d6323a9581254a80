//! The libtorch that the workspace builds against.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// The version that tch 0.24 requires.
pub(crate) const VERSION: &str = "2.11.0";

/// Where libtorch comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `.libtorch` in the workspace, made by `cargo xtask setup`.
    Workspace(PathBuf),
    /// The folder in the user's LIBTORCH.
    User(PathBuf),
    /// The PyTorch of the user's Python (LIBTORCH_USE_PYTORCH).
    PyTorch,
}

impl Origin {
    /// The origin that the environment selects. A LIBTORCH that is set is never overridden.
    pub(crate) fn find(workspace: &Workspace) -> Self {
        Self::of(workspace.path(".libtorch"), env::var_os("LIBTORCH"), env::var_os("LIBTORCH_USE_PYTORCH"))
    }

    fn of(own: PathBuf, libtorch: Option<OsString>, use_pytorch: Option<OsString>) -> Self {
        // The order of torch-sys.
        if use_pytorch.is_some() {
            return Origin::PyTorch;
        }
        match libtorch {
            // .cargo/config.toml sets LIBTORCH to the workspace's folder if the user has not set it.
            Some(folder) if !folder.is_empty() && Path::new(&folder) != own => Origin::User(PathBuf::from(folder)),
            _ => Origin::Workspace(own),
        }
    }

    /// Sets the variables with which a command builds against this libtorch and runs with it.
    pub(crate) fn apply(&self, command: &mut Command) -> Result<()> {
        let lib = match self {
            Origin::Workspace(folder) => {
                command.env("LIBTORCH", folder);
                folder.join("lib")
            }
            Origin::User(folder) => user_library_folder(folder, env::var_os("LIBTORCH_LIB").as_deref())?,
            Origin::PyTorch => pytorch_library_folder()?,
        };
        // Documentation tests have no rpath and need the search path.
        let variable = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };
        let others = env::var_os(variable).unwrap_or_default();
        let folders =
            std::iter::once(lib).chain(env::split_paths(&others).filter(|folder| !folder.as_os_str().is_empty()));
        command.env(variable, env::join_paths(folders).context("the library search path cannot be written")?);
        Ok(())
    }
}

fn user_library_folder(folder: &Path, separate: Option<&OsStr>) -> Result<PathBuf> {
    let lib = separate.map_or(folder, Path::new).join("lib");
    if !lib.is_dir() {
        bail!(
            "LIBTORCH is set to {}, but {} is not a folder: point LIBTORCH at a libtorch {VERSION}, or unset it and \
             `cargo xtask setup` fetches one",
            folder.display(),
            lib.display()
        );
    }
    Ok(lib)
}

fn pytorch_library_folder() -> Result<PathBuf> {
    let python = if env::var_os("VIRTUAL_ENV").is_some() { "python" } else { "python3" };
    let output = Command::new(python)
        .args(["-c", "import os, torch; print(os.path.join(os.path.dirname(torch.__file__), 'lib'))"])
        .output()
        .with_context(|| format!("LIBTORCH_USE_PYTORCH is set, but {python} could not be started"))?;
    if !output.status.success() {
        bail!("LIBTORCH_USE_PYTORCH is set, but {python} cannot import torch: install torch {VERSION}, or unset it");
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(libtorch: Option<&str>, pytorch: Option<&str>) -> Origin {
        Origin::of(PathBuf::from("/ws/.libtorch"), libtorch.map(Into::into), pytorch.map(Into::into))
    }

    #[test]
    fn a_libtorch_that_is_set_wins() {
        assert_eq!(origin(Some("/opt/libtorch"), None), Origin::User("/opt/libtorch".into()));
        assert_eq!(origin(Some("/opt/libtorch"), Some("1")), Origin::PyTorch);
    }

    #[test]
    fn otherwise_it_is_our_own() {
        let own = Origin::Workspace("/ws/.libtorch".into());
        assert_eq!(origin(None, None), own);
        assert_eq!(origin(Some(""), None), own);
        assert_eq!(origin(Some("/ws/.libtorch"), None), own);
    }

    #[test]
    fn a_wrong_libtorch_is_named() {
        let error = user_library_folder(Path::new("/nowhere"), None).unwrap_err().to_string();
        assert!(error.contains("/nowhere"), "{error}");
    }
}
