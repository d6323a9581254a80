//! `ser train ppo`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use ser::config::{Config, TINY_PPO};
use ser::data::{PreferenceFile, read_prompts};
use ser::distributed::Environment;
use ser::eval::{Count, DataCounts, PolicyReport, SampleAnswer, SamplePrompt};
use ser::model::{AnyRewardModel, PolicyModel};
use ser::{
    ConfiguredReward, Context, Control, Event, Generator, Message, PpoTraining, Reward, Sampling, observer_fn,
    prompts_that_fit, reward_of, trained_language_model, write_policy_report,
};

use crate::flags::{Flags, RunFlags};
use crate::input::Input;
use crate::output;
use crate::processes::{self, Part};

/// First words of stories, used if no prompts are given.
const PROMPTS: &str = include_str!("prompts.txt");
/// Number of answers that the report shows side by side.
const SHOWN: usize = 6;

/// Proximal policy optimisation of a language model, against words or a reward model
///
/// Without --config, settings for a tiny model apply. The adapter is in the run folder's ppo/model.
///
/// Started as several processes (`ser launch -n 2 -- train ppo ...`, torchrun), rank 0 reads and writes, and all compute.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: RunFlags,
    /// Prompts: JSON lines with `prompt`, or a prompt a line; `-` for stdin [default: those of --data, else beginnings of stories]
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Words that are rewarded; may be given several times, or several with commas between [default: reward.words, 16 of
    /// friendly stories]
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    word: Vec<String>,
    /// Folder of a reward model (an adapter, or linear heads), or run folder of `ser train reward`, which is then the reward
    /// [default: none, words are rewarded]
    #[arg(long, value_name = "FOLDER")]
    reward_model: Option<PathBuf>,
    /// Applies the template of flags and settings even if policy or reward model was trained with another one
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

pub(super) fn run(arguments: Arguments, environment: &Environment) -> anyhow::Result<()> {
    let tiny = arguments.flags.config.is_empty();
    let (mut config, device) = arguments.flags.load_with_device(if tiny { &[TINY_PPO] } else { &[] })?;
    let words_given = !arguments.word.is_empty();
    if words_given {
        config.reward.words = arguments.word;
    }
    config.reward.model = arguments.reward_model.or(config.reward.model);
    config.policy_run.steps = arguments.steps.or(config.policy_run.steps);
    let Some(folder) = config.run.model.clone() else {
        bail!("give --model FOLDER with config.json, tokenizer.json and *.safetensors");
    };
    // Settings and input are checked before a folder is made.
    config.check()?;
    let Part::Command(workers) = processes::join(environment, &config, device)? else { return Ok(()) };
    if tiny {
        output::note("no --config: settings for a tiny model instead of the paper's");
    }
    if config.reward.model.is_none() {
        let source = if words_given { "--word" } else { "reward.words" };
        output::note(format_args!(
            "no --reward-model: the reward is the share of an answer's words that are in the list of {source}"
        ));
    }
    let prompts = prompts(&config, arguments.prompts)?;
    let mut data = DataCounts { rows: prompts.len() as u64, ..DataCounts::default() };
    let (mut reward, texts) = reward_of(&config, &folder, arguments.force_text, device)?;
    texts.iter().for_each(|texts| output::note(format_args!("reward model, {texts}")));
    let (model, texts) = trained_language_model(&config, &folder, arguments.force_text, device)?;
    output::note(format_args!("policy, {texts}"));
    let text = model.tokenizer().settings().clone();
    let mut policy = PolicyModel::new(model, &config.policy)?;
    if let Some(workers) = &workers {
        policy.share_with(workers)?;
        // Linear heads are computed by this process alone.
        if let ConfiguredReward::Model(model) = &mut reward
            && let AnyRewardModel::Adapter(model) = model.scorer_mut()
        {
            model.share_with(workers)?;
        }
    }
    let longest = config.ppo.response_length.longest();
    let all = prompts.len();
    let (prompts, left_out) = prompts_that_fit(policy.model(), prompts, longest)?;
    if prompts.is_empty() && all > 0 {
        bail!("no prompt leaves positions for an answer of {longest} tokens; lower ppo.response_length");
    }
    if left_out > 0 {
        output::note(format_args!(
            "left out: {left_out} of {all} prompts that leave no positions for an answer of {longest} tokens"
        ));
        data.left_out.push(Count::new("prompts that leave no positions for the longest answer", left_out as u64));
    }
    data.splits.push(Count::new("prompts", prompts.len() as u64));
    let shown: Vec<Vec<Message>> = prompts.iter().take(SHOWN).cloned().collect();

    let progress = output::progress()?;
    let mut training =
        PpoTraining::new(config.ppo.clone(), config.policy_run.clone(), &mut policy, &mut reward, prompts)?;
    let mut clock = vec![Instant::now()];
    let (mut run, mut observers) = super::open(&arguments.run, progress)?;
    run.record_or_verify_settings("policy", &config.policy)?;
    run.record_or_verify_settings("text", &text)?;
    run.record_or_verify_settings("reward", &config.reward)?;
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
        output::timing(&serde_json::json!({"steps_per_min": 60.0 / median}));
    }

    let stage = training.stage("PPO");
    let warnings = training.warnings().into_iter().map(|(step, w)| format!("From step {step}: {w}.")).collect();
    let steps = training.steps();
    let mean = |steps: &[ser::PolicyStep]| steps.iter().map(|s| s.reward_mean).sum::<f64>() / steps.len() as f64;
    let tenth = steps.len().div_ceil(10);
    let (first, last) = (mean(&steps[..tenth]), mean(&steps[steps.len() - tenth..]));
    let samples = side_by_side(&mut policy, &mut reward, &shown, &config)?;
    if reward.truncated() > 0 {
        output::note(format_args!(
            "{} answers were too long for the reward model and were scored without their end",
            reward.truncated()
        ));
    }
    let report = PolicyReport { stages: vec![stage], comparisons: Vec::new(), samples };
    let html = write_policy_report(&run, "PPO", config.ppo.seed, report, data, warnings)?;
    let model = run.stage_path("ppo/model");
    let text = format!(
        "mean reward {first:.4} at first, {last:.4} at last\nThe adapter is in {}.\nThe report is {}",
        model.display(),
        html.display()
    );
    let json = serde_json::json!({"model": model, "html": html, "first_mean_reward": first, "last_mean_reward": last});
    output::result(arguments.run.json, &json, &text)
}

