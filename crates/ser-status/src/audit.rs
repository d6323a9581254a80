//! Audits of an iteration's pseudo-labels against gold labels, which nothing else may read.

use rayon::prelude::*;
use ser_core::{Clusters, PairProbabilities, Side};
use serde::{Deserialize, Serialize};

use crate::clustered::{check_ids, wilson_by_cluster};
use crate::{Interval, Proportion, Selected, StatusError, binomial};

/// The settings of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    /// Bins of the histogram of Delta over [0, 1], from 1 to 10,000. Default 20.
    pub bins: usize,
    /// Confidence of intervals. Default 0.95.
    pub confidence: f64,
}

impl Default for AuditSettings {
    fn default() -> Self {
        AuditSettings { bins: 20, confidence: 0.95 }
    }
}

/// Pairs labelled in two iterations, and those whose label changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flips {
    /// Pairs labelled in this iteration and in the one before.
    pub both: usize,
    /// Of these, the pairs whose label is another one now.
    pub flipped: usize,
}

impl Flips {
    /// flipped / both; `None` if no pair was labelled twice.
    pub fn rate(&self) -> Option<f64> {
        Proportion { count: self.flipped, of: self.both }.share()
    }
}

/// The pairs of the pool with Delta in [low, high); the last bin includes 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeltaBin {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Pairs of the pool.
    pub pairs: usize,
    /// The pairs whose higher-scored answer is the gold one, of the pairs with gold labels. A tie is wrong.
    pub correct: Proportion,
    /// Pairs selected.
    pub selected: usize,
    /// Precision: the correctly labelled pairs, of the selected pairs with gold labels.
    pub selected_correct: Proportion,
}

/// The results of an audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// The selected pairs, of the pool.
    pub coverage: Proportion,
    /// Precision: the correctly labelled pairs, of the selected pairs with gold labels.
    pub precision: Proportion,
    /// Wilson's interval of the precision, over prompts ([`wilson_by_cluster`]); `None` without gold.
    pub precision_interval: Option<Interval>,
    /// Prompts of the selected pairs with gold.
    pub precision_prompts: usize,
    /// Accuracy of the unfiltered scores: the pairs whose higher-scored answer is the gold one, of the pool's pairs with
    /// gold labels. A tie or a NaN is wrong.
    pub unfiltered: Proportion,
    /// Wilson's interval of `unfiltered`, over prompts; `None` without gold.
    pub unfiltered_interval: Option<Interval>,
    /// Labels that changed since the iteration before.
    pub flips: Flips,
    /// Histogram of Delta over the pool.
    pub histogram: Vec<DeltaBin>,
    /// Pairs of the pool with Delta outside [0, 1] or NaN, which are in no bin.
    pub no_delta: usize,
}

impl AuditSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`StatusError::SettingOutOfRange`].
    pub fn check(self) -> Result<CheckedAudit, StatusError> {
        if !(1..=10_000).contains(&self.bins) {
            let value = self.bins as f64;
            return Err(StatusError::SettingOutOfRange { name: "bins", value, range: "from 1 to 10000" });
        }
        binomial::check_confidence(self.confidence)?;
        Ok(CheckedAudit(self))
    }
}

/// Checked settings of an audit, made by [`AuditSettings::check`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckedAudit(AuditSettings);

impl CheckedAudit {
    /// The settings.
    pub fn get(&self) -> AuditSettings {
        self.0
    }

