//! PPO of a language model, against the share of an answer's words that stand in a list, or against a reward model.
//!
//! ```sh
//! cargo run --release --features libtorch --example train_ppo -- --model stories260k --out runs/ppo
//! ```
//!
//! Without `--config` settings for a tiny model hold (`ser::config::TINY_PPO`). Ctrl-C stops where nothing is lost;
//! `--resume` goes on, as it does after a crash.

#[path = "../config/mod.rs"]
mod config;
#[path = "../exit/mod.rs"]
mod exit;
mod reward;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Parser;
use ser::data::{PreferenceFile, read_prompts};
use ser::eval::{Count, DataCounts, PolicyReport, SampleAnswer, SamplePrompt};
use ser::model::PolicyModel;
use ser::{Control, Event, Generator, Message, Sampling, observer_fn};
use ser::{MetricsLog, Observers, PpoTraining, Progress, RunFolder, write_policy_report};

use config::{Config, Flags, prompts_with_room, trained_lm};
use reward::AnyReward;

/// What differs from the paper where no settings file is given.
const QUICK: &str = ser::config::TINY_PPO;
/// What stories begin with, where no prompts are given.
const PROMPTS: &str = include_str!("prompts.txt");
/// How many answers the report shows side by side.
const SHOWN: usize = 6;

