//! Several observers as one, which remembers a requested stop.

use std::path::Path;

use ser_core::{Context, Control, Event, Observer, Stage};

use crate::Error;

/// Sends every event to all observers. Once one of them requests a stop, the answer stays [`Control::Stop`].
#[derive(Default)]
pub struct Observers<'a> {
    observers: Vec<Box<dyn Observer + 'a>>,
    stopped: bool,
}

impl<'a> Observers<'a> {
    /// No observers yet.
    pub fn new() -> Self {
        Observers::default()
    }

    /// Adds an observer.
    pub fn push(&mut self, observer: impl Observer + 'a) {
        self.observers.push(Box::new(observer));
    }

    /// Whether an observer requested a stop.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Sends an [`Event::Note`].
    pub fn note(&mut self, text: &str) {
        let _ = self.observe(&Event::Note { text });
    }

    /// Runs a stage, with one [`Event::Started`] and one [`Event::Finished`].
    ///
    /// # Errors
    /// [`Error::Interrupted`] if an observer requested a stop, whatever the work returned; else the work's own error.
    pub(crate) fn run_stage<T>(
        &mut self,
        run: &Path,
        stage: &Stage,
        seed: u64,
        work: impl FnOnce(&mut Context<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let interrupted = || Error::Interrupted { stage: stage.to_string(), path: run.to_owned() };
        if self.stopped {
            return Err(interrupted());
        }
        let _span = tracing::info_span!("stage", %stage).entered();
        let mut cx = Context::new(stage, self).with_seed(seed);
        let result = work(&mut cx);
        // Work that was stopped may have ended early without an error.
        if cx.is_stopped() {
            return Err(interrupted());
        }
        let result = result?;
        // This stage is complete: a stop takes effect at the next one.
        cx.finish();
        Ok(result)
    }
}

impl Observer for Observers<'_> {
    fn observe(&mut self, event: &Event<'_>) -> Control {
        for observer in &mut self.observers {
            self.stopped |= observer.observe(event) == Control::Stop;
        }
        if self.stopped { Control::Stop } else { Control::Continue }
    }
}

#[cfg(test)]
mod tests {
    use ser_core::observer_fn;

    use super::*;

    #[test]
    fn every_observer_gets_every_event_and_a_stop_is_remembered() {
        let mut seen = 0;
        let mut observers = Observers::new();
        observers.push(observer_fn(|event| match event {
            Event::Note { text: "stop" } => Control::Stop,
            _ => Control::Continue,
        }));
        observers.push(observer_fn(|_| {
            seen += 1;
            Control::Continue
        }));
        observers.note("go");
        assert!(!observers.stopped());
        observers.note("stop");
        observers.note("go");
        assert!(observers.stopped());
        drop(observers);
        assert_eq!(seen, 3);
    }
}
