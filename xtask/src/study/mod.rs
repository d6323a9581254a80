//! `cargo xtask study`: the demo over many seeds, its settings chosen on other seeds than it is reported on.
//!
//! Of several variants of the demo's settings, the one with the highest mean validation accuracy on the choosing seeds is
//! taken; test accuracies are not looked at there, and no baselines are trained. It is then run with its baselines on the
//! reporting seeds, none of which was used for the choice.

mod runs;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::setup;
use crate::workspace::Workspace;
use runs::{Runner, Task};

#[derive(Args)]
pub(crate) struct Options {
    /// Settings that differ from the demo's, as "NAME: KEY=VALUE; KEY=VALUE"; may be given several times. "demo" alone is
    /// the demo as it is
    #[arg(long = "variant", value_name = "NAME[: KEY=VALUE; ...]", value_parser = Variant::parse, default_value = "demo")]
    variants: Vec<Variant>,
    /// Seeds on which one of several variants is chosen, by validation accuracy, without baselines
    #[arg(long, value_name = "FIRST-LAST", value_parser = seeds, default_value = "0-4")]
    choose: Seeds,
    /// Seeds on which the chosen variant is reported, with its baselines
    #[arg(long, value_name = "FIRST-LAST", value_parser = seeds, default_value = "5-14")]
    report: Seeds,
    /// Stops after the choice
    #[arg(long)]
    choose_only: bool,
    /// Folder of the runs. Runs that are there are not done again, and one that was interrupted continues
    #[arg(long, default_value = "runs/study")]
    out: PathBuf,
    /// Runs at one time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Threads of each run
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Further options for `ser run` in every run, after `--`
    #[arg(last = true)]
    further: Vec<String>,
}

/// Seeds, the last one included.
type Seeds = std::ops::RangeInclusive<u64>;

/// Reads `5-14`, or `7` for one seed.
fn seeds(text: &str) -> Result<Seeds> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse().with_context(|| format!("{text:?} is not a seed: give FIRST-LAST"));
    let seeds = number(first)?..=number(last)?;
    ensure!(!seeds.is_empty(), "{text}: the first seed must not be over the last");
    Ok(seeds)
}

/// Settings under a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variant {
    name: String,
    settings: Vec<String>,
}

impl Variant {
    fn parse(text: &str) -> Result<Self> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let name = name.trim().to_owned();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        ensure!(is_name, "{name:?} is not a name: use letters, digits, - and _");
        let settings: Vec<String> =
            settings.split(';').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect();
        if let Some(setting) = settings.iter().find(|setting| !setting.contains('=')) {
            bail!("{name}: {setting:?} is not a setting: give KEY=VALUE");
        }
        Ok(Variant { name, settings })
    }
}

/// Chooses, reports, prints the tables as Markdown and writes them to `results.md` of the folder.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let Options { variants, choose, report, out, .. } = options;
    let mut names: Vec<&str> = variants.iter().map(|variant| variant.name.as_str()).collect();
    names.sort_unstable();
    ensure!(names.windows(2).all(|two| two[0] != two[1]), "two variants have the same name");
    ensure!(
        report.start() > choose.end() || choose.start() > report.end(),
        "--choose and --report share seeds: settings must be reported on seeds that were not used to choose them"
    );
    setup::run(workspace, &setup::Options::default())?;
    let out = std::path::absolute(out).with_context(|| format!("{} is not a path", out.display()))?;
    let runner = Runner::build(workspace, options)?;
    let mut text = String::new();
    let chosen = match variants.as_slice() {
        [one] => one,
        several => {
            let tasks = several.iter().flat_map(|variant| choose.clone().map(move |seed| Task { variant, seed }));
            let found = runner.run(&out.join("choose"), tasks.collect(), false)?;
            let per_variant = found.chunks(choose.clone().count()).map(<[_]>::to_vec).collect::<Vec<_>>();
            let rows: Vec<_> = several.iter().zip(&per_variant).collect();
            let best = table::best(&rows)?;
            text += &table::choice(&rows, choose, best);
            several.get(best).context("no variant")?
        }
    };
    if !options.choose_only {
        let tasks: Vec<Task<'_>> = report.clone().map(|seed| Task { variant: chosen, seed }).collect();
        let found = runner.run(&out.join("report"), tasks, true)?;
        text += &table::report(chosen, &found)?;
    }
    print!("{text}");
    write(&out.join("results.md"), &text)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_and_seeds_are_read() {
        let variant = Variant::parse("four: training.epochs=4; loop.schedule.plan=[\"status1\", \"status2\"]").unwrap();
        assert_eq!(variant.settings, ["training.epochs=4", "loop.schedule.plan=[\"status1\", \"status2\"]"]);
        assert_eq!(Variant::parse("demo").unwrap(), Variant { name: "demo".into(), settings: Vec::new() });
        for bad in ["", "a b", "../x", "x: epochs"] {
            assert!(Variant::parse(bad).is_err(), "{bad}");
        }
        assert_eq!((seeds("5-14").unwrap(), seeds("7").unwrap()), (5..=14, 7..=7));
        assert!(seeds("9-5").is_err() && seeds("a-5").is_err());
    }
}
