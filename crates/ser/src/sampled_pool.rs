//! A pool out of prompts alone: a generator answers each twice, as the paper proposes for questions without answers
//! ("by allowing the LLM to generate two answers for each question").

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use ser_core::{BoxError, Control, Event, Generator, Message, Observer, Pair, PairId, RawText, Sampling};
use ser_eval::Count;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::durable::hex;
use crate::{Error, Observers, RunFolder, SerData, seed_for};

/// Prompts answered in one stage of a run: what is lost at most when a process dies.
const CHUNK: usize = 256;
/// What people see the work called.
const STAGE: &str = "sample answers";

/// How the answers of a pool are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolSampling {
    /// How a generator samples; `samples_per_prompt` is 2 whatever it says, and the seed is drawn anew for each attempt.
    pub sampling: Sampling,
    /// How often a prompt is answered before it is left out for having no two different answers.
    pub attempts: u32,
}

impl Default for PoolSampling {
    fn default() -> Self {
        PoolSampling { sampling: Sampling::default(), attempts: 3 }
    }
}

impl PoolSampling {
    /// Refuses settings that give no pairs.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |field, value: String, expected| Err(Error::Setting { field, value, expected });
        if self.sampling.temperature == 0.0 {
            return bad("sampling.temperature", "0".into(), "over 0: two greedy answers are the same");
        }
        if self.attempts == 0 {
            return bad("attempts", "0".into(), "at least 1");
        }
        Ok(())
    }
}

/// Pairs of sampled answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampledPool {
    /// The pairs, in the order of the prompts.
    pub pairs: Vec<Arc<Pair>>,
    /// Prompts left out, by reason.
    pub left_out: Vec<Count>,
}

/// What came of a stage.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Outcome {
    identical: u64,
    empty: u64,
}

/// A line of a stage's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The prompt's place among all prompts.
    place: u64,
    prompt: Vec<Message>,
    responses: [String; 2],
}

/// Answers every prompt twice and makes a pool of the pairs, with ids from `first_id` on.
///
/// Answers that are the same, or empty, are sampled again; prompts that still have no two different answers are left out
/// and counted. The work is done in stages of `run`, under `pool`; `make` is called for the generator only if one of them
/// is not done yet.
///
/// # Errors
/// Settings that give no pairs; other prompts or settings than the run began with; the generator's own errors;
/// [`Error::Interrupted`] if an observer said stop.
pub fn sample_pool<G, E>(
    make: impl FnOnce() -> Result<G, E>,
    prompts: &[Vec<Message>],
    settings: &PoolSampling,
    first_id: u64,
    run: &mut RunFolder,
    observers: &mut Observers<'_>,
) -> Result<SampledPool, Error>
where
    G: Generator,
    E: Into<BoxError>,
{
    settings.check()?;
    run.agree_on_settings("pool", settings)?;
    run.agree_on_data("prompts", &fingerprint(prompts))?;
    let stages: Vec<String> = (0..prompts.len().div_ceil(CHUNK)).map(|i| format!("pool/{i:04}.jsonl")).collect();
    let mut generator = None;
    if !stages.iter().all(|stage| run.is_done(stage)) {
        generator = Some(make().map_err(Error::stage(STAGE))?);
    }
    let path = run.path().to_owned();
    let (mut pool, mut outcome) = (SampledPool::default(), Outcome::default());
    let total = Some(prompts.len() as u64);
    observers.watch(&path, STAGE, total, "prompts", |observer| {
        let mut work = |observer: &mut dyn Observer| -> Result<(), Error> {
            for (i, (stage, chunk)) in stages.iter().zip(prompts.chunks(CHUNK)).enumerate() {
                let target = run.stage_path(stage);
                let made = run.file_stage(stage, |out| {
                    let Some(generator) = generator.as_mut() else {
                        return Err(Error::Damaged { path: target.clone() });
                    };
                    let mut heard = |event: &Event<'_>| match event {
                        // Two answers a prompt; those of later attempts were counted.
                        Event::Advanced { done, .. } => {
                            let done = ((i * CHUNK) as u64 + done / 2).min((i * CHUNK + chunk.len()) as u64);
                            observer.observe(&Event::Advanced { stage: STAGE, done })
                        }
                        _ => Control::Continue,
                    };
                    let pairs = answer(generator, chunk, settings, i, &mut heard)?;
                    write_lines(out, &target, chunk, &pairs, i * CHUNK)
                })?;
                outcome.identical += made.identical;
                outcome.empty += made.empty;
                // Always from the file, so that a resumed run sees what this one does.
                pool.pairs.extend(read_lines(&target, first_id)?);
                let done = (i * CHUNK + chunk.len()) as u64;
                if observer.observe(&Event::Advanced { stage: STAGE, done }) == Control::Stop {
                    break;
                }
            }
            Ok(())
        };
        Ok::<_, Error>(work(observer))
    })??;
    let reasons = [("two answers the same", outcome.identical), ("an empty answer", outcome.empty)];
    let counted = reasons.into_iter().filter(|(_, n)| *n > 0);
    pool.left_out = counted.map(|(why, n)| Count::new(format!("prompts: {why}"), n)).collect();
    Ok(pool)
}

