//! `cargo xtask bundle`: programs, scripts and small inputs for a machine with GPUs that has PyTorch and no Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::libtorch::{Origin, VERSION};
use crate::setup;
use crate::workspace::{Workspace, run as run_command, shown};

#[derive(Args)]
pub(crate) struct Options {
    /// The folder to write; what it contains is replaced
    #[arg(long, default_value = "target/bundle")]
    out: PathBuf,
    /// Preference file of texts, .jsonl or .jsonl.gz (HH-RLHF's layout, or with `prompt`); else the built-in corpus
    #[arg(long)]
    data: Option<PathBuf>,
    /// Number of pairs to take from it
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(32..))]
    pairs: u32,
}

/// The largest bundle in MiB.
const LIMIT: u64 = 60;
/// Written last into a bundle; a folder without it is not replaced.
const MANIFEST: &str = "manifest.json";

/// Builds everything and writes the folder.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    setup::run(workspace, &setup::Options::default())?;
    let out = if options.out.is_relative() { workspace.path(&options.out) } else { options.out.clone() };
    let ser = build(workspace, &["build", "--release", "--package", "ser-cli"], "ser")?;
    let test = ["test", "--release", "--package", "ser-model", "--test", "gpu", "--no-run"];
    let checks = build(workspace, &test, "gpu")?;

    clear(&out)?;
    for folder in ["bin", "data", "goldens"] {
        make(&out.join(folder))?;
    }
    for (program, name) in [(&ser, "ser"), (&checks, "gpu-checks")] {
        let stripped = out.join("bin").join(name);
        copy(program, &stripped)?;
        let mut strip = Command::new("strip");
        strip.arg(&stripped);
        run_command(strip)?;
    }
    let mut compile = Command::new("cc");
    compile.args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(out.join("bin/count_syncs.so"));
    compile.arg(workspace.path("xtask/bundle/count_syncs.c")).arg("-ldl");
    run_command(compile)?;
    copy_goldens(&workspace.path("crates/ser-model/tests/golden"), &out.join("goldens"))?;
    for (folder, names) in [
        ("xtask/bundle", ["run.py", "parts.py", "make_model.py", "device.py"]),
        ("xtask/peers", ["hf_score.py", "trl_reward.py", "preferences.py", "requirements.txt"]),
    ] {
        for name in names {
            copy(&workspace.path(folder).join(name), &out.join(name))?;
        }
    }
    write_pairs(workspace, options, &out)?;
    let manifest = serde_json::json!({
        "commit": said("git", &["rev-parse", "HEAD"], workspace)?,
        "changed_files": said("git", &["status", "--porcelain"], workspace)?.lines().collect::<Vec<_>>(),
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"], workspace)?,
        "libtorch": VERSION,
        "data": options.data.as_ref().map_or("built-in corpus".into(), |data| file_name(data)),
        "pairs": options.pairs,
    });
    let bytes = size(&out)?;
    if bytes > LIMIT << 20 {
        bail!("{} takes {:.1} MiB, more than {LIMIT}; choose fewer --pairs", out.display(), bytes as f64 / 1048576.0);
    }
    write(&out.join(MANIFEST), &format!("{manifest:#}\n"))?;
    println!("{}: {:.1} MiB. There: python3 run.py --out results", out.display(), bytes as f64 / 1048576.0);
    Ok(())
}

/// Runs a cargo command that builds, and returns the path of the program `name` that it made.
fn build(workspace: &Workspace, arguments: &[&str], name: &str) -> Result<PathBuf> {
    let mut cargo = workspace.cargo(arguments);
    cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    Origin::find(workspace).apply(&mut cargo)?;
    let line = shown(&cargo);
    eprintln!("\n==> {line}");
    let output = cargo.output().with_context(|| format!("`{line}` could not be started"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    executable(&messages, name).with_context(|| format!("`{line}` made no program {name}"))
}

/// The program of a target among cargo's messages.
fn executable(messages: &str, target: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some(target))
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
}

/// Removes an earlier bundle.
fn clear(out: &Path) -> Result<()> {
    if out.exists() {
        let mut entries = fs::read_dir(out).with_context(|| format!("reading {}", out.display()))?;
        if !out.join(MANIFEST).exists() && !out.join("run.py").exists() && entries.next().is_some() {
            bail!("{} is not empty and is not a bundle: choose another --out", out.display());
        }
        fs::remove_dir_all(out).with_context(|| format!("removing {}", out.display()))?;
    }
    make(out)
}

/// Copies the golden models that the checks read, and one that generates.
fn copy_goldens(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let path = entry?.path();
        if path.join("expected.json").exists() {
            copy_folder(&path, &to.join(file_name(&path)))?;
        }
    }
    copy_folder(&from.join("generation/llama"), &to.join("generation/llama"))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    make(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let path = entry?.path();
        let target = to.join(file_name(&path));
        if path.is_dir() { copy_folder(&path, &target)? } else { copy(&path, &target)? }
    }
    Ok(())
}

/// Writes the first pairs of the data, or of the built-in corpus.
fn write_pairs(workspace: &Workspace, options: &Options, out: &Path) -> Result<()> {
    let corpus = out.join("data/corpus.jsonl");
    let data = match &options.data {
        Some(data) => data.clone(),
        None => {
            let mut dump = workspace.cargo(&["run", "--release", "--package", "ser-data", "--example", "dump_corpus"]);
            dump.stdout(fs::File::create(&corpus).with_context(|| format!("making {}", corpus.display()))?);
            run_command(dump)?;
            corpus.clone()
        }
    };
    let mut cut = Command::new("python3");
    cut.arg(workspace.path("xtask/peers/preferences.py")).arg("--data").arg(&data);
    cut.args(["--pairs", &options.pairs.to_string(), "--out"]).arg(out.join("data/pairs.jsonl"));
    run_command(cut)?;
    if corpus.exists() {
        fs::remove_file(&corpus).with_context(|| format!("removing {}", corpus.display()))?;
    }
    Ok(())
}

/// What a command in the workspace prints, without the last line break.
fn said(program: &str, arguments: &[&str], workspace: &Workspace) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(workspace.path("")).output();
    let output = output.with_context(|| format!("{program} could not be started"))?;
    if !output.status.success() {
        bail!("`{program} {}` failed ({})", arguments.join(" "), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn size(path: &Path) -> Result<u64> {
    if !path.is_dir() {
        return Ok(fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len());
    }
    let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    entries.map(|entry| size(&entry?.path())).sum()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::executable;

    #[test]
    fn the_program_of_a_target_is_found() {
        let messages = r#"{"reason": "compiler-artifact", "target": {"name": "ser"}, "executable": null}
{"reason": "compiler-artifact", "target": {"name": "other"}, "executable": "/t/other"}
{"reason": "compiler-artifact", "target": {"name": "ser"}, "executable": "/t/ser"}
{"reason": "build-finished", "success": true}"#;
        assert_eq!(executable(messages, "ser"), Some("/t/ser".into()));
        assert_eq!(executable(messages, "gpu"), None);
    }
}
