//! `ser generate`.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use ser::data::{TemplateKind, TextSettings, read_prompts};
use ser::model::{
    CausalLm, CausalLmSettings, GenerateOptions, SampledAnswer, TextPiece, TextRequest, has_chat_template,
};
use ser::{Context, Message, Sampling, Stage, fetched};

use crate::flags::Flags;
use crate::input::Input;
use crate::output;

/// Answers prompts with a language model
///
/// Writes the answer's text alone to standard output, as it comes if that is a terminal. With --prompts it answers a file of
/// prompts, one line of JSON per answer: {"prompt": …, "response": …}.
///
/// Prompts become texts as in the training of the model, which ser.json beside its weights records. Without that file the
/// model's chat template is used, and a prompt is used as it is if there is none.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The prompt; an empty one with --template raw begins a text from nothing
    #[arg(long, conflicts_with = "prompts", required_unless_present = "prompts")]
    prompt: Option<String>,
    /// File of prompts: JSON lines with `prompt`, or a prompt a line; `-` for stdin
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Adapter folder in PEFT's layout
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// Applies the template of flags and settings even if the model was trained with another one
    #[arg(long)]
    force_text: bool,
    /// Always the most probable token; the same as --temperature 0
    #[arg(long, conflicts_with = "temperature")]
    greedy: bool,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 256)]
    max_new_tokens: usize,
    /// Fewest tokens of an answer
    #[arg(long, default_value_t = 0)]
    min_new_tokens: usize,
    /// Softmax temperature
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Only the k most probable tokens; 0 means all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Only the most probable tokens whose mass reaches this share
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Repetition penalty on tokens that occurred before; 1 means none
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f64,
    /// A text that ends an answer and is not part of it; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Answers for each prompt; several are separated by an empty line
    #[arg(long, default_value_t = 1)]
    samples: usize,
    /// Answers generated at the same time
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Prints tokens per second, tokenization included, after a first batch that is not counted, as a line of JSON on stderr
    #[arg(long)]
    timing: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (config, device) = arguments.flags.load_with_device(&[])?;
    let Some(folder) = &config.run.model else { bail!("give --model FOLDER") };
    if let Some(data) = &config.run.data {
        bail!("{}: pairs are not answered; give --prompt TEXT, or --prompts FILE", data.display());
    }
    let prompts = match &arguments.prompts {
        Some(file) => {
            let (prompts, read) = read_prompts(Input::open(file)?.path(), &config.data)?;
            output::note_read(&read);
            prompts
        }
        None => vec![vec![Message::user(arguments.prompt.clone().unwrap_or_default())]],
    };
    let adapter = arguments.adapter.as_deref().map(fetched).transpose()?;
    let template = if has_chat_template(folder)? { TemplateKind::Chat } else { TemplateKind::Raw };
    let request = TextRequest { force: arguments.force_text, ..config.text_request() };
    let folders: Vec<_> = adapter.as_deref().into_iter().chain([folder.as_path()]).collect();
    let text = request.resolve(
        &folders,
        &TextSettings { template, append_eos: false, max_length: None, ..TextSettings::default() },
    )?;
    output::note(&text);
    let settings = CausalLmSettings {
        text: text.settings.clone(),
        batch_answers: arguments.batch,
        force_text: request.force,
        ..config.causal_lm()
    };
    let mut model = CausalLm::from_folder(folder, &settings, device)?;
    text.check_tokenizer(model.tokenizer())?;
    if let Some(adapter) = &adapter {
        model.load_adapter(adapter, "default")?;
    }
    let sampling = Sampling {
        max_new_tokens: arguments.max_new_tokens,
        min_new_tokens: arguments.min_new_tokens,
        temperature: if arguments.greedy { 0.0 } else { arguments.temperature },
        top_k: arguments.top_k,
        top_p: arguments.top_p,
        repetition_penalty: arguments.repetition_penalty,
        samples_per_prompt: arguments.samples,
        stop: arguments.stop,
        seed: config.run.seed,
    };
    let tokenize = |prompts: &[Vec<Message>]| {
        prompts.iter().map(|prompt| model.tokenize_prompt(prompt)).collect::<Result<Vec<_>, _>>()
    };
    if arguments.timing {
        let first = tokenize(prompts.get(..arguments.batch.min(prompts.len())).unwrap_or_default())?;
        model.sample(&first, &sampling, GenerateOptions::default(), &mut Context::silent())?;
    }
    let start = Instant::now();
    let tokens = tokenize(&prompts)?;
    let answers = if arguments.prompts.is_some() {
        let mut progress = output::progress()?;
        let mut cx = Context::new(Stage::Generate, &mut progress);
        let answers = model.sample(&tokens, &sampling, GenerateOptions::default(), &mut cx)?;
        cx.finish();
        drop(progress);
        write_lines(&prompts, &answers)?;
        answers
    } else {
        write_text(&model, &tokens, &sampling)?
    };
    if arguments.timing {
        let count: usize = answers.iter().flatten().map(|answer| answer.response.tokens.len()).sum();
        output::timing(&serde_json::json!({"tokens_per_s": count as f64 / start.elapsed().as_secs_f64()}));
    }
    Ok(())
}

/// A line of JSON for each answer.
fn write_lines(prompts: &[Vec<Message>], answers: &[Vec<SampledAnswer>]) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for (prompt, samples) in prompts.iter().zip(answers) {
        let prompt = match prompt.as_slice() {
            [turn] => serde_json::json!(turn.content),
            turns => serde_json::json!(turns),
        };
        for sample in samples {
            let line = serde_json::json!({"prompt": prompt, "response": sample.response.text});
            writeln!(out, "{line}")?;
        }
    }
    Ok(out.flush()?)
}

/// The answers' texts alone; a single one as it comes if standard output is a terminal.
fn write_text(model: &CausalLm, tokens: &[Vec<u32>], sampling: &Sampling) -> anyhow::Result<Vec<Vec<SampledAnswer>>> {
    let mut out = io::stdout().lock();
    let streams = out.is_terminal() && sampling.samples_per_prompt == 1;
    let mut failed = None;
    let mut show = |piece: TextPiece<'_>| {
        if let Err(error) = write!(out, "{}", piece.text).and_then(|()| out.flush()) {
            failed.get_or_insert(error);
        }
    };
    let on_text: Option<&mut dyn FnMut(TextPiece<'_>)> = if streams { Some(&mut show) } else { None };
    let options = GenerateOptions { on_text, ..GenerateOptions::default() };
    let answers = model.sample(tokens, sampling, options, &mut Context::silent())?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if streams {
        writeln!(out)?;
    } else {
        let texts: Vec<&str> = answers.iter().flatten().map(|answer| answer.response.text.as_str()).collect();
        writeln!(out, "{}", texts.join("\n\n"))?;
    }
    Ok(answers)
}
