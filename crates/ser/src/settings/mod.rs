//! The settings of self-evolution.

use ser_eval::Bootstrap;
use ser_loss::{LossKind, LossSettings, PairwiseLoss};
use ser_status::{
    Anchor, AuditSettings, AuthorsCode, Balance, CheckedAudit, CheckedBalance, CheckedPrecisionTarget,
    CheckedThresholds, ConfidentAnswers, LoopState, PrecisionTarget, Schedule, ScheduleSettings, Thresholds, TopShare,
};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The weights that each iteration's training starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmStart {
    /// The seed model, Loop 0, as in the paper ("upon which all subsequent iterations are based").
    #[default]
    Seed,
    /// The model of the previous iteration.
    Previous,
    /// The untrained model. With `replay_seed`, each iteration is then a training from scratch.
    Base,
}

/// The pairs that the next iteration can label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolReuse {
    /// The whole pool in each iteration: labels can change, and selected pairs can be left out again. The paper's Eq. 4
    /// filters the whole unlabelled set.
    #[default]
    Whole,
    /// The pairs that were not selected yet; a selected pair is trained on in one iteration only. The authors' code does
    /// this: it writes the selected pairs to one file and the rest to another.
    Rest,
    /// The pairs that were not selected yet; selected pairs keep their labels and are trained on in every later iteration.
    RestKeepingLabels,
}

/// The iteration whose model is the result. Without validation pairs it is the last one, as in the paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSelection {
    /// The last, unless validation shows that an earlier one is better: the iteration with the most validation pairs right
    /// is taken if it is ahead of the last by more than one standard error of their paired difference, with the prompt as the
    /// independent unit. A few validation pairs then do not replace the paper's selection by chance.
    #[default]
    OneStandardError,
    /// The one with the most validation pairs right, including Loop 0, even by a small difference; among equals, the
    /// earliest.
    Validation,
    /// The last, as in the paper.
    Last,
}

/// The baselines that SER is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Baselines {
    /// The upper bound: the base model trained on seed and pool with gold labels.
    pub full: bool,
    /// Repeats the iterations up to the result, each with as many pool pairs drawn at random and labelled by the previous
    /// model.
    pub random: bool,
    /// Repeats the resulting iteration with gold labels on the pairs that it selected.
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

/// The limits of the drift warnings in the report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriftLimits {
    /// Warns if the share of labels that prefer the longer answer differs from the seed's by more than this. Default 0.15.
    pub longer_share: f64,
    /// Warns if the spread of the pool's margins falls below this share of the seed model's, or rises above its inverse times
    /// that. Default 0.1.
    pub spread: f64,
    /// Warns if validation accuracy falls by more than this below the best earlier iteration. Default 0.02.
    pub validation_drop: f64,
}

impl Default for DriftLimits {
    fn default() -> Self {
        DriftLimits { longer_share: 0.15, spread: 0.1, validation_drop: 0.02 }
    }
}

/// The settings of self-evolution, the table `[loop]`; the default is the paper's.
///
/// The limit of iterations is part of the schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoopSettings {
    /// All seeds of the run are derived from this one.
    pub seed: u64,
    /// tau_high, tau_low, tau_delta (Eq. 3).
    pub thresholds: Thresholds,
    /// The conversion of raw scores to probabilities.
    pub anchor: Anchor,
    /// The status of each iteration, and the end of the run.
    pub schedule: ScheduleSettings,
    /// If given, each iteration selects the pairs with Delta over a threshold that is certified, on the validation pairs, to
    /// give labels of this precision, instead of filtering by status. The schedule still decides when the run ends.
    ///
    /// The guarantee is exact for the first iteration. Later models were trained on pairs that validation labels helped to
    /// select.
    pub precision_target: Option<PrecisionTarget>,
    /// If given, each iteration selects this share of the pool, the pairs whose raw scores are furthest apart
    /// ([`TopShare`]), instead of filtering by status. The schedule still decides when the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_share: Option<f64>,
    /// Limits on the composition of a selection. Lengths are counted in characters.
    pub balance: Balance,
    /// The loss of every training.
    pub loss: LossSettings,
    /// The weights that each iteration starts from.
    pub warm_start: WarmStart,
    /// The pairs that the next iteration can label.
    #[serde(alias = "carry")]
    pub pool_reuse: PoolReuse,
    /// Whether each iteration trains on the labelled seed too.
    pub replay_seed: bool,
    /// Weight of a self-labelled pair in the loss, over 0; 1 if not given. A labelled pair has weight 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseudo_label_weight: Option<f64>,
    /// Temperature T of soft pseudo-labels, over 0: a pair is trained on with the probability `sigmoid((r_preferred - r_other) / T)` of
    /// its raw scores. Hard labels if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseudo_label_temperature: Option<f64>,
    /// The iteration whose model is the result.
    #[serde(alias = "choice")]
    pub model_selection: ModelSelection,
    /// At the end of the run, removes the models of all iterations except the result, and all models of the random baseline.
    /// Their scores, selections and metrics stay, and so do the models of the other baselines.
    pub prune_models: bool,
    /// The baselines to train.
    pub baselines: Baselines,
    /// The limits of the drift warnings.
    #[serde(alias = "guards")]
    pub drift_limits: DriftLimits,
    /// The audit of the labels.
    pub audit: AuditSettings,
    /// The intervals of accuracies.
    pub bootstrap: Bootstrap,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) thresholds: CheckedThresholds,
    pub(crate) schedule: Schedule,
    pub(crate) precision_target: Option<CheckedPrecisionTarget>,
    pub(crate) top_share: Option<TopShare>,
    pub(crate) balance: CheckedBalance,
    pub(crate) audit: CheckedAudit,
    pub(crate) loss: PairwiseLoss,
}