/// The prompts of a file, of the preferences, or the built-in ones.
fn prompts(config: &Config, file: Option<PathBuf>) -> anyhow::Result<Vec<Vec<Message>>> {
    if let Some(file) = file {
        let (prompts, read) = read_prompts(Input::open(&file)?.path(), &config.data)?;
        output::note_read(&read);
        return Ok(prompts);
    }
    if let Some(data) = &config.run.data {
        let (preferences, read) = PreferenceFile::open(data, &config.data)?.read_all()?;
        output::note_read(&read);
        return Ok(preferences.into_iter().map(|p| p.pair.prompt.clone()).collect());
    }
    output::note("no --prompts and no --data: the prompts are beginnings of stories");
    Ok(PROMPTS.lines().map(|line| vec![Message::user(line)]).collect())
}

/// The greedy answers of reference and policy to the same prompts.
fn side_by_side(
    policy: &mut PolicyModel,
    reward: &mut ConfiguredReward,
    prompts: &[Vec<Message>],
    config: &Config,
) -> anyhow::Result<Vec<SamplePrompt>> {
    let sampling = Sampling {
        temperature: 0.0,
        max_new_tokens: config.ppo.response_length.longest(),
        stop: config.policy_run.stop.clone(),
        ..Sampling::default()
    };
    let mut cx = Context::silent();
    let before = policy.with_adapter_disabled(|policy| policy.generate(prompts, &sampling, &mut cx))?;
    let after = policy.generate(prompts, &sampling, &mut cx)?;
    let mut samples = Vec::new();
    for (prompt, answers) in prompts.iter().zip(before.into_iter().flatten().zip(after.into_iter().flatten())) {
        let texts = [("reference", answers.0.text), ("PPO", answers.1.text)];
        let rewarded = texts.each_ref().map(|(_, text)| (prompt.as_slice(), text.as_str()));
        let rewards = reward.reward(&rewarded, &mut cx).map_err(|error| anyhow::anyhow!(error))?;
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
