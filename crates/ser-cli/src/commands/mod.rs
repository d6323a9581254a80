//! The commands.

#[cfg(feature = "libtorch")]
mod bench;
mod completions;
mod config;
#[cfg(feature = "libtorch")]
mod eval;
#[cfg(feature = "libtorch")]
mod generate;
mod inspect;
mod judge;
mod label;
#[cfg(unix)]
mod launch;
#[cfg(feature = "libtorch")]
mod merge;
mod report;
#[cfg(feature = "libtorch")]
mod run;
#[cfg(feature = "libtorch")]
mod score;
#[cfg(feature = "libtorch")]
mod scoring_model;
#[cfg(all(feature = "libtorch", feature = "serve"))]
mod serve;
#[cfg(feature = "libtorch")]
mod train;

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use ser::distributed::Environment;

#[cfg(feature = "libtorch")]
use crate::flags::RESUME;

/// A command of the program.
#[derive(Subcommand)]
pub(crate) enum Command {
    #[cfg(feature = "libtorch")]
    Run(run::Arguments),
    #[cfg(feature = "libtorch")]
    #[command(subcommand)]
    Train(train::Train),
    #[cfg(feature = "libtorch")]
    Score(score::Arguments),
    #[cfg(all(feature = "libtorch", feature = "serve"))]
    Serve(serve::Arguments),
    #[cfg(feature = "libtorch")]
    Eval(eval::Arguments),
    #[cfg(feature = "libtorch")]
    Bench(bench::Arguments),
    Label(label::Arguments),
    #[cfg(feature = "libtorch")]
    Generate(generate::Arguments),
    Judge(judge::Arguments),
    Inspect(inspect::Arguments),
    #[cfg(feature = "libtorch")]
    Merge(merge::Arguments),
    Report(report::Arguments),
    #[cfg(unix)]
    Launch(launch::Arguments),
    Config(config::Arguments),
    Completions(completions::Arguments),
}

impl Command {
    /// Runs the command as one of the run's processes.
    pub(crate) fn run(self, environment: &Environment) -> anyhow::Result<ExitCode> {
        let size = environment.size;
        if size > 1 && !self.takes_several_processes() {
            bail!(
                "this command runs as one process, and WORLD_SIZE is {size}; start it once, without torchrun and `ser \
                 launch`, or unset WORLD_SIZE and RANK"
            );
        }
        let done = |()| ExitCode::SUCCESS;
        match self {
            #[cfg(feature = "libtorch")]
            Command::Run(arguments) => run::run(&arguments, environment).map(done),
            #[cfg(feature = "libtorch")]
            Command::Train(train) => train.run(environment).map(done),
            #[cfg(feature = "libtorch")]
            Command::Score(arguments) => score::run(&arguments, environment).map(done),
            #[cfg(all(feature = "libtorch", feature = "serve"))]
            Command::Serve(arguments) => serve::run(arguments).map(done),
            #[cfg(feature = "libtorch")]
            Command::Eval(arguments) => eval::run(&arguments).map(done),
            #[cfg(feature = "libtorch")]
            Command::Bench(arguments) => bench::run(&arguments).map(done),
            Command::Label(arguments) => label::run(&arguments).map(done),
            #[cfg(feature = "libtorch")]
            Command::Generate(arguments) => generate::run(arguments).map(done),
            Command::Judge(arguments) => judge::run(arguments),
            Command::Inspect(arguments) => inspect::run(&arguments).map(done),
            #[cfg(feature = "libtorch")]
            Command::Merge(arguments) => merge::run(&arguments).map(done),
            Command::Report(arguments) => report::run(&arguments).map(done),
            #[cfg(unix)]
            Command::Launch(arguments) => launch::run(&arguments),
            Command::Config(arguments) => config::run(&arguments).map(done),
            Command::Completions(arguments) => completions::run(&arguments).map(done),
        }
    }

    /// Whether several processes share the command's work. The others would do all of it once per process, in one folder.
    fn takes_several_processes(&self) -> bool {
        #[cfg(feature = "libtorch")]
        if matches!(self, Command::Score(_) | Command::Run(_) | Command::Train(_)) {
            return true;
        }
        false
    }

    /// The sentence that is printed after Ctrl-C: how to continue.
    pub(crate) fn on_interrupt(&self) -> Option<&'static str> {
        match self {
            #[cfg(feature = "libtorch")]
            Command::Run(_) | Command::Train(_) => Some(RESUME),
            Command::Judge(_) => Some(judge::GO_ON),
            _ => None,
        }
    }
}
