//! `cargo xtask peers`: speed side by side with the field's tools.
//!
//! Peer and ours alternate on one machine, with the same model, pairs, dtype and number of threads; what counts is
//! the ratio of each round.

mod environment;
mod table;
mod whole_loop;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::libtorch::Origin;
use crate::setup;
use crate::workspace::{Workspace, run as run_command, shown};
use environment::Environment;
use table::Comparison;

#[derive(Args)]
pub(crate) struct Options {
    /// Only this job; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Job>,
    /// How often each job is measured on both sides
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Preference file of texts, .jsonl or .jsonl.gz (HH-RLHF's layout, or with `prompt`); else the built-in corpus
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many pairs of it; by default as many as take a minute or two
    #[arg(long, value_parser = clap::value_parser!(u32).range(32..))]
    pairs: Option<u32>,
    /// Threads on either side
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Precision of loop-smollm2 on either side; the other jobs are in float32
    #[arg(long, default_value = "float32", value_parser = ["float32", "bfloat16"])]
    precision: String,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Job {
    /// Reward training, 256 wide, 4 layers: TRL's RewardTrainer
    RewardTiny,
    /// Reward training, 512 wide, 8 layers
    RewardSmall,
    /// Scoring (self-labelling), 256 wide, 4 layers: transformers
    ScoreTiny,
    /// Scoring, 512 wide, 8 layers
    ScoreSmall,
    /// Greedy generation, batches of 8, 64 new tokens, 256 wide, 4 layers: transformers
    GenerateTiny,
    /// Generation, 512 wide, 8 layers
    GenerateSmall,
    /// Steps of PPO, batches of 8, 64 new tokens, 4 epochs, 256 wide, 4 layers: TRL 0.11's PPOTrainer
    PpoTiny,
    /// The passes of a whole loop with SmolLM2, adapters on the top 8 of 30 layers: TRL and transformers, and ours with no
    /// activations kept
    LoopSmollm2,
}

/// What a job counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    PairsPerSecond,
    TokensPerSecond,
    StepsPerMinute,
}

impl Unit {
    /// The field of the JSON lines that programs print.
    fn field(self) -> &'static str {
        match self {
            Unit::PairsPerSecond => "pairs_per_s",
            Unit::TokensPerSecond => "tokens_per_s",
            Unit::StepsPerMinute => "steps_per_min",
        }
    }

    /// For the table.
    fn words(self) -> &'static str {
        match self {
            Unit::PairsPerSecond => "pairs/s",
            Unit::TokensPerSecond => "tokens/s",
            Unit::StepsPerMinute => "steps/min",
        }
    }
}

/// What a job is made of.
struct Plan {
    name: &'static str,
    size: &'static str,
    script: &'static str,
    command: &'static str,
    pairs: u32,
    unit: Unit,
}

impl Job {
    /// The programs of either side; `None` for the job that adds up several.
    fn plan(self) -> Option<Plan> {
        let (name, size, script, command, pairs, unit) = match self {
            Job::RewardTiny => ("reward-tiny", "tiny", "trl_reward.py", "train reward", 240, Unit::PairsPerSecond),
            Job::RewardSmall => ("reward-small", "small", "trl_reward.py", "train reward", 120, Unit::PairsPerSecond),
            Job::ScoreTiny => ("score-tiny", "tiny", "hf_score.py", "score", 1000, Unit::PairsPerSecond),
            Job::ScoreSmall => ("score-small", "small", "hf_score.py", "score", 400, Unit::PairsPerSecond),
            Job::GenerateTiny => ("generate-tiny", "tiny", "hf_generate.py", "generate", 64, Unit::TokensPerSecond),
            Job::GenerateSmall => ("generate-small", "small", "hf_generate.py", "generate", 32, Unit::TokensPerSecond),
            // Five steps of 8 prompts each; the first is a warm-up.
            Job::PpoTiny => ("ppo-tiny", "tiny", "trl_ppo.py", "train ppo", 40, Unit::StepsPerMinute),
            Job::LoopSmollm2 => return None,
        };
        Some(Plan { name, size, script, command, pairs, unit })
    }
}

/// The flags of `ser generate` in a measurement.
const GENERATION: [&str; 7] = ["--greedy", "--batch", "8", "--max-new-tokens", "64", "--min-new-tokens", "64"];

/// The longest text in tokens: one less than the 512 of the measurements, for those who append an end token.
const LONGEST: u32 = 511;
/// The longest dialogue whose prompt PPO answers.
const LONGEST_OF_PPO: u32 = 255;

/// Measures the jobs asked for and prints the table.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    setup::run(workspace, &setup::Options::default())?;
    let environment = Environment::prepare(workspace)?;
    let data = match &options.data {
        Some(file) => std::path::absolute(file).with_context(|| format!("{} is not a path", file.display()))?,
        None => environment.corpus(workspace)?,
    };
    let jobs = if options.only.is_empty() { Job::value_variants() } else { options.only.as_slice() };
    let mut build = workspace.cargo(&["build", "--release", "--package", "ser-cli"]);
    Origin::find(workspace).apply(&mut build)?;
    run_command(build)?;

    let mut comparisons = Vec::new();
    for job in jobs {
        let Some(plan) = job.plan() else {
            comparisons.extend(whole_loop::measure(workspace, &environment, &data, options)?);
            environment.save(&table::to_json(&comparisons))?;
            continue;
        };
        let model = environment.model(&data, plan.size)?;
        let count = options.pairs.unwrap_or(plan.pairs);
        let (prompts, longest) = match plan.unit {
            Unit::PairsPerSecond => (false, LONGEST),
            Unit::TokensPerSecond => (true, LONGEST),
            Unit::StepsPerMinute => (true, LONGEST_OF_PPO),
        };
        let pairs = environment.pairs(&data, count, &model, prompts, longest)?;
        if plan.unit == Unit::StepsPerMinute {
            environment.prepare_ppo()?;
            reward_model(workspace, &environment, &data, &model)?;
        }
        let found = compare(workspace, &environment, &plan, &model, &pairs, options)?;
        comparisons.extend(found);
        environment.save(&table::to_json(&comparisons))?;
    }
    println!("{}", table::to_markdown(&comparisons));
    Ok(())
}

