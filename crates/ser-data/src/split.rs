//! The split into parts (step 0 of the method).

use ser_core::Pair;
use serde::{Deserialize, Serialize};

use crate::{DataError, PromptKey};

/// Shares of a split. The paper's: SFT : RM : PPO = 0.30 : 0.65 : 0.05, 15 % of the RM part labelled.
///
/// Two shares go beyond the paper: a test part is held out before everything else, for sets without a test file; and
/// part of the *labelled* pairs is kept for validation (choosing the best iteration, fitting anchors and thresholds),
/// so that the method reads no label beyond its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitSettings {
    /// Share of all pairs held out for the test.
    pub test: f64,
    /// Share of the rest for supervised fine-tuning.
    pub sft: f64,
    /// Share of the rest for the reward model.
    pub rm: f64,
    /// Share of the rest for PPO.
    pub ppo: f64,
    /// Share of the reward model's pairs whose labels are read.
    pub labelled: f64,
    /// Share of the labelled pairs kept for validation.
    pub validation: f64,
    /// Seed of the draw.
    pub seed: u64,
}

impl Default for SplitSettings {
    fn default() -> Self {
        SplitSettings { test: 0.10, sft: 0.30, rm: 0.65, ppo: 0.05, labelled: 0.15, validation: 0.20, seed: 0 }
    }
}

impl SplitSettings {
    /// All pairs for the reward model and none for SFT and PPO; otherwise the default.
    pub fn reward_model_only() -> Self {
        SplitSettings { sft: 0.0, rm: 1.0, ppo: 0.0, ..SplitSettings::default() }
    }

    /// Checks the shares.
    ///
    /// # Errors
    /// [`DataError::Setting`] names the first share that is not a number from 0 to 1, or that leaves nothing to learn
    /// from (`rm` or `labelled` at 0, `test` or `validation` at 1), or sft, rm and ppo if they do not add up to 1.
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |name, value: f64, problem| Err(DataError::Setting { name, value: value.to_string(), problem });
        for (name, value) in [("test", self.test), ("sft", self.sft), ("rm", self.rm), ("ppo", self.ppo)]
            .into_iter()
            .chain([("labelled", self.labelled), ("validation", self.validation)])
        {
            if !(0.0..=1.0).contains(&value) {
                return refuse(name, value, "is not a share; give a number from 0 to 1");
            }
        }
        for (name, value) in [("rm", self.rm), ("labelled", self.labelled)] {
            if value == 0.0 {
                return refuse(name, value, "leaves the reward model without labels; give a share over 0");
            }
        }
        for (name, value) in [("test", self.test), ("validation", self.validation)] {
            if value == 1.0 {
                return refuse(name, value, "leaves nothing to train on; give a share under 1");
            }
        }
        let sum = self.sft + self.rm + self.ppo;
        if (sum - 1.0).abs() > 1e-6 {
            return refuse("sft + rm + ppo", sum, "is not 1; give shares that add up to 1");
        }
        Ok(())
    }

    /// The parts in the order of their hashes, each with the share of all pairs at which it ends. The pool comes last:
    /// with a larger `labelled` the pairs that were labelled before stay labelled.
    fn ends(&self) -> [(SplitPart, f64); 6] {
        let rest = 1.0 - self.test;
        let labelled = rest * self.rm * self.labelled;
        let mut end = 0.0;
        [
            (SplitPart::Test, self.test),
            (SplitPart::Sft, rest * self.sft),
            (SplitPart::Ppo, rest * self.ppo),
            (SplitPart::Validation, labelled * self.validation),
            (SplitPart::Labelled, labelled * (1.0 - self.validation)),
            (SplitPart::Pool, 1.0),
        ]
        .map(|(part, share)| {
            end += share;
            (part, end)
        })
    }
}