impl SerData {
    /// The first id that no pair has.
    pub fn free_id(&self) -> u64 {
        let labelled = [&self.seed, &self.validation, &self.test].into_iter().flatten().map(|p| p.pair.id.0);
        labelled.chain(self.pool.iter().map(|pair| pair.id.0)).max().map_or(0, |id| id.saturating_add(1))
    }

    /// Adds sampled pairs to the pool; they have no gold labels.
    pub fn add_to_pool(&mut self, sampled: SampledPool) {
        self.counts.rows += sampled.pairs.len() as u64 + sampled.left_out.iter().map(|c| c.count).sum::<u64>();
        self.counts.left_out.extend(sampled.left_out);
        self.pool.extend(sampled.pairs);
    }
}

/// What a prompt's answers came to.
enum Answers {
    Two([String; 2]),
    /// Never more than one that is not empty.
    Identical,
    /// Never one that is not empty.
    Empty,
}

/// Two different answers for each prompt of a stage, where there are any.
fn answer<G: Generator>(
    generator: &mut G,
    prompts: &[Vec<Message>],
    settings: &PoolSampling,
    stage: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<Answers>, Error> {
    let mut found: Vec<Vec<String>> = vec![Vec::new(); prompts.len()];
    for attempt in 0..settings.attempts {
        let open: Vec<usize> = found.iter().enumerate().filter(|(_, f)| f.len() < 2).map(|(i, _)| i).collect();
        if open.is_empty() {
            break;
        }
        let asked: Vec<Vec<Message>> = open.iter().filter_map(|&i| prompts.get(i).cloned()).collect();
        let seed = seed_for(settings.sampling.seed, &format!("answers {stage}, attempt {attempt}"));
        let sampling = Sampling { samples_per_prompt: 2, seed, ..settings.sampling.clone() };
        let answers = generator.generate_observed(&asked, &sampling, STAGE, observer).map_err(Error::stage(STAGE))?;
        if answers.len() != asked.len() {
            let (expected, got) = (asked.len(), answers.len());
            return Err(Error::Count { stage: STAGE.into(), expected, got });
        }
        for (&place, answers) in open.iter().zip(answers) {
            let Some(found) = found.get_mut(place) else { continue };
            for text in answers.into_iter().map(|response| response.text) {
                let new = !text.trim().is_empty() && found.iter().all(|other| other.trim() != text.trim());
                if new && found.len() < 2 {
                    found.push(text);
                }
            }
        }
    }
    let two = |answers: Vec<String>| match <[String; 2]>::try_from(answers) {
        Ok(two) => Answers::Two(two),
        Err(fewer) if fewer.is_empty() => Answers::Empty,
        Err(_) => Answers::Identical,
    };
    Ok(found.into_iter().map(two).collect())
}

fn write_lines(
    out: &mut dyn Write,
    target: &Path,
    prompts: &[Vec<Message>],
    answers: &[Answers],
    first: usize,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    for (place, (prompt, answers)) in (first as u64..).zip(prompts.iter().zip(answers)) {
        match answers {
            Answers::Two(responses) => {
                let line = Line { place, prompt: prompt.clone(), responses: responses.clone() };
                let text = serde_json::to_string(&line).map_err(|e| Error::io("write", target)(e.into()))?;
                writeln!(out, "{text}").map_err(Error::io("write", target))?;
            }
            Answers::Identical => outcome.identical += 1,
            Answers::Empty => outcome.empty += 1,
        }
    }
    Ok(outcome)
}

fn read_lines(path: &Path, first_id: u64) -> Result<Vec<Arc<Pair>>, Error> {
    let file = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    let mut pairs = Vec::new();
    for line in file.lines() {
        let line = line.map_err(Error::io("read", path))?;
        let line: Line = serde_json::from_str(&line).map_err(|_| Error::Damaged { path: path.to_owned() })?;
        // Under the raw template a prompt of one turn is continued as it stands.
        let raw = if line.prompt.len() == 1 { RawText::Joined } else { RawText::None };
        let id = PairId(first_id.saturating_add(line.place));
        pairs.push(Arc::new(Pair { id, prompt: line.prompt, responses: line.responses, response_turns: None, raw }));
    }
    Ok(pairs)
}

#[derive(Serialize)]
struct Fingerprint {
    prompts: usize,
    sha256: String,
}

fn fingerprint(prompts: &[Vec<Message>]) -> Fingerprint {
    let mut hasher = Sha256::new();
    for prompt in prompts {
        hasher.update((prompt.len() as u64).to_le_bytes());
        for turn in prompt {
            let extra = turn.extra_json();
            for text in [turn.role.as_str(), &turn.content].into_iter().chain(extra.as_deref()) {
                hasher.update((text.len() as u64).to_le_bytes());
                hasher.update(text);
            }
        }
    }
    Fingerprint { prompts: prompts.len(), sha256: hex(&hasher.finalize()) }
}