    /// Audits a selection from the pool whose scores are `probabilities`.
    ///
    /// `gold` and `previous` have one entry per pair of the pool: the gold label, and the label of this pair in the
    /// iteration before; `None` where there is none. An empty slice stands for no labels. `clusters` groups the pairs of
    /// the pool by prompt.
    ///
    /// # Errors
    /// [`StatusError::LengthMismatch`], [`StatusError::IndexOutOfPool`].
    pub fn audit(
        &self,
        probabilities: &[PairProbabilities],
        selected: &[Selected],
        gold: &[Option<Side>],
        previous: &[Option<Side>],
        clusters: Clusters<'_>,
    ) -> Result<Audit, StatusError> {
        let pool = probabilities.len();
        check_ids(pool, clusters)?;
        for (what, labels) in [("gold", gold), ("previous", previous)] {
            if !labels.is_empty() && labels.len() != pool {
                return Err(StatusError::LengthMismatch { what, got: labels.len(), expected: pool });
            }
        }
        let (unfiltered, mut bins, no_delta) = self.histogram(probabilities, gold);
        let mut precision = Proportion::default();
        let mut flips = Flips::default();
        let (mut right, mut ids) = (Vec::new(), Vec::new());
        for pair in selected {
            if pair.index >= pool {
                return Err(StatusError::IndexOutOfPool { index: pair.index, pool });
            }
            let bin = self.bin(pair.delta).and_then(|bin| bins.get_mut(bin));
            let truth = label(gold, pair.index);
            precision.judge(truth, Some(pair.preferred));
            if let Some((truth, id)) = truth.zip(clusters.id(pair.index)) {
                right.push(truth == pair.preferred);
                ids.push(id);
            }
            if let Some(bin) = bin {
                bin.selected += 1;
                bin.selected_correct.judge(truth, Some(pair.preferred));
            }
            if let Some(before) = label(previous, pair.index) {
                flips.both += 1;
                flips.flipped += usize::from(before != pair.preferred);
            }
        }
        Ok(Audit {
            coverage: Proportion { count: selected.len(), of: pool },
            precision,
            precision_interval: wilson_by_cluster(&right, Clusters::Ids(&ids), self.0.confidence)?,
            precision_prompts: Clusters::Ids(&ids).index(0..ids.len()).count,
            unfiltered,
            unfiltered_interval: self.unfiltered_interval(probabilities, gold, clusters)?,
            flips,
            histogram: bins,
            no_delta,
        })
    }

    fn unfiltered_interval(
        &self,
        pool: &[PairProbabilities],
        gold: &[Option<Side>],
        clusters: Clusters<'_>,
    ) -> Result<Option<Interval>, StatusError> {
        let with_gold = pool.iter().zip(gold).enumerate().filter_map(|(position, (pair, gold))| {
            let right = pair.higher() == Some((*gold)?);
            Some((right, clusters.id(position)?))
        });
        let (right, ids): (Vec<bool>, Vec<u64>) = with_gold.unzip();
        wilson_by_cluster(&right, Clusters::Ids(&ids), self.0.confidence)
    }

    /// The index of the bin of a Delta; `None` for NaN and for numbers outside [0, 1].
    fn bin(&self, delta: f64) -> Option<usize> {
        (0.0..=1.0).contains(&delta).then(|| ((delta * self.0.bins as f64) as usize).min(self.0.bins - 1))
    }

    fn empty_bins(&self) -> Vec<DeltaBin> {
        let edge = |i: usize| i as f64 / self.0.bins as f64;
        (0..self.0.bins).map(|i| DeltaBin { low: edge(i), high: edge(i + 1), ..DeltaBin::default() }).collect()
    }

    /// Unfiltered accuracy, bins with the counts of the pool, and the number of pairs in no bin.
    fn histogram(&self, pool: &[PairProbabilities], gold: &[Option<Side>]) -> (Proportion, Vec<DeltaBin>, usize) {
        const CHUNK: usize = 64 * 1024;
        let of_chunk = |(chunk, pairs): (usize, &[PairProbabilities])| {
            let (mut all, mut bins, mut no_delta) = (Proportion::default(), self.empty_bins(), 0);
            for (index, pair) in pairs.iter().enumerate() {
                let truth = label(gold, chunk * CHUNK + index);
                all.judge(truth, pair.higher());
                match self.bin(pair.delta()).and_then(|bin| bins.get_mut(bin)) {
                    Some(bin) => {
                        bin.pairs += 1;
                        bin.correct.judge(truth, pair.higher());
                    }
                    None => no_delta += 1,
                }
            }
            (all, bins, no_delta)
        };
        // Integers: the order of the sum does not matter.
        pool.par_chunks(CHUNK).enumerate().map(of_chunk).reduce(
            || (Proportion::default(), self.empty_bins(), 0),
            |(mut all, mut bins, no_delta), (other_all, other_bins, other_no_delta)| {
                all.add(other_all);
                for (bin, other) in bins.iter_mut().zip(other_bins) {
                    bin.pairs += other.pairs;
                    bin.correct.add(other.correct);
                }
                (all, bins, no_delta + other_no_delta)
            },
        )
    }
}

impl Proportion {
    /// Counts a label that has a gold label, as right or wrong.
    pub(crate) fn judge(&mut self, gold: Option<Side>, label: Option<Side>) {
        if gold.is_some() {
            self.of += 1;
            self.count += usize::from(gold == label);
        }
    }

    pub(crate) fn add(&mut self, other: Proportion) {
        self.count += other.count;
        self.of += other.of;
    }
}

