//! The comparison of policies by a judge.

use std::sync::Arc;

use ser_core::{BoxError, Clusters, Context, Judge, Observer, Pair, Side, Stage, Verdict};
use ser_data::corpus::count_cues;
use ser_data::prompt_clusters;
use ser_eval::{Bootstrap, Comparison, PolicyReport};

use super::Models;
use super::answers::samples;
use super::run::{Evolved, ProcedureRun};
use crate::config::Config;
use crate::report::write_report;
use crate::{Error, RunFolder};

/// The comparisons: each policy with SFT, and PPO with the evolved reward model with all others.
pub(super) const COMPARED: [(&str, &str); 5] =
    [("PPO-SER", "SFT"), ("PPO-Full", "SFT"), ("DPO", "SFT"), ("PPO-SER", "PPO-Full"), ("PPO-SER", "DPO")];

/// Judges pairs, as a stage of that name.
type Verdicts<'a> = dyn FnMut(&[Arc<Pair>], &str, &mut dyn Observer) -> Result<Vec<Verdict>, BoxError> + 'a;

/// A judge with its name.
pub(super) struct Comparer<'a> {
    pub(super) name: String,
    pub(super) judge: Box<Verdicts<'a>>,
}

/// A judge without its type.
pub(super) fn boxed<'a, J: Judge + 'a>(mut judge: J) -> Box<Verdicts<'a>> {
    Box::new(move |pairs, stage, observer| {
        let mut cx = Context::new(Stage::from(stage), observer);
        let verdicts = judge.judge(pairs, &mut cx).map_err(Into::into)?;
        cx.finish();
        Ok(verdicts)
    })
}

impl Comparer<'static> {
    /// Checks the judge of the settings, the environment variable with its key included.
    pub(super) fn check(config: &Config) -> Result<(), Error> {
        #[cfg(feature = "http")]
        if let Some(judge) = &config.judge {
            ser_eval::PairwiseJudge::new(ser_eval::JudgeSettings { cache: None, ..judge.clone() })?;
        }
        #[cfg(not(feature = "http"))]
        if config.judge.is_some() {
            return Err(Error::Feature { what: "the judge of the table [judge]", feature: "http" });
        }
        Ok(())
    }

    /// The judge of the settings; else, for the built-in corpus, its known truth.
    fn of_settings(config: &Config, corpus: bool, run: &RunFolder) -> Result<Option<Self>, Error> {
        let _ = run;
        #[cfg(feature = "http")]
        if let Some(settings) = &config.judge {
            // Its answers are cached in the run folder: a resumed run does not ask again.
            let cache = settings.cache.clone().unwrap_or_else(|| run.path().join("policies/judge_cache.jsonl"));
            let settings = ser_eval::JudgeSettings { cache: Some(cache), ..settings.clone() };
            let name = settings.model.clone();
            return Ok(Some(Comparer { name, judge: boxed(ser_eval::PairwiseJudge::new(settings)?) }));
        }
        let truth: Box<Verdicts<'static>> = Box::new(|pairs, _, _| Ok(by_cues(pairs)));
        let name = "the share of good cues".to_owned();
        Ok((config.judge.is_none() && corpus).then_some(Comparer { name, judge: truth }))
    }
}

/// Compares the answers and writes the report with all results of policies.
pub(super) fn compare<M: Models>(procedure: &mut ProcedureRun<'_, M>) -> Result<(), Error> {
    let comparisons = comparisons(procedure)?;
    let ProcedureRun { data, run, evolved, trained, .. } = procedure;
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

fn comparisons<M: Models>(procedure: &mut ProcedureRun<'_, M>) -> Result<Vec<Comparison>, Error> {
    let ProcedureRun { config, data, run, observers, judge, trained, .. } = procedure;
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
        let comparison = Comparison::measure(policy, against, by.as_str(), &pairs, &verdicts?, clusters, &bootstrap)?;
        if let Some(rate) = &comparison.win_rate {
            let rate = 100.0 * rate.value;
            observers.note(&format!("{policy} against {against}: win rate {rate:.1} %, by {by}"));
        }
        comparisons.push(comparison);
    }
    Ok(comparisons)
}

/// Prefers the answer with the higher share of good cues.
fn by_cues(pairs: &[Arc<Pair>]) -> Vec<Verdict> {
    let verdict = |pair: &Arc<Pair>| {
        let [a, b] = [Side::A, Side::B].map(|side| count_cues(pair.response(side)).quality());
        match a.total_cmp(&b) {
            std::cmp::Ordering::Greater => Verdict::Prefers(Side::A),
            std::cmp::Ordering::Less => Verdict::Prefers(Side::B),
            std::cmp::Ordering::Equal => Verdict::Tie,
        }
    };
    pairs.iter().map(verdict).collect()
}
