//! Lengths in tokens.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use ser::Pair;
use ser::data::{DataError, PairTokenizer, TextSettings, TokenCounts};

use super::{Arguments, write_lengths};

pub(super) struct Tokens {
    tokenizer: PairTokenizer,
    limit: usize,
    counts: TokenCounts,
}

impl Tokens {
    pub(super) fn new(arguments: &Arguments) -> anyhow::Result<Option<Self>> {
        let Some(folder) = &arguments.tokenizer else { return Ok(None) };
        let folder =
            if folder.starts_with("hf://") { ser::data::hub::model_folder(folder)? } else { PathBuf::from(folder) };
        let settings =
            TextSettings { max_length: Some(arguments.max_length), append_eos: false, ..TextSettings::default() };
        // A linear reward model's tokenizer is that of its base model.
        #[cfg(feature = "libtorch")]
        let folder = match ser::linear::is_linear_reward(&folder) {
            true => ser::model::LinearRewardModel::base_of(&folder)?,
            false => folder,
        };
        #[cfg(feature = "libtorch")]
        let tokenizer = ser::model::load_tokenizer(&folder, &settings)?;
        #[cfg(not(feature = "libtorch"))]
        let tokenizer = PairTokenizer::from_folder(folder, &settings)?;
        Ok(Some(Tokens { tokenizer, limit: arguments.max_length, counts: TokenCounts::default() }))
    }

    pub(super) fn add(&mut self, pair: &Arc<Pair>) -> Result<(), DataError> {
        self.counts.add(&self.tokenizer, pair)
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let TokenCounts { lengths, usable, too_long, identical, empty, .. } = &self.counts;
        write_lengths(out, "text, tokens", lengths)?;
        let share = 100.0 * *usable as f64 / self.counts.pairs().max(1) as f64;
        writeln!(out, "\nfit for training   {usable} ({share:.1} %)")?;
        writeln!(out, "over {} tokens    {too_long}", self.limit)?;
        writeln!(out, "identical texts    {identical}")?;
        writeln!(out, "empty answers      {empty}")
    }
}
