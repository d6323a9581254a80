//! Progress for people: bars on a terminal, plain lines elsewhere; and Ctrl-C.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ser_core::{Control, Event, Observer};

/// How often a plain log says how far a stage is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// An observer that shows on standard error how work goes: a bar with rate and time left where that is a terminal,
/// else a line per stage and one every ten seconds.
pub struct Progress {
    bars: bool,
    stage: Option<Stage>,
    stop: Arc<AtomicBool>,
}

/// The stage under way.
struct Stage {
    name: String,
    unit: String,
    total: Option<u64>,
    done: u64,
    figures: String,
    started: Instant,
    said: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Bars if standard error is a terminal.
    pub fn new() -> Self {
        Progress { bars: stderr().is_terminal(), stage: None, stop: Arc::default() }
    }

    /// Like [`new`](Progress::new), and the first Ctrl-C (or SIGTERM, SIGHUP) asks the work to stop where nothing is
    /// lost; the second ends the process. One per process.
    ///
    /// # Errors
    /// If the process has a handler already.
    pub fn with_ctrl_c() -> std::io::Result<Self> {
        let progress = Progress::new();
        let stop = Arc::clone(&progress.stop);
        ctrlc::set_handler(move || {
            if stop.swap(true, Ordering::SeqCst) {
                // 128 + SIGINT, as shells have it.
                std::process::exit(130);
            }
            let _ = writeln!(stderr(), "\nstopping where nothing is lost; once more to stop at once");
        })
        .map_err(std::io::Error::other)?;
        Ok(progress)
    }

    /// Asks the work to stop, from anywhere: set it to true.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    fn say(&self, line: &str) {
        match self.stage.as_ref().and_then(|stage| stage.bar.as_ref()) {
            Some(bar) => bar.suspend(|| drop(writeln!(stderr(), "{line}"))),
            None => drop(writeln!(stderr(), "{line}")),
        }
    }

    fn start(&mut self, name: &str, total: Option<u64>, unit: &str) {
        match &mut self.stage {
            // The model knows the work better than the loop, which announced the stage.
            Some(stage) if stage.name == name && stage.done == 0 => {
                stage.total = total;
                unit.clone_into(&mut stage.unit);
                if let Some(bar) = &stage.bar {
                    set_shape(bar, total, unit);
                }
            }
            _ => {
                self.end();
                let bar = self.bars.then(|| {
                    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
                    set_shape(&bar, total, unit);
                    bar.set_prefix(name.to_owned());
                    bar.enable_steady_tick(Duration::from_millis(250));
                    bar
                });
                let now = Instant::now();
                self.stage = Some(Stage {
                    name: name.to_owned(),
                    unit: unit.to_owned(),
                    total,
                    done: 0,
                    figures: String::new(),
                    started: now,
                    said: now,
                    bar,
                });
            }
        }
    }

    fn advance(&mut self, name: &str, done: u64) {
        if let Some(stage) = self.stage.as_mut().filter(|stage| stage.name == name) {
            stage.done = done;
            match &stage.bar {
                Some(bar) => bar.set_position(done),
                None if stage.said.elapsed() >= LINE_EVERY => {
                    stage.said = Instant::now();
                    let line = stage.line();
                    self.say(&line);
                }
                None => {}
            }
        }
    }

    /// Ends the stage under way with its line.
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
            Event::Started { stage, total, unit } => self.start(stage, *total, unit),
            Event::Advanced { stage, done } => self.advance(stage, *done),
            Event::Metrics { stage: name, values, .. } => {
                if let Some(stage) = self.stage.as_mut().filter(|stage| stage.name == *name) {
                    stage.figures = figures(values);
                    if let Some(bar) = &stage.bar {
                        bar.set_message(stage.figures.clone());
                    }
                }
            }
            Event::Finished { stage: name } if self.stage.as_ref().is_some_and(|stage| stage.name == *name) => {
                self.end();
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

impl Stage {
    /// How far it is: `train loop 1: 120/400 steps, 12.0/s, 23 s left, loss 0.41`.
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

    /// What it came to: `train loop 1: 400 steps in 33 s, loss 0.41`.
    fn last_line(&self) -> String {
        let took = span(self.started.elapsed());
        let done = self.total.unwrap_or(self.done).max(self.done);
        self.with_figures(match done {
            0 => format!("{}: {took}", self.name),
            _ => format!("{}: {done} {} in {took}", self.name, self.unit),
        })
    }

    fn with_figures(&self, line: String) -> String {
        if self.figures.is_empty() { line } else { format!("{line}, {}", self.figures) }
    }
}

fn set_shape(bar: &ProgressBar, total: Option<u64>, unit: &str) {
    let template = match total {
        Some(_) => format!("{{prefix}} {{bar:30}} {{pos}}/{{len}} {unit} {{per_sec}} {{eta}} left {{msg}}"),
        None => format!("{{prefix}} {{spinner}} {{pos}} {unit} {{per_sec}} {{elapsed}} {{msg}}"),
    };
    bar.set_length(total.unwrap_or(0));
    // A unit with braces in it would not be a template; the bar's own style is good enough then.
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
}

/// The two figures that people watch.
fn figures(values: &[(&str, f64)]) -> String {
    let shown = values.iter().filter(|(name, _)| matches!(*name, "loss" | "accuracy"));
    shown.map(|(name, value)| format!("{name} {value:.3}")).collect::<Vec<_>>().join(", ")
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

    #[test]
    fn spans_read_well() {
        let texts = [400, 33_000, 245_000, 7_800_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(texts, ["0.4 s", "33 s", "4 min 05 s", "2 h 10 min"]);
    }

    #[test]
    fn the_model_may_announce_a_stage_again() {
        let mut progress = Progress { bars: false, stage: None, stop: Arc::default() };
        progress.start("train", None, "pairs");
        progress.start("train", Some(8), "steps");
        progress.advance("train", 4);
        let stage = progress.stage.as_ref().unwrap();
        assert!(stage.line().starts_with("train: 4/8 steps, "), "{}", stage.line());
        assert!(stage.last_line().starts_with("train: 8 steps in "), "{}", stage.last_line());
    }

    #[test]
    fn the_flag_stops_the_work() {
        let mut progress = Progress { bars: false, stage: None, stop: Arc::default() };
        assert_eq!(progress.observe(&Event::Finished { stage: "x" }), Control::Continue);
        progress.stop_flag().store(true, Ordering::SeqCst);
        assert_eq!(progress.observe(&Event::Finished { stage: "x" }), Control::Stop);
    }
}
