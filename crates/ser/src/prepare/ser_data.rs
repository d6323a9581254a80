//! The data of a run.

use std::collections::BTreeMap;

use ser_core::{PairId, PairSet, PreferenceSet, Screening, Side};
use ser_data::GoldLabels;
use ser_eval::{Count, DataCounts};

use super::CHUNK;
use crate::Error;
use crate::run_folder::{Fingerprint, PairsHasher, RunFolder};

/// The parts of a preference set that self-evolution uses; [`prepare`](crate::prepare()) makes them from preferences.
///
/// Each is in memory or on disk: a vector converts into it. Ids are unique among all parts. Clones share the pairs.
#[derive(Clone, Debug, Default)]
pub struct SerData {
    /// The labelled seed, which Loop 0 is trained on.
    pub seed: PreferenceSet,
    /// Labelled pairs that no training sees. They select the resulting model, and anchors and thresholds are fitted on
    /// them. May be empty if the settings need none.
    pub validation: PreferenceSet,
    /// The unlabelled pool.
    pub pool: PairSet,
    /// The gold labels of the pool, if known. Only the audit and the baselines Full and oracle read them.
    pub gold: Option<GoldLabels>,
    /// Labelled pairs that every model is measured on.
    pub test: PreferenceSet,
    /// Counts for the report: rows read and rows left out before the run. The run adds its own.
    pub counts: DataCounts,
}

/// The fingerprints of a run's data, by part.
pub(crate) struct DataFingerprints([(&'static str, Fingerprint); 5]);

impl DataFingerprints {
    /// Records them in a run folder, or compares them with the recorded ones.
    pub(crate) fn record_or_verify(&self, run: &mut RunFolder) -> Result<(), Error> {
        self.0.iter().try_for_each(|(name, fingerprint)| run.record_or_verify_data(name, fingerprint))
    }
}

impl SerData {
    /// Reads all pairs for their fingerprints, and checks that ids are unique.
    pub(crate) fn fingerprints(&self) -> Result<DataFingerprints, Error> {
        let mut ids: Vec<u64> = Vec::new();
        let mut labelled = |part: &PreferenceSet| -> Result<Fingerprint, Error> {
            let mut hasher = PairsHasher::default();
            for chunk in part.chunks(CHUNK) {
                for preference in chunk.map_err(Error::store)? {
                    ids.push(preference.pair.id.0);
                    hasher.preference(&preference);
                }
            }
            Ok(hasher.finish())
        };
        let (seed, validation) = (labelled(&self.seed)?, labelled(&self.validation)?);
        let test = labelled(&self.test)?;
        let (mut pool, mut gold) = (PairsHasher::default(), PairsHasher::default());
        for chunk in self.pool.chunks(CHUNK) {
            for pair in chunk.map_err(Error::store)? {
                ids.push(pair.id.0);
                pool.pair(&pair);
                // The report depends on the gold labels, though no training of SER does.
                gold.label(self.gold.as_ref().and_then(|gold| gold.reveal_for_audit(pair.id)));
            }
        }
        ids.sort_unstable();
        let twice = ids.iter().zip(ids.iter().skip(1)).find(|(one, next)| one == next);
        match twice {
            Some((&id, _)) => Err(Error::DuplicateId { id }),
            None => Ok(DataFingerprints([
                ("labelled_seed", seed),
                ("validation", validation),
                ("pool", pool.finish()),
                ("test", test),
                ("gold", gold.finish()),
            ])),
        }
    }

    /// The pairs of all parts, in the order that [`keep_usable`](SerData::keep_usable) takes their screening in.
    pub(crate) fn all_parts(&self) -> [PairSet; 4] {
        [self.seed.pairs(), self.validation.pairs(), self.test.pairs(), self.pool.clone()]
    }

    /// Leaves out and counts the pairs that the learner cannot work on. `screened` has one list per part.
    pub(crate) fn keep_usable(mut self, screened: [Vec<Screening>; 4]) -> Result<Self, Error> {
        let mut left_out = BTreeMap::new();
        let [of_seed, of_validation, of_test, of_pool] = screened;
        for (name, part, screened) in [
            ("labelled seed", &mut self.seed, of_seed),
            ("validation", &mut self.validation, of_validation),
            ("test", &mut self.test, of_test),
        ] {
            if let Some(kept) = usable(&screened, name, &mut left_out) {
                *part = part.subset(&kept);
            }
        }
        if let Some(kept) = usable(&of_pool, "pool", &mut left_out) {
            self.pool = self.pool.subset(&kept);
        }
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

    /// The pool's gold labels, in its order, which is that of `ids`.
    pub(crate) fn gold_labels(&self, ids: &[PairId]) -> Vec<Option<Side>> {
        ids.iter().map(|id| self.gold.as_ref().and_then(|gold| gold.reveal_for_audit(*id))).collect()
    }
}

/// The positions of the usable items of a part, while the others are counted by reason; `None` if all are usable.
fn usable(screened: &[Screening], name: &str, left_out: &mut BTreeMap<String, u64>) -> Option<Vec<u32>> {
    if screened.iter().all(|screening| *screening == Screening::Usable) {
        return None;
    }
    let kept = (0..).zip(screened).filter(|(_, screening)| {
        let why = match screening {
            Screening::TooLong => "over the length limit",
            Screening::Identical => "answers the same to the model",
            Screening::Empty => "an empty answer",
            Screening::Usable => return true,
        };
        *left_out.entry(format!("{name}: {why}")).or_default() += 1;
        false
    });
    Some(kept.map(|(position, _)| position).collect())
}
