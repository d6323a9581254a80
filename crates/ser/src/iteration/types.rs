//! The types of an iteration, which its steps share.

use std::sync::Arc;

use ser_core::{FitSummary, Side};
use ser_status::{Audit, Certification, Composition, Decision, FittedAnchor, PoolCounts, PoolQuantiles};
use serde::Serialize;

use super::filter::CustomRule;
use super::held_out::{HeldOut, Scored};
use super::loop_end::LoopEnd;
use crate::pool::{LabelTargets, PoolColumns, PoolLabels, PositionSet};
use crate::prepare::SerData;
use crate::settings::{Checked, LoopSettings};

/// The inputs that all iterations share.
pub(crate) struct LoopInputs<'a> {
    pub(crate) data: &'a SerData,
    /// The pool's gold labels, for the audit alone.
    pub(crate) gold: &'a [Option<Side>],
    pub(crate) columns: &'a PoolColumns,
    pub(crate) targets: LabelTargets,
    pub(crate) settings: &'a LoopSettings,
    pub(crate) checked: &'a Checked,
    pub(crate) rule: Option<&'a CustomRule<'a>>,
    pub(crate) validation: &'a HeldOut,
    pub(crate) test: &'a HeldOut,
}

/// A finished iteration: Loop 0 or a later one.
pub(crate) struct Iteration {
    pub(crate) number: u32,
    /// The stage with its weights.
    pub(crate) model: String,
    pub(crate) fit: FitSummary,
    pub(crate) validation: Scored,
    pub(crate) test: Scored,
    /// The selection that it was trained on; `None` for Loop 0.
    pub(crate) selection: Option<Selection>,
}

/// All iterations of a run.
pub(crate) struct Iterations {
    pub(crate) iterations: Vec<Iteration>,
    /// Why the last one was the last.
    pub(crate) stopped: LoopEnd,
    pub(crate) warnings: Vec<String>,
}

/// A selection step: the pairs that the previous iteration's model labelled for this one.
pub(crate) struct SelectionStep {
    /// The stage with the weights that training starts from.
    pub(crate) start: String,
    pub(crate) labels: Arc<PoolLabels>,
    /// Labels of earlier iterations that are trained on again.
    pub(crate) kept: Vec<Arc<PoolLabels>>,
    pub(crate) summary: SelectionSummary,
}

/// A selection step after its training: which pairs were labelled, without their labels.
pub(crate) struct Selection {
    /// The stage with the weights that training started from.
    pub(crate) start: String,
    /// Positions in the pool of the pairs that were labelled.
    pub(crate) labelled: PositionSet,
    pub(crate) summary: SelectionSummary,
}

/// The numbers of a selection step, for `metrics.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SelectionSummary {
    pub(crate) decision: Decision,
    /// The rule in words.
    pub(crate) rule: String,
    pub(crate) anchor: FittedAnchor,
    pub(crate) counts: PoolCounts,
    /// Quantiles of the pool's probabilities; `None` if none is finite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<PoolQuantiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certification: Option<Certification>,
    pub(crate) composition: Composition,
    pub(crate) audit: Audit,
}

/// The stage `what` of an iteration.
pub(crate) fn stage_of(iteration: usize, what: &str) -> String {
    format!("rounds/{iteration:02}/{what}")
}
