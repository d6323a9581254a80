//! The data of a run.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ser_core::{Pair, PairId, Preference, Screening, Side};
use ser_data::GoldLabels;
use ser_eval::{Count, DataCounts};

use crate::Error;
use crate::run_folder::{Fingerprint, RunFolder};

/// The parts of a preference set that self-evolution uses; [`prepare`](crate::prepare()) makes them from preferences.
///
/// Ids are unique among all parts. Clones share the pairs.
#[derive(Clone, Debug, Default)]
pub struct SerData {
    /// The labelled seed, which Loop 0 is trained on.
    pub seed: Arc<[Preference]>,
    /// Labelled pairs that no training sees. They select the resulting model, and anchors and thresholds are fitted on
    /// them. May be empty if the settings need none.
    pub validation: Arc<[Preference]>,
    /// The unlabelled pool.
    pub pool: Arc<[Arc<Pair>]>,
    /// The gold labels of the pool, if known. Only the audit and the baselines Full and oracle read them.
    pub gold: Option<GoldLabels>,
    /// Labelled pairs that every model is measured on.
    pub test: Arc<[Preference]>,
    /// Counts for the report: rows read and rows left out before the run. The run adds its own.
    pub counts: DataCounts,
}

impl SerData {
    /// Records the fingerprints of the data in a run folder, or compares them with the recorded ones.
    pub(crate) fn record_or_verify(&self, run: &mut RunFolder) -> Result<(), Error> {
        run.record_or_verify_data("labelled_seed", &Fingerprint::of_preferences(&self.seed))?;
        run.record_or_verify_data("validation", &Fingerprint::of_preferences(&self.validation))?;
        run.record_or_verify_data("pool", &Fingerprint::of_pairs(&self.pool))?;
        run.record_or_verify_data("test", &Fingerprint::of_preferences(&self.test))?;
        // The report depends on the gold labels, though no training of SER does.
        run.record_or_verify_data("gold", &Fingerprint::of_labels(&self.gold_labels()))
    }

    /// Checks that ids are unique.
    pub(crate) fn check_ids(&self) -> Result<(), Error> {
        let labelled =
            [&self.seed, &self.validation, &self.test].into_iter().flat_map(|part| part.iter()).map(|p| p.pair.id);
        let mut seen = HashSet::new();
        match labelled.chain(self.pool.iter().map(|pair| pair.id)).find(|id| !seen.insert(*id)) {
            Some(PairId(id)) => Err(Error::DuplicateId { id }),
            None => Ok(()),
        }
    }

    /// All pairs, in the order that [`keep_usable`](SerData::keep_usable) takes their screening in.
    pub(crate) fn all_pairs(&self) -> Vec<Arc<Pair>> {
        let labelled =
            [&self.seed, &self.validation, &self.test].into_iter().flat_map(|part| part.iter()).map(|p| &p.pair);
        labelled.chain(self.pool.iter()).map(Arc::clone).collect()
    }

    /// Leaves out and counts the pairs that the learner cannot work on.
    pub(crate) fn keep_usable(mut self, screened: Vec<Screening>) -> Result<Self, Error> {
        let mut left_out = BTreeMap::new();
        let mut screened = screened.into_iter();
        for (name, part) in
            [("labelled seed", &mut self.seed), ("validation", &mut self.validation), ("test", &mut self.test)]
        {
            keep_usable(part, &mut screened, name, &mut left_out);
        }
        keep_usable(&mut self.pool, &mut screened, "pool", &mut left_out);
        for (reason, pairs) in &left_out {
            tracing::info!(pairs, reason, "pairs left out");
        }
        self.counts.left_out.extend(left_out.into_iter().map(|(name, count)| Count::new(name, count)));
        let sizes = [
            ("labelled seed", self.seed.len()),
            ("validation", self.validation.len()),
            ("pool", self.pool.len()),
            ("test", self.test.len()),
        ];
        self.counts.splits.extend(sizes.map(|(name, n)| Count::new(name, n as u64)));
        for (part, empty, hint) in [
            ("labelled seed", self.seed.is_empty(), "give more labelled pairs, or raise the length limit"),
            ("test set", self.test.is_empty(), "hold labelled pairs out, or raise the length limit"),
        ] {
            if empty {
                return Err(Error::NoPairs { part, hint });
            }
        }
        Ok(self)
    }

    /// The pool's gold labels, in its order.
    pub(crate) fn gold_labels(&self) -> Vec<Option<Side>> {
        let reveal = |pair: &Arc<Pair>| self.gold.as_ref().and_then(|gold| gold.reveal_for_audit(pair.id));
        self.pool.iter().map(reveal).collect()
    }
}

/// Keeps the usable items of a part and counts the others by reason.
fn keep_usable<T: Clone>(
    part: &mut Arc<[T]>,
    screened: &mut impl Iterator<Item = Screening>,
    name: &str,
    left_out: &mut BTreeMap<String, u64>,
) {
    let kept = part.iter().filter(|_| {
        let why = match screened.next() {
            Some(Screening::TooLong) => "over the length limit",
            Some(Screening::Identical) => "answers the same to the model",
            Some(Screening::Empty) => "an empty answer",
            Some(Screening::Usable) | None => return true,
        };
        *left_out.entry(format!("{name}: {why}")).or_default() += 1;
        false
    });
    *part = kept.cloned().collect();
}
