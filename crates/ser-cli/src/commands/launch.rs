//! `ser launch`.

use std::io::{self, Write};
use std::net::TcpListener;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Time between two looks at the processes.
const POLL: Duration = Duration::from_millis(10);
/// Time that processes have to end after another one failed.
const GRACE: Duration = Duration::from_secs(10);

/// Starts a command as several processes on this machine
///
/// Each process runs `ser ARGS` with the environment variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK,
/// LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT); the command must support several processes. Ctrl-C is forwarded to all. If one
/// fails, the others are stopped, and its exit code is that of `ser launch`. Standard input is empty.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Number of processes
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    processes: u16,
    /// The command and its arguments, without `ser`
    #[arg(last = true, required = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let interrupts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&interrupts);
    ctrlc::set_handler(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    })
    .context("cannot listen for Ctrl-C")?;
    let mut ranks = Ranks::start(arguments)?;
    let (mut forwarded, mut failed) = (0, None);
    while ranks.running() {
        for (rank, status) in ranks.ended()? {
            if !status.success() && failed.is_none() {
                failed = Some((rank, status, Instant::now()));
                // After Ctrl-C every process ends by itself.
                if forwarded == 0 {
                    ranks.signal(Signal::SIGTERM);
                }
            }
        }
        while forwarded < interrupts.load(Ordering::SeqCst) {
            forwarded += 1;
            ranks.signal(Signal::SIGINT);
        }
        if failed.is_some_and(|(_, _, since)| since.elapsed() > GRACE) {
            ranks.signal(Signal::SIGKILL);
        }
        std::thread::sleep(POLL);
    }
    let Some((rank, status, _)) = failed else { return Ok(ExitCode::SUCCESS) };
    if forwarded == 0 {
        let n = arguments.processes;
        let _ = writeln!(io::stderr(), "error: rank {rank} of {n} ended with {status}; the other ranks were stopped");
    }
    Ok(ExitCode::from(code(status)))
}

/// The exit code of a process, or that of a shell for a signal.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The processes that still run. They are killed if this value is dropped.
struct Ranks(Vec<(usize, Child)>);

impl Ranks {
    fn start(arguments: &Arguments) -> anyhow::Result<Ranks> {
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        let port = listener.local_addr().context("no free port")?.port();
        // Rank 0 listens at it.
        drop(listener);
        let size = arguments.processes.to_string();
        let mut ranks = Ranks(Vec::new());
        for rank in 0..usize::from(arguments.processes) {
            use std::os::unix::process::CommandExt;
            let mut command = Command::new(&program);
            command.args(&arguments.arguments).stdin(Stdio::null());
            command.env("RANK", rank.to_string()).env("LOCAL_RANK", rank.to_string());
            command.env("WORLD_SIZE", &size).env("LOCAL_WORLD_SIZE", &size);
            command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
            for name in ["TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT", "GLOO_SOCKET_IFNAME"] {
                command.env_remove(name);
            }
            // A terminal sends Ctrl-C to a whole process group; with a group each, every process receives it once, from here.
            command.process_group(0);
            let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
            ranks.0.push((rank, child));
        }
        Ok(ranks)
    }

    fn running(&self) -> bool {
        !self.0.is_empty()
    }

    /// The processes that ended since the last call.
    fn ended(&mut self) -> io::Result<Vec<(usize, ExitStatus)>> {
        let (mut ended, mut running) = (Vec::new(), Vec::new());
        for (rank, mut child) in std::mem::take(&mut self.0) {
            match child.try_wait()? {
                Some(status) => ended.push((rank, status)),
                None => running.push((rank, child)),
            }
        }
        self.0 = running;
        Ok(ended)
    }

    fn signal(&self, signal: Signal) {
        for (_, child) in &self.0 {
            if let Ok(id) = i32::try_from(child.id()) {
                // It may have ended just now; it is not waited for yet, so that the id is still its own.
                let _ = kill(Pid::from_raw(id), signal);
            }
        }
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
