//! Logs on standard error.

use anyhow::Context;
use clap::{ArgAction, Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::output;

/// The level and the format of the log.
#[derive(Args)]
pub(crate) struct Verbosity {
    /// Logs more: -v what is done, -vv also details, -vvv everything. RUST_LOG, if set, wins
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// No progress, notes or warnings; errors alone
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Format of the log
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines of text
    Text,
    /// One JSON object per line
    Json,
}

impl Verbosity {
    /// Installs the subscriber of the process.
    pub(crate) fn install(&self) -> anyhow::Result<()> {
        output::set_quiet(self.quiet);
        let level = match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) => "warn",
            (false, 1) => "info",
            (false, 2) => "debug",
            (false, _) => "trace",
        };
        let filter = match std::env::var("RUST_LOG") {
            Ok(directives) if !directives.is_empty() => {
                EnvFilter::try_new(&directives).with_context(|| format!("RUST_LOG is {directives}"))?
            }
            _ => EnvFilter::new(level),
        };
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Text => subscriber.init(),
            LogFormat::Json => subscriber.json().init(),
        }
        Ok(())
    }
}
