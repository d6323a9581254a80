//! `cargo xtask setup`: takes libtorch from wheels of Python's package index.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::libtorch::{Origin, VERSION};
use crate::workspace::Workspace;
use crate::{pip, wheel};

#[derive(Args, Default)]
pub(crate) struct Options {
    /// The libraries with CUDA (4.7 GB on disk) instead of those for the CPU (0.5 GB)
    #[arg(long)]
    cuda: bool,
}

/// The tags of the wheels; with them pip does not depend on the version of the host's Python.
const TAGS: &[&str] = &[
    "--only-binary=:all:",
    "--implementation=cp",
    "--python-version=3.11",
    "--abi=cp311",
    "--abi=none",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_27_x86_64",
    "--platform=manylinux_2_25_x86_64",
    "--platform=manylinux_2_18_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
];

/// The libraries that are loaded on a machine without a GPU.
const CPU_LIBRARIES: [&str; 5] = ["libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13"];

/// Libraries of the torch wheel that only Python needs.
const PYTHON_LIBRARIES: [&str; 2] = ["libtorch_python.so", "libshm.so"];

/// Fetches libtorch if there is none.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    match Origin::find(workspace) {
        Origin::PyTorch => {
            eprintln!("libtorch: LIBTORCH_USE_PYTORCH is set: using the libtorch of PyTorch");
            Ok(())
        }
        Origin::User(folder) => {
            eprintln!("libtorch: LIBTORCH is set: using {}", folder.display());
            Ok(())
        }
        Origin::Workspace(folder) => fetch(workspace, &folder, options.cuda),
    }
}

