//! Several observers as one, with the memory that one of them said stop.

use std::path::Path;

use ser_core::{Control, Event, Observer};

use crate::Error;

/// Tells every observer everything; once one says stop, the answer stays stop.
#[derive(Default)]
pub struct Observers<'a> {
    observers: Vec<Box<dyn Observer + 'a>>,
    stopped: bool,
}

impl<'a> Observers<'a> {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Observers::default()
    }

    /// Adds an observer.
    pub fn push(&mut self, observer: impl Observer + 'a) {
        self.observers.push(Box::new(observer));
    }

    /// Whether one of them said stop.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Tells a sentence.
    pub fn note(&mut self, text: &str) {
        let _ = self.observe(&Event::Note { text });
    }

    /// Does work that tells its observers how it goes, and sees whether they stopped it.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if they did, whatever the work says; else the work's own error.
    pub(crate) fn watch<T, E: Into<ser_core::BoxError>>(
        &mut self,
        run: &Path,
        stage: &str,
        total: Option<u64>,
        unit: &str,
        work: impl FnOnce(&mut dyn Observer) -> Result<T, E>,
    ) -> Result<T, Error> {
        let interrupted = || Error::Interrupted { stage: stage.to_owned(), path: run.to_owned() };
        if self.observe(&Event::Started { stage, total, unit }) == Control::Stop {
            return Err(interrupted());
        }
        let result = work(self);
        // Stopped work may have ended early without saying so.
        if self.stopped {
            return Err(interrupted());
        }
        let result = result.map_err(Error::stage(stage))?;
        // Whoever says stop now is heard at the next stage: this one is whole.
        let _ = self.observe(&Event::Finished { stage });
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
    use super::*;

    #[test]
    fn all_are_told_and_stop_is_remembered() {
        let mut heard = 0;
        let mut observers = Observers::new();
        observers.push(|event: &Event<'_>| match event {
            Event::Note { text: "stop" } => Control::Stop,
            _ => Control::Continue,
        });
        observers.push(|_: &Event<'_>| {
            heard += 1;
            Control::Continue
        });
        observers.note("go");
        assert!(!observers.stopped());
        observers.note("stop");
        observers.note("go");
        assert!(observers.stopped());
        drop(observers);
        assert_eq!(heard, 3);
    }
}
