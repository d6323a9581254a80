//! OpenMP threads that wait for each other: spinning on an idle machine, sleeping on a busy one.

use std::collections::HashMap;
use std::sync::Once;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::ffi;

/// The interval of measuring how long this process waits for processors.
const INTERVAL: Duration = Duration::from_millis(200);
/// Threads sleep if the share of waiting is at least this.
const BUSY: f64 = 0.2;
/// Threads spin again if the share of waiting is below this, in so many measurements in a row.
const IDLE: (f64, u32) = (0.05, 5);

/// Makes waiting OpenMP threads sleep instead of spin while other processes use the processors.
///
/// A parallel loop ends with its last thread. On a machine with other load that thread may have no processor, because the
/// others spin on theirs: a run then takes 5 to 100 times as long. On an idle machine, waking a sleeping thread costs more
/// than the loop (a run took 3 times as long on a virtual machine). So a thread of this process measures every 200 ms the
/// share of time that its threads were ready and had no processor (`schedstat` of Linux): from 20 % on they sleep, below 5 %
/// for a second they spin again.
///
/// GCC's OpenMP spins about 300,000 times, but 100 times while it manages more threads than the process has processors
/// (libgomp manual, `GOMP_SPINCOUNT`). So a sleeping team of that size, on a separate thread, switches between the two.
///
/// Calls after the first do nothing. Nothing changes if the environment sets `OMP_WAIT_POLICY` or `GOMP_SPINCOUNT`,
/// where there is no `schedstat`, or if the shim was compiled without OpenMP.
pub fn limit_spinning() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let set = |name| std::env::var_os(name).is_some();
        if set("OMP_WAIT_POLICY") || set("GOMP_SPINCOUNT") || !cfg!(ser_openmp) || times().is_none() {
            return;
        }
        // A failure to start a thread leaves the default, which is correct but slow under load.
        let _ = thread::Builder::new().name("ser-load".into()).spawn(watch);
    });
}

/// Creates the team while the machine is busy, and ends it otherwise.
fn watch() {
    let mut before = times().unwrap_or_default();
    let (mut team, mut idle): (Option<Sender<()>>, u32) = (None, 0);
    loop {
        thread::sleep(INTERVAL);
        let Some(now) = times() else { return };
        let (mut run, mut wait) = (0, 0);
        for (thread, [ran, waited]) in &now {
            let [earlier_run, earlier_wait] = before.get(thread).copied().unwrap_or_default();
            run += ran.saturating_sub(earlier_run);
            wait += waited.saturating_sub(earlier_wait);
        }
        before = now;
        // An idle process gives no information about the machine.
        if u128::from(run + wait) * 10 < INTERVAL.as_nanos() {
            continue;
        }
        let share = wait as f64 / (run + wait) as f64;
        idle = if share < IDLE.0 { idle + 1 } else { 0 };
        if team.is_none() && share >= BUSY {
            team = oversized_team();
        } else if team.is_some() && idle >= IDLE.1 {
            team = None;
        }
    }
}

/// A sleeping team of more threads than there are processors; it ends when the sender is dropped.
fn oversized_team() -> Option<Sender<()>> {
    let (sender, end): (Sender<()>, Receiver<()>) = channel();
    let team = thread::Builder::new().name("ser-openmp".into()).spawn(move || {
        // SAFETY: takes nothing and returns a number.
        let _ = unsafe { ffi::ser_oversized_team() };
        let _ = end.recv();
    });
    team.ok().map(|_| sender)
}

/// The nanoseconds that each thread of this process has run, and has waited for a processor, by thread id.
fn times() -> Option<HashMap<std::ffi::OsString, [u64; 2]>> {
    let mut times = HashMap::new();
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may end meanwhile.
        let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else { continue };
        let mut fields = text.split_whitespace().map(str::parse);
        if let (Some(Ok(run)), Some(Ok(wait))) = (fields.next(), fields.next()) {
            times.insert(task.file_name(), [run, wait]);
        }
    }
    (!times.is_empty()).then_some(times)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use tch::{Kind, Tensor};

    use super::*;

    /// Busy processes, killed at the end.
    struct Load(Vec<Child>);

    impl Drop for Load {
        fn drop(&mut self) {
            for child in &mut self.0 {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    /// Processor time of this process so far, in clock ticks of 10 ms.
    fn ticks() -> u64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        // Fields 14 and 15, counted behind the command's closing parenthesis, which is field 2.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Many short parallel loops, as in a training step.
    fn work(threads: i32, loops: usize) -> (u64, Duration) {
        tch::set_num_threads(threads);
        let x = Tensor::ones([64, 256], (Kind::Float, tch::Device::Cpu));
        let weight = Tensor::ones([256, 256], (Kind::Float, tch::Device::Cpu));
        let _ = crate::linear(&x, &weight, None).unwrap();
        let (before, start) = (ticks(), Instant::now());
        for _ in 0..loops {
            let _ = crate::linear(&x, &weight, None).unwrap();
        }
        (ticks() - before, start.elapsed())
    }

    /// Spinning is counted as processor time: with other load on every core, two threads that spin use many times what
    /// the work needs. Runs in a separate process, since other tests use libtorch's threads at the same time.
    #[test]
    #[cfg_attr(not(all(ser_openmp, target_os = "linux")), ignore = "needs OpenMP and Linux")]
    fn threads_that_wait_do_not_use_up_the_processor() {
        const CHILD: &str = "SER_TEST_SPINNING";
        if std::env::var_os(CHILD).is_none() {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "spinning::tests::threads_that_wait_do_not_use_up_the_processor", "--nocapture"])
                .env(CHILD, "1")
                .env_remove("OMP_WAIT_POLICY")
                .env_remove("GOMP_SPINCOUNT")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
            println!("{text}");
            return;
        }
        limit_spinning();
        let loops = 4000;
        let neighbours = 2 * thread::available_parallelism().map_or(2, usize::from);
        let shell = || Command::new("sh").args(["-c", "while :; do :; done"]).stdout(Stdio::null()).spawn().unwrap();
        let _load = Load((0..neighbours).map(|_| shell()).collect());
        // Wait until the load is measured.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            work(2, 20);
        }
        let (one, alone) = work(1, loops);
        let (two, together) = work(2, loops);
        println!("under load: one thread {one} ticks in {alone:?}, two threads {two} ticks in {together:?}");
        assert!(two < 3 * one.max(10), "two threads used {two} ticks of processor time, one thread {one}");
    }
}
