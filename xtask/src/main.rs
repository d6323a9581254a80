//! Tasks of the workspace: `cargo xtask help` lists them.
#![allow(clippy::print_stdout)]

mod bundle;
mod ci;
mod demo;
mod features;
mod libtorch;
mod model;
mod packages;
mod peers;
mod pip;
mod pool;
mod publish;
mod reliability;
mod setup;
mod study;
mod wheel;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of this workspace", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetches libtorch into .libtorch, unless LIBTORCH or LIBTORCH_USE_PYTORCH is set
    Setup(setup::Options),
    /// Fetches a real language model into .models, and prints its path
    Model(model::Options),
    /// Runs every test: the crates without libtorch first, then those with it
    Test,
    /// Runs every check, cheapest first: format, lints, docs, features, fuzz targets, tests, packaging
    Ci,
    /// Lints the crates that need no libtorch with every set of their features
    Features(features::Options),
    /// Runs the whole method on the built-in corpus and ends with its table and report
    Demo(demo::Options),
    /// Runs the demo on many seeds, with settings chosen on other seeds, and prints the tables of docs/results.md
    Study(study::Options),
    /// Measures training and scoring speed side by side with TRL and transformers
    Peers(peers::Options),
    /// Measures time per pair and peak memory of the loop over generated pools of 300,000 and 3,000,000 pairs
    Pool(pool::Options),
    /// Writes programs, scripts and small inputs into a folder for a machine with a GPU and PyTorch, which needs no Rust
    Bundle(bundle::Options),
    /// Makes small runs of every kind fail at each of their operations on files, and requires that they go on to the same bits
    Reliability(reliability::Options),
    /// Packages every crate as for publishing, builds those without libtorch from their packages, and uploads nothing
    PublishCheck,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = Workspace::find().and_then(|workspace| match cli.task {
        Task::Setup(options) => setup::run(&workspace, &options),
        Task::Model(options) => model::run(&workspace, &options),
        Task::Test => ci::test(&workspace),
        Task::Ci => ci::ci(&workspace),
        Task::Features(options) => features::check(&workspace, &options),
        Task::Demo(options) => demo::run(&workspace, &options),
        Task::Study(options) => study::run(&workspace, &options),
        Task::Peers(options) => peers::run(&workspace, &options),
        Task::Pool(options) => pool::run(&workspace, &options),
        Task::Bundle(options) => bundle::run(&workspace, &options),
        Task::Reliability(options) => reliability::run(&workspace, &options),
        Task::PublishCheck => publish::check(&workspace),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
