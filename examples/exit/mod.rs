//! How a program ends: its exit code, and what it says on standard error.

use std::io;
use std::process::{ExitCode, Termination};

/// What shells report for a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// The exit code for a program's result: its own where it has one, else 0. An error is said in one line, and an interrupted program also says
/// `to_go_on`.
///
/// 0 also if the reader of standard output went away (`| head`), which is no error of this program; 130 after Ctrl-C.
pub(crate) fn exit_code(result: anyhow::Result<impl Termination>, to_go_on: Option<&str>) -> ExitCode {
    let error = match result {
        Ok(done) => return done.report(),
        Err(error) => error,
    };
    // Only an error without context: a program writes to standard output itself, and a broken connection to a server
    // always comes wrapped in what was tried.
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    if !error.chain().any(interrupted) {
        return ExitCode::FAILURE;
    }
    if let Some(how) = to_go_on {
        eprintln!("{how}");
    }
    ExitCode::from(INTERRUPTED)
}

/// Whether an error says that an observer stopped the work.
fn interrupted(error: &(dyn std::error::Error + 'static)) -> bool {
    #[cfg(feature = "libtorch")]
    if matches!(error.downcast_ref(), Some(ser::model::ModelError::Stopped(_))) {
        return true;
    }
    matches!(error.downcast_ref(), Some(ser::Error::Interrupted { .. }))
        || matches!(error.downcast_ref(), Some(ser::eval::EvalError::Stopped(_)))
}
