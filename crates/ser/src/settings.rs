//! The settings of the loop.

use ser_core::{Clusters, PairProbabilities};
use ser_eval::Bootstrap;
use ser_loss::{LossKind, LossSettings, PairwiseLoss};
use ser_status::{
    Anchor, AuditSettings, Balance, CheckedThresholds, ConfidentAnswers, LoopState, PrecisionTarget, Schedule,
    ScheduleSettings, Script, Thresholds,
};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Which weights each loop's training begins from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmStart {
    /// The seed model, Loop 0, as in the paper ("upon which all subsequent iterations are based").
    #[default]
    Seed,
    /// The model of the loop before.
    Previous,
    /// The model as it was handed in, untrained. With `replay_seed`, each loop is then a training from scratch.
    Base,
}

/// Which pairs the next loop may label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carry {
    /// The whole pool, each loop anew: labels may change, and pairs may fall out again. The paper's Eq. 4 filters the
    /// whole unlabelled set.
    #[default]
    Whole,
    /// What was not selected yet; a selected pair is trained on in its loop and never again. So the authors' script,
    /// which writes the selected pairs to one file and the rest to another.
    Rest,
    /// What was not selected yet; selected pairs keep their labels and are trained on in every later loop too.
    RestKeepingLabels,
}

/// Which round's model is the result. Without validation pairs it is the last in any case, as in the paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSelection {
    /// The last, unless validation shows that an earlier one is better: the round that gets the most validation pairs
    /// right is taken if it is ahead of the last by more than one standard error of their difference. That is the paired
    /// difference on the same pairs, with the prompt as the independent unit. So few validation pairs cannot replace the
    /// paper's choice by chance.
    #[default]
    OneStandardError,
    /// The one that gets the most validation pairs right, Loop 0 among them, however small the difference; of equals
    /// the earlier.
    Validation,
    /// The last, as in the paper.
    Last,
}

/// What is trained beside SER, for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Baselines {
    /// The ceiling: the base model trained on seed and pool with gold labels.
    pub full: bool,
    /// The loops up to the result over again, each with as many pool pairs drawn at random, labelled by the loop before.
    pub random: bool,
    /// The result's round over again, with gold labels on the pairs it selected.
    pub oracle: bool,
}

impl Default for Baselines {
    fn default() -> Self {
        Baselines { full: true, random: true, oracle: true }
    }
}

impl Baselines {
    /// None of them.
    pub fn none() -> Self {
        Baselines { full: false, random: false, oracle: false }
    }
}

/// When the report warns that the model drifts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guards {
    /// Warns if the share of labels that prefer the longer answer differs from the seed's by more than this. Default 0.15.
    pub longer_share: f64,
    /// Warns if the spread of the pool's margins falls under this share of what it was for the seed model, or rises
    /// over its inverse. Default 0.1.
    pub spread: f64,
    /// Warns if validation accuracy falls by more than this below the best loop before. Default 0.02.
    pub validation_drop: f64,
}

impl Default for Guards {
    fn default() -> Self {
        Guards { longer_share: 0.15, spread: 0.1, validation_drop: 0.02 }
    }
}

/// The settings of the loop; the default is the paper's.
///
/// The limit of loops stands in the schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoopSettings {
    /// All seeds of the run are drawn from this one.
    pub seed: u64,
    /// tau_high, tau_low, tau_delta (Eq. 3).
    pub thresholds: Thresholds,
    /// How raw scores become probabilities.
    pub anchor: Anchor,
    /// The status of each loop, and when it ends.
    pub schedule: ScheduleSettings,
    /// If given, each loop keeps the pairs with Delta over a threshold that is certified, on the validation pairs, to
    /// give labels of this precision, instead of filtering by status. The schedule still says when it ends.
    ///
    /// The guarantee is exact for loop 1. Later models have learnt from pairs that validation labels helped to choose.
    pub precision_target: Option<PrecisionTarget>,
    /// Caps on what a selection may be made of. Lengths are counted in characters.
    pub balance: Balance,
    /// The loss of every training.
    pub loss: LossSettings,
    /// Which weights each loop begins from.
    pub warm_start: WarmStart,
    /// Which pairs the next loop may label.
    pub carry: Carry,
    /// Whether each loop trains on the labelled seed too.
    pub replay_seed: bool,
    /// Which round's model is the result.
    pub choice: ModelSelection,
    /// At the end of the run, removes the models of all iterations but the one that is the result (of the random
    /// baseline's iterations, all). Their scores, selections and metrics stay, and so do the models of the other baselines.
    pub prune_models: bool,
    /// What is trained beside.
    pub baselines: Baselines,
    /// When to warn of drift.
    pub guards: Guards,
    /// The audit of the labels.
    pub audit: AuditSettings,
    /// The intervals of accuracies.
    pub bootstrap: Bootstrap,
}

