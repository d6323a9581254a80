//! `ser inspect`.

#[cfg(feature = "tokenizers")]
mod tokens;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use ser::data::{Layout, LengthCounts, OnBadRow, PreferenceCounts, PreferenceFile, ReadSettings, Reservoir};
use ser::{Message, Preference};

use crate::input::Input;

/// Describes a preference dataset: layout, ties, duplicates, lengths, rows left out, samples
///
/// The data is read as a stream; a hash per pair stays in memory, to find duplicates.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A file, a folder of shards, a glob, or hf://owner/name; `-` for stdin
    data: PathBuf,
    /// The layout; found from the first row if not given
    #[arg(long)]
    layout: Option<Layout>,
    /// Of a folder or repository with several splits, the one to read
    #[arg(long)]
    split: Option<String>,
    /// Action at a row that cannot be used: stop or skip
    #[arg(long, default_value = "stop", value_parser = ["stop", "skip"])]
    on_bad_row: String,
    /// Where answers have scores, the least difference of a pair
    #[arg(long, default_value_t = 0.0)]
    min_score_gap: f64,
    /// At most so many pairs of one question's scored answers
    #[arg(long, default_value_t = 10)]
    max_pairs_per_prompt: usize,
    /// The column of the prompt, where it has no known name
    #[arg(long)]
    prompt_column: Option<String>,
    /// A column that may stay unread; may be given several times
    #[arg(long)]
    ignore_column: Vec<String>,
    /// How many pairs to show, drawn at random
    #[arg(long, default_value_t = 3)]
    samples: usize,
    /// Seed of the draw
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder or hf:// address of a tokenizer, for lengths in tokens
    #[cfg(feature = "tokenizers")]
    #[arg(long)]
    tokenizer: Option<String>,
    /// Length limit in tokens; the number of pairs over it is printed
    #[cfg(feature = "tokenizers")]
    #[arg(long, default_value_t = 512)]
    max_length: usize,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = ReadSettings {
        layout: arguments.layout,
        split: arguments.split.clone(),
        on_bad_row: if arguments.on_bad_row == "skip" { OnBadRow::Skip } else { OnBadRow::Stop },
        min_score_gap: arguments.min_score_gap,
        max_pairs_per_prompt: arguments.max_pairs_per_prompt,
        prompt_column: arguments.prompt_column.clone(),
        ignore_columns: arguments.ignore_column.clone(),
        ..ReadSettings::default()
    };
    #[cfg(feature = "tokenizers")]
    let mut tokens = tokens::Tokens::new(arguments)?;
    let input = Input::open(&arguments.data)?;
    let mut file = PreferenceFile::open(input.path(), &settings)?;
    let mut counts = PreferenceCounts::default();
    let mut samples = Reservoir::new(arguments.samples, arguments.seed);
    while let Some(preference) = file.next_preference()? {
        counts.add(&preference);
        #[cfg(feature = "tokenizers")]
        if let Some(tokens) = &mut tokens {
            tokens.add(&preference.pair)?;
        }
        samples.add(preference);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    write_summary(&mut out, &file, &counts)?;
    #[cfg(feature = "tokenizers")]
    if let Some(tokens) = &tokens {
        tokens.write(&mut out)?;
    }
    for sample in samples.items() {
        write_sample(&mut out, sample)?;
    }
    out.flush()?;
    Ok(())
}

