//! Progress on standard error: bars on a terminal, plain lines elsewhere; and Ctrl-C.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ser_core::{Control, Event, Observer, Stage};

/// The time between two lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// An observer that shows progress on standard error. On a terminal it draws a bar with rate and time left, otherwise it
/// prints one line per stage and one every ten seconds.
pub struct Progress {
    bars: bool,
    hidden: bool,
    stage: Option<StageBar>,
    stop: Arc<AtomicBool>,
    run: RunProgress,
}

/// The progress of the whole run.
struct RunProgress {
    /// Stages of the run; 0 if unknown.
    expected: Arc<AtomicU64>,
    finished: u64,
    started: Instant,
}

impl RunProgress {
    /// `[3/20, about 12 min 00 s left] `, or nothing if the number of stages is unknown.
    fn text(&self) -> String {
        let expected = self.expected.load(Ordering::Relaxed);
        if expected == 0 {
            return String::new();
        }
        let left = expected.saturating_sub(self.finished);
        let of = (self.finished + 1).min(expected);
        if self.finished == 0 {
            return format!("[{of}/{expected}] ");
        }
        let seconds = self.started.elapsed().as_secs_f64() / self.finished as f64 * left as f64;
        let time = span(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        format!("[{of}/{expected}, about {time} left] ")
    }
}

/// The running stage.
struct StageBar {
    name: String,
    unit: String,
    total: Option<u64>,
    done: u64,
    metrics: String,
    started: Instant,
    last_line_at: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Draws bars if standard error is a terminal.
    pub fn new() -> Self {
        let run = RunProgress { expected: Arc::default(), finished: 0, started: Instant::now() };
        Progress { bars: stderr().is_terminal(), hidden: false, stage: None, stop: Arc::default(), run }
    }

    /// Like [`new`](Progress::new). The first Ctrl-C (or SIGTERM, SIGHUP) requests a stop after which the run can be
    /// resumed; the second one ends the process with exit code 130. Only one per process.
    ///
    /// # Errors
    /// If the process already has a handler.
    pub fn with_ctrl_c() -> std::io::Result<Self> {
        let progress = Progress::new();
        let stop = Arc::clone(&progress.stop);
        ctrlc::set_handler(move || {
            if stop.swap(true, Ordering::SeqCst) {
                // 128 + SIGINT, the exit code of shells.
                std::process::exit(130);
            }
            let _ = writeln!(
                stderr(),
                "\nstopping at the next point where no work is lost; press Ctrl-C again to stop at once"
            );
        })
        .map_err(std::io::Error::other)?;
        Ok(progress)
    }

    /// A flag that requests a stop once it is set to true, from any thread.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Shows nothing if `hidden`; a stop can still be requested.
    #[must_use]
    pub fn hidden(mut self, hidden: bool) -> Self {
        self.hidden = hidden;
        self.bars &= !hidden;
        self
    }

    /// The number of stages of the run, which may be set once it is known: progress then also shows how many are done
    /// and the time left.
    pub fn expected_stages(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.run.expected)
    }

    fn say(&self, line: &str) {
        if self.hidden {
            return;
        }
        match self.stage.as_ref().and_then(|stage| stage.bar.as_ref()) {
            Some(bar) => bar.suspend(|| drop(writeln!(stderr(), "{line}"))),
            None => drop(writeln!(stderr(), "{line}")),
        }
    }

