//! The runs that are made to fail: small ones of each kind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::disk::Tree;
use super::judge;
use crate::workspace::Workspace;

/// A kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// The loop with a linear model of its own, without libtorch
    Linear,
    /// `ser run`: the loop with a neural reward model
    Loop,
    /// `ser train reward`
    Reward,
    /// `ser train sft`, the whole model
    Sft,
    /// `ser train dpo`
    Dpo,
    /// `ser train ppo`
    Ppo,
    /// `ser run --full`: SFT, loop, PPO and comparison
    Procedure,
    /// Tokens on disk
    Index,
    /// Pairs on disk
    Pairs,
    /// Features of a frozen model, kept in a file
    Features,
    /// `ser judge` with its cache
    Judge,
    /// `ser merge`
    Merge,
}

impl Kind {
    pub(super) const ALL: [Kind; 12] = [
        Kind::Linear,
        Kind::Loop,
        Kind::Reward,
        Kind::Sft,
        Kind::Dpo,
        Kind::Ppo,
        Kind::Procedure,
        Kind::Index,
        Kind::Pairs,
        Kind::Features,
        Kind::Judge,
        Kind::Merge,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Linear => "linear",
            Kind::Loop => "loop",
            Kind::Reward => "reward",
            Kind::Sft => "sft",
            Kind::Dpo => "dpo",
            Kind::Ppo => "ppo",
            Kind::Procedure => "procedure",
            Kind::Index => "index",
            Kind::Pairs => "pairs",
            Kind::Features => "features",
            Kind::Judge => "judge",
            Kind::Merge => "merge",
        }
    }

    /// The test of `tests/reliability.rs` that does the work of a kind without a command.
    fn test(self) -> Option<&'static str> {
        match self {
            Kind::Linear => Some("linear_run"),
            Kind::Index => Some("index_build"),
            Kind::Pairs => Some("pair_index_build"),
            Kind::Features => Some("feature_cache"),
            _ => None,
        }
    }

    /// The number of things in these files that no failure may lose, but for the last one: answers that were paid for.
    pub(super) fn kept(self, tree: &Tree) -> usize {
        match (self, tree.get("cache/answers.jsonl")) {
            (Kind::Judge, Some(Some(bytes))) => {
                bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"}\n")).count()
            }
            _ => 0,
        }
    }

    /// Files that are no result: they may differ from those of a run that was never stopped.
    pub(super) fn is_result(self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        // A cache repairs itself by computing a record again, at its end; the features that come of it are the result.
        let is_cache = self == Kind::Features && name == "cache.features";
        !is_cache && !matches!(name, ".lock" | "lock")
    }
}

/// The programs and files that the runs need.
pub(super) struct Programs {
    /// The program `ser`.
    ser: Option<PathBuf>,
    /// `tests/reliability.rs`.
    tests: Option<PathBuf>,
    golden: PathBuf,
    tokenizer: PathBuf,
    /// Data files.
    inputs: PathBuf,
    /// The base of a judge's endpoint.
    endpoint: String,
}

