//! `ser judge`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use ser::data::prompt_clusters;
use ser::eval::{
    AdditiveJudge, AnswerFile, Bootstrap, Comparison, JudgeSettings, PairwiseJudge, Prices, Usage, VerdictCounts,
    comparison_table, match_answers,
};
use ser::{Clusters, Context as Work, Judge, Pair, Stage, Verdict};

use crate::input::Input;
use crate::output;

/// Printed after an interruption: answers are kept in the cache.
pub(crate) const GO_ON: &str = "The same command continues from here.";

/// Judges two files of answers by a language model behind an endpoint: wins, ties, losses and win rates
///
/// The endpoint is any OpenAI-compatible one (OpenAI, vLLM, llama.cpp, Ollama, ...). Each line of a file has `prompt` (a text,
/// or messages) and `answer` or `response`. Rows are matched by `id` if all have one, else by prompt. Every answer of the judge
/// is stored at once in a cache beside the first file: after Ctrl-C, an error or a kill, the same command continues without
/// repeating a request. The API key comes from the environment variable that --api-key-env names, and is written nowhere.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0, some pair has a verdict; 1, an error; 2, wrong arguments; 3, no pair has a verdict, since \
                  every reply is missing or unreadable; 130, stopped by Ctrl-C."
)]
pub(crate) struct Arguments {
    /// JSON lines with `prompt` and `answer` or `response`, whose wins are counted; `-` for stdin
    answers: PathBuf,
    /// The answers they are compared with
    against: PathBuf,
    /// Base of an OpenAI-compatible endpoint, as http://localhost:8000/v1
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// The judge's name at the endpoint
    #[arg(long, value_name = "NAME")]
    judge_model: String,
    /// Environment variable with the API key
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// How to judge
    #[arg(long, value_enum, default_value_t = JudgeKind::Pairwise)]
    judge: JudgeKind,
    /// Prints JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Writes each pair's verdict, a line of JSON per pair, in the order of the first file
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
    /// Where the judge's answers are kept [default: judge_cache.jsonl beside the first file]
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Leaves out rows that only one of the files has
    #[arg(long)]
    common: bool,
    /// Requests under way at once
    #[arg(long, default_value_t = JudgeSettings::default().concurrency)]
    concurrency: usize,
    /// Seconds until a request counts as unanswered
    #[arg(long, value_name = "SECONDS", default_value_t = JudgeSettings::default().timeout_seconds)]
    timeout: f64,
    /// Retries of a failed request
    #[arg(long, default_value_t = JudgeSettings::default().retries)]
    retries: u32,
    /// Seconds before the first retry; doubled for each further one
    #[arg(long, value_name = "SECONDS", default_value_t = JudgeSettings::default().first_wait_seconds)]
    first_wait: f64,
    /// Sampling temperature, or `none` to send none [default: 0; of `authors`: 0.7]
    #[arg(long, value_parser = or_none::<f64>)]
    temperature: Option<OrNone<f64>>,
    /// Share of probability that tokens are drawn from, or `none` to send none [default: none; of `authors`: 0.95]
    #[arg(long, value_parser = or_none::<f64>)]
    top_p: Option<OrNone<f64>>,
    /// Most tokens of the judge's answer, thoughts included, or `none` to send none [default: 512; of `authors`: 1024]
    #[arg(long, value_parser = or_none::<u32>)]
    max_tokens: Option<OrNone<u32>>,
    /// Price of a million tokens sent, for the cost in the summary
    #[arg(long, value_name = "PRICE", requires = "completion_price")]
    prompt_price: Option<f64>,
    /// Price of a million tokens of answers
    #[arg(long, value_name = "PRICE", requires = "prompt_price")]
    completion_price: Option<f64>,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum JudgeKind {
    /// Which of two is better, asked in both orders; if they disagree it is a tie (the paper)
    Pairwise,
    /// A score from 0 to 5 for each answer
    Additive,
    /// The same with the criteria and the sampling of the authors' code
    Authors,
}

/// A number, or `none`: the field is not sent.
#[derive(Clone, Copy)]
struct OrNone<T>(Option<T>);

fn or_none<T: std::str::FromStr>(text: &str) -> Result<OrNone<T>, T::Err> {
    if text == "none" { Ok(OrNone(None)) } else { text.parse().map(|number| OrNone(Some(number))) }
}

/// The verdicts of a judge, its mean scores, and the number and cost of its requests.
struct Judged {
    verdicts: Vec<Verdict>,
    mean_scores: Option<[Option<f64>; 2]>,
    usage: Usage,
    unreadable_samples: Vec<String>,
}

/// No pair has a verdict.
const NOTHING_JUDGED: u8 = 3;

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let result = judge(arguments);
    if let Err(error) = &result
        && matches!(error.downcast_ref(), Some(ser::eval::EvalError::NoAnswers { .. }))
    {
        output::note(GO_ON);
    }
    result
}

