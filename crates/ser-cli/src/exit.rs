//! How the program ends: its exit code, and the last line on standard error.

use std::io;
use std::process::{ExitCode, Termination};

/// The exit codes, for `--help`.
pub(crate) const CODES: &str = "Exit codes: 0, success, also if the reader of standard output ended (`| head`); 1, an error; \
                                2, wrong arguments; 130, stopped by Ctrl-C. `ser judge` also has 3: no pair has a verdict.";

/// The code that shells report for a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// The exit code for a command's result. An error is printed in one line; after Ctrl-C, `on_interrupt` is printed too.
pub(crate) fn exit_code(result: anyhow::Result<impl Termination>, on_interrupt: Option<&str>) -> ExitCode {
    let error = match result {
        Ok(done) => return done.report(),
        Err(error) => error,
    };
    // Only an error without context: commands write to standard output themselves, and a broken connection to a server
    // always has context.
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    if !error.chain().any(interrupted) {
        return ExitCode::FAILURE;
    }
    if let Some(how) = on_interrupt {
        eprintln!("{how}");
    }
    ExitCode::from(INTERRUPTED)
}

/// Whether an error says that the work was stopped on request.
fn interrupted(error: &(dyn std::error::Error + 'static)) -> bool {
    #[cfg(feature = "libtorch")]
    if matches!(error.downcast_ref(), Some(ser::model::ModelError::Stopped(_))) {
        return true;
    }
    error.downcast_ref::<ser::Error>().is_some_and(ser::Error::is_interrupted)
        || matches!(error.downcast_ref(), Some(ser::eval::EvalError::Stopped(_)))
}