pub(crate) fn label(labels: &[Option<Side>], index: usize) -> Option<Side> {
    labels.get(index).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PaperRule, Thresholds, select};

    #[test]
    fn every_number_by_hand() {
        let pool = [(0.9, 0.1), (0.1, 0.8), (0.6, 0.4), (0.5, 0.5), (f64::NAN, 0.1), (0.3, 0.9)]
            .map(|(a, b)| PairProbabilities::unchecked(a, b));
        let selected = select(&pool, &PaperRule(Thresholds::default().check().unwrap())).unwrap();
        assert_eq!(selected.iter().map(|s| s.index).collect::<Vec<_>>(), [0, 1, 2, 5]);
        let gold = [Some(Side::A), Some(Side::A), Some(Side::A), Some(Side::A), Some(Side::A), None];
        let previous = [Some(Side::A), Some(Side::A), None, Some(Side::B), None, Some(Side::B)];
        let settings = AuditSettings { bins: 4, confidence: 0.95 }.check().unwrap();
        let audit = settings.audit(&pool, &selected, &gold, &previous, Clusters::Singletons).unwrap();
        assert_eq!(audit.coverage, Proportion { count: 4, of: 6 });
        assert_eq!(audit.precision, Proportion { count: 2, of: 3 });
        assert_eq!(audit.precision_interval, audit.precision.wilson(0.95).unwrap());
        assert_eq!(audit.precision_prompts, 3);
        assert_eq!(audit.unfiltered_interval, audit.unfiltered.wilson(0.95).unwrap());
        // Pairs 0 and 2, both right, answer one prompt; pair 1 is wrong.
        let shared = Clusters::Ids(&[8, 5, 8, 8, 8, 5]);
        let clustered = settings.audit(&pool, &selected, &gold, &previous, shared).unwrap();
        assert_eq!((clustered.precision, clustered.precision_prompts), (audit.precision, 2));
        let width = |i: Option<Interval>| i.map(|i| i.high - i.low).unwrap();
        assert!(width(clustered.precision_interval) > width(audit.precision_interval));
        assert!(width(clustered.unfiltered_interval) > width(audit.unfiltered_interval));
        assert!(settings.audit(&pool, &selected, &gold, &previous, Clusters::Ids(&[1])).is_err());
        assert_eq!(audit.unfiltered, Proportion { count: 2, of: 5 }, "the tie and the NaN are wrong");
        assert_eq!(audit.flips, Flips { both: 3, flipped: 1 });
        assert_eq!(audit.no_delta, 1);
        let pairs: Vec<_> = audit.histogram.iter().map(|b| b.pairs).collect();
        assert_eq!(pairs, [2, 0, 2, 1], "Delta 0 and 0.2; 0.7 and 0.6; 0.8");
        assert_eq!(audit.histogram[0].correct, Proportion { count: 1, of: 2 });
        assert_eq!(audit.histogram[0].selected_correct, Proportion { count: 1, of: 1 });
        assert_eq!(audit.histogram[2].selected, 2);
        assert_eq!(audit.histogram[2].selected_correct, Proportion { count: 0, of: 1 });
        assert_eq!((audit.histogram[3].low, audit.histogram[3].high), (0.75, 1.0));
    }

    #[test]
    fn without_labels_only_coverage_is_known() {
        let pool = [PairProbabilities::unchecked(1.0, 0.0)];
        let selected = select(&pool, &PaperRule(Thresholds::default().check().unwrap())).unwrap();
        let audit =
            AuditSettings::default().check().unwrap().audit(&pool, &selected, &[], &[], Clusters::Singletons).unwrap();
        assert_eq!(audit.coverage.share(), Some(1.0));
        assert_eq!((audit.precision.share(), audit.precision_interval, audit.flips.rate()), (None, None, None));
        assert_eq!(audit.histogram[19].pairs, 1, "Delta 1 is in the last bin");
    }

    #[test]
    fn labels_that_do_not_fit_the_pool_are_errors() {
        let pool = [PairProbabilities::unchecked(0.9, 0.1)];
        let settings = AuditSettings::default();
        let error = settings
            .check()
            .unwrap()
            .audit(&pool, &[], &[None, None], &[], Clusters::Singletons)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "gold has 2 entries for 1 pairs: give one for each pair, in the same order");
        let bad = AuditSettings { bins: 0, ..settings }.check();
        assert!(matches!(bad, Err(StatusError::SettingOutOfRange { name: "bins", .. })));
    }
}
