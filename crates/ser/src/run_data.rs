//! What a run works on.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ser_core::{Learner, Message, Pair, PairId, Preference, RawText, Screening, Side};
use ser_data::GoldLabels;
use ser_eval::{Count, DataCounts};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::durable::hex;
use crate::run_folder::RunFolder;
use crate::stages::Stages;

/// The parts of a preference set that the loop works on; [`prepare`](crate::prepare()) makes them from preferences.
///
/// Ids are unique among all parts.
#[derive(Debug, Default)]
pub struct SerData {
    /// The labelled seed, which Loop 0 learns from.
    pub seed: Vec<Preference>,
    /// Labelled pairs that no training sees: the result is chosen by them, and anchors and thresholds are fitted on
    /// them. May be empty where the settings need none.
    pub validation: Vec<Preference>,
    /// The unlabelled pool.
    pub pool: Vec<Arc<Pair>>,
    /// The gold labels of the pool, where there are any. Read by the audit and by the baselines Full and oracle.
    pub gold: Option<GoldLabels>,
    /// Labelled pairs that every model is measured on.
    pub test: Vec<Preference>,
    /// Where it all came from, for the report: rows read and rows left out before the run. The run adds its own.
    pub counts: DataCounts,
}

/// A part of the data as the manifest knows it.
#[derive(Serialize)]
struct Fingerprint {
    pairs: usize,
    sha256: String,
}

impl SerData {
    /// Notes in the run folder which data this is, or holds it against the data noted there.
    pub(crate) fn agree(&self, run: &mut RunFolder) -> Result<(), Error> {
        run.agree_on_data("labelled_seed", &fingerprint(&self.seed, hash_preference))?;
        run.agree_on_data("validation", &fingerprint(&self.validation, hash_preference))?;
        run.agree_on_data("pool", &fingerprint(&self.pool, |pair, hasher| hash_pair(pair, hasher)))?;
        run.agree_on_data("test", &fingerprint(&self.test, hash_preference))?;
        // The report depends on them, though no training of SER does.
        run.agree_on_data("gold", &fingerprint(&self.gold_labels(), |side, hasher| hasher.update([code(*side)])))
    }

    /// Every id is there once.
    pub(crate) fn check_ids(&self) -> Result<(), Error> {
        let labelled = [&self.seed, &self.validation, &self.test].into_iter().flatten().map(|p| p.pair.id);
        let mut seen = HashSet::new();
        match labelled.chain(self.pool.iter().map(|pair| pair.id)).find(|id| !seen.insert(*id)) {
            Some(PairId(id)) => Err(Error::DuplicateId { id }),
            None => Ok(()),
        }
    }

    /// Leaves out the pairs that the learner cannot work on, and counts them with all the rest.
    pub(crate) fn screened<L: Learner>(mut self, stages: &mut Stages<'_, '_, L>) -> Result<Self, Error> {
        let mut left_out = BTreeMap::new();
        let labelled = [&self.seed, &self.validation, &self.test].into_iter().flatten().map(|p| &p.pair);
        let pairs: Vec<_> = labelled.chain(&self.pool).map(Arc::clone).collect();
        let mut screened = stages.screen(&pairs)?.into_iter();
        for (name, part) in
            [("labelled seed", &mut self.seed), ("validation", &mut self.validation), ("test", &mut self.test)]
        {
            keep_fit(part, &mut screened, name, &mut left_out);
        }
        keep_fit(&mut self.pool, &mut screened, "pool", &mut left_out);
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

/// Keeps what is fit and counts the rest under `pool: too long`.
fn keep_fit<T>(
    part: &mut Vec<T>,
    screened: &mut impl Iterator<Item = Screening>,
    name: &str,
    left_out: &mut BTreeMap<String, u64>,
) {
    part.retain(|_| {
        let why = match screened.next() {
            Some(Screening::TooLong) => "over the length limit",
            Some(Screening::Identical) => "answers the same to the model",
            Some(Screening::Empty) => "an empty answer",
            Some(Screening::Fit) | None => return true,
        };
        *left_out.entry(format!("{name}: {why}")).or_default() += 1;
        false
    });
}

fn fingerprint<T>(items: &[T], hash: impl Fn(&T, &mut Sha256)) -> Fingerprint {
    let mut hasher = Sha256::new();
    items.iter().for_each(|item| hash(item, &mut hasher));
    Fingerprint { pairs: items.len(), sha256: hex(&hasher.finalize()) }
}

fn hash_preference(preference: &Preference, hasher: &mut Sha256) {
    hash_pair(&preference.pair, hasher);
    hasher.update([code(Some(preference.preferred))]);
    // NaN is no margin, so it can stand for none.
    for number in [preference.weight, preference.probability, preference.margin.unwrap_or(f64::NAN)] {
        hasher.update(number.to_bits().to_le_bytes());
    }
}

fn hash_pair(pair: &Pair, hasher: &mut Sha256) {
    hasher.update(pair.id.0.to_le_bytes());
    hasher.update((pair.prompt.len() as u64).to_le_bytes());
    let mut text = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    let mut turn = |message: &Message| {
        text(message.role.as_str());
        text(&message.content);
        message.extra_json().iter().for_each(|extra| text(extra));
    };
    pair.prompt.iter().for_each(&mut turn);
    pair.response_turns.iter().flat_map(|turns| turns.iter().flatten()).for_each(turn);
    pair.responses.iter().for_each(|response| text(response));
    match &pair.raw {
        RawText::Whole(texts) => texts.iter().for_each(|whole| text(whole)),
        RawText::Joined => text("joined"),
        RawText::None => text("none"),
    }
}

fn code(side: Option<Side>) -> u8 {
    match side {
        None => 0,
        Some(Side::A) => 1,
        Some(Side::B) => 2,
    }
}
