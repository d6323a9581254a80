//! The examples of README and docs/library.md compile unchanged in a crate outside of the workspace.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The quick start with language models, compiled here, as libtorch takes too long in a crate outside.
#[cfg(all(feature = "config", feature = "libtorch"))]
#[allow(dead_code)]
#[path = "support/quick_start.rs"]
mod quick_start;

/// The Rust examples of a page.
fn examples(page: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("```rust") {
        let (example, after) = after.split_once("\n```").unwrap();
        examples.push(example.split_once('\n').unwrap().1.to_owned());
        rest = after;
    }
    examples
}

#[test]
fn the_compiled_quick_start_is_the_one_of_the_readme() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    assert!(readme.contains(include_str!("support/quick_start.rs")));
}

#[test]
fn quick_starts_compile_in_a_crate_of_their_own() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of = |page: &str| examples(&fs::read_to_string(home.join(page)).unwrap());
    let (readme, library) = (of("README.md"), of("docs/library.md"));
    assert!(readme.len() >= 3 && library.len() >= 6, "{} and {} Rust examples", readme.len(), library.len());
    let examples = [readme, library].concat();
    assert!(examples.iter().all(|text| text.contains("fn main()") && !text.lines().any(|line| line.starts_with("# "))));

    let folder = tempfile::tempdir().unwrap();
    let path = |relative: &str| home.join(relative).display().to_string();
    let manifest = fs::read_to_string(home.join("Cargo.toml")).unwrap();
    // With the profiles and the lock file of the workspace, what cargo has compiled is used again.
    let profiles = manifest.find("[profile.").map_or("", |start| &manifest[start..]);
    let dependencies = format!(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         ser = {{ path = {:?}, features = [\"testing\"] }}\nser-core = {{ path = {:?} }}\nser-status = {{ path = {:?} }}\n\n{profiles}",
        path("."),
        path("crates/ser-core"),
        path("crates/ser-status"),
    );
    fs::write(folder.path().join("Cargo.toml"), dependencies).unwrap();
    fs::copy(home.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    let programs = folder.path().join("src/bin");
    fs::create_dir_all(&programs).unwrap();
    for (number, example) in examples.iter().enumerate() {
        if !example.contains("LanguageModels") {
            fs::write(programs.join(format!("example_{number}.rs")), example).unwrap();
        }
    }
    let mut check = Command::new(env!("CARGO"));
    check.args(["check", "--quiet", "--offline"]).current_dir(folder.path());
    // The folder that this test was built in: target/debug/deps/external_crate-0123.
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    check.env("CARGO_TARGET_DIR", target);
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
