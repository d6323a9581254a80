//! The context of a call: stage, seed, progress, and the request to stop.

use crate::{Control, Event, Observer, Stage, StepOutcome, Stopped};

/// The inputs of a call of a trait's method besides its data: the stage it belongs to, the seed of its draws, progress
/// to an [`Observer`], and the observer's request to stop.
///
/// An implementation that is slow calls [`start`](Context::start) once and [`advance`](Context::advance) as it goes,
/// and returns the error of either; one that is fast may ignore the context. A stage has one `Started` and one
/// `Finished` event: the first call of `start` counts, later ones only report whether a stop was requested, and
/// [`finish`](Context::finish) is called by the code that made the context.
///
/// ```
/// use ser_core::{BoxError, Context, Control, Event, Stage, observer_fn};
///
/// fn work(numbers: &[f64], cx: &mut Context<'_>) -> Result<f64, BoxError> {
///     cx.start(Some(numbers.len() as u64), "numbers")?;
///     let mut sum = 0.0;
///     for number in numbers {
///         sum += number;
///         cx.advance(1)?; // returns `Stopped` after a request to stop
///     }
///     Ok(sum)
/// }
///
/// // Without an observer:
/// assert_eq!(work(&[1.0, 2.0], &mut Context::silent())?, 3.0);
///
/// // With one that stops the work after two numbers:
/// let mut observer = observer_fn(|event: &Event<'_>| match event {
///     Event::Advanced { done: 2, .. } => Control::Stop,
///     _ => Control::Continue,
/// });
/// let mut cx = Context::new(Stage::from("add"), &mut observer).with_seed(7);
/// assert_eq!(work(&[1.0, 2.0, 3.0], &mut cx).unwrap_err().to_string(), "stopped on request");
/// assert!(cx.is_stopped());
/// # Ok::<(), BoxError>(())
/// ```
pub struct Context<'a> {
    stage: Stage,
    seed: u64,
    observer: Option<&'a mut dyn Observer>,
    /// Units done, once the stage has started.
    done: Option<u64>,
    finished: bool,
    stopped: bool,
}

impl<'a> Context<'a> {
    /// A context of a stage that reports to an observer; the seed is 0.
    pub fn new(stage: impl Into<Stage>, observer: &'a mut dyn Observer) -> Self {
        Context { observer: Some(observer), ..Context::silent() }.of_stage(stage.into())
    }

    fn of_stage(self, stage: Stage) -> Self {
        Context { stage, ..self }
    }

    /// The same context with another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Context { seed, ..self }
    }

    /// The seed of the call's draws: the same data, weights and seed give the same result.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The stage that the call belongs to.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Reports the start of the stage with its number of units, where known, and their name (`pairs`, `steps`).
    ///
    /// Later calls report nothing.
    ///
    /// # Errors
    /// [`Stopped`] if a stop was requested.
    pub fn start(&mut self, total: Option<u64>, unit: &str) -> Result<(), Stopped> {
        if self.done.is_none() {
            self.done = Some(0);
            self.send(|stage| Event::Started { stage, total, unit });
        }
        self.going()
    }

    /// Like [`start`](Context::start), for work with `done` units done by earlier processes: these are not reported, and
    /// [`advance`](Context::advance) adds to them.
    ///
    /// # Errors
    /// [`Stopped`] if a stop was requested.
    pub fn resume(&mut self, done: u64, total: Option<u64>, unit: &str) -> Result<(), Stopped> {
        let first = self.done.is_none();
        let started = self.start(total, unit);
        if first {
            self.done = Some(done);
        }
        started
    }

    /// Reports that `n` more units are done. `advance(0)` only looks for a request to stop.
    ///
    /// # Errors
    /// [`Stopped`] if a stop was requested.
    pub fn advance(&mut self, n: u64) -> Result<(), Stopped> {
        let started = self.start(None, "units");
        let done = self.done.unwrap_or(0) + n;
        self.done = Some(done);
        self.send(|stage| Event::Advanced { stage, done });
        started.and(self.going())
    }

    /// Reports metrics of one step, counted from 1, under the names that TRL uses (`loss`, `accuracy`, ...).
    ///
    /// # Errors
    /// [`Stopped`] if a stop was requested.
    pub fn metrics(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), Stopped> {
        let started = self.start(None, "units");
        self.send(|stage| Event::Metrics { stage, step, values });
        started.and(self.going())
    }

    /// Reports a step of a training: its notes, its metrics, and one more unit done. `step` counts from 1.
    ///
    /// # Errors
    /// [`Stopped`] if a stop was requested.
    pub fn step(&mut self, step: u64, outcome: &StepOutcome) -> Result<(), Stopped> {
        outcome.notes.iter().for_each(|text| self.note(text));
        let reported = self.metrics(step, &outcome.values);
        self.advance(1).and(reported)
    }

    /// Reports a sentence for people to read.
    pub fn note(&mut self, text: &str) {
        self.send(|_| Event::Note { text });
    }

    /// Whether a stop was requested. The code that made the context then reports an interruption, whatever error the
    /// call returned.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Reports the end of the stage, once. A stop that is requested in answer takes effect at the next stage.
    pub fn finish(&mut self) {
        if !self.finished && !self.stopped && self.start(None, "units").is_ok() {
            self.finished = true;
            self.send(|stage| Event::Finished { stage });
        }
    }

    fn going(&self) -> Result<(), Stopped> {
        if self.stopped { Err(Stopped) } else { Ok(()) }
    }

    fn send<'e>(&'e mut self, event: impl FnOnce(&'e Stage) -> Event<'e>) {
        if let Some(observer) = &mut self.observer {
            self.stopped |= observer.observe(&event(&self.stage)) == Control::Stop;
        }
    }
}