fn write_summary(out: &mut impl Write, file: &PreferenceFile, counts: &PreferenceCounts) -> io::Result<()> {
    let summary = file.summary();
    let share = |part: u64, whole: u64| format!("{part} ({:.1} %)", 100.0 * part as f64 / whole.max(1) as f64);
    writeln!(out, "layout             {}", file.layout().map_or("none", Layout::as_str))?;
    writeln!(out, "files              {}", summary.files)?;
    writeln!(out, "rows               {}", summary.rows)?;
    writeln!(out, "pairs              {}", summary.pairs)?;
    writeln!(out, "prompts            {}", counts.prompts())?;
    writeln!(out, "ties               {}", summary.ties)?;
    for (name, count) in [
        ("over pair limit   ", summary.over_pair_limit),
        ("prompts differ    ", summary.prompts_differ),
        ("turns joined      ", summary.turns_joined),
        ("blank answers     ", summary.blank_answers),
        ("with a margin     ", counts.margins),
        ("scores contradict ", summary.contradicting_scores),
        ("negative margins  ", summary.negative_margins),
    ] {
        if count > 0 {
            writeln!(out, "{name} {}", share(count, summary.pairs))?;
        }
    }
    for (name, count) in
        [("answers unscored  ", summary.unscored_answers), ("values as text    ", summary.values_as_text)]
    {
        if count > 0 {
            writeln!(out, "{name} {count}")?;
        }
    }
    writeln!(out, "identical answers  {}", share(counts.identical, counts.pairs))?;
    writeln!(out, "duplicates         {}", share(counts.duplicates, counts.pairs))?;
    writeln!(out, "contradictions     {}", share(counts.contradictions, counts.pairs))?;
    writeln!(out, "chosen is longer   {}", share(counts.longer_chosen, counts.pairs))?;
    if !summary.unread_columns.is_empty() {
        let columns: Vec<_> = summary.unread_columns.iter().map(|name| beginning(name)).collect();
        writeln!(out, "columns not read   {}", columns.join(", "))?;
    }
    writeln!(out, "rows left out      {}", share(summary.skipped, summary.rows))?;
    const SHOWN: usize = 20;
    for row in summary.skipped_rows.iter().take(SHOWN) {
        writeln!(out, "  {}, {}: {}", row.file.display(), row.position, row.problem)?;
    }
    if summary.skipped > SHOWN as u64 {
        writeln!(out, "  and {} more", summary.skipped - SHOWN as u64)?;
    }
    writeln!(out, "\nlengths            mean      50 %      90 %      99 %       max")?;
    for (name, lengths) in [
        ("turns of prompt", &counts.turns),
        ("prompt, chars", &counts.prompt),
        ("chosen, chars", &counts.chosen),
        ("rejected, chars", &counts.rejected),
    ] {
        write_lengths(out, name, lengths)?;
    }
    Ok(())
}

fn write_lengths(out: &mut impl Write, name: &str, lengths: &LengthCounts) -> io::Result<()> {
    write!(out, "{name:<15} {:>7.1}", lengths.mean().unwrap_or(0.0))?;
    for percent in [50.0, 90.0, 99.0, 100.0] {
        write!(out, " {:>9}", lengths.percentile(percent).unwrap_or(0))?;
    }
    writeln!(out)
}

fn write_sample(out: &mut impl Write, sample: &Preference) -> io::Result<()> {
    let pair = &sample.pair;
    let margin = sample.margin.map_or(String::new(), |margin| format!(", margin {margin}"));
    writeln!(out, "\npair {}{margin}", pair.id.0)?;
    for Message { role, content, .. } in &pair.prompt {
        writeln!(out, "  {:<9} {}", role.as_str(), beginning(content))?;
    }
    for (name, answer) in [("chosen", sample.chosen()), ("rejected", sample.rejected())] {
        writeln!(out, "  {name:<9} {}", beginning(answer))?;
    }
    let turns = pair.prompt.iter().chain(pair.response_turns.iter().flat_map(|turns| turns.iter().flatten()));
    let fields: BTreeSet<_> = turns.flat_map(|turn| turn.extra.keys().map(String::as_str)).collect();
    if !fields.is_empty() {
        writeln!(out, "  fields    {}", fields.into_iter().collect::<Vec<_>>().join(", "))?;
    }
    Ok(())
}

/// A text's beginning on one line.
fn beginning(text: &str) -> String {
    const SHOWN: usize = 300;
    let mut line: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        line.push('…');
    }
    line
}
