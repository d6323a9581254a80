//! The judge that compares policies.

use std::sync::Arc;

use ser_core::{BoxError, Context, Judge, Observer, Pair, Side, Stage, Verdict};
use ser_data::corpus::count_cues;

use crate::config::Config;
use crate::{Error, RunFolder};

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
    pub(super) fn of_settings(config: &Config, corpus: bool, run: &RunFolder) -> Result<Option<Self>, Error> {
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
