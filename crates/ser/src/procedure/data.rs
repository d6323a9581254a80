//! The data of a procedure.

use std::path::Path;

use ser_core::{Message, Preference};
use ser_data::corpus::generate;
use ser_data::read_prompts;

use crate::Error;
use crate::config::Config;
use crate::observe::Observers;
use crate::prepare::{PreparedData, prepare, prepare_files};

/// The data of a procedure, as [`Models::check`](crate::Models::check) sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProcedureData {
    /// Preferences in their parts.
    pub prepared: PreparedData,
    /// Prompts whose sampled answers extend the pool.
    pub pool_prompts: Vec<Vec<Message>>,
    /// Prompts of PPO.
    pub ppo_prompts: Vec<Vec<Message>>,
    /// Test prompts, which all policies answer; the first `policies.judged` of them are used.
    pub test_prompts: Vec<Vec<Message>>,
    /// The texts of the built-in corpus, if that is the data.
    pub corpus_texts: Option<Vec<String>>,
    /// Sentences for the report and the observers.
    pub warnings: Vec<String>,
    pub(super) title: String,
}

impl ProcedureData {
    /// The data that the caller gave, or else that of the settings.
    pub(super) fn read(
        config: &Config,
        given: Option<PreparedData>,
        pool_prompts: Option<Vec<Vec<Message>>>,
        observers: &mut Observers<'_>,
    ) -> Result<Self, Error> {
        let pool_prompts = match (pool_prompts, &config.prompts.file) {
            (Some(prompts), _) => prompts,
            (None, Some(file)) => {
                let (prompts, read) = read_prompts(file, &config.data)?;
                read.notes().iter().for_each(|note| observers.note(&format!("note: {note}")));
                prompts
            }
            (None, None) => Vec::new(),
        };
        let (title, corpus_texts, prepared) = match (given, &config.run.data) {
            (Some(prepared), _) => ("Self-Evolved Reward Learning".to_owned(), None, prepared),
            (None, Some(data)) => {
                let prepared = prepare_files(data, config.run.test_data.as_deref(), &config.data, &config.split)?;
                (format!("SER on {}", file_name(data)), None, prepared)
            }
            (None, None) => {
                let corpus = generate(&config.corpus).map_err(Error::stage("making the built-in corpus"))?;
                let texts = corpus.texts().map(str::to_owned).collect();
                let prepared = prepare(corpus.train.preferences, Some(corpus.test.preferences), &config.split)?;
                ("SER on the built-in corpus".to_owned(), Some(texts), prepared)
            }
        };
        prepared.notes.iter().for_each(|note| observers.note(&format!("note: {note}")));
        let prompts = |preferences: &[Preference]| preferences.iter().map(|p| p.pair.prompt.clone()).collect();
        Ok(ProcedureData {
            pool_prompts,
            ppo_prompts: prompts(&prepared.ppo),
            test_prompts: prompts(&prepared.data.test),
            prepared,
            corpus_texts,
            warnings: Vec::new(),
            title,
        })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