fn judge(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let prices = arguments
        .prompt_price
        .zip(arguments.completion_price)
        .map(|(prompt, completion)| Prices { prompt_per_million: prompt, completion_per_million: completion });
    let (endpoint, model) = (arguments.endpoint, arguments.judge_model);
    let preset = match arguments.judge {
        JudgeKind::Authors => JudgeSettings::authors_code(endpoint, model),
        JudgeKind::Pairwise | JudgeKind::Additive => JudgeSettings { endpoint, model, ..JudgeSettings::default() },
    };
    let settings = JudgeSettings {
        api_key_env: arguments.api_key_env,
        temperature: arguments.temperature.map_or(preset.temperature, |given| given.0),
        top_p: arguments.top_p.map_or(preset.top_p, |given| given.0),
        max_tokens: arguments.max_tokens.map_or(preset.max_tokens, |given| given.0),
        concurrency: arguments.concurrency,
        timeout_seconds: arguments.timeout,
        retries: arguments.retries,
        first_wait_seconds: arguments.first_wait,
        prices,
        cache: Some(arguments.cache.unwrap_or_else(|| arguments.answers.with_file_name("judge_cache.jsonl"))),
        ..preset
    };
    settings.check()?;
    let (first, second) = (read(&arguments.answers)?, read(&arguments.against)?);
    let (pairs, left_out) = match_answers(&first, &second, arguments.common)?;
    if left_out > 0 {
        output::note(format_args!("{left_out} rows that only one file has are left out"));
    }
    let way = match arguments.judge {
        JudgeKind::Pairwise => "pairwise",
        JudgeKind::Additive => "additive",
        JudgeKind::Authors => "additive, the authors' rubric",
    };
    let judge = format!("{way}, {}", settings.model);
    let token_limit = settings.max_tokens;
    let Judged { verdicts, mean_scores, usage, unreadable_samples } = match arguments.judge {
        JudgeKind::Pairwise => pairwise(settings, &pairs)?,
        JudgeKind::Additive | JudgeKind::Authors => additive(settings, &pairs)?,
    };
    if let Some(path) = &arguments.verdicts {
        let lines: String = pairs.iter().zip(&verdicts).map(|(pair, verdict)| line(pair, *verdict)).collect();
        ser::durable::replace(path, |out| out.write_all(lines.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let [policy, against] = names(&arguments.answers, &arguments.against);
    let bootstrap = Bootstrap { seed: arguments.seed, ..Bootstrap::default() };
    let prompts = prompt_clusters(pairs.iter().map(AsRef::as_ref));
    let comparison =
        Comparison::measure(policy, against, judge, &pairs, &verdicts, Clusters::Ids(&prompts), &bootstrap)?;
    let cost = prices.map(|prices| usage.cost(prices));
    output::note(summary(&usage, cost));
    if usage.cut_off > 0 {
        let limit = token_limit.map_or("the endpoint's limit".to_owned(), |limit| format!("--max-tokens {limit}"));
        let cut_off = usage.cut_off;
        output::note(format_args!(
            "warning: {cut_off} replies were cut off at {limit}; raise it for a judge that thinks"
        ));
    }
    let warnings = comparison.warnings();
    for warning in &warnings {
        output::note(format_args!("warning: {warning}"));
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        let metrics = serde_json::json!({
            "comparison": comparison, "mean_scores": mean_scores, "usage": usage, "cost": cost,
            "unreadable_samples": unreadable_samples, "warnings": warnings,
        });
        writeln!(out, "{metrics:#}")?;
    } else {
        write!(out, "{}", comparison_table(std::slice::from_ref(&comparison)))?;
        if arguments.judge == JudgeKind::Pairwise && comparison.counts.contradictions == 0 {
            writeln!(out, "contradicted itself on no pair")?;
        }
        if let Some([policy, against]) = mean_scores {
            let score = |score: Option<f64>| score.map_or("none".to_owned(), |score| format!("{score:.2}"));
            writeln!(out, "mean scores: {} and {}", score(policy), score(against))?;
        }
    }
    if comparison.counts.judged() == 0 {
        let VerdictCounts { failures, .. } = comparison.counts;
        eprintln!(
            "error: none of the {failures} pairs could be judged: {} requests have no reply, {} replies cannot be read",
            usage.unanswered, usage.unreadable
        );
        return Ok(ExitCode::from(NOTHING_JUDGED));
    }
    Ok(ExitCode::SUCCESS)
}

/// The answers of a file, which may be standard input.
fn read(path: &Path) -> anyhow::Result<AnswerFile> {
    let input = Input::open(path)?;
    let bytes = std::fs::read(input.path()).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(AnswerFile::parse(path, &bytes)?)
}

fn pairwise(settings: JudgeSettings, pairs: &[Arc<Pair>]) -> anyhow::Result<Judged> {
    let mut judge = PairwiseJudge::new(settings)?;
    let mut progress = output::progress()?;
    let mut cx = Work::new(Stage::Judge, &mut progress);
    let verdicts = judge.judge(pairs, &mut cx)?;
    cx.finish();
    let unreadable_samples = judge.unreadable_samples().to_vec();
    Ok(Judged { verdicts, mean_scores: None, usage: judge.usage(), unreadable_samples })
}

fn additive(settings: JudgeSettings, pairs: &[Arc<Pair>]) -> anyhow::Result<Judged> {
    let mut judge = AdditiveJudge::new(settings)?;
    let mut progress = output::progress()?;
    let mut cx = Work::new(Stage::Judge, &mut progress);
    let scores = judge.scores(pairs, &mut cx)?;
    cx.finish();
    let mean_scores = Some(AdditiveJudge::mean_scores(&scores));
    let verdicts = scores.into_iter().map(AdditiveJudge::verdict).collect();
    let unreadable_samples = judge.unreadable_samples().to_vec();
    Ok(Judged { verdicts, mean_scores, usage: judge.usage(), unreadable_samples })
}

fn line(pair: &Pair, verdict: Verdict) -> String {
    format!("{}\n", serde_json::json!({"prompt": pair.prompt, "answers": pair.responses, "verdict": verdict}))
}

/// The files' names without their ends; the paths where those are the same.
fn names(first: &Path, second: &Path) -> [String; 2] {
    let stems = [first, second].map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    if stems[0] == stems[1] { [first, second].map(|path| path.display().to_string()) } else { stems }
}

/// The number of requests and tokens, and the cost, in a line.
fn summary(usage: &Usage, cost: Option<f64>) -> String {
    let Usage { answers, from_cache, retries, unanswered, unreadable, prompt_tokens, completion_tokens, .. } = usage;
    let mut text = format!(
        "{answers} answers, {from_cache} more from the cache, {retries} retries; {unanswered} requests unanswered, \
         {unreadable} answers unreadable; {prompt_tokens} tokens sent, {completion_tokens} answered"
    );
    if let Some(cost) = cost {
        text.push_str(&format!(", cost {cost:.4}"));
    }
    text
}
