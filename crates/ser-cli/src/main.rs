//! The program `ser`: Self-Evolved Reward Learning from the command line. Its commands are thin over the library `ser`.

mod commands;
mod exit;
mod flags;
mod input;
mod logging;
mod output;
#[cfg(feature = "libtorch")]
mod processes;

use std::process::ExitCode;

use clap::Parser;
use ser::distributed::Environment;

use commands::Command;
use logging::Verbosity;

/// Self-Evolved Reward Learning: trains a reward model on a few labels and lets it label the rest of its training data
#[derive(Parser)]
#[command(name = "ser", version, after_help = exit::CODES, arg_required_else_help = true, propagate_version = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    verbosity: Verbosity,
}

fn main() -> ExitCode {
    let Program { command, verbosity } = Program::parse();
    if let Err(error) = verbosity.install() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let on_interrupt = command.on_interrupt();
    let environment = Environment::from_env().map_err(anyhow::Error::from);
    let result = environment.and_then(|environment| {
        if environment.rank > 0 {
            // Rank 0 writes for all.
            output::set_quiet(true);
        }
        command.run(&environment)
    });
    let code = exit::exit_code(result, on_interrupt);
    #[cfg(feature = "libtorch")]
    if code == ExitCode::SUCCESS {
        ser_libtorch::end_process();
    }
    code
}
