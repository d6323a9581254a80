//! Splits preferences into the parts of a run, and blinds the pool.

use std::collections::HashSet;

use ser_core::{Preference, PreferenceSet};
use ser_data::{GoldLabels, PromptKey, SplitPart, SplitSettings, split_keys};
use ser_eval::Count;

use super::CHUNK;
use super::blinded::Blinded;
use super::ser_data::SerData;
use crate::Error;

/// A preference set, split into the parts of a run.
#[derive(Debug)]
pub struct PreparedData {
    /// The data of self-evolution. The order of a pair's answers does not depend on which one is preferred.
    pub data: SerData,
    /// For supervised fine-tuning, on the chosen answers.
    pub sft: PreferenceSet,
    /// For PPO, which needs only the prompts.
    pub ppo: PreferenceSet,
    /// Inconsistencies of the files, one sentence each (`ReadSummary::notes`), for a program to print.
    pub notes: Vec<String>,
}

/// Splits preferences into the parts of a run. With held-out pairs in `test`, no others are held out (`settings.test` is
/// ignored), and pairs with a prompt of the test pairs are left out. Test pairs get new ids if one of their ids is taken.
///
/// # Errors
/// Shares that cannot be used, too few pairs, two pairs with the same id.
pub fn prepare(
    preferences: Vec<Preference>,
    test: Option<Vec<Preference>>,
    settings: &SplitSettings,
) -> Result<PreparedData, Error> {
    let PreparedData { data, sft, ppo, notes } =
        prepare_sets(preferences.into(), test.map(PreferenceSet::from), settings)?;
    // Blinded once, and without the pairs that are in no part.
    let loaded = |set: &PreferenceSet| set.read_all().map(PreferenceSet::from).map_err(Error::store);
    let data = SerData {
        seed: loaded(&data.seed)?,
        validation: loaded(&data.validation)?,
        pool: data.pool.read_all().map_err(Error::store)?.into(),
        test: loaded(&data.test)?,
        ..data
    };
    Ok(PreparedData { data, sft: loaded(&sft)?, ppo: loaded(&ppo)?, notes })
}

/// Like [`prepare`], with the same result, for sets that may lie on disk: parts are positions in the sets, and a pair is
/// read when it is needed.
///
/// # Errors
/// As of [`prepare`]; sets that cannot be read.
pub fn prepare_sets(
    preferences: PreferenceSet,
    test: Option<PreferenceSet>,
    settings: &SplitSettings,
) -> Result<PreparedData, Error> {
    let mut data = SerData::default();
    data.counts.rows = (preferences.len() + test.as_ref().map_or(0, PreferenceSet::len)) as u64;
    let mut settings = settings.clone();
    let pairs = Keys::read(&preferences)?;
    let mut rest: Vec<u32> = (0..).take(preferences.len()).collect();
    let mut test_keys = None;
    if let Some(test) = &test {
        settings.test = 0.0;
        let keys = Keys::read(test)?;
        let held_out: HashSet<PromptKey> = keys.prompts.iter().copied().collect();
        let before = rest.len();
        rest.retain(|&position| pairs.prompt(position).is_none_or(|prompt| !held_out.contains(&prompt)));
        if rest.len() < before {
            data.counts.left_out.push(Count::new("prompts of the test set", (before - rest.len()) as u64));
        }
        test_keys = Some(keys);
    }
    let parts = split_keys(rest.iter().filter_map(|&position| pairs.prompt(position)), &settings)?;
    let positions = |part| -> Vec<u32> { parts.select(&rest, part).copied().collect() };
    let blind = |preferences: &PreferenceSet, first_id| {
        PreferenceSet::new(Blinded { preferences: preferences.clone(), seed: settings.seed, first_id })
    };
    let blinded = blind(&preferences, 0);
    data.seed = blinded.subset(&positions(SplitPart::Labelled));
    data.validation = blinded.subset(&positions(SplitPart::Validation));
    data.test = match (&test, test_keys) {
        (Some(test), Some(keys)) => blind(test, pairs.first_free_id(&rest, &keys)),
        _ => blinded.subset(&positions(SplitPart::Test)),
    };
    let pool = blinded.subset(&positions(SplitPart::Pool));
    (data.pool, data.gold) = (pool.pairs(), Some(gold_labels(&pool)?));
    let [sft, ppo] = [SplitPart::Sft, SplitPart::Ppo].map(|part| preferences.subset(&positions(part)));
    data.counts.splits = [("SFT", &sft), ("PPO", &ppo)].map(|(name, p)| Count::new(name, p.len() as u64)).to_vec();
    Ok(PreparedData { data, sft, ppo, notes: Vec::new() })
}

