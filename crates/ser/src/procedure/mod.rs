//! The whole method as stages of a run folder: SFT, loop, PPO, comparison.

mod answers;
mod comparison;
mod data;
mod judge;
mod models;
mod plan;
mod policies;
mod run;

use std::path::PathBuf;

use ser_core::{Judge, Message, Observer};

use crate::config::Config;
use crate::observe::{MetricsLog, Observers};
use crate::prepare::PreparedData;
use crate::{Error, Outcome, RunFolder};

pub use data::ProcedureData;
pub use models::{Models, ModelsFn, models_fn};
pub use run::ProcedureRun;

use judge::{Comparer, boxed};
use models::of_models;

/// The whole method: supervised fine-tuning, self-evolution of the reward model, PPO with that model, and the comparison
/// of all policies.
///
/// [`run`](Procedure::run) runs it in a folder; [`open`](Procedure::open) opens the folder, so that a program can run
/// single stages. Each stage is done once: a resumed run continues with the first stage that is not done, and ends with
/// the result of a run that was never stopped. Policies are trained if the setting `policies.train` is true; otherwise
/// the procedure is the loop alone.
///
#[doc = include_str!("own_models.md")]
#[cfg_attr(feature = "libtorch", doc = include_str!("language_models.md"))]
pub struct Procedure<'a, M> {
    config: Config,
    models: M,
    data: Option<PreparedData>,
    pool_prompts: Option<Vec<Vec<Message>>>,
    observers: Observers<'a>,
    judge: Option<Comparer<'a>>,
    resume: bool,
    repair: bool,
    title: Option<String>,
}

impl<'a, M: Models> Procedure<'a, M> {
    /// A procedure with these settings and models, and no observer.
    pub fn new(config: Config, models: M) -> Self {
        Procedure {
            config,
            models,
            data: None,
            pool_prompts: None,
            observers: Observers::new(),
            judge: None,
            resume: false,
            repair: false,
            title: None,
        }
    }

    /// Works on this data. Without it, the data is that of the settings: `run.data`, or else the built-in corpus.
    #[must_use]
    pub fn data(mut self, data: PreparedData) -> Self {
        self.data = Some(data);
        self
    }

    /// Extends the pool by two sampled answers per prompt. Without it, the prompts are those of the file `prompts.file`,
    /// if it is set.
    #[must_use]
    pub fn pool_prompts(mut self, prompts: Vec<Vec<Message>>) -> Self {
        self.pool_prompts = Some(prompts);
        self
    }

    /// Compares policies by this judge, shown under this name. Without it, the judge is that of the settings.
    #[must_use]
    pub fn judge<J: Judge + 'a>(mut self, name: impl Into<String>, judge: J) -> Self {
        self.judge = Some(Comparer { name: name.into(), judge: boxed(judge) });
        self
    }

    /// Adds an observer, which can also stop the run. All observers get all events.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'a) -> Self {
        self.observers.push(observer);
        self
    }

    /// Whether to continue a run that is in the folder. Without one, a run starts either way.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Whether damaged stages of a run that is in the folder are made again, as [`RunFolder::repair`] does. The run is then
    /// resumed.
    #[must_use]
    pub fn repair(mut self, repair: bool) -> Self {
        self.repair = repair;
        self
    }

    /// Title of the report.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Runs all stages in a folder, which is created if it does not exist.
    ///
    /// # Errors
    /// As of [`open`](Procedure::open), and the errors of each stage. After any error the run can be resumed from the last
    /// finished stage. [`Error::Interrupted`] if an observer requested a stop.
    pub fn run(self, folder: impl Into<PathBuf>) -> Result<Outcome, Error> {
        self.open(folder)?.finish()
    }

    /// Checks settings, data and models, and opens the run folder. Nothing is written before all of them are checked.
    ///
    /// # Errors
    /// A setting that cannot be used, data that cannot be read, models that do not fit settings or data, a folder that
    /// contains something else.
    pub fn open(self, folder: impl Into<PathBuf>) -> Result<ProcedureRun<'a, M>, Error> {
        let Procedure { config, mut models, data, pool_prompts, mut observers, judge, resume, repair, title } = self;
        config.check()?;
        if judge.is_none() && config.policies.train {
            Comparer::check(&config)?;
        }
        let mut data = ProcedureData::read(&config, data, pool_prompts, &mut observers)?;
        if let Some(title) = title {
            data.title = title;
        }
        if !data.pool_prompts.is_empty() {
            let prompts = std::mem::take(&mut data.pool_prompts);
            data.pool_prompts = data.prepared.data.without_held_out(prompts)?;
        }
        models.check(&mut data, &mut observers).map_err(of_models)?;
        data.test_prompts.truncate(config.policies.judged);
        let (run, damaged) = match repair {
            true => RunFolder::repair(folder)?,
            false => (RunFolder::open(folder, resume)?, Vec::new()),
        };
        damaged.iter().for_each(|path| observers.note(&format!("{} is damaged: the run repairs it", path.display())));
        observers.push(MetricsLog::append(run.path().join("metrics.jsonl"))?);
        data.warnings.iter().for_each(|warning| observers.note(warning));
        Ok(ProcedureRun {
            config,
            models,
            labelled: data.prepared.data.seed.clone(),
            data,
            run,
            observers,
            judge,
            evolved: None,
            trained: None,
            started: false,
            compared: false,
        })
    }
}
