use std::sync::Once;
use std::thread;

use crate::ffi;

/// Lets OpenMP threads that wait for each other sleep almost at once instead of spinning for milliseconds.
///
/// A parallel loop ends when its last thread does. On a machine with other load that thread may have no core, because
/// the others spin on theirs: a run then takes 10 to 100 times as long. GCC's OpenMP spins about 300,000 times, but
/// 100 times while it manages more threads than the process has processors (libgomp manual, `GOMP_SPINCOUNT`). This
/// function keeps a sleeping team of that size on a thread of its own.
///
/// Calls after the first do nothing. Nothing changes if the environment sets `OMP_WAIT_POLICY` or `GOMP_SPINCOUNT`,
/// or if the shim was compiled without OpenMP.
pub fn limit_spinning() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let set = |name| std::env::var_os(name).is_some();
        if set("OMP_WAIT_POLICY") || set("GOMP_SPINCOUNT") {
            return;
        }
        let (ready, wait) = std::sync::mpsc::channel();
        // The stack of the team's leader is never used again.
        let team = thread::Builder::new().name("ser-openmp".into()).stack_size(64 * 1024).spawn(move || {
            // SAFETY: takes nothing and returns a number.
            let size = unsafe { ffi::ser_oversized_team() };
            let _ = ready.send(());
            if size > 1 {
                loop {
                    thread::park();
                }
            }
        });
        // A failure to start a thread leaves the default, which is correct but slow under load.
        if team.is_ok() {
            let _ = wait.recv();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use tch::{Kind, Tensor};

    use super::*;

    /// Busy neighbours, killed at the end.
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

    /// Many short parallel loops, as a training step has them.
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

    /// Spinning is counted as processor time: with neighbours on every core, two threads that spin use many times what
    /// the work needs. Runs in a process of its own, since other tests use libtorch's threads at the same time.
    #[test]
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
        if !cfg!(ser_openmp) || !cfg!(target_os = "linux") {
            return;
        }
        limit_spinning();
        let loops = 4000;
        let neighbours = 2 * thread::available_parallelism().map_or(2, usize::from);
        let shell = || Command::new("sh").args(["-c", "while :; do :; done"]).stdout(Stdio::null()).spawn().unwrap();
        let _load = Load((0..neighbours).map(|_| shell()).collect());
        let (one, alone) = work(1, loops);
        let (two, together) = work(2, loops);
        println!("under load: one thread {one} ticks in {alone:?}, two threads {two} ticks in {together:?}");
        assert!(two < 3 * one.max(10), "two threads used {two} ticks of processor time, one thread {one}");
    }
}
