//! Metrics of training as a file that plotting tools read.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ser_core::{Control, Event, Observer};
use serde_json::{Map, Value};

use crate::Error;

/// How long a written line may wait in memory.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// An observer that appends every [`Event::Metrics`] to a file, one JSON object a line: `stage`, `step`, and the
/// figures under the names they come with (TRL's: `loss`, `accuracy`, `margin`, ...). What is not finite is null.
///
/// To have it in the run's folder, open the folder first (see [`RunFolder`](crate::RunFolder)): a folder with other files
/// in it is no run.
///
/// A resumed run appends; the steps of a stage that was cut off stand there twice, and the later lines hold.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    out: BufWriter<File>,
    flushed: Instant,
    error: Option<Error>,
}

impl MetricsLog {
    /// Appends to `path`, which is made where there is none.
    pub fn append(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let file = File::options().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(MetricsLog { path, out: BufWriter::new(file), flushed: Instant::now(), error: None })
    }

    /// Writes what is left, and says whether any line could not be written.
    pub fn finish(mut self) -> Result<(), Error> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.out.flush().map_err(Error::io("write", &self.path)),
        }
    }

    fn write(&mut self, stage: &str, step: u64, values: &[(&str, f64)]) -> std::io::Result<()> {
        let mut line = Map::new();
        line.insert("stage".to_owned(), stage.into());
        line.insert("step".to_owned(), step.into());
        line.extend(values.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")?;
        if self.flushed.elapsed() > FLUSH_EVERY {
            self.flushed = Instant::now();
            self.out.flush()?;
        }
        Ok(())
    }
}

impl Observer for MetricsLog {
    fn observe(&mut self, event: &Event<'_>) -> Control {
        if let Event::Metrics { stage, step, values } = event
            && self.error.is_none()
            && let Err(error) = self.write(stage, *step, values)
        {
            // A full disk under a log is no reason to stop the work.
            self.error = Some(Error::io("write", &self.path)(error));
        }
        Control::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_a_line_of_json() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("metrics.jsonl");
        for step in 1..=2 {
            let mut log = MetricsLog::append(&path).unwrap();
            let values = [("loss", 0.5), ("grad_norm", f64::NAN)];
            assert_eq!(
                log.observe(&Event::Metrics { stage: "train loop 0", step, values: &values }),
                Control::Continue
            );
            assert_eq!(log.observe(&Event::Finished { stage: "train loop 0" }), Control::Continue);
            log.finish().unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["step"], 2);
        assert_eq!(lines[1]["loss"], 0.5);
        assert!(lines[1]["grad_norm"].is_null());
    }
}
