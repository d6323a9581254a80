//! A pool from prompts alone: a generator answers each prompt twice, as the paper proposes for questions without answers
//! ("by allowing the LLM to generate two answers for each question").

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use ser_core::{
    BoxError, Context, Control, Event, Generator, Message, Pair, PairId, PairSet, RawText, Sampling, Stage, Stopped,
    observer_fn,
};
use ser_data::PromptKey;
use ser_eval::Count;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::observe::Observers;
use crate::prepare::{CHUNK as PAIRS, SerData};
use crate::run_folder::{Fingerprint, RunFolder};
use crate::seeds::seed_for;

/// Prompts per stage: a killed process loses at most these.
const CHUNK: usize = 256;
/// The name under which progress is reported.
const STAGE: &str = "sample answers";

/// How the answers of a pool are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolSampling {
    /// The generator's sampling settings. `samples_per_prompt` is always 2, and each attempt draws its own seed.
    pub sampling: Sampling,
    /// Attempts to get two different answers before a prompt is left out.
    pub attempts: u32,
}

impl Default for PoolSampling {
    fn default() -> Self {
        PoolSampling { sampling: Sampling::default(), attempts: 3 }
    }
}

impl PoolSampling {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings that give no pairs.
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

/// The prompts of a stage that were left out, by reason.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct LeftOut {
    identical: u64,
    empty: u64,
}

/// A line of a stage's file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The prompt's index among all prompts.
    #[serde(rename = "place")]
    index: u64,
    prompt: Vec<Message>,
    responses: [String; 2],
}

/// Answers every prompt twice and makes a pool of the pairs, with ids from `first_id` on.
///
/// Equal and empty answers are sampled again; prompts that still have no two different answers are left out and counted.
/// The work is done in stages of `run`, under `pool`. `make` creates the generator; it is called only if a stage is not
/// done yet.
///
/// # Errors
/// Settings that give no pairs; other prompts or settings than the run started with; the generator's errors;
/// [`Error::Interrupted`] if an observer requested a stop.
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
    run.record_or_verify_settings("pool", settings)?;
    run.record_or_verify_data("prompts", &Fingerprint::of_prompts(prompts))?;
    let stages: Vec<String> = (0..prompts.len().div_ceil(CHUNK)).map(|i| format!("pool/{i:04}.jsonl")).collect();
    let mut generator = None;
    if !stages.iter().all(|stage| run.is_done(stage)) {
        generator = Some(make().map_err(Error::stage(STAGE))?);
    }
    let path = run.path().to_owned();
    let (mut pool, mut left_out) = (SampledPool::default(), LeftOut::default());
    observers.run_stage(&path, &Stage::SampleAnswers, settings.sampling.seed, |cx| {
        let mut stopped = cx.start(Some(prompts.len() as u64), "prompts").is_err();
        for (i, (stage, chunk)) in stages.iter().zip(prompts.chunks(CHUNK)).enumerate() {
            if stopped {
                break;
            }
            let (target, mut reported) = (run.stage_path(stage), 0);
            let made = run.file_stage(stage, |out| {
                let Some(generator) = generator.as_mut() else {
                    return Err(Error::Damaged { path: target.clone() });
                };
                let pairs = answer(generator, chunk, settings, i, &mut |answers| {
                    // Progress is in prompts: two answers each. Later attempts are not counted again.
                    let prompts = (answers / 2).clamp(reported, chunk.len() as u64);
                    cx.advance(prompts - std::mem::replace(&mut reported, prompts))
                })?;
                write_lines(out, &target, chunk, &pairs, i * CHUNK)
            })?;
            left_out.identical += made.identical;
            left_out.empty += made.empty;
            // Always read from the file, so that a resumed run gets the same pairs.
            pool.pairs.extend(read_lines(&target, first_id)?);
            stopped = cx.advance(chunk.len() as u64 - reported).is_err();
        }
        Ok(())
    })?;
    let reasons = [("two answers the same", left_out.identical), ("an empty answer", left_out.empty)];
    let counted = reasons.into_iter().filter(|(_, n)| *n > 0);
    pool.left_out = counted.map(|(why, n)| Count::new(format!("prompts: {why}"), n)).collect();
    Ok(pool)
}

impl SerData {
    /// The first id that is greater than all others.
    ///
    /// # Errors
    /// Pairs that cannot be read.
    pub fn free_id(&self) -> Result<u64, Error> {
        let mut free = 0;
        for part in self.all_parts() {
            for chunk in part.chunks(PAIRS) {
                let last = chunk.map_err(Error::store)?.iter().map(|pair| pair.id.0.saturating_add(1)).max();
                free = free.max(last.unwrap_or_default());
            }
        }
        Ok(free)
    }

