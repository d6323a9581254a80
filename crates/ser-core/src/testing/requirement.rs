//! Tests that need what a machine may lack.

use std::fmt::{self, Display};
use std::io::Write;

/// The environment variable that lists requirements, separated by commas, whose tests must not be skipped.
pub const REQUIRE: &str = "SER_REQUIRE";

/// Something outside the workspace that a test needs.
///
/// A test that does not find it calls [`missing`](Self::missing) and returns:
///
/// ```no_run
/// # use ser_core::testing::Requirement;
/// # fn find_gpu() -> Option<()> { None }
/// let Some(gpu) = find_gpu() else { return Requirement::Cuda.missing("no GPU was found") };
/// ```
///
/// The test then counts as passed and prints a line, unless the environment variable `SER_REQUIRE` lists the requirement
/// (`SER_REQUIRE=python,cuda`, or `SER_REQUIRE=all`): then it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Requirement {
    /// `cuda`: a GPU, and a libtorch that supports it.
    Cuda,
    /// `model`: the language model that `cargo xtask model` fetches into the folder `.models` of the workspace.
    Model,
    /// `proc`: `/proc`, which tells how much memory a process has used.
    Proc,
    /// `python`: a Python with transformers and peft, named by the environment variable `SER_PYTHON`.
    Python,
    /// `shared`: the folder `shared` beside the workspace, with data sets, tokenizers and models.
    Shared,
}

impl Requirement {
    /// Every requirement.
    pub const ALL: [Requirement; 5] =
        [Requirement::Cuda, Requirement::Model, Requirement::Proc, Requirement::Python, Requirement::Shared];

    /// Its name in `SER_REQUIRE`.
    pub fn name(self) -> &'static str {
        match self {
            Requirement::Cuda => "cuda",
            Requirement::Model => "model",
            Requirement::Proc => "proc",
            Requirement::Python => "python",
            Requirement::Shared => "shared",
        }
    }

    /// Reports on stderr that the calling test is skipped, with the reason.
    ///
    /// # Panics
    ///
    /// If `SER_REQUIRE` lists the requirement, or contains an unknown word.
    #[allow(clippy::panic, reason = "a panic is how a test fails")]
    pub fn missing(self, reason: impl Display) {
        match self.is_listed(&std::env::var(REQUIRE).unwrap_or_default()) {
            Ok(false) => {
                let test = std::thread::current().name().unwrap_or("a test").to_owned();
                // Not `eprintln!`: the test harness captures it and shows it for failed tests alone.
                writeln!(std::io::stderr(), "skipped: {test} needs {self}: {reason}").ok();
            }
            Ok(true) => panic!("{REQUIRE} lists {self}, but {reason}"),
            Err(word) => {
                let names = Self::ALL.map(Self::name).join(", ");
                panic!("{REQUIRE} contains '{word}': use {names} or all, separated by commas")
            }
        }
    }

    /// Whether a list of requirements contains this one, or the word of the list that is unknown.
    fn is_listed(self, list: &str) -> Result<bool, &str> {
        let mut listed = false;
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if word != "all" && Self::ALL.iter().all(|requirement| requirement.name() != word) {
                return Err(word);
            }
            listed |= word == "all" || word == self.name();
        }
        Ok(listed)
    }
}

impl Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(Requirement::Python.is_listed(""), Ok(false));
        assert_eq!(Requirement::Python.is_listed("shared, cuda"), Ok(false));
        assert_eq!(Requirement::Python.is_listed("shared, python,"), Ok(true));
        assert_eq!(Requirement::Cuda.is_listed("all"), Ok(true));
        assert_eq!(Requirement::Cuda.is_listed("cuda,pyton"), Err("pyton"));
    }
}
