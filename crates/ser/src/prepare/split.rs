//! Reads preferences, splits them into the parts of a run, and blinds the pool.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use ser_core::{Pair, PairId, Preference};
use ser_data::{PreferenceFile, PromptKey, ReadSettings, ReadSummary, SplitPart, SplitSettings, blind, split};
use ser_eval::{Count, DataCounts};

use super::ser_data::SerData;
use crate::Error;

/// A preference set, split into the parts of a run.
#[derive(Debug)]
pub struct PreparedData {
    /// The data of self-evolution. The order of a pair's answers does not depend on which one is preferred.
    pub data: SerData,
    /// For supervised fine-tuning, on the chosen answers.
    pub sft: Vec<Preference>,
    /// For PPO, which needs only the prompts.
    pub ppo: Vec<Preference>,
    /// Inconsistencies of the files, one sentence each ([`ReadSummary::notes`]), for a program to print.
    pub notes: Vec<String>,
}

/// Reads a file of preferences and splits it. `test` is a file of held-out pairs; without it, a part of `train` is held
/// out.
///
/// # Errors
/// Invalid files, with the line; shares that cannot be used.
pub fn prepare_files(
    train: &Path,
    test: Option<&Path>,
    read: &ReadSettings,
    settings: &SplitSettings,
) -> Result<PreparedData, Error> {
    let (preferences, mut summary) = PreferenceFile::open(train, read)?.read_all()?;
    let mut notes = summary.notes();
    let mut source = train.display().to_string();
    let test = match test {
        Some(path) => {
            let (test, of_test) = PreferenceFile::open(path, read)?.read_all()?;
            source = format!("{source}, test {}", path.display());
            notes.extend(of_test.notes().into_iter().map(|note| format!("test data: {note}")));
            summary = ReadSummary {
                rows: summary.rows + of_test.rows,
                skipped: summary.skipped + of_test.skipped,
                ties: summary.ties + of_test.ties,
                over_pair_limit: summary.over_pair_limit + of_test.over_pair_limit,
                ..summary
            };
            Some(test)
        }
        None => None,
    };
    let mut prepared = PreparedData { notes, ..prepare(preferences, test, settings)? };
    let counts = &mut prepared.data.counts;
    // `prepare` counts pairs; the report counts the rows of the files.
    (counts.source, counts.rows) = (source, 0);
    count_rows(counts, &summary);
    Ok(prepared)
}

/// Adds the rows that were read and those that were left out to the counts of a report.
pub fn count_rows(counts: &mut DataCounts, summary: &ReadSummary) {
    counts.rows += summary.rows;
    for (name, count) in [
        ("pairs over the limit of one question", summary.over_pair_limit),
        ("ties", summary.ties),
        ("rows that could not be read", summary.skipped),
    ] {
        match counts.left_out.iter_mut().find(|known| known.name == name) {
            Some(known) => known.count += count,
            None if count > 0 => counts.left_out.insert(0, Count::new(name, count)),
            None => {}
        }
    }
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
    let mut data = SerData::default();
    data.counts.rows = (preferences.len() + test.as_ref().map_or(0, Vec::len)) as u64;
    let (mut rest, mut settings) = (preferences, settings.clone());
    if let Some(test) = &test {
        settings.test = 0.0;
        let held_out: HashSet<_> = test.iter().map(|p| PromptKey::of(&p.pair)).collect();
        let before = rest.len();
        rest.retain(|p| !held_out.contains(&PromptKey::of(&p.pair)));
        if rest.len() < before {
            data.counts.left_out.push(Count::new("prompts of the test set", (before - rest.len()) as u64));
        }
    }
    let parts = split(rest.iter().map(|p| p.pair.as_ref()), &settings)?;
    let part = |part| parts.select(&rest, part).cloned().collect::<Vec<_>>();
    let test = match test {
        Some(test) => with_free_ids(test, &rest),
        None => part(SplitPart::Test),
    };
    data.seed = in_random_order(&part(SplitPart::Labelled), settings.seed)?.into();
    data.validation = in_random_order(&part(SplitPart::Validation), settings.seed)?.into();
    data.test = in_random_order(&test, settings.seed)?.into();
    let (pool, gold) = blind(&part(SplitPart::Pool), settings.seed)?;
    (data.pool, data.gold) = (pool.into(), Some(gold));
    let (sft, ppo) = (part(SplitPart::Sft), part(SplitPart::Ppo));
    data.counts.splits = [("SFT", &sft), ("PPO", &ppo)].map(|(name, p)| Count::new(name, p.len() as u64)).to_vec();
    Ok(PreparedData { data, sft, ppo, notes: Vec::new() })
}

/// Labelled pairs with their answers in random order, as drawn by [`blind`]. Files have the chosen answer first, and a model
/// that sees both answers at once must not learn that.
fn in_random_order(preferences: &[Preference], seed: u64) -> Result<Vec<Preference>, Error> {
    let (pairs, labels) = blind(preferences, seed)?;
    let again = pairs.iter().zip(preferences).filter_map(|(pair, preference)| {
        let preferred = labels.reveal_for_audit(pair.id)?;
        Some(Preference { pair: Arc::clone(pair), preferred, ..preference.clone() })
    });
    Ok(again.collect())
}

/// Test pairs with ids after all others, if any of their ids is taken.
fn with_free_ids(test: Vec<Preference>, others: &[Preference]) -> Vec<Preference> {
    let taken: HashSet<_> = others.iter().map(|p| p.pair.id).collect();
    if !test.iter().any(|p| taken.contains(&p.pair.id)) {
        return test;
    }
    let first = others.iter().map(|p| p.pair.id.0.saturating_add(1)).max().unwrap_or(0);
    let renumber = |p: Preference| {
        let id = PairId(first.saturating_add(p.pair.id.0));
        Preference { pair: Arc::new(Pair { id, ..Pair::clone(&p.pair) }), ..p }
    };
    test.into_iter().map(renumber).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ser_core::Side;

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
            assert!(part.iter().all(|p| p.chosen() == "good"));
            let a = part.iter().filter(|p| p.preferred == Side::A).count();
            assert!(a > 0 && a < part.len(), "the order of the answers is independent of the label");
        }
        let gold = data.gold.as_ref().unwrap();
        assert!(data.pool.iter().all(|p| p.response(gold.reveal_for_audit(p.id).unwrap()) == "good"));
        data.check_ids().unwrap();
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
        data.check_ids().unwrap();
        assert_eq!(data.counts.left_out, [Count::new("prompts of the test set", 1)]);
    }
}