    fn start(&mut self, name: &str, total: Option<u64>, unit: &str) {
        self.end();
        let bar = self.bars.then(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
            set_shape(&bar, total, unit);
            bar.set_prefix(format!("{}{name}", self.run.text()));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let now = Instant::now();
        self.stage = Some(StageBar {
            name: name.to_owned(),
            unit: unit.to_owned(),
            total,
            done: 0,
            metrics: String::new(),
            started: now,
            last_line_at: now,
            bar,
        });
    }

    fn advance(&mut self, name: &Stage, done: u64) {
        if let Some(stage) = self.stage.as_mut().filter(|stage| *name == *stage.name.as_str()) {
            stage.done = done;
            match &stage.bar {
                Some(bar) => bar.set_position(done),
                None if stage.last_line_at.elapsed() >= LINE_EVERY => {
                    stage.last_line_at = Instant::now();
                    let line = format!("{}{}", self.run.text(), stage.line());
                    self.say(&line);
                }
                None => {}
            }
        }
    }

    /// Ends the running stage with its line.
    fn end(&mut self) {
        if let Some(mut stage) = self.stage.take() {
            if let Some(bar) = stage.bar.take() {
                bar.finish_and_clear();
            }
            self.say(&stage.last_line());
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

impl Observer for Progress {
    fn observe(&mut self, event: &Event<'_>) -> Control {
        match event {
            Event::Started { stage, total, unit } => self.start(&stage.to_string(), *total, unit),
            Event::Advanced { stage, done } => self.advance(stage, *done),
            Event::Metrics { stage: name, values, .. } => {
                if let Some(stage) = self.stage.as_mut().filter(|stage| **name == *stage.name.as_str()) {
                    stage.metrics = metrics(values);
                    if let Some(bar) = &stage.bar {
                        bar.set_message(stage.metrics.clone());
                    }
                }
            }
            Event::Finished { stage: name }
                if self.stage.as_ref().is_some_and(|stage| **name == *stage.name.as_str()) =>
            {
                self.end();
                self.run.finished += 1;
            }
            Event::Note { text } => self.say(text),
            _ => {}
        }
        if self.stop.load(Ordering::SeqCst) { Control::Stop } else { Control::Continue }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.stage.take().and_then(|stage| stage.bar) {
            bar.abandon();
        }
    }
}

impl StageBar {
    /// The line of a running stage: `train loop 1: 120/400 steps, 12.0/s, 23 s left, loss 0.41`.
    fn line(&self) -> String {
        let rate = self.done as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let mut line = match self.total {
            Some(total) => format!("{}: {}/{total} {}, {rate:.1}/s", self.name, self.done, self.unit),
            None => format!("{}: {} {}, {rate:.1}/s", self.name, self.done, self.unit),
        };
        if let Some(total) = self.total.filter(|_| self.done > 0) {
            let left = total.saturating_sub(self.done) as f64 / rate;
            line += &format!(", {} left", span(Duration::try_from_secs_f64(left).unwrap_or_default()));
        }
        self.with_figures(line)
    }

    /// The line of a finished stage: `train loop 1: 400 steps in 33 s, loss 0.41`.
    fn last_line(&self) -> String {
        let took = span(self.started.elapsed());
        let done = self.total.unwrap_or(self.done).max(self.done);
        self.with_figures(match done {
            0 => format!("{}: {took}", self.name),
            _ => format!("{}: {done} {} in {took}", self.name, self.unit),
        })
    }

    fn with_figures(&self, line: String) -> String {
        if self.metrics.is_empty() { line } else { format!("{line}, {}", self.metrics) }
    }
}

fn set_shape(bar: &ProgressBar, total: Option<u64>, unit: &str) {
    let template = match total {
        Some(_) => format!("{{prefix}} {{bar:30}} {{pos}}/{{len}} {unit} {{per_sec}} {{eta}} left {{msg}}"),
        None => format!("{{prefix}} {{spinner}} {{pos}} {unit} {{per_sec}} {{elapsed}} {{msg}}"),
    };
    bar.set_length(total.unwrap_or(0));
    // A unit with braces makes an invalid template; the bar then keeps its default style.
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
}

/// Loss and accuracy; in PPO, mean reward and KL divergence.
fn metrics(values: &[(&str, f64)]) -> String {
    let name = |name| match name {
        "loss" | "accuracy" => Some(name),
        "env/reward_mean" => Some("reward"),
        "objective/kl" => Some("KL"),
        _ => None,
    };
    let shown = values.iter().filter_map(|(key, value)| Some(format!("{} {value:.3}", name(*key)?)));
    shown.collect::<Vec<_>>().join(", ")
}

/// `0.4 s`, `33 s`, `4 min 05 s`, `2 h 10 min`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Progress {
        let mut progress = Progress::new();
        progress.bars = false;
        progress
    }

    #[test]
    fn a_run_of_known_length_shows_how_many_stages_are_done() {
        let mut progress = plain();
        assert_eq!(progress.run.text(), "");
        progress.expected_stages().store(4, Ordering::Relaxed);
        assert_eq!(progress.run.text(), "[1/4] ");
        for _ in 0..2 {
            progress.start("train", Some(1), "steps");
            let _ = progress.observe(&Event::Finished { stage: &Stage::TrainReward });
        }
        assert!(progress.run.text().starts_with("[3/4, about 0.0 s left"), "{}", progress.run.text());
    }

    #[test]
    fn time_spans_have_two_units_at_most() {
        let texts = [400, 33_000, 245_000, 7_800_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(texts, ["0.4 s", "33 s", "4 min 05 s", "2 h 10 min"]);
    }

    #[test]
    fn lines_have_units_and_totals() {
        let mut progress = plain();
        progress.start("train", Some(8), "steps");
        progress.advance(&Stage::TrainReward, 4);
        let stage = progress.stage.as_ref().unwrap();
        assert!(stage.line().starts_with("train: 4/8 steps, "), "{}", stage.line());
        assert!(stage.last_line().starts_with("train: 8 steps in "), "{}", stage.last_line());
    }

    #[test]
    fn the_flag_stops_the_work() {
        let mut progress = plain();
        let finished = Event::Finished { stage: &Stage::Score };
        assert_eq!(progress.observe(&finished), Control::Continue);
        progress.stop_flag().store(true, Ordering::SeqCst);
        assert_eq!(progress.observe(&finished), Control::Stop);
    }
}
