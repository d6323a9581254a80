//! Extracts files from Python wheels, which are zip archives.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use zip::ZipArchive;

/// Unpacks the entries of `wheel` for which `target_of` returns a path below `folder`; returns their number.
pub(crate) fn unpack(wheel: &Path, folder: &Path, target_of: impl Fn(&Path) -> Option<PathBuf>) -> Result<usize> {
    let file = File::open(wheel).with_context(|| format!("{} cannot be opened", wheel.display()))?;
    let mut archive =
        ZipArchive::new(BufReader::new(file)).with_context(|| format!("{} is not a wheel", wheel.display()))?;
    let mut count = 0;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).with_context(|| format!("{} is broken", wheel.display()))?;
        // None for paths outside of the folder.
        let Some(target) = entry.enclosed_name().filter(|_| entry.is_file()).and_then(|name| target_of(&name)) else {
            continue;
        };
        let target = folder.join(target);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|error| explain(error, parent))?;
        }
        let mut out = File::create(&target).map_err(|error| explain(error, &target))?;
        io::copy(&mut entry, &mut out).map_err(|error| explain(error, &target))?;
        count += 1;
    }
    Ok(count)
}

/// A write error; a full disk is named.
pub(crate) fn explain(error: io::Error, path: &Path) -> anyhow::Error {
    if error.kind() == ErrorKind::StorageFull {
        anyhow!("the disk is full: {} could not be written", path.display())
    } else {
        anyhow!(error).context(format!("{} could not be written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_what_is_asked_for_is_unpacked() {
        let folder = std::env::temp_dir().join(format!("xtask-wheel-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let wheel = folder.join("a.whl");
        let mut zip = zip::ZipWriter::new(File::create(&wheel).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        for name in ["torch/lib/libc10.so", "torch/lib/other.so", "../escape/libc10.so"] {
            zip.start_file(name, options).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();

        let target = |path: &Path| path.ends_with("libc10.so").then(|| PathBuf::from("lib/libc10.so"));
        let count = unpack(&wheel, &folder, target).unwrap();
        let text = fs::read_to_string(folder.join("lib/libc10.so")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((count, text.as_str()), (1, "torch/lib/libc10.so"));
    }
}