/// Trains the reward model of our side of PPO for a few steps: it must have a head. TRL's side has a fresh one.
fn reward_model(workspace: &Workspace, environment: &Environment, data: &Path, model: &Path) -> Result<()> {
    let pairs = environment.pairs(data, 32, model, false, LONGEST)?;
    let mut train = workspace.ser("train reward");
    train.args(["--template", "raw", "--model"]).arg(model).arg("--data").arg(pairs);
    train.arg("--out").arg(environment.fresh_folder("reward")?);
    Origin::find(workspace).apply(&mut train)?;
    run_command(train)
}

/// One job, peer and ours in turn; one comparison for each way the peer does it.
fn compare(
    workspace: &Workspace,
    environment: &Environment,
    plan: &Plan,
    model: &Path,
    pairs: &Path,
    options: &Options,
) -> Result<Vec<Comparison>> {
    let threads = options.threads.to_string();
    let mut comparisons: Vec<Comparison> = Vec::new();
    for round in 1..=options.rounds {
        let mut peer = match plan.unit {
            Unit::StepsPerMinute => environment.ppo_python(plan.script),
            _ => environment.python(plan.script),
        };
        peer.arg("--model").arg(model).arg("--data").arg(pairs).args(["--threads", &threads]);
        peer.env("OMP_NUM_THREADS", &threads);
        let said = output(peer)?;
        let peers = results(&said.0, plan.unit);
        if peers.is_empty() {
            bail!("{} printed no result; it said:\n{}", plan.script, said.1);
        }

        // The defaults of `ser` are the paper's: LoRA r 8, alpha 32, dropout 0.1 on q and v, batches of 4
        // pairs, at most 512 tokens.
        let mut ours = workspace.ser(plan.command);
        ours.args(["--timing", "--template", "raw", "--threads", &threads]);
        ours.arg("--model").arg(model);
        match plan.command {
            "train reward" => {
                ours.arg("--data").arg(pairs).arg("--out").arg(environment.fresh_folder("adapter")?);
                // TRL's side holds nothing out.
                ours.args(["--set", "split.test=0"]);
            }
            // As many new tokens as hf_generate.py makes, and as many answers at a time.
            "generate" => {
                ours.arg("--prompts").arg(pairs).args(GENERATION);
            }
            "train ppo" => {
                let out = environment.fresh_folder("ppo-run")?;
                ours.arg("--prompts").arg(pairs).arg("--reward-model").arg(environment.path("reward"));
                ours.arg("--config").arg(workspace.path("xtask/peers/ppo.toml")).arg("--out").arg(out);
            }
            // The peer's head is a fresh one, too.
            _ => {
                ours.arg("--data").arg(pairs).arg("--fresh-head");
            }
        }
        ours.env("OMP_NUM_THREADS", &threads).env("RAYON_NUM_THREADS", &threads);
        Origin::find(workspace).apply(&mut ours)?;
        let said = output(ours)?;
        let Some((_, our_result)) = results(&said.1, plan.unit).pop() else {
            bail!("ser {} --timing printed no result; it said:\n{}", plan.command, said.1);
        };

        for (name, result) in peers {
            let unit = plan.unit.words();
            eprintln!("{} round {round}: {name} {result:.1} {unit}, ours {our_result:.1}", plan.name);
            let rounds = vec![(result, our_result)];
            match comparisons.iter_mut().find(|comparison| comparison.peer == name) {
                Some(comparison) => comparison.rounds.extend(rounds),
                None => comparisons.push(Comparison { job: plan.name, peer: name, unit, rounds }),
            }
        }
    }
    Ok(comparisons)
}

/// Runs a command and returns what it printed on stdout and on stderr.
fn output(mut command: Command) -> Result<(String, String)> {
    let line = shown(&command);
    eprintln!("\n==> {line}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("`{line}` could not be started"))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!("`{line}` failed ({}); it said:\n{stderr}", output.status);
    }
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), stderr))
}

/// The JSON lines with a result of this unit: who, and how many.
fn results(text: &str, unit: Unit) -> Vec<(String, f64)> {
    text.lines()
        .filter_map(|line| {
            let value: Value = serde_json::from_str(line).ok()?;
            let name = value.get("peer").and_then(Value::as_str).unwrap_or("ours").to_owned();
            Some((name, value.get(unit.field())?.as_f64()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_among_other_lines() {
        let text = "loading\n{\"peer\": \"a\", \"pairs_per_s\": 2.5}\n{\"other\": 1}\n{\"pairs_per_s\": 7}\n";
        assert_eq!(results(text, Unit::PairsPerSecond), [("a".to_owned(), 2.5), ("ours".to_owned(), 7.0)]);
        assert!(results(text, Unit::TokensPerSecond).is_empty());
    }
}
