//! Trained policies and their answers to the test prompts.

use std::sync::Arc;

use ser_core::{Context, Generator, Message, Pair, PairId, RawText, Sampling};
use ser_eval::{PolicyStage, SampleAnswer, SamplePrompt};

use crate::observe::Observers;
use crate::{Error, RunFolder};

/// Number of prompts whose answers the report shows side by side.
const SHOWN: usize = 8;

/// A policy's name and its answers, one per test prompt.
pub(super) struct Answers {
    pub(super) name: &'static str,
    pub(super) texts: Vec<String>,
}

impl Answers {
    /// Answers the prompts as the stage `policies/{name}.jsonl`.
    pub(super) fn of<G: Generator>(
        name: &'static str,
        policy: &mut G,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        run: &mut RunFolder,
        observers: &mut Observers<'_>,
    ) -> Result<Self, Error> {
        let stage = format!("policies/{}.jsonl", name.to_lowercase());
        let path = run.stage_path(&stage);
        let texts = run.file_stage(&stage, |out| {
            observers.note(&format!("{name} answers {} test prompts", prompts.len()));
            let answers = policy.generate(prompts, sampling, &mut Context::silent()).map_err(Error::stage(&stage))?;
            let texts: Vec<String> = answers.into_iter().flatten().map(|answer| answer.text).collect();
            Error::count(&stage, prompts.len(), texts.len())?;
            for (prompt, answer) in prompts.iter().zip(&texts) {
                let line = serde_json::json!({"prompt": prompt, "answer": answer});
                writeln!(out, "{line}").map_err(Error::io("write", &path))?;
            }
            Ok::<_, Error>(texts)
        })?;
        Ok(Answers { name, texts })
    }

    /// One pair per prompt: this policy's answer and the other's.
    pub(super) fn against(&self, other: &Answers, prompts: &[Vec<Message>]) -> Vec<Arc<Pair>> {
        let answers = self.texts.iter().zip(&other.texts);
        let pair = |((id, prompt), (a, b)): ((u64, &Vec<Message>), (&String, &String))| {
            let responses = [a.clone(), b.clone()];
            let prompt = prompt.clone();
            Arc::new(Pair { id: PairId(id), prompt, responses, response_turns: None, raw: RawText::None })
        };
        (0..).zip(prompts).zip(answers).map(pair).collect()
    }
}

/// Trained policies: their answers, their curves, and what went wrong.
#[derive(Default)]
pub(super) struct Trained {
    pub(super) answers: Vec<Answers>,
    pub(super) stages: Vec<PolicyStage>,
    pub(super) warnings: Vec<String>,
}

/// The first answers of all policies side by side.
pub(super) fn samples(all: &[Answers], prompts: &[Vec<Message>]) -> Vec<SamplePrompt> {
    let sample = |(index, prompt): (usize, &Vec<Message>)| SamplePrompt {
        prompt: prompt.iter().map(|turn| turn.content.as_str()).collect::<Vec<_>>().join("\n"),
        answers: all
            .iter()
            .filter_map(|policy| {
                let text = policy.texts.get(index)?.clone();
                Some(SampleAnswer { policy: policy.name.to_owned(), text, reward: None })
            })
            .collect(),
    };
    prompts.iter().enumerate().take(SHOWN).map(sample).collect()
}
