//! Self-evolution as one value to configure and run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ser_core::{Learner, Observer, PairLoss, StatusRule, rule_fn};
use ser_eval::Report;
use ser_status::Anchor;

use crate::Error;
use crate::iteration::{
    Chosen, CustomRule, DriftMonitor, HeldOut, Iteration, Iterations, LearnerStages, LoopInputs, choose,
};
use crate::observe::Observers;
use crate::pool::{LabelTargets, PoolColumns};
use crate::prepare::{DataFingerprints, SerData};
use crate::report::{Findings, report, write_report};
use crate::run_folder::RunFolder;
use crate::settings::LoopSettings;

/// Self-Evolved Reward Learning: trains a reward model on a labelled seed, then on labels that it gives itself.
///
/// A run starts with Loop 0, which trains on the seed. In each later iteration the model scores the pool, the anchor turns
/// scores into probabilities, the schedule decides the status, the filter selects the pairs that the model is sure of, and
/// the model is trained on these pairs with its own labels. The run ends when the schedule says stop or no pair is selected.
pub struct SelfEvolution<'a> {
    settings: LoopSettings,
    observers: Observers<'a>,
    loss: Option<Box<dyn PairLoss + 'a>>,
    rule: Option<CustomRule<'a>>,
    resume: bool,
    title: String,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The report, as in `report.json`.
    pub report: Report,
    /// The iteration whose model is the result, by [`ModelSelection`](crate::ModelSelection); 0 is the seed model.
    pub iteration: u32,
    /// The folder with that model's snapshot.
    pub model: PathBuf,
    /// The path of `report.html`.
    pub html: PathBuf,
}

impl<'a> SelfEvolution<'a> {
    /// With these settings and their loss, without observers.
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

    /// Adds an observer, which gets all events and can request a stop.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'a) -> Self {
        self.observers.push(observer);
        self
    }

    /// Trains with this loss instead of the loss of the settings.
    #[must_use]
    pub fn loss(mut self, loss: impl PairLoss + 'a) -> Self {
        self.loss = Some(Box::new(loss));
        self
    }

    /// Selects pairs by this rule instead of by status. The schedule then only decides when to stop. The rule must return
    /// the same for the same pairs each time.
    #[must_use]
    pub fn rule<R: StatusRule + 'a>(mut self, rule: R) -> Self {
        self.rule = Some(Box::new(rule_fn(move |pool| rule.classify(pool).map_err(Into::into))));
        self
    }

    /// Whether a run in the folder is continued. Without a run in the folder, one starts either way.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Sets the report's heading.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Runs in a folder, which is created if it does not exist. At the end, `learner` has the resulting model.
    ///
    /// For a resumed run, give the learner in its initial state; its trained state is read from the folder.
    ///
    /// # Errors
    /// See [`Error`]. After any error the run can be resumed from the last finished stage, once the cause is removed.
    /// [`Error::Interrupted`] if an observer requested a stop.
    pub fn run<L: Learner + ?Sized>(
        self,
        learner: &mut L,
        data: SerData,
        folder: impl AsRef<Path>,
    ) -> Result<Outcome, Error> {
        // Before the folder is created.
        self.settings.check()?;
        let fingerprints = data.fingerprints()?;
        let mut run = RunFolder::open(folder.as_ref(), self.resume)?;
        self.run_checked(learner, data, &fingerprints, &mut run)
    }

    /// Like [`run`](SelfEvolution::run), in an open folder, which may contain other stages.
    ///
    /// # Errors
    /// As of [`run`](SelfEvolution::run).
    pub fn run_in<L: Learner + ?Sized>(
        self,
        learner: &mut L,
        data: SerData,
        run: &mut RunFolder,
    ) -> Result<Outcome, Error> {
        self.settings.check()?;
        let fingerprints = data.fingerprints()?;
        self.run_checked(learner, data, &fingerprints, run)
    }

    fn run_checked<L: Learner + ?Sized>(
        mut self,
        learner: &mut L,
        data: SerData,
        fingerprints: &DataFingerprints,
        run: &mut RunFolder,
    ) -> Result<Outcome, Error> {
        let checked = self.settings.checked()?;
        run.record_or_verify_settings("loop", &self.settings)?;
        let custom = BTreeMap::from([("loss", self.loss.is_some()), ("rule", self.rule.is_some())]);
        run.record_or_verify_settings("custom", &custom)?;
        run.record_or_verify_data("seeds", &BTreeMap::from([("run", self.settings.seed)]))?;
        fingerprints.record_or_verify(run)?;
        let loss: &dyn PairLoss = match &self.loss {
            Some(loss) => loss.as_ref(),
            None => &checked.loss,
        };
        let mut stages = LearnerStages::new(learner, run, &mut self.observers, loss, self.settings.seed)?;
        let screened = stages.screen(&data.all_parts())?;
        let data = data.keep_usable(screened)?;
        let needs_validation = self.settings.anchor == Anchor::Fitted || self.settings.precision_target.is_some();
        if needs_validation && data.validation.is_empty() {
            return Err(Error::NoPairs {
                part: "validation set",
                hint: "the fitted anchor and the precision target need one: hold a part of the seed out",
            });
        }
        let mut warnings = if self.rule.is_some() { Vec::new() } else { self.settings.warnings() };
        let columns = PoolColumns::read(&data.pool)?;
        let gold = data.gold_labels(&columns.ids);
        let (validation, test) = (HeldOut::new(&data.validation)?, HeldOut::new(&data.test)?);
        let inputs = LoopInputs {
            data: &data,
            gold: &gold,
            columns: &columns,
            targets: LabelTargets::new(&data.seed, &self.settings)?,
            settings: &self.settings,
            checked: &checked,
            rule: self.rule.as_ref(),
            validation: &validation,
            test: &test,
        };
        for (part, held_out) in [("test", inputs.test), ("validation", inputs.validation)] {
            warnings.extend(DriftMonitor::small_sample(part, held_out.len(), held_out.prompts()));
        }
        for warning in &warnings {
            stages.observers.note(&format!("warning: {warning}"));
        }
        let Iterations { iterations, stopped, warnings: of_loops } = inputs.run(&mut stages)?;
        warnings.extend(of_loops);
        let chosen = choose(&iterations, self.settings.model_selection).map_err(Error::stage("selecting the model"))?;
        let Some(Chosen { iteration: chosen, note }) = chosen else {
            return Err(Error::NoPairs { part: "labelled seed", hint: "give labelled pairs" });
        };
        if let Some(note) = note {
            stages.observers.note(&note);
            warnings.push(note);
        }
        let comparable: Vec<&Iteration> =
            iterations.iter().take_while(|r| chosen.number == 0 || r.number <= chosen.number).collect();
        let comparisons = inputs.baselines(&mut stages, &comparable, &mut warnings)?;
        stages.load(&chosen.model)?;

        let findings = Findings { title: self.title, iterations: &iterations, chosen, stopped, comparisons, warnings };
        let mut report = report(&inputs, findings).map_err(Error::stage("writing the report"))?;
        let html = write_report(stages.run, &mut report)?;
        if self.settings.prune_models {
            stages.prune(&chosen.model)?;
        }
        Ok(Outcome { iteration: chosen.number, model: stages.path(&chosen.model), html, report })
    }
}
