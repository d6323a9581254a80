//! Reads pairs together with their rows, and reports which were left out.

use std::collections::HashSet;
use std::path::Path;

use ser_core::{Preference, Screening};
use ser_data::{PreferenceFile, PromptKey, ReadSettings, ReadSummary, SplitPart, SplitSettings, split};
use ser_eval::Count;

use crate::Error;
use crate::run_folder::{Fingerprint, RunFolder};

/// The most rows that a line lists.
const NAMED: usize = 10;

/// The pairs of one or more files with their rows, and the rows that were left out.
#[derive(Debug)]
pub struct PairsRead {
    /// The pairs, in the files' order.
    pub preferences: Vec<Preference>,
    /// The row of each pair, from 1, counted over all files. Bad rows count, blank lines do not.
    pub rows: Vec<u64>,
    /// Counts of the rows.
    pub summary: ReadSummary,
    /// The rows of pairs that screening left out, by reason.
    screened: Vec<(&'static str, Vec<u64>)>,
}

impl PairsRead {
    /// Reads all pairs of `path`: a file, a folder, a pattern or a dataset of a hub.
    ///
    /// # Errors
    /// An invalid file, with the line.
    pub fn open(path: &Path, settings: &ReadSettings) -> Result<Self, Error> {
        let mut file = PreferenceFile::open(path, settings)?;
        let (mut preferences, mut rows) = (Vec::new(), Vec::new());
        while let Some(preference) = file.next_preference()? {
            preferences.push(preference);
            rows.push(file.summary().rows);
        }
        Ok(PairsRead { preferences, rows, summary: file.summary().clone(), screened: Vec::new() })
    }

    /// Keeps the pairs whose screening `keep` accepts. `screened` is in the order of the pairs.
    pub fn keep(&mut self, screened: &[Screening], keep: impl Fn(Screening) -> bool) {
        let reasons = [
            (Screening::TooLong, "over the length limit (max_length)"),
            (Screening::Identical, "with two answers that are the same to the model"),
            (Screening::Empty, "with an empty answer"),
        ];
        let mut kept: Vec<bool> = screened.iter().map(|screening| keep(*screening)).collect();
        kept.resize(self.preferences.len(), true);
        for (why, text) in reasons {
            let out = self.rows.iter().zip(screened).zip(&kept).filter(|((_, s), kept)| **s == why && !**kept);
            let rows: Vec<u64> = out.map(|((row, _), _)| *row).collect();
            if !rows.is_empty() {
                self.screened.push((text, rows));
            }
        }
        self.split_off(&kept);
    }

    /// Splits off held-out pairs: whole prompts, drawn at random. Only `test` and `seed` of the settings are used.
    ///
    /// # Errors
    /// A share that leaves no pairs to train on.
    pub fn hold_out(&mut self, settings: &SplitSettings) -> Result<Self, Error> {
        let shares = SplitSettings { sft: 0.0, rm: 1.0, ppo: 0.0, labelled: 1.0, validation: 0.0, ..settings.clone() };
        let parts = split(self.preferences.iter().map(|p| p.pair.as_ref()), &shares)?;
        let kept: Vec<bool> = parts.parts().iter().map(|part| *part != SplitPart::Test).collect();
        let (preferences, rows) = self.split_off(&kept);
        Ok(PairsRead { preferences, rows, summary: ReadSummary::default(), screened: Vec::new() })
    }

    /// Leaves out the pairs whose prompt is among those of held-out pairs.
    pub fn leave_out_prompts_of(&mut self, held_out: &PairsRead) {
        let prompts: HashSet<_> = held_out.preferences.iter().map(|p| PromptKey::of(&p.pair)).collect();
        let kept: Vec<bool> = self.preferences.iter().map(|p| !prompts.contains(&PromptKey::of(&p.pair))).collect();
        let (_, rows) = self.split_off(&kept);
        if !rows.is_empty() {
            self.screened.push(("with a prompt of the test set", rows));
        }
    }

    /// Records the fingerprint of the pairs in a run folder; in a resumed run, compares it with the recorded one.
    ///
    /// # Errors
    /// [`Error::OtherData`] if a resumed run has other pairs.
    pub fn record_in(&self, run: &mut RunFolder, name: &str) -> Result<(), Error> {
        run.record_or_verify_data(name, &Fingerprint::of_preferences(&self.preferences))
    }