    /// Removes the prompts of test and validation pairs, because models that are trained on the pool are measured on those.
    /// The removed ones are counted in `counts`.
    ///
    /// # Errors
    /// Pairs that cannot be read.
    pub fn without_held_out(&mut self, prompts: Vec<Vec<Message>>) -> Result<Vec<Vec<Message>>, Error> {
        let held_out = self.held_out_prompts()?;
        let all = prompts.len();
        let key = |prompt: &Vec<Message>| {
            PromptKey::of(&Pair { prompt: prompt.clone(), ..Pair::from_text(PairId(0), "", "", "") })
        };
        let kept: Vec<_> = prompts.into_iter().filter(|prompt| !held_out.contains(&key(prompt))).collect();
        self.count_held_out(all - kept.len());
        Ok(kept)
    }

    /// Adds sampled pairs, which have no gold labels, to the pool. Pairs with a prompt of a test or validation pair are left
    /// out and counted.
    ///
    /// # Errors
    /// Pairs that cannot be read.
    pub fn add_to_pool(&mut self, sampled: SampledPool) -> Result<(), Error> {
        let held_out = self.held_out_prompts()?;
        self.counts.rows += sampled.pairs.len() as u64 + sampled.left_out.iter().map(|c| c.count).sum::<u64>();
        self.counts.left_out.extend(sampled.left_out);
        let all = sampled.pairs.len();
        let added: PairSet =
            sampled.pairs.into_iter().filter(|pair| !held_out.contains(&PromptKey::of(pair))).collect();
        let left_out = all - added.len();
        self.pool = if self.pool.is_empty() { added } else { std::mem::take(&mut self.pool).chain(added) };
        // These rows are counted already.
        self.counts.rows -= left_out as u64;
        self.count_held_out(left_out);
        Ok(())
    }

    fn held_out_prompts(&self) -> Result<HashSet<PromptKey>, Error> {
        let mut prompts = HashSet::new();
        for part in [self.test.pairs(), self.validation.pairs()] {
            for chunk in part.chunks(PAIRS) {
                prompts.extend(chunk.map_err(Error::store)?.iter().map(|pair| PromptKey::of(pair)));
            }
        }
        Ok(prompts)
    }

    /// Counts prompts of the test or validation set as rows read and left out.
    fn count_held_out(&mut self, prompts: usize) {
        if prompts > 0 {
            self.counts.rows += prompts as u64;
            self.counts.left_out.push(Count::new("prompts: in the test or validation set", prompts as u64));
        }
    }
}

/// The answers to a prompt.
enum Answers {
    Two([String; 2]),
    /// All answers that are not empty are the same.
    Identical,
    /// All answers are empty.
    Empty,
}

/// Samples two different answers to each prompt of a stage.
fn answer<G: Generator>(
    generator: &mut G,
    prompts: &[Vec<Message>],
    settings: &PoolSampling,
    stage: usize,
    progress: &mut (dyn FnMut(u64) -> Result<(), Stopped> + Send),
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
        let mut observer = observer_fn(|event: &Event<'_>| match event {
            Event::Advanced { done, .. } if progress(*done).is_err() => Control::Stop,
            _ => Control::Continue,
        });
        let mut cx = Context::new(Stage::SampleAnswers, &mut observer);
        let answers = generator.generate(&asked, &sampling, &mut cx).map_err(Error::stage(STAGE))?;
        if answers.len() != asked.len() {
            let (expected, got) = (asked.len(), answers.len());
            return Err(Error::Count { stage: STAGE.into(), expected, got });
        }
        for (&index, answers) in open.iter().zip(answers) {
            let Some(found) = found.get_mut(index) else { continue };
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
) -> Result<LeftOut, Error> {
    let mut left_out = LeftOut::default();
    for (index, (prompt, answers)) in (first as u64..).zip(prompts.iter().zip(answers)) {
        match answers {
            Answers::Two(responses) => {
                let line = Line { index, prompt: prompt.clone(), responses: responses.clone() };
                let text = serde_json::to_string(&line).map_err(|e| Error::io("write", target)(e.into()))?;
                writeln!(out, "{text}").map_err(Error::io("write", target))?;
            }
            Answers::Identical => left_out.identical += 1,
            Answers::Empty => left_out.empty += 1,
        }
    }
    Ok(left_out)
}

fn read_lines(path: &Path, first_id: u64) -> Result<Vec<Arc<Pair>>, Error> {
    let file = BufReader::new(File::open(path).map_err(Error::io("read", path))?);
    let mut pairs = Vec::new();
    for line in file.lines() {
        let line = line.map_err(Error::io("read", path))?;
        let line: Line = serde_json::from_str(&line).map_err(|_| Error::Damaged { path: path.to_owned() })?;
        // Under the raw template a prompt of one turn is continued as it stands.
        let raw = if line.prompt.len() == 1 { RawText::Joined } else { RawText::None };
        let id = PairId(first_id.saturating_add(line.index));
        pairs.push(Arc::new(Pair { id, prompt: line.prompt, responses: line.responses, response_turns: None, raw }));
    }
    Ok(pairs)
}