/// The part of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitPart {
    /// Supervised fine-tuning on the chosen answers.
    Sft,
    /// The labelled seed, which trains the first reward model.
    Labelled,
    /// Labelled pairs kept for choices during the run.
    Validation,
    /// Unlabelled pairs, to be blinded.
    Pool,
    /// Prompts for PPO.
    Ppo,
    /// Held out until the end.
    Test,
}

impl SplitPart {
    /// Every part.
    pub const ALL: [SplitPart; 6] =
        [SplitPart::Sft, SplitPart::Labelled, SplitPart::Validation, SplitPart::Pool, SplitPart::Ppo, SplitPart::Test];
}

/// A split: the part of each pair of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    parts: Vec<SplitPart>,
    prompts: usize,
}

impl Split {
    /// The part of each pair, in the order of the pairs.
    pub fn parts(&self) -> &[SplitPart] {
        &self.parts
    }

    /// The number of different prompts.
    pub fn prompts(&self) -> usize {
        self.prompts
    }

    /// The number of pairs in a part.
    pub fn size(&self, part: SplitPart) -> usize {
        self.parts.iter().filter(|other| **other == part).count()
    }

    /// The members of a part, in order: `rows` are the split pairs, or parallel to them.
    pub fn select<'a, T>(&'a self, rows: &'a [T], part: SplitPart) -> impl Iterator<Item = &'a T> + 'a {
        rows.iter().zip(&self.parts).filter(move |(_, other)| **other == part).map(|(row, _)| row)
    }
}

/// The ends of the parts in the order of the prompts' hashes: the same split as [`split`]'s, computed without sorting.
#[cfg(feature = "index")]
pub(crate) struct SplitEnds {
    /// A part has the hashes from the previous part's end up to its own, exclusive.
    ends: Vec<(SplitPart, u128)>,
}

#[cfg(feature = "index")]
impl SplitEnds {
    /// Number of leading bits by which hashes are counted together.
    const BUCKET_BITS: u32 = 16;

    /// Two passes over the hashes of all pairs: the first counts buckets, the second sorts the few in which a part
    /// ends.
    pub(crate) fn find<I: Iterator<Item = u128>>(keys: &dyn Fn() -> I, settings: &SplitSettings) -> Self {
        let bucket = |key: u128| (key >> (128 - Self::BUCKET_BITS)) as usize;
        let mut counts = vec![0usize; 1 << Self::BUCKET_BITS];
        for key in keys() {
            if let Some(count) = counts.get_mut(bucket(key)) {
                *count += 1;
            }
        }
        let total: usize = counts.iter().sum();
        let ends = settings.ends();
        // The bucket in which a part's share is reached, and the number of pairs before it.
        let crossings = ends.map(|(part, end)| {
            let mut dealt = 0usize;
            let position = counts.iter().position(|count| {
                dealt += count;
                *count > 0 && dealt as f64 / total as f64 > end
            });
            (part, end, position.map(|position| (position, dealt - counts.get(position).copied().unwrap_or(0))))
        });
        let wanted: Vec<usize> =
            crossings.iter().filter_map(|(_, _, position)| position.map(|(position, _)| position)).collect();
        let mut members: Vec<u128> = keys().filter(|key| wanted.contains(&bucket(*key))).collect();
        members.sort_unstable();
        let found = crossings.map(|(part, end, position)| {
            let Some((position, mut dealt)) = position else { return (part, u128::MAX) };
            let begin = members.partition_point(|key| bucket(*key) < position);
            for group in members
                .iter()
                .skip(begin)
                .take_while(|key| bucket(**key) == position)
                .collect::<Vec<_>>()
                .chunk_by(|a, b| a == b)
            {
                if let Some(first) = group.first()
                    && middle(dealt, group.len(), total) >= end
                {
                    return (part, **first);
                }
                dealt += group.len();
            }
            // Its middle is before the end, and the next prompt's is after it.
            (
                part,
                ((position as u128) + 1)
                    .checked_shl(128 - Self::BUCKET_BITS)
                    .filter(|_| position + 1 < counts.len())
                    .unwrap_or(u128::MAX),
            )
        });
        SplitEnds { ends: found.to_vec() }
    }