fn fetch(workspace: &Workspace, folder: &Path, cuda: bool) -> Result<()> {
    if is_complete(folder, cuda) {
        eprintln!("libtorch {VERSION}: {} is complete", folder.display());
        return Ok(());
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(
            "libtorch can be fetched for Linux on x86-64 only: elsewhere set LIBTORCH to a libtorch {VERSION}, or \
             LIBTORCH_USE_PYTORCH=1 to use an installed PyTorch {VERSION}"
        );
    }
    // Two setups at a time would write into the same partial folder.
    let lock_path = workspace.path(".libtorch.lock");
    let lock = File::create(&lock_path).map_err(|error| wheel::explain(error, &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("libtorch: another setup is running, waiting for it");
            lock.lock().context("waiting for the other setup")?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("locking .libtorch.lock"),
    }
    if is_complete(folder, cuda) {
        return Ok(());
    }

    pip::check("fetch libtorch (or set LIBTORCH to an installed libtorch)")?;
    let partial = workspace.path(".libtorch.partial");
    remove(&partial)?;
    let made = if cuda { make_cuda(workspace, &partial) } else { make_cpu(workspace, &partial) };
    let installed = made.and_then(|()| install(workspace, &partial, folder, cuda));
    // The partial folder is removed after errors too.
    remove(&partial)?;
    installed?;
    eprintln!("libtorch {VERSION}: {} is ready", folder.display());
    Ok(())
}

/// Whether `folder` contains a complete libtorch of the pinned version. Folders are renamed once complete, so two files suffice.
fn is_complete(folder: &Path, cuda: bool) -> bool {
    let version = fs::read_to_string(folder.join("build-version")).unwrap_or_default();
    let library = if cuda { "libtorch_cuda.so" } else { "libtorch_cpu.so" };
    version.trim() == VERSION && folder.join("lib").join(library).is_file()
}

fn make_cpu(workspace: &Workspace, partial: &Path) -> Result<()> {
    let wheels = download(workspace, partial, "cpu.txt", "0.55 GB")?;
    let root = partial.join("libtorch");
    let mut libraries = 0;
    for file in &wheels {
        eprintln!("libtorch: unpacking {}", name(file));
        unpack_headers(file, &root)?;
        libraries += wheel::unpack(file, &root, |path| {
            let library = path.file_name()?.to_str()?;
            CPU_LIBRARIES.contains(&library).then(|| Path::new("lib").join(library))
        })?;
        fs::remove_file(file).ok();
    }
    if libraries != CPU_LIBRARIES.len() {
        bail!("the wheels contain {libraries} of the {} libraries of libtorch {VERSION}", CPU_LIBRARIES.len());
    }
    // The wheel's libtorch.so needs libtorch_cuda; a linker script does not.
    write(&root.join("lib/libtorch.so"), "INPUT(-ltorch_cpu -lc10)\n")?;
    write(&root.join("build-version"), &format!("{VERSION}\n"))
}

fn make_cuda(workspace: &Workspace, partial: &Path) -> Result<()> {
    let wheels = download(workspace, partial, "cuda.txt", "2.6 GB")?;
    let root = partial.join("cuda");
    for file in &wheels {
        eprintln!("libtorch: unpacking {}", name(file));
        unpack_headers(file, &root.join("torch"))?;
        // torch and nvidia are siblings: the libraries find each other by relative paths.
        wheel::unpack(file, &root, |path| {
            let library = path.file_name()?.to_str()?;
            let in_lib = path.parent()?.ends_with("lib") && (path.starts_with("torch") || path.starts_with("nvidia"));
            let wanted = library.contains(".so") && !PYTHON_LIBRARIES.contains(&library);
            (in_lib && wanted).then(|| path.to_owned())
        })?;
        fs::remove_file(file).ok();
    }
    write(&root.join("torch/build-version"), &format!("{VERSION}\n"))
}

fn download(workspace: &Workspace, partial: &Path, pins: &str, size: &str) -> Result<Vec<PathBuf>> {
    let (wheels, scratch) = (partial.join("wheels"), partial.join("tmp"));
    for folder in [&wheels, &scratch] {
        fs::create_dir_all(folder).map_err(|error| wheel::explain(error, folder))?;
    }
    eprintln!("libtorch: downloading version {VERSION} with pip, {size}");
    let pins = workspace.path("xtask/libtorch").join(pins);
    let mut arguments = vec!["download".into(), "--no-deps".into(), "--require-hashes".into()];
    arguments.extend(TAGS.iter().map(Into::into));
    arguments.extend(["--dest".into(), wheels.clone().into_os_string(), "--requirement".into(), pins.into_os_string()]);
    pip::run(Path::new("python3"), &arguments, &scratch).context("libtorch could not be downloaded")?;
    let entries = fs::read_dir(&wheels).with_context(|| format!("reading {}", wheels.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn unpack_headers(file: &Path, root: &Path) -> Result<()> {
    wheel::unpack(file, root, |path| {
        let below = path.strip_prefix("torch/include").ok()?;
        Some(Path::new("include").join(below))
    })?;
    Ok(())
}

/// Renames the complete folder to the path where cargo looks for it.
fn install(workspace: &Workspace, partial: &Path, folder: &Path, cuda: bool) -> Result<()> {
    let old = partial.join("old");
    let set_aside = |path: &Path, name: &str| -> Result<()> {
        fs::create_dir_all(&old)?;
        match fs::symlink_metadata(path) {
            Ok(_) => fs::rename(path, old.join(name)).with_context(|| format!("replacing {}", path.display())),
            Err(_) => Ok(()),
        }
    };
    let source = if cuda {
        let whole = workspace.path(".libtorch-cuda");
        set_aside(&whole, "cuda")?;
        fs::rename(partial.join("cuda"), &whole).with_context(|| format!("making {}", whole.display()))?;
        let link = partial.join("link");
        make_link(Path::new(".libtorch-cuda/torch"), &link)?;
        link
    } else {
        partial.join("libtorch")
    };
    set_aside(folder, "libtorch")?;
    fs::rename(source, folder).with_context(|| format!("making {}", folder.display()))
}

#[cfg(unix)]
fn make_link(target: &Path, link: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, link).with_context(|| format!("making the link {}", link.display()))
}

#[cfg(not(unix))]
fn make_link(_: &Path, link: &Path) -> Result<()> {
    bail!("{} cannot be made on this system", link.display())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| wheel::explain(error, path))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}