/// The labels of a blinded part.
fn gold_labels(pool: &PreferenceSet) -> Result<GoldLabels, Error> {
    let mut failure = None;
    let chunks = pool.chunks(CHUNK).map_while(|chunk| chunk.map_err(|error| failure = Some(error)).ok());
    let gold = GoldLabels::new(chunks.flatten().map(|p| (p.pair.id, p.preferred, p.margin)))?;
    match failure {
        Some(error) => Err(Error::store(error)),
        None => Ok(gold),
    }
}

/// Ids and prompts of the pairs of a set.
struct Keys {
    ids: Vec<u64>,
    prompts: Vec<PromptKey>,
}

impl Keys {
    fn read(preferences: &PreferenceSet) -> Result<Self, Error> {
        let (mut ids, mut prompts) = (Vec::with_capacity(preferences.len()), Vec::with_capacity(preferences.len()));
        for chunk in preferences.chunks(CHUNK) {
            for preference in chunk.map_err(Error::store)? {
                ids.push(preference.pair.id.0);
                prompts.push(PromptKey::of(&preference.pair));
            }
        }
        Ok(Keys { ids, prompts })
    }

    fn prompt(&self, position: u32) -> Option<PromptKey> {
        self.prompts.get(position as usize).copied()
    }

    /// The number to add to the ids of `test`: 0, or if one of them is taken by a pair of `rest`, an id after all of
    /// these.
    fn first_free_id(&self, rest: &[u32], test: &Keys) -> u64 {
        let others = || rest.iter().filter_map(|&position| self.ids.get(position as usize));
        let wanted: HashSet<u64> = test.ids.iter().copied().collect();
        if others().any(|id| wanted.contains(id)) {
            others().map(|id| id.saturating_add(1)).max().unwrap_or(0)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use ser_core::{Pair, PairId, Side};

    fn preferences(n: u64, prefix: &str) -> Vec<Preference> {
        (0..n)
            .map(|i| Pair::from_text(PairId(i), format!("{prefix} {i}"), "good", "bad"))
            .map(|pair| Preference::human(Arc::new(pair), Side::A))
            .collect()
    }

    #[test]
    fn every_pair_is_in_one_part_with_its_label() {
        let settings = SplitSettings::default();
        let PreparedData { data, sft, ppo, .. } = prepare(preferences(1000, "q"), None, &settings).unwrap();
        let labelled = data.seed.len() + data.validation.len() + data.test.len();
        assert_eq!(labelled + data.pool.len() + sft.len() + ppo.len(), 1000);
        assert_eq!(data.test.len(), 100);
        assert_eq!(data.seed.len() + data.validation.len(), 88, "15 % of 65 % of 900, rounded by prompts");
        for part in [&data.seed, &data.validation, &data.test] {
            let part = part.read_all().unwrap();
            assert!(part.iter().all(|p| p.chosen() == "good"));
            let a = part.iter().filter(|p| p.preferred == Side::A).count();
            assert!(a > 0 && a < part.len(), "the order of the answers is independent of the label");
        }
        let gold = data.gold.as_ref().unwrap();
        assert!(
            data.pool.read_all().unwrap().iter().all(|p| p.response(gold.reveal_for_audit(p.id).unwrap()) == "good")
        );
        data.fingerprints().unwrap();
    }

    #[test]
    fn a_test_file_keeps_its_prompts_and_gets_its_own_ids() {
        let mut train = preferences(200, "q");
        train.extend(preferences(1, "held out").into_iter().map(|p| {
            let pair = Pair { id: PairId(200), ..Pair::clone(&p.pair) };
            Preference { pair: Arc::new(pair), ..p }
        }));
        let PreparedData { data, .. } =
            prepare(train, Some(preferences(50, "held out")), &SplitSettings::default()).unwrap();
        assert_eq!(data.test.len(), 50);
        data.fingerprints().unwrap();
        assert_eq!(data.counts.left_out, [Count::new("prompts of the test set", 1)]);
    }
}
