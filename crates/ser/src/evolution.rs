//! The whole procedure as one value to configure and run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ser_core::{Learner, Observer, PairLoss, PairProbabilities, StatusRule};
use ser_data::prompt_clusters;
use ser_eval::Report;
use ser_status::{Anchor, StatusError};

use crate::Error;
use crate::evaluation::HeldOut;
use crate::filter::AnyRule;
use crate::model_selection::{Chosen, choose};
use crate::observers::Observers;
use crate::report::{Findings, report, write_report};
use crate::rounds::{Loop, Round, Rounds};
use crate::run_data::SerData;
use crate::run_folder::RunFolder;
use crate::settings::{Guards, LoopSettings};
use crate::stages::Stages;

/// Self-Evolved Reward Learning: trains a reward model on a labelled seed and lets it label the rest itself.
///
/// One run is: Loop 0 on the seed; then, in each loop, the model scores the pool, its scores are anchored, the schedule
/// says by which status the loop filters, the filter keeps what the model is sure of with the model's own labels, and
/// the model is trained on that. It ends when the schedule says stop or nothing is kept.
pub struct SelfEvolution<'a> {
    settings: LoopSettings,
    observers: Observers<'a>,
    loss: Option<Box<dyn PairLoss + 'a>>,
    rule: Option<AnyRule<'a>>,
    resume: bool,
    title: String,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// All its figures, as in `report.json`.
    pub report: Report,
    /// The round whose model is the result, by [`ModelSelection`](crate::ModelSelection); 0 is the seed model.
    pub round: u32,
    /// The folder with that model's snapshot.
    pub model: PathBuf,
    /// The report for people.
    pub html: PathBuf,
}

impl<'a> SelfEvolution<'a> {
    /// With these settings and the loss that they name, nobody watching.
    pub fn new(settings: LoopSettings) -> Self {
        SelfEvolution {
            settings,
            observers: Observers::new(),
            loss: None,
            rule: None,
            resume: false,
            title: "Self-Evolved Reward Learning".to_owned(),
        }
    }

    /// Lets somebody watch, and stop the run. Can be called for several; all are told.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'a) -> Self {
        self.observers.push(observer);
        self
    }

    /// Trains with this loss instead of the one that the settings name.
    #[must_use]
    pub fn loss(mut self, loss: impl PairLoss + 'a) -> Self {
        self.loss = Some(Box::new(loss));
        self
    }

    /// Keeps what this rule keeps, instead of filtering by status. The schedule then only says when to stop. The rule
    /// must say the same of the same pairs each time.
    #[must_use]
    pub fn rule<R: StatusRule + 'a>(mut self, rule: R) -> Self {
        let rule = move |pairs: &[PairProbabilities]| {
            rule.classify(pairs).map_err(|error| StatusError::RuleFailed(error.into()))
        };
        self.rule = Some(Box::new(rule));
        self
    }

    /// Whether a run that is in the folder goes on; without one, a run starts either way.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// The report's heading.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Runs in a folder, which is made where there is none. At the end, `learner` holds the resulting model.
    ///
    /// In a resumed run the learner is handed in as it was at first; its state is then read from the folder.
    ///
    /// # Errors
    /// See [`Error`]; after any, the run can be resumed from the last stage that was finished, once the cause is gone.
    /// [`Error::Interrupted`] if an observer said stop.
    pub fn run<L: Learner>(self, learner: &mut L, data: SerData, folder: impl AsRef<Path>) -> Result<Outcome, Error> {
        // Before a folder is made for nothing.
        self.settings.check()?;
        data.check_ids()?;
        let mut run = RunFolder::open(folder.as_ref(), self.resume)?;
        self.run_in(learner, data, &mut run)
    }

    /// Like [`run`](SelfEvolution::run), in a folder that the caller opened, and may have put other stages into.
    pub fn run_in<L: Learner>(mut self, learner: &mut L, data: SerData, run: &mut RunFolder) -> Result<Outcome, Error> {
        let checked = self.settings.checked()?;
        data.check_ids()?;
        run.agree_on_settings("loop", &self.settings)?;
        let custom = BTreeMap::from([("loss", self.loss.is_some()), ("rule", self.rule.is_some())]);
        run.agree_on_settings("custom", &custom)?;
        run.agree_on_data("seeds", &BTreeMap::from([("run", self.settings.seed)]))?;
        data.agree(run)?;
        let loss: &dyn PairLoss = match &self.loss {
            Some(loss) => loss.as_ref(),
            None => &checked.loss,
        };
        let mut stages = Stages::new(learner, run, &mut self.observers, loss, self.settings.seed)?;
        let data = data.screened(&mut stages)?;
        let needs_validation = self.settings.anchor == Anchor::Fitted || self.settings.precision_target.is_some();
        if needs_validation && data.validation.is_empty() {
            return Err(Error::NoPairs {
                part: "validation set",
                hint: "the fitted anchor and the precision target need one: hold a part of the seed out",
            });
        }
        let mut warnings = if self.rule.is_some() { Vec::new() } else { self.settings.warnings() };
        let gold = data.gold_labels();
        let pool_prompts = prompt_clusters(data.pool.iter().map(AsRef::as_ref));
        let (validation, test) = (HeldOut::new(&data.validation), HeldOut::new(&data.test));
        let work = Loop {
            data: &data,
            gold: &gold,
            pool_prompts: &pool_prompts,
            settings: &self.settings,
            checked: &checked,
            rule: self.rule.as_ref(),
            validation: &validation,
            test: &test,
        };
        for (part, held_out) in [("test", work.test), ("validation", work.validation)] {
            warnings.extend(Guards::small_sample(part, held_out.len(), held_out.prompts()));
        }
        for warning in &warnings {
            stages.observers.note(&format!("warning: {warning}"));
        }
        let Rounds { rounds, stopped, warnings: of_loops } = work.run(&mut stages)?;
        warnings.extend(of_loops);
        let chosen = choose(&rounds, self.settings.choice).map_err(Error::stage("choosing the model"))?;
        let Some(Chosen { round: chosen, note }) = chosen else {
            return Err(Error::NoPairs { part: "labelled seed", hint: "give labelled pairs" });
        };
        if let Some(note) = note {
            stages.observers.note(&note);
            warnings.push(note);
        }
        let comparable: Vec<&Round> =
            rounds.iter().take_while(|r| chosen.number == 0 || r.number <= chosen.number).collect();
        let comparisons = work.baselines(&mut stages, &comparable, &mut warnings)?;
        stages.hold(&chosen.model)?;

        let findings = Findings { title: self.title, rounds: &rounds, chosen, stopped, comparisons, warnings };
        let mut report = report(&work, stages.run, findings).map_err(Error::stage("writing the report"))?;
        let html = write_report(stages.run, &mut report)?;
        if self.settings.prune_models {
            stages.prune(&chosen.model)?;
        }
        Ok(Outcome { round: chosen.number, model: stages.path(&chosen.model), html, report })
    }
}
