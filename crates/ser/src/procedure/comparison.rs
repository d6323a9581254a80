//! The comparison of the policies' answers by a judge.

use ser_core::Clusters;
use ser_data::prompt_clusters;
use ser_eval::{Bootstrap, Comparison, PolicyReport};

use super::answers::samples;
use super::judge::Comparer;
use super::models::Models;
use super::run::{Evolved, ProcedureRun};
use crate::Error;
use crate::report::write_report;

/// The comparisons: each policy with SFT, and PPO with the evolved reward model with all others.
pub(super) const COMPARED: [(&str, &str); 5] =
    [("PPO-SER", "SFT"), ("PPO-Full", "SFT"), ("DPO", "SFT"), ("PPO-SER", "PPO-Full"), ("PPO-SER", "DPO")];

impl<M: Models> ProcedureRun<'_, M> {
    /// Compares the policies' answers, and adds all results of policies to the report.
    ///
    /// # Errors
    /// The judge's own; [`Error::Interrupted`].
    pub fn compare(&mut self) -> Result<(), Error> {
        self.train_policies()?;
        if !self.compared {
            let _span = tracing::info_span!("compare").entered();
            self.write_comparison()?;
            self.compared = true;
        }
        Ok(())
    }

    /// Compares the answers and writes the report with all results of policies.
    fn write_comparison(&mut self) -> Result<(), Error> {
        let comparisons = self.comparisons()?;
        let ProcedureRun { data, run, evolved, trained, .. } = self;
        let (Some(Evolved { outcome, .. }), Some(trained)) = (evolved, trained) else { return Ok(()) };
        outcome.report.policy = Some(PolicyReport {
            stages: trained.stages.clone(),
            comparisons,
            samples: samples(&trained.answers, &data.test_prompts),
        });
        outcome.report.warnings.extend(data.warnings.iter().chain(&trained.warnings).cloned());
        write_report(run, &mut outcome.report)?;
        Ok(())
    }

    fn comparisons(&mut self) -> Result<Vec<Comparison>, Error> {
        let ProcedureRun { config, data, run, observers, judge, trained, .. } = self;
        let answers = trained.as_ref().map_or(&[][..], |trained| &trained.answers);
        let mut of_settings;
        let judge = match judge {
            Some(judge) => Some(judge),
            None => {
                of_settings = Comparer::of_settings(config, data.corpus_texts.is_some(), run)?;
                of_settings.as_mut()
            }
        };
        let Some(Comparer { name: by, judge }) = judge else {
            observers
                .note("the policies' answers are not compared: name a judge's endpoint and model in the table [judge]");
            return Ok(Vec::new());
        };
        let mut comparisons = Vec::new();
        let of = |name: &str| answers.iter().find(|answers| answers.name == name);
        for (policy, against) in COMPARED {
            let (Some(one), Some(other)) = (of(policy), of(against)) else { continue };
            let pairs = one.against(other, &data.test_prompts);
            let stage = format!("judge {policy} against {against}");
            let verdicts = judge(&pairs, &stage, observers).map_err(Error::stage(&stage));
            if observers.stopped() {
                return Err(Error::Interrupted { stage, path: run.path().to_owned() });
            }
            let prompts = prompt_clusters(pairs.iter().map(AsRef::as_ref));
            let (clusters, bootstrap) = (Clusters::Ids(&prompts), Bootstrap::default());
            let comparison =
                Comparison::measure(policy, against, by.as_str(), &pairs, &verdicts?, clusters, &bootstrap)?;
            if let Some(rate) = &comparison.win_rate {
                let rate = 100.0 * rate.value;
                observers.note(&format!("{policy} against {against}: win rate {rate:.1} %, by {by}"));
            }
            comparisons.push(comparison);
        }
        Ok(comparisons)
    }
}