    /// The part of a prompt by its hash.
    pub(crate) fn part(&self, key: u128) -> SplitPart {
        self.ends.iter().find(|(_, end)| key < *end).map_or(SplitPart::Pool, |(part, _)| *part)
    }
}

/// The middle of a prompt's pairs, as a share of all.
fn middle(dealt: usize, pairs: usize, total: usize) -> f64 {
    (dealt as f64 + pairs as f64 / 2.0) / total as f64
}

/// Splits pairs by their prompts.
///
/// The same prompt is never in two parts. A hash of prompt and seed decides, so neither the order of the pairs nor the
/// number of threads matters; prompts are dealt in the order of their hashes until a part has its share, so the shares
/// are exact to within the pairs of one prompt, even for small sets.
///
/// # Errors
/// Settings that [`SplitSettings::check`] refuses; too few pairs for a labelled part.
///
/// ```
/// use ser_core::{Pair, PairId};
/// use ser_data::{SplitPart, SplitSettings, split};
///
/// let pairs: Vec<Pair> = (0..1000).map(|i| Pair::from_text(PairId(i), format!("question {i}"), "a", "b")).collect();
/// let split = split(&pairs, &SplitSettings { test: 0.0, ..SplitSettings::default() })?;
/// assert_eq!(split.size(SplitPart::Sft), 300);
/// assert_eq!(split.select(&pairs, SplitPart::Ppo).count(), 50);
/// # Ok::<(), ser_data::DataError>(())
/// ```
pub fn split<'a>(pairs: impl IntoIterator<Item = &'a Pair>, settings: &SplitSettings) -> Result<Split, DataError> {
    split_keys(pairs.into_iter().map(PromptKey::of), settings)
}