impl Context<'static> {
    /// A context without an observer, of the stage `Stage::Other("")`: for tests and for calls whose progress nobody
    /// follows.
    pub fn silent() -> Self {
        Context { stage: Stage::Other("".into()), seed: 0, observer: None, done: None, finished: false, stopped: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventRecord, OwnedEvent, observer_fn};

    fn record(work: impl FnOnce(&mut Context<'_>)) -> Vec<OwnedEvent> {
        let mut events = Vec::new();
        let mut observer = observer_fn(|event: &Event<'_>| {
            let EventRecord { event, .. } = event.to_owned();
            let stop = matches!(&event, OwnedEvent::Note { text } if text == "stop");
            events.push(event);
            if stop { Control::Stop } else { Control::Continue }
        });
        work(&mut Context::new("work", &mut observer));
        events
    }

    #[test]
    fn a_stage_starts_and_finishes_once() {
        let events = record(|cx| {
            cx.start(Some(3), "pairs").unwrap();
            cx.start(Some(9), "steps").unwrap();
            cx.advance(1).unwrap();
            cx.advance(2).unwrap();
            cx.finish();
            cx.finish();
        });
        let stage = || Stage::from("work");
        let expected = [
            OwnedEvent::Started { stage: stage(), total: Some(3), unit: "pairs".to_owned() },
            OwnedEvent::Advanced { stage: stage(), done: 1 },
            OwnedEvent::Advanced { stage: stage(), done: 3 },
            OwnedEvent::Finished { stage: stage() },
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn a_stage_that_reports_no_start_has_one_all_the_same() {
        let names = |events: Vec<OwnedEvent>| events.iter().map(OwnedEvent::name).collect::<Vec<_>>();
        assert_eq!(names(record(|cx| cx.finish())), ["started", "finished"]);
        assert_eq!(names(record(|cx| cx.advance(1).unwrap())), ["started", "advanced"]);
    }

    #[test]
    fn a_resumed_stage_goes_on_from_the_units_done() {
        let events = record(|cx| {
            cx.resume(4, Some(9), "steps").unwrap();
            cx.advance(1).unwrap();
        });
        assert_eq!(events.len(), 2);
        assert_eq!(events[1], OwnedEvent::Advanced { stage: Stage::from("work"), done: 5 });
    }

    #[test]
    fn a_request_to_stop_is_kept() {
        let events = record(|cx| {
            cx.start(None, "pairs").unwrap();
            cx.note("stop");
            assert_eq!(cx.advance(1), Err(Stopped));
            assert_eq!(cx.start(None, "pairs"), Err(Stopped));
            assert_eq!(cx.metrics(1, &[("loss", 0.5)]), Err(Stopped));
            assert!(cx.is_stopped());
            cx.finish();
        });
        assert!(!events.iter().any(|event| matches!(event, OwnedEvent::Finished { .. })));
    }

    #[test]
    fn a_silent_context_never_stops() {
        let mut cx = Context::silent().with_seed(3);
        assert_eq!((cx.start(None, "pairs"), cx.advance(1), cx.seed()), (Ok(()), Ok(()), 3));
    }
}
