//! The whole procedure over language models: SFT, the iterations of self-evolution, PPO, and the comparison of policies.
//!
//! ```sh
//! cargo run --release --features libtorch --example ser_loop -- runs/demo
//! cargo run --release --features libtorch --example ser_loop -- runs/hh hh.toml llama-3-8b.toml
//! ```
//!
//! Without settings files it runs the demo: the built-in corpus and a small model that it makes first. Ctrl-C stops the run,
//! and the same command continues it. The program `ser run` does the same, with flags.
#![allow(clippy::print_stdout)]

use ser::config::{Config, DEMO, DEMO_POLICIES};
use ser::{BoxError, LanguageModels, Procedure, Progress};

fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "runs/demo".to_owned());
    let files: Vec<String> = arguments.collect();

    // One table per stage; `Config` is a plain struct, so a program can also set its fields.
    let mut config = match files.is_empty() {
        true => Config::builder().preset(DEMO)?.preset(DEMO_POLICIES)?.build()?,
        false => Config::from_files(&files)?,
    };
    config.policies.train = true; // without it, the iterations alone

    let models = LanguageModels::new(&config)?;
    let mut run = Procedure::new(config, models).observer(Progress::with_ctrl_c()?).resume(true).open(&folder)?;
    println!("{} stages are left", run.stages_left());

    // Each stage can be run alone; `run.finish()` runs all that are left.
    run.sft()?;
    let evolved = run.evolve()?;
    println!("the reward model of iteration {} is in {}", evolved.iteration, evolved.model.display());
    run.train_policies()?;
    run.compare()?;
    let outcome = run.finish()?;
    println!("{}\nThe report is {}.", outcome.report.to_text(), outcome.html.display());
    Ok(())
}
