//! The data of a procedure.

use std::path::{Path, PathBuf};

use ser_core::{Message, PreferenceSet};
use ser_data::corpus::generate;
use ser_data::{data_size, read_prompts};

use crate::Error;
use crate::config::Config;
use crate::observe::Observers;
use crate::prepare::{CHUNK, PreparedData, prepare, prepare_files, prepare_indexed};

/// The data of a procedure, as [`Models::check`](crate::Models::check) sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProcedureData {
    /// Preferences in their parts.
    pub prepared: PreparedData,
    /// Prompts whose sampled answers extend the pool.
    pub pool_prompts: Vec<Vec<Message>>,
    /// Prompts of PPO; empty if no policies are trained.
    pub ppo_prompts: Vec<Vec<Message>>,
    /// Test prompts, which all policies answer; the first `policies.judged` of them are used. Empty if no policies are trained.
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
            (None, Some(data)) => (format!("SER on {}", file_name(data)), None, read_files(config, data, observers)?),
            (None, None) => {
                let corpus = generate(&config.corpus).map_err(Error::stage("making the built-in corpus"))?;
                let texts = corpus.texts().map(str::to_owned).collect();
                let prepared = prepare(corpus.train.preferences, Some(corpus.test.preferences), &config.split)?;
                ("SER on the built-in corpus".to_owned(), Some(texts), prepared)
            }
        };
        prepared.notes.iter().for_each(|note| observers.note(&format!("note: {note}")));
        let prompts = |preferences: &PreferenceSet| match config.policies.train {
            true => prompts_of(preferences),
            false => Ok(Vec::new()),
        };
        Ok(ProcedureData {
            pool_prompts,
            ppo_prompts: prompts(&prepared.ppo)?,
            test_prompts: prompts(&prepared.data.test)?,
            prepared,
            corpus_texts,
            warnings: Vec::new(),
            title,
        })
    }
}

/// Reads the files of the settings, in memory or by an index on disk, as their size decides.
fn read_files(config: &Config, data: &Path, observers: &mut Observers<'_>) -> Result<PreparedData, Error> {
    let (test, most) = (config.run.test_data.as_deref(), config.run.in_memory_bytes);
    let split = config.data.split.as_deref();
    let size = data_size(data, split)? + test.map_or(Ok(0), |test| data_size(test, split))?;
    if size <= most {
        return prepare_files(data, test, &config.data, &config.split);
    }
    let folder = config.run.pair_index.clone().unwrap_or_else(user_cache);
    observers.note(&format!(
        "note: the data has {} MB, more than run.in_memory_bytes ({} MB): its pairs are in an index in {}",
        size / 1_000_000,
        most / 1_000_000,
        folder.display()
    ));
    prepare_indexed(data, test, &config.data, &config.split, &folder, observers)
}

/// The folder of indexes if the settings name none.
fn user_cache() -> PathBuf {
    let user = || std::env::home_dir().unwrap_or_default().join(".cache");
    let folder = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty());
    folder.map_or_else(user, PathBuf::from).join("ser/pairs")
}

fn prompts_of(preferences: &PreferenceSet) -> Result<Vec<Vec<Message>>, Error> {
    let mut prompts = Vec::with_capacity(preferences.len());
    for chunk in preferences.chunks(CHUNK) {
        prompts.extend(chunk.map_err(Error::store)?.iter().map(|preference| preference.pair.prompt.clone()));
    }
    Ok(prompts)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