impl Programs {
    /// Builds what `kinds` need, unless it is given.
    pub(super) fn prepare(
        workspace: &Workspace,
        kinds: &[Kind],
        ser: Option<PathBuf>,
        tests: Option<PathBuf>,
        folder: &Path,
    ) -> Result<Self> {
        let needed = |given: Option<PathBuf>, needed: bool, arguments: &[&str], name: &str| match given {
            Some(path) => path.canonicalize().with_context(|| format!("cannot find {}", path.display())).map(Some),
            None if needed => build(workspace, arguments, name).map(Some),
            None => Ok(None),
        };
        let ser = needed(
            ser,
            kinds.iter().any(|kind| kind.test().is_none()),
            &["build", "--package", "ser-cli", "--bin", "ser"],
            "ser",
        )?;
        let tests = needed(
            tests,
            kinds.iter().any(|kind| kind.test().is_some()),
            &["test", "--no-run", "--features", "index,linear", "--test", "reliability"],
            "reliability",
        )?;
        let inputs = folder.join("inputs");
        fs::create_dir(&inputs)?;
        let row =
            |i: usize| format!(r#"{{"prompt": "Question {i}? ", "chosen": "good {i} ", "rejected": "bad"}}"#) + "\n";
        let rows = |n: usize| (0..n).map(row).collect::<String>();
        fs::write(inputs.join("few.jsonl"), rows(24))?;
        fs::write(inputs.join("pairs.jsonl"), rows(60))?;
        fs::write(inputs.join("many.jsonl"), rows(9000))?;
        let answer = |text: &str, i: usize| format!("{{\"prompt\": \"q{i}\", \"answer\": \"{text} {i}\"}}\n");
        for (file, text) in [("a.jsonl", "one"), ("b.jsonl", "two")] {
            fs::write(inputs.join(file), (0..6).map(|i| answer(text, i)).collect::<String>())?;
        }
        Ok(Programs {
            ser,
            tests,
            golden: workspace.path("crates/ser-model/tests/golden/llama3"),
            tokenizer: workspace.path("crates/ser-data/tests/golden/byte_level"),
            inputs,
            endpoint: judge::start()?,
        })
    }

    /// The command of a kind. It works in the current folder, and is the same at first and to go on.
    pub(super) fn command(&self, kind: Kind) -> Result<Command> {
        let mut command = match kind.test() {
            Some(test) => {
                let mut command = Command::new(self.tests.as_ref().context("the tests were not built")?);
                command.args(["--exact", test, "--ignored", "--nocapture"]);
                command
            }
            None => {
                let mut command = Command::new(self.ser.as_ref().context("the program was not built")?);
                command.args(self.arguments(kind));
                command
            }
        };
        command
            .env("SER_TEST_INPUTS", &self.inputs)
            .env("SER_TEST_TOKENIZER", &self.tokenizer)
            .envs([("OMP_NUM_THREADS", "1"), ("RAYON_NUM_THREADS", "1")])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        Ok(command)
    }

    fn arguments(&self, kind: Kind) -> Vec<String> {
        let model = self.golden.display();
        let input = |name: &str| self.inputs.join(name).display().to_string();
        let with_model = |line: &str, data: &str, settings: &[&str]| {
            let line = format!("{line} --model {model} --data {} --template raw --device cpu --threads 1", input(data));
            let settings = settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
            words(&line).into_iter().chain(settings).chain(words("--resume --out run")).collect()
        };
        match kind {
            Kind::Loop => with_model(
                "run --seed 3",
                "pairs.jsonl",
                &[
                    "training.epochs=1",
                    "training.batch_size=4",
                    "training.save_steps=2",
                    "loop.schedule={kind=\"paper\",plan=[\"status2\"]}",
                    "lora.dropout=0.1",
                ],
            ),
            Kind::Reward => with_model(
                "train reward",
                "few.jsonl",
                &["training.epochs=1", "training.batch_size=4", "training.save_steps=2", "lora.dropout=0.1"],
            ),
            Kind::Sft => with_model(
                "train sft",
                "few.jsonl",
                &["sft.training.batch_size=4", "sft.training.epochs=1", "sft.training.save_steps=2"],
            ),
            Kind::Dpo => with_model(
                "train dpo",
                "few.jsonl",
                &[
                    "dpo.training.batch_size=4",
                    "dpo.training.epochs=1",
                    "dpo.training.save_steps=2",
                    "dpo.lora.dropout=0.1",
                ],
            ),
            Kind::Ppo => {
                let line = format!("train ppo --model {model} --steps 5 --word a,b --seed 4 --device cpu --threads 1");
                let settings = [
                    "ppo.batch_size=4",
                    "ppo.mini_batch_size=2",
                    "ppo.response_length={fixed=6}",
                    "policy_run.save_steps=2",
                    "policy.lora.dropout=0.2",
                    "ppo.missing_eos_penalty=1.0",
                ];
                let settings = settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
                words(&line).into_iter().chain(settings).chain(words("--resume --out run")).collect()
            }
            Kind::Procedure => with_model(
                "run --full --seed 3",
                "pairs.jsonl",
                &[
                    "split.sft=0.4",
                    "split.rm=0.4",
                    "split.ppo=0.2",
                    "split.labelled=0.5",
                    "sft.training.epochs=1",
                    "training.epochs=1",
                    "loop.schedule={kind=\"paper\",plan=[\"status2\"]}",
                    "dpo.training.epochs=1",
                    "policy_run.steps=2",
                    "ppo.batch_size=4",
                    "ppo.response_length={fixed=8}",
                    "policies.judged=3",
                    "policies.sampling.max_new_tokens=4",
                ],
            ),
            Kind::Judge => words(&format!(
                "judge {} {} --endpoint {} --judge-model judge --cache cache/answers.jsonl --verdicts verdicts.jsonl \
                 --concurrency 1",
                input("a.jsonl"),
                input("b.jsonl"),
                self.endpoint
            )),
            Kind::Merge => words(&format!("merge --model {model} --adapter {model}/adapter --out merged")),
            Kind::Linear | Kind::Index | Kind::Pairs | Kind::Features => Vec::new(),
        }
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Builds a program and returns its path.
fn build(workspace: &Workspace, arguments: &[&str], target: &str) -> Result<PathBuf> {
    let mut command = workspace.cargo(arguments);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().context("cargo could not be started")?;
    if !output.status.success() {
        bail!("`{}` failed", crate::workspace::shown(&command));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut built = messages.filter(|message| message["target"]["name"] == target);
    let path = built.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.with_context(|| format!("cargo did not name the program {target}"))
}