/// What the settings come to once they are checked.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) thresholds: CheckedThresholds,
    pub(crate) schedule: Schedule,
    pub(crate) loss: PairwiseLoss,
}

impl LoopSettings {
    /// The authors' scripts: pairs of either status, -log sigmoid of the difference, and only the rest of the pool is
    /// carried on. They come without a driver and leave open what each loop begins from; here it is the loop before,
    /// since otherwise the pairs that earlier loops selected would be forgotten.
    pub fn script() -> Self {
        LoopSettings {
            schedule: ScheduleSettings::Script(Script::default()),
            loss: LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() },
            warm_start: WarmStart::Previous,
            carry: Carry::Rest,
            ..LoopSettings::default()
        }
    }

    /// Checks the settings, as a run does before anything else.
    ///
    /// # Errors
    /// The first setting that cannot be used, with its value.
    pub fn check(&self) -> Result<(), Error> {
        self.checked().map(|_| ())
    }

    /// What follows from the settings alone and is probably not meant, a sentence each. A run tells its observers and its
    /// report.
    pub fn warnings(&self) -> Vec<String> {
        let may_be_status_2 = match &self.schedule {
            ScheduleSettings::Paper(plan) => plan.plan.contains(&LoopState::Status2),
            ScheduleSettings::Automatic(_) => true,
            ScheduleSettings::Script(_) => false,
        };
        let Some(thresholds) = self.thresholds.check().ok().filter(|_| may_be_status_2) else {
            return Vec::new();
        };
        if self.precision_target.is_some() || !self.anchor.status2_within_status1(thresholds) {
            return Vec::new();
        }
        let Thresholds { tau_high, tau_low, tau_delta, status1 } = self.thresholds;
        let limit = self.anchor.status2_limit(thresholds);
        let anchor = match self.anchor {
            Anchor::PerPair => "With loop.anchor = \"per_pair\" both statuses are thresholds of the margin, and ",
            Anchor::None | Anchor::PoolMean | Anchor::Fitted => "",
        };
        let (and, margins) = match (self.anchor, status1) {
            (Anchor::PerPair, _) => {
                // Delta = tanh(margin / 4).
                let margin = |delta: f64| 4.0 * delta.atanh();
                ("and", format!(" (margins over {:.3} against {:.3})", margin(tau_delta), margin(limit)))
            }
            (_, ConfidentAnswers::Both) => ("and", String::new()),
            (_, ConfidentAnswers::One) => ("or", String::new()),
        };
        vec![format!(
            "{anchor}Status 2 (tau_delta {tau_delta}) selects only pairs that Status 1 (tau_high {tau_high} {and} tau_low \
             {tau_low}) selects too{margins}: a loop of Status 2 trains on pairs that are no more ambiguous, the opposite of the \
             paper's plan. Status 2 reaches further if loop.thresholds.tau_delta is under {limit:.4}, or with a greater tau_high \
             and a smaller tau_low."
        )]
    }

    pub(crate) fn checked(&self) -> Result<Checked, Error> {
        const STAGE: &str = "reading the settings";
        let thresholds = self.thresholds.check().map_err(Error::stage(STAGE))?;
        let schedule = self.schedule.clone().check().map_err(Error::stage(STAGE))?;
        let loss = self.loss.build().map_err(Error::stage(STAGE))?;
        self.balance.check().map_err(Error::stage(STAGE))?;
        self.bootstrap.check().map_err(Error::stage(STAGE))?;
        if let Some(target) = &self.precision_target {
            // On one pair of the pool and no held-out ones: it checks the settings and nothing else.
            let _ = target
                .certify(&[PairProbabilities::unchecked(1.0, 0.0)], &[], Clusters::Singletons)
                .map_err(Error::stage(STAGE))?;
        }
        // An audit of nothing checks the settings and nothing else.
        self.audit.audit(&[], &[], &[], &[], Clusters::Singletons).map_err(Error::stage(STAGE))?;
        if self.precision_target.is_some() && self.anchor == Anchor::Fitted {
            return Err(Error::Setting {
                field: "anchor",
                value: "fitted".to_owned(),
                expected: "none, pool_mean or per_pair beside a precision_target, whose guarantee does not hold on \
                           pairs that the anchor was fitted on",
            });
        }
        let shares = [
            ("guards.longer_share", self.guards.longer_share),
            ("guards.spread", self.guards.spread),
            ("guards.validation_drop", self.guards.validation_drop),
        ];
        for (field, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::Setting { field, value: value.to_string(), expected: "from 0 to 1" });
            }
        }
        Ok(Checked { thresholds, schedule, loss })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with its causes, as programs print it.
    fn chain(error: &dyn std::error::Error) -> String {
        match error.source() {
            Some(source) => format!("{error}: {}", chain(source)),
            None => error.to_string(),
        }
    }

    #[test]
    fn the_default_is_the_paper_and_both_presets_are_sound() {
        let paper = LoopSettings::default();
        assert_eq!(paper.warm_start, WarmStart::Seed);
        assert_eq!(paper.loss.kind, LossKind::Hinge);
        assert_eq!(paper.anchor, Anchor::None);
        paper.check().unwrap();
        LoopSettings::script().check().unwrap();
    }

    #[test]
    fn a_status_2_within_status_1_is_told() {
        let said = |settings: LoopSettings| settings.warnings().join("\n");
        assert_eq!(said(LoopSettings::default()), "");
        assert_eq!(said(LoopSettings::script()), "");
        let per_pair = LoopSettings { anchor: Anchor::PerPair, ..LoopSettings::default() };
        let text = said(per_pair.clone());
        assert!(text.contains("margins over 1.238 against 0.401") && text.contains("under 0.1000"), "{text}");
        // The same margins in the paper's order; a plan without Status 2; thresholds that are not used.
        let thresholds = Thresholds { tau_high: 0.65, tau_low: 0.35, tau_delta: 0.1, ..Thresholds::default() };
        assert_eq!(said(LoopSettings { thresholds, ..per_pair.clone() }), "");
        let plan = ser_status::Plan { plan: vec![LoopState::Status1; 3] };
        assert_eq!(said(LoopSettings { schedule: ScheduleSettings::Paper(plan), ..per_pair.clone() }), "");
        let precision_target = Some(PrecisionTarget::default());
        assert_eq!(said(LoopSettings { precision_target, ..per_pair.clone() }), "");
        let automatic = ScheduleSettings::Automatic(ser_status::Automatic::default());
        assert!(!said(LoopSettings { schedule: automatic, ..per_pair }).is_empty());
        let one = Thresholds { status1: ConfidentAnswers::One, ..Thresholds::default() };
        let text = said(LoopSettings { thresholds: one, ..LoopSettings::default() });
        assert!(text.contains("tau_high 0.55 or tau_low 0.45"), "{text}");
    }

    #[test]
    fn settings_come_back_from_json() {
        for settings in [LoopSettings::default(), LoopSettings::script()] {
            let text = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<LoopSettings>(&text).unwrap(), settings);
        }
        assert!(serde_json::from_str::<LoopSettings>("{\"warmstart\": \"seed\"}").is_err());
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_value() {
        let bad = |change: fn(&mut LoopSettings)| {
            let mut settings = LoopSettings::default();
            change(&mut settings);
            chain(&settings.check().unwrap_err())
        };
        let text = bad(|s| s.thresholds.tau_low = 0.7);
        assert!(text.contains("tau_low is 0.7"), "{text}");
        let text = bad(|s| s.guards.spread = f64::NAN);
        assert!(text.contains("`guards.spread` is NaN"), "{text}");
        let text = bad(|s| {
            s.anchor = Anchor::Fitted;
            s.precision_target = Some(PrecisionTarget::default());
        });
        assert!(text.contains("`anchor` is fitted"), "{text}");
        let text = bad(|s| s.audit.bins = 0);
        assert!(text.contains("bins is 0"), "{text}");
    }
}