    /// Removes the pairs that are not kept, and returns them with their rows.
    fn split_off(&mut self, kept: &[bool]) -> (Vec<Preference>, Vec<u64>) {
        let mut removed = (Vec::new(), Vec::new());
        let pairs = std::mem::take(&mut self.preferences).into_iter().zip(std::mem::take(&mut self.rows));
        for ((preference, row), kept) in pairs.zip(kept) {
            let (preferences, rows) =
                if *kept { (&mut self.preferences, &mut self.rows) } else { (&mut removed.0, &mut removed.1) };
            preferences.push(preference);
            rows.push(row);
        }
        removed
    }

    /// The number of pairs left out, by reason, for a report.
    pub fn counts(&self) -> Vec<Count> {
        let reading = [
            ("rows that could not be read", self.summary.skipped),
            ("ties", self.summary.ties),
            ("pairs over the limit of one question", self.summary.over_pair_limit),
        ];
        let screened = self.screened.iter().map(|(why, rows)| (format!("pairs {why}"), rows.len() as u64));
        let all = reading.map(|(name, count)| (name.to_owned(), count)).into_iter().chain(screened);
        all.filter(|(_, count)| *count > 0).map(|(name, count)| Count::new(name, count)).collect()
    }

    /// One line for each reason of leaving pairs out, with their rows and the first problems.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let ReadSummary { skipped, skipped_rows, ties, over_pair_limit, .. } = &self.summary;
        if *skipped > 0 {
            lines.push(format!("left out: {skipped} {} that could not be read", plural("row", *skipped)));
            let named = skipped_rows.iter().take(NAMED);
            lines.extend(named.map(|row| format!("  {} {}: {}", row.file.display(), row.position, row.problem)));
            if *skipped > NAMED as u64 {
                lines.push(format!("  and {} more", skipped - NAMED as u64));
            }
        }
        for (count, what, why) in [
            (*ties, "tie", "(neither answer is preferred)"),
            (*over_pair_limit, "pair", "over data.max_pairs_per_prompt"),
        ] {
            if count > 0 {
                lines.push(format!("left out: {count} {} {why}", plural(what, count)));
            }
        }
        for (why, rows) in &self.screened {
            let named: Vec<String> = rows.iter().take(NAMED).map(u64::to_string).collect();
            let more = if rows.len() > NAMED { ", ..." } else { "" };
            let (pairs, of) = (plural("pair", rows.len() as u64), plural("row", rows.len() as u64));
            lines.push(format!("left out: {} {pairs} {why}: {of} {}{more}", rows.len(), named.join(", ")));
        }
        lines
    }
}

fn plural(noun: &str, count: u64) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_with_their_pairs_and_pairs_left_out_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        let row =
            |prompt: &str, chosen: &str| format!(r#"{{"prompt": "{prompt}", "chosen": "{chosen}", "rejected": "b"}}"#);
        let text = [row("1", "x"), "{".into(), row("3", "w"), String::new(), row("4", "z"), row("5", "y")].join("\n");
        std::fs::write(&path, text).unwrap();
        let settings = ReadSettings { on_bad_row: ser_data::OnBadRow::Skip, ..ReadSettings::default() };
        let mut read = PairsRead::open(&path, &settings).unwrap();
        assert_eq!(read.rows, [1, 3, 4, 5]);
        assert_eq!(read.preferences.iter().map(|p| p.pair.id.0).collect::<Vec<_>>(), [0, 2, 3, 4]);
        let screened = [Screening::Usable, Screening::Identical, Screening::Empty, Screening::TooLong];
        read.keep(&screened, |screening| matches!(screening, Screening::Usable | Screening::Identical));
        assert_eq!((read.rows.as_slice(), read.preferences.len()), (&[1, 3][..], 2));
        let said = read.lines().join("\n");
        assert!(said.contains("left out: 1 row that could not be read") && said.contains("line 2"), "{said}");
        assert!(said.contains("left out: 1 pair over the length limit (max_length): row 5"), "{said}");
        assert!(said.contains("left out: 1 pair with an empty answer: row 4"), "{said}");
        assert_eq!(read.counts().iter().map(|c| c.count).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
