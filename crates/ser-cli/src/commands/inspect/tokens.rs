//! Lengths in tokens.

use std::io::{self, Write};
use std::path::PathBuf;

use ser::data::{LengthCounts, PairTokenizer, TextSettings};
use ser::{Preference, Screening};

use super::{Arguments, write_lengths};

pub(super) struct Tokens {
    tokenizer: PairTokenizer,
    limit: usize,
    lengths: LengthCounts,
    screened: [u64; 4],
}

impl Tokens {
    pub(super) fn new(arguments: &Arguments) -> anyhow::Result<Option<Self>> {
        let Some(folder) = &arguments.tokenizer else { return Ok(None) };
        let folder =
            if folder.starts_with("hf://") { ser::data::hub::model_folder(folder)? } else { PathBuf::from(folder) };
        let settings =
            TextSettings { max_length: Some(arguments.max_length), append_eos: false, ..TextSettings::default() };
        #[cfg(feature = "libtorch")]
        let tokenizer = ser::model::load_tokenizer(&folder, &settings)?;
        #[cfg(not(feature = "libtorch"))]
        let tokenizer = PairTokenizer::from_folder(folder, &settings)?;
        Ok(Some(Tokens { tokenizer, limit: arguments.max_length, lengths: LengthCounts::default(), screened: [0; 4] }))
    }

    pub(super) fn add(&mut self, preference: &Preference) -> anyhow::Result<()> {
        let pairs = [std::sync::Arc::clone(&preference.pair)];
        let tokens = self.tokenizer.tokenize(&pairs)?;
        for pair in &tokens {
            let (p, a, b) = pair.lengths();
            self.lengths.add(p + a);
            self.lengths.add(p + b);
        }
        for screening in self.tokenizer.screen_pairs(&pairs)? {
            let index = match screening {
                Screening::Usable => 0,
                Screening::TooLong => 1,
                Screening::Identical => 2,
                Screening::Empty => 3,
            };
            if let Some(count) = self.screened.get_mut(index) {
                *count += 1;
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write_lengths(out, "text, tokens", &self.lengths)?;
        let [fit, too_long, identical, empty] = self.screened;
        let all = self.screened.iter().sum::<u64>().max(1);
        writeln!(out, "\nfit for training   {fit} ({:.1} %)", 100.0 * fit as f64 / all as f64)?;
        writeln!(out, "over {} tokens    {too_long}", self.limit)?;
        writeln!(out, "identical texts    {identical}")?;
        writeln!(out, "empty answers      {empty}")
    }
}