/// Proximal policy optimisation of a language model
#[derive(Parser)]
struct Arguments {
    /// The run's folder
    #[arg(long)]
    out: PathBuf,
    /// Goes on with the run in that folder
    #[arg(long)]
    resume: bool,
    /// Prompts: JSON lines with `prompt`, or a prompt a line [default: those of --data, else beginnings of stories]
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Words that are rewarded; may be given several times, or several with commas between [default: reward.words, 16 of
    /// friendly stories]
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    word: Vec<String>,
    /// Folder of a reward model's adapter, or run folder of train_reward, which is then the reward [default: none, words
    /// are rewarded]
    #[arg(long, value_name = "FOLDER")]
    reward_model: Option<PathBuf>,
    /// Makes the texts of policy and reward model as flags and settings say even where they were trained otherwise
    #[arg(long)]
    force_text: bool,
    /// Steps of PPO [default: policy_run.steps: 80 without --config, else once through the prompts]
    #[arg(long)]
    steps: Option<u64>,
    /// Prints the median step but the first, as steps per minute, as a line of JSON on stderr
    #[arg(long)]
    timing: bool,
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    exit::exit_code(run(Arguments::parse()), Some("Run the same command with --resume to go on."))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = arguments.flags.load(if arguments.flags.config.is_empty() { QUICK } else { "" })?;
    let words_given = !arguments.word.is_empty();
    if words_given {
        config.reward.words = arguments.word;
    }
    config.reward.model = arguments.reward_model.or(config.reward.model);
    config.policy_run.steps = arguments.steps.or(config.policy_run.steps);
    let Some(folder) = config.run.model.clone() else {
        bail!("give --model FOLDER with config.json, tokenizer.json and *.safetensors");
    };
    // Everything that may be wrong with settings and input is found before a folder is made.
    config.check()?;
    if arguments.flags.config.is_empty() {
        eprintln!("no --config: settings for a tiny model instead of the paper's");
    }
    if config.reward.model.is_none() {
        let source = if words_given { "--word" } else { "reward.words" };
        eprintln!("no --reward-model: the reward is the share of an answer's words that stand in the list of {source}");
    }
    let device = config::device(&config)?;
    let prompts = prompts(&config, arguments.prompts)?;
    let mut data = DataCounts { rows: prompts.len() as u64, ..DataCounts::default() };
    let mut reward = AnyReward::new(&config, &folder, arguments.force_text, device)?;
    let model = trained_lm(&config, &folder, arguments.force_text, "policy", device)?;
    let text = model.tokenizer().settings().clone();
    let mut policy = PolicyModel::new(model, &config.policy)?;
    let longest = config.ppo.response_length.longest();
    let all = prompts.len();
    let (prompts, left_out) = prompts_with_room(policy.model(), prompts, longest)?;
    if prompts.is_empty() && all > 0 {
        bail!("no prompt leaves room for an answer of {longest} tokens; lower ppo.response_length");
    }
    if left_out > 0 {
        eprintln!("left out: {left_out} of {all} prompts that leave no room for an answer of {longest} tokens");
        data.left_out.push(Count::new("prompts that leave no room for the longest answer", left_out as u64));
    }
    data.splits.push(Count::new("prompts", prompts.len() as u64));
    let shown: Vec<Vec<Message>> = prompts.iter().take(SHOWN).cloned().collect();

    let progress = Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?;
    let mut training =
        PpoTraining::new(config.ppo.clone(), config.policy_run.clone(), &mut policy, &mut reward, prompts)?;
    let mut run = RunFolder::open(&arguments.out, arguments.resume)?;
    run.record_or_verify_settings("policy", &config.policy)?;
    run.record_or_verify_settings("text", &text)?;
    run.record_or_verify_settings("reward", &config.reward)?;
    let mut clock = vec![Instant::now()];
    let mut observers = Observers::new();
    observers.push(progress);
    observers.push(MetricsLog::append(run.path().join("metrics.jsonl"))?);
    observers.push(observer_fn(|event| {
        if let Event::Started { .. } | Event::Advanced { .. } = event {
            clock.push(Instant::now());
        }
        Control::Continue
    }));
    training.run_in(&mut run, "ppo", &mut observers)?;
    drop(observers);
    if arguments.timing {
        let mut seconds: Vec<f64> = clock.windows(2).skip(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        let Some(median) = seconds.get(seconds.len() / 2) else { bail!("a timing needs more than a step") };
        eprintln!("{}", serde_json::json!({"steps_per_min": 60.0 / median}));
    }

    let stage = training.stage("PPO");
    let warnings = training.warnings().into_iter().map(|(step, w)| format!("From step {step}: {w}.")).collect();
    let steps = training.steps();
    let mean = |steps: &[ser::PolicyStep]| steps.iter().map(|s| s.reward_mean).sum::<f64>() / steps.len() as f64;
    let tenth = steps.len().div_ceil(10);
    let (first, last) = (mean(&steps[..tenth]), mean(&steps[steps.len() - tenth..]));
    let samples = side_by_side(&mut policy, &mut reward, &shown, &config)?;
    if reward.truncated() > 0 {
        eprintln!(
            "{} answers were too long for the reward model and were scored without their end",
            reward.truncated()
        );
    }
    let report = PolicyReport { stages: vec![stage], comparisons: Vec::new(), samples };
    let html = write_policy_report(&run, "PPO", config.ppo.seed, report, data, warnings)?;
    writeln!(
        io::stdout(),
        "mean reward {first:.4} at first, {last:.4} at last\nThe adapter is in {}.\nThe report is {}",
        run.stage_path("ppo/model").display(),
        html.display()
    )?;
    Ok(())
}

/// The prompts of a file, of the preferences, or the built-in ones.
fn prompts(config: &Config, file: Option<PathBuf>) -> anyhow::Result<Vec<Vec<Message>>> {
    if let Some(file) = file {
        let (prompts, read) = read_prompts(file, &config.data)?;
        config::tell(&read);
        return Ok(prompts);
    }
    if let Some(data) = &config.run.data {
        let (preferences, read) = PreferenceFile::open(data, &config.data)?.read_all()?;
        config::tell(&read);
        return Ok(preferences.into_iter().map(|p| p.pair.prompt.clone()).collect());
    }
    eprintln!("no --prompts and no --data: the prompts are beginnings of stories");
    Ok(PROMPTS.lines().map(|line| vec![Message::user(line)]).collect())
}

/// What reference and policy answer to the same prompts, greedily.
fn side_by_side(
    policy: &mut PolicyModel,
    reward: &mut AnyReward,
    prompts: &[Vec<Message>],
    config: &Config,
) -> anyhow::Result<Vec<SamplePrompt>> {
    use ser::Reward;
    let sampling = Sampling {
        temperature: 0.0,
        max_new_tokens: config.ppo.response_length.longest(),
        stop: config.policy_run.stop.clone(),
        ..Sampling::default()
    };
    let mut cx = ser::Context::silent();
    let before = policy.with_adapter_disabled(|policy| policy.generate(prompts, &sampling, &mut cx))?;
    let after = policy.generate(prompts, &sampling, &mut cx)?;
    let mut samples = Vec::new();
    for (prompt, answers) in prompts.iter().zip(before.into_iter().flatten().zip(after.into_iter().flatten())) {
        let texts = [("reference", answers.0.text), ("PPO", answers.1.text)];
        let answers = texts.each_ref().map(|(_, text)| (prompt.as_slice(), text.as_str()));
        let rewards = reward.reward(&answers, &mut cx)?;
        let answers = texts.into_iter().zip(rewards);
        samples.push(SamplePrompt {
            prompt: prompt.iter().map(|turn| turn.content.as_str()).collect::<Vec<_>>().join("\n"),
            answers: answers
                .map(|((policy, text), reward)| SampleAnswer { policy: policy.to_owned(), text, reward: Some(reward) })
                .collect(),
        });
    }
    Ok(samples)
}
