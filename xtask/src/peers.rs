//! `cargo xtask peers`: speed side by side with the field's tools.
//!
//! Peer and ours alternate on one machine, with the same model, pairs, dtype and number of threads; what counts is
//! the ratio of each round.

mod environment;
mod output;
mod table;
mod whole_loop;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::libtorch::Origin;
use crate::model::{Model, fetch};
use crate::setup;
use crate::workspace::{Workspace, run as run_command};
use environment::Environment;
use output::output;
use table::{Comparison, Round};

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
    /// The program `ser` to measure, already built; by default that of the workspace, which is built first
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Precision on either side; PPO is in float32
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
    /// Reward training of SmolLM2-135M-Instruct, adapters on q and v of all layers
    RewardSmollm2,
    /// Scoring with SmolLM2
    ScoreSmollm2,
    /// Generation with SmolLM2
    GenerateSmollm2,
    /// A process that scores one pair with SmolLM2, from its start to its end
    FirstScoreSmollm2,
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
    /// Whole processes, by the clock of this program.
    ProcessesPerMinute,
}

impl Unit {
    /// The field of the JSON lines that programs print.
    fn field(self) -> &'static str {
        match self {
            Unit::PairsPerSecond | Unit::ProcessesPerMinute => "pairs_per_s",
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
            Unit::ProcessesPerMinute => "processes/min",
        }
    }
}

/// The size in a [`Plan`] that stands for the pretrained model.
const SMOLLM2: &str = "smollm2";

/// What a job is made of.
struct Plan {
    name: &'static str,
    /// A size of `make_model.py`, or [`SMOLLM2`].
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
            Job::RewardSmollm2 => {
                ("reward-smollm2", SMOLLM2, "trl_reward.py", "train reward", 64, Unit::PairsPerSecond)
            }
            Job::ScoreSmollm2 => ("score-smollm2", SMOLLM2, "hf_score.py", "score", 96, Unit::PairsPerSecond),
            Job::GenerateSmollm2 => {
                ("generate-smollm2", SMOLLM2, "hf_generate.py", "generate", 16, Unit::TokensPerSecond)
            }
            Job::FirstScoreSmollm2 => {
                ("first-score-smollm2", SMOLLM2, "hf_score.py", "score", 1, Unit::ProcessesPerMinute)
            }
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
    let program = match &options.program {
        Some(file) => std::path::absolute(file).with_context(|| format!("{} is not a path", file.display()))?,
        None => {
            setup::run(workspace, &setup::Options::default())?;
            let mut build = workspace.cargo(&["build", "--release", "--package", "ser-cli"]);
            Origin::find(workspace).apply(&mut build)?;
            run_command(build)?;
            workspace.target().join("release/ser")
        }
    };
    let environment = Environment::prepare(workspace, &program)?;
    let data = match &options.data {
        Some(file) => std::path::absolute(file).with_context(|| format!("{} is not a path", file.display()))?,
        None => environment.corpus(workspace)?,
    };
    let jobs = if options.only.is_empty() { Job::value_variants() } else { options.only.as_slice() };

    let mut comparisons = Vec::new();
    for job in jobs {
        let Some(plan) = job.plan() else {
            comparisons.extend(whole_loop::measure(workspace, &environment, &data, options)?);
            environment.save(&table::to_json(&comparisons))?;
            continue;
        };
        let model = match plan.size {
            SMOLLM2 => environment.hugging_face_model(&fetch(workspace, Model::Smollm2)?)?,
            size => environment.model(&data, size)?,
        };
        let count = options.pairs.unwrap_or(plan.pairs);
        let (prompts, longest) = match plan.unit {
            Unit::PairsPerSecond | Unit::ProcessesPerMinute => (false, LONGEST),
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
    let mut train = environment.ser("train reward");
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
        if plan.unit != Unit::StepsPerMinute {
            peer.args(["--dtype", &options.precision]);
        }
        if plan.command == "score" {
            // The stronger of its two ways.
            peer.args(["--way", "sorted"]);
        }
        let said = output(peer)?;
        let peers = said.results(&said.stdout, plan.unit);
        if peers.is_empty() {
            bail!("{} printed no result; it said:\n{}", plan.script, said.stderr);
        }

        // The defaults of `ser` are the paper's: LoRA r 8, alpha 32, dropout 0.1 on q and v, batches of 4
        // pairs, at most 512 tokens.
        let mut ours = environment.ser(plan.command);
        ours.args(["--timing", "--template", "raw", "--threads", &threads]);
        ours.arg("--model").arg(model);
        if plan.unit != Unit::StepsPerMinute {
            ours.args(["--set", &format!("model.precision={}", options.precision)]);
        }
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
        let ours = output(ours)?;
        let Some((_, our_result)) = ours.results(&ours.stderr, plan.unit).pop() else {
            bail!("ser {} --timing printed no result; it said:\n{}", plan.command, ours.stderr);
        };

        let memory = (said.memory, ours.memory);
        for (name, result) in peers {
            let unit = plan.unit.words();
            eprintln!(
                "{} round {round}: {name} {result:.1} {unit} in {} MiB, ours {our_result:.1} in {} MiB",
                plan.name, memory.0, memory.1
            );
            let round = Round { peer: result, ours: our_result, memory: Some(memory) };
            match comparisons.iter_mut().find(|comparison| comparison.peer == name) {
                Some(comparison) => comparison.rounds.push(round),
                None => comparisons.push(Comparison { job: plan.name, peer: name, unit, rounds: vec![round] }),
            }
        }
    }
    Ok(comparisons)
}