/// Like [`split`], by the keys of the pairs' prompts: for pairs that are not in memory.
///
/// # Errors
/// As of [`split`].
pub fn split_keys(prompts: impl IntoIterator<Item = PromptKey>, settings: &SplitSettings) -> Result<Split, DataError> {
    settings.check()?;
    let mut order: Vec<(u128, usize)> =
        prompts.into_iter().enumerate().map(|(index, prompt)| (prompt.shuffled(settings.seed), index)).collect();
    order.sort_unstable();
    let total = order.len();
    let ends = settings.ends();
    let mut parts = vec![SplitPart::Pool; total];
    let (mut dealt, mut prompts) = (0usize, 0usize);
    for group in order.chunk_by(|(a, _), (b, _)| a == b) {
        // The middle of a prompt's pairs decides their part.
        let middle = middle(dealt, group.len(), total);
        let part = ends.iter().find(|(_, end)| middle < *end).map_or(SplitPart::Pool, |(part, _)| *part);
        for (_, index) in group {
            if let Some(position) = parts.get_mut(*index) {
                *position = part;
            }
        }
        dealt += group.len();
        prompts += 1;
    }
    let split = Split { parts, prompts };
    if split.size(SplitPart::Labelled) == 0 {
        return Err(DataError::TooFewPairs { part: "the labelled seed", pairs: total });
    }
    Ok(split)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;
    use ser_core::PairId;

    use approx::assert_abs_diff_eq;

    use super::*;

    fn pairs(prompts: impl IntoIterator<Item = u32>) -> Vec<Pair> {
        let text = |(i, prompt)| Pair::from_text(PairId(i), format!("prompt {prompt}"), format!("a{i}"), "b");
        (0..).zip(prompts).map(text).collect()
    }

    #[test]
    fn shares_are_the_papers() {
        let settings = SplitSettings::default();
        let split = split(&pairs(0..10_000), &settings).unwrap();
        // 1,000 for the test; of 9,000: 0.30, 0.05 and 0.65, of which 15 % (877.5) are labelled, 20 % of them for
        // validation.
        let sizes = SplitPart::ALL.map(|part| split.size(part));
        for (size, expected) in sizes.into_iter().zip([2700.0, 702.0, 175.5, 4972.5, 450.0, 1000.0]) {
            assert_abs_diff_eq!(size as f64, expected, epsilon = 1.0);
        }
        assert_eq!((sizes.iter().sum::<usize>(), split.prompts()), (10_000, 10_000));
    }

    #[test]
    fn a_larger_labelled_share_keeps_the_labelled_pairs() {
        let pairs = pairs(0..1000);
        let labelled = |labelled| {
            let split = split(&pairs, &SplitSettings { labelled, ..SplitSettings::default() }).unwrap();
            let of = |part| split.select(&pairs, part).map(|pair| pair.id).collect::<Vec<_>>();
            [of(SplitPart::Labelled), of(SplitPart::Validation)].concat().into_iter().collect::<HashSet<_>>()
        };
        assert!(labelled(0.15).is_subset(&labelled(0.5)));
        let other = split(&pairs, &SplitSettings { seed: 1, ..SplitSettings::default() }).unwrap();
        assert_ne!(other, split(&pairs, &SplitSettings::default()).unwrap());
    }

    #[test]
    fn bad_shares_are_named() {
        let d = SplitSettings::default;
        for (settings, words) in [
            (SplitSettings { test: -0.1, ..d() }, "test = -0.1"),
            (SplitSettings { validation: f64::NAN, ..d() }, "validation = NaN"),
            (SplitSettings { labelled: 0.0, ..d() }, "labelled = 0"),
            (SplitSettings { test: 1.0, ..d() }, "test = 1"),
            (SplitSettings { sft: 0.5, ..d() }, "sft + rm + ppo = 1.2"),
        ] {
            let error = split(&pairs(0..10), &settings).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
        assert!(matches!(split(&pairs(0..2), &d()), Err(DataError::TooFewPairs { pairs: 2, .. })));
        assert!(split(&[], &d()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn order_does_not_matter_and_prompts_stay_together(
            prompts in prop::collection::vec(0u32..60, 40..300), turn in 0usize..40, seed: u64,
        ) {
            let mut pairs = pairs(prompts);
            let settings = SplitSettings { labelled: 0.5, rm: 0.9, sft: 0.1, ppo: 0.0, seed, ..SplitSettings::default() };
            let by_id = |pairs: &[Pair], split: &Split| -> HashMap<PairId, SplitPart> {
                pairs.iter().map(|pair| pair.id).zip(split.parts().iter().copied()).collect()
            };
            let Ok(one) = split(&pairs, &settings) else { return Ok(()); };
            let first = by_id(&pairs, &one);
            let mut of_prompt = HashMap::new();
            for pair in &pairs {
                let part = *of_prompt.entry(pair.prompt.clone()).or_insert(first[&pair.id]);
                prop_assert_eq!(part, first[&pair.id]);
            }
            prop_assert_eq!(one.prompts(), of_prompt.len());
            // No part differs from its share by more than one prompt's pairs.
            let mut groups: HashMap<_, usize> = HashMap::new();
            pairs.iter().for_each(|pair| *groups.entry(&pair.prompt).or_default() += 1);
            let largest = *groups.values().max().unwrap() as f64;
            let test = one.size(SplitPart::Test) as f64;
            prop_assert!((test - 0.1 * pairs.len() as f64).abs() <= largest);
            #[cfg(feature = "index")]
            {
                let keys: Vec<u128> = pairs.iter().map(|pair| PromptKey::of(pair).shuffled(seed)).collect();
                let ends = SplitEnds::find(&|| keys.iter().copied(), &settings);
                for (pair, key) in pairs.iter().zip(&keys) {
                    prop_assert_eq!(ends.part(*key), first[&pair.id], "without sorting");
                }
            }
            pairs.rotate_left(turn);
            pairs.reverse();
            let second = split(&pairs, &settings).unwrap();
            prop_assert_eq!(first, by_id(&pairs, &second));
        }
    }
}