impl LoopSettings {
    /// The settings of the authors' code: pairs of either status, -log sigmoid of the difference, and selected pairs leave
    /// the pool. The code has no driver and does not say which weights an iteration starts from. Here it is the previous
    /// model; otherwise the pairs that earlier iterations selected would have no effect.
    pub fn authors_code() -> Self {
        LoopSettings {
            schedule: ScheduleSettings::AuthorsCode(AuthorsCode::default()),
            loss: LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() },
            warm_start: WarmStart::Previous,
            pool_reuse: PoolReuse::Rest,
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

    /// Warnings about settings that probably do not have the intended effect, one sentence each. A run sends them to its
    /// observers and its report.
    pub fn warnings(&self) -> Vec<String> {
        let may_be_status_2 = match &self.schedule {
            ScheduleSettings::Paper(plan) => plan.plan.contains(&LoopState::Status2),
            ScheduleSettings::Automatic(_) => true,
            ScheduleSettings::AuthorsCode(_) => false,
        };
        let Some(thresholds) = self.thresholds.check().ok().filter(|_| may_be_status_2) else {
            return Vec::new();
        };
        if self.precision_target.is_some()
            || self.top_share.is_some()
            || !self.anchor.status2_within_status1(thresholds)
        {
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
        let loss = self.loss.check().map_err(Error::stage(STAGE))?;
        let balance = self.balance.check().map_err(Error::stage(STAGE))?;
        self.bootstrap.check().map_err(Error::stage(STAGE))?;
        let precision_target = self.precision_target.clone().map(PrecisionTarget::check).transpose();
        let precision_target = precision_target.map_err(Error::stage(STAGE))?;
        let audit = self.audit.check().map_err(Error::stage(STAGE))?;
        let top_share = self.top_share.map(TopShare::new).transpose().map_err(Error::stage(STAGE))?;
        if let (Some(share), Some(_)) = (self.top_share, &self.precision_target) {
            return Err(Error::Setting {
                field: "top_share",
                value: share.to_string(),
                expected: "left out beside a precision_target, which selects pairs too",
            });
        }
        if self.precision_target.is_some() && self.anchor == Anchor::Fitted {
            return Err(Error::Setting {
                field: "anchor",
                value: "fitted".to_owned(),
                expected: "none, pool_mean or per_pair beside a precision_target, whose guarantee does not hold on \
                           pairs that the anchor was fitted on",
            });
        }
        let shares = [
            ("drift_limits.longer_share", self.drift_limits.longer_share),
            ("drift_limits.spread", self.drift_limits.spread),
            ("drift_limits.validation_drop", self.drift_limits.validation_drop),
        ];
        for (field, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::Setting { field, value: value.to_string(), expected: "from 0 to 1" });
            }
        }
        for (field, value) in [
            ("pseudo_label_weight", self.pseudo_label_weight),
            ("pseudo_label_temperature", self.pseudo_label_temperature),
        ] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(Error::Setting { field, value: value.to_string(), expected: "a finite number over 0" });
            }
        }
        Ok(Checked { thresholds, schedule, precision_target, top_share, balance, audit, loss })
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
    fn the_default_is_the_paper_and_both_presets_are_valid() {
        let paper = LoopSettings::default();
        assert_eq!(paper.warm_start, WarmStart::Seed);
        assert_eq!(paper.loss.kind, LossKind::Hinge);
        assert_eq!(paper.anchor, Anchor::None);
        paper.check().unwrap();
        LoopSettings::authors_code().check().unwrap();
    }

    #[test]
    fn a_status_2_within_status_1_gives_a_warning() {
        let said = |settings: LoopSettings| settings.warnings().join("\n");
        assert_eq!(said(LoopSettings::default()), "");
        assert_eq!(said(LoopSettings::authors_code()), "");
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
    fn settings_survive_a_json_round_trip() {
        for settings in [LoopSettings::default(), LoopSettings::authors_code()] {
            let text = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<LoopSettings>(&text).unwrap(), settings);
        }
        let old: LoopSettings =
            serde_json::from_str(r#"{"carry": "rest", "choice": "last", "guards": {"spread": 0.2}}"#).unwrap();
        assert_eq!((old.pool_reuse, old.model_selection), (PoolReuse::Rest, ModelSelection::Last));
        assert_eq!(old.drift_limits.spread, 0.2);
        assert!(serde_json::from_str::<LoopSettings>("{\"warmstart\": \"seed\"}").is_err());
    }

    #[test]
    fn an_error_has_the_name_and_the_value() {
        let bad = |change: fn(&mut LoopSettings)| {
            let mut settings = LoopSettings::default();
            change(&mut settings);
            chain(&settings.check().unwrap_err())
        };
        let text = bad(|s| s.thresholds.tau_low = 0.7);
        assert!(text.contains("tau_low is 0.7"), "{text}");
        let text = bad(|s| s.drift_limits.spread = f64::NAN);
        assert!(text.contains("`drift_limits.spread` is NaN"), "{text}");
        let text = bad(|s| {
            s.anchor = Anchor::Fitted;
            s.precision_target = Some(PrecisionTarget::default());
        });
        assert!(text.contains("`anchor` is fitted"), "{text}");
        let text = bad(|s| s.top_share = Some(1.5));
        assert!(text.contains("top_share is 1.5: give a number over 0 and at most 1"), "{text}");
        let text = bad(|s| {
            s.top_share = Some(0.5);
            s.precision_target = Some(PrecisionTarget::default());
        });
        assert!(text.contains("`top_share` is 0.5") && text.contains("precision_target"), "{text}");
        let text = bad(|s| s.audit.bins = 0);
        assert!(text.contains("bins is 0"), "{text}");
    }
}
