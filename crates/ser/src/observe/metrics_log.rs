//! Metrics of trainings as JSON lines.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

use ser_core::{Control, Event, Observer, unix_time};
use ser_eval::{PolicyStage, PolicyTraining};
use serde_json::{Map, Value};

use crate::Error;
use crate::run_folder::write_file;

/// An observer that appends every [`Event::Metrics`] to a file, one JSON object per line: `stage`, `step`, `time` (seconds
/// since 1970-01-01T00:00:00Z), and the metrics under their names (TRL's: `loss`, `accuracy`, `margin`, ...). Values that are not finite are null.
///
/// To write it into a run folder, open the [`RunFolder`](crate::RunFolder) first: that refuses folders with other files.
///
/// A resumed run appends. Steps that it repeats keep their lines; if one has other values than before, the stage's lines from
/// there on are removed. Lines that cannot be written, because the disk is full, wait and are written with the next ones.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    out: File,
    /// Lines that are not written yet.
    waiting: String,
    /// Of the stages that this process reported, the hashes of the lines that were there before, by step.
    earlier: HashMap<String, HashMap<u64, u64>>,
    /// Stages whose lines from a step on are to be removed before others are written.
    stale: Vec<(String, u64)>,
    error: Option<Error>,
}

impl MetricsLog {
    /// Appends to `path`, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened.
    pub fn append(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let out = open(&path)?;
        Ok(MetricsLog { path, out, waiting: String::new(), earlier: HashMap::new(), stale: Vec::new(), error: None })
    }

    /// Reads a stage's metrics from such a file, as curves for a report.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Format`] for an invalid line.
    pub fn stage(
        path: impl AsRef<Path>,
        stage: &str,
        name: &str,
        training: PolicyTraining,
    ) -> Result<PolicyStage, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let mut found = PolicyStage::new(name, training);
        for (number, line) in (1..).zip(text.lines()) {
            let line: Map<String, Value> = serde_json::from_str(line)
                .map_err(|e| Error::Format { path: path.to_owned(), message: format!("line {number}: {e}") })?;
            if line.get("stage").is_some_and(|s| s == stage)
                && let Some(step) = line.get("step").and_then(Value::as_u64)
            {
                let metrics = line.iter().filter(|(name, _)| !matches!(name.as_str(), "step" | "time"));
                let metrics: Vec<_> = metrics.filter_map(|(n, v)| Some((n.as_str(), v.as_f64()?))).collect();
                found.record(step, &metrics);
            }
        }
        Ok(found)
    }

    /// Says whether any line could not be written.
    pub fn finish(self) -> Result<(), Error> {
        self.error.map_or(Ok(()), Err)
    }

    fn write(&mut self, stage: &str, step: u64, values: &[(&str, f64)]) -> Result<(), Error> {
        if !self.earlier.contains_key(stage) {
            let earlier = self.earlier_lines(stage)?;
            self.earlier.insert(stage.to_owned(), earlier);
        }
        let mut line = Map::new();
        line.insert("stage".to_owned(), stage.into());
        line.insert("step".to_owned(), step.into());
        line.insert("time".to_owned(), unix_time().into());
        line.extend(values.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
        if let Some(earlier) = self.earlier.get_mut(stage) {
            if earlier.get(&step) == Some(&hash(&line)) {
                return self.write_waiting();
            }
            if earlier.keys().any(|old| *old >= step) {
                earlier.retain(|old, _| *old < step);
                self.stale.push((stage.to_owned(), step));
            }
        }
        self.waiting.push_str(&(Value::Object(line).to_string() + "\n"));
        self.write_waiting()
    }

    /// Writes the lines that wait, at once and whole: a process that is killed leaves every line it wrote.
    fn write_waiting(&mut self) -> Result<(), Error> {
        if self.waiting.is_empty() && self.stale.is_empty() {
            return Ok(());
        }
        while let Some((stage, step)) = self.stale.first().cloned() {
            self.remove_from(&stage, step)?;
            self.stale.remove(0);
        }
        let end = self.out.metadata().map_err(Error::io("read", &self.path))?.len();
        if let Err(error) = self.out.write_all(self.waiting.as_bytes()) {
            // The next line must not be appended to a part of one.
            let _ = self.out.set_len(end);
            return Err(Error::io("write", &self.path)(error));
        }
        self.waiting.clear();
        self.error = None;
        Ok(())
    }

    /// The hashes of a stage's lines in the file. An incomplete line is marked for removal.
    fn earlier_lines(&mut self, stage: &str) -> Result<HashMap<u64, u64>, Error> {
        let bytes = std::fs::read(&self.path).map_err(Error::io("read", &self.path))?;
        let mut earlier = HashMap::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            match serde_json::from_str::<Map<String, Value>>(line) {
                Ok(line) if line.get("stage").is_some_and(|s| s == stage) => {
                    earlier.extend(line.get("step").and_then(Value::as_u64).map(|step| (step, hash(&line))));
                }
                Ok(_) => {}
                // No step is that high, so that only incomplete lines are removed.
                Err(_) => self.stale.push((stage.to_owned(), u64::MAX)),
            }
        }
        Ok(earlier)
    }

    /// Removes a stage's lines from a step on, and an incomplete last line.
    fn remove_from(&mut self, stage: &str, from: u64) -> Result<(), Error> {
        let bytes = std::fs::read(&self.path).map_err(Error::io("read", &self.path))?;
        let text = String::from_utf8_lossy(&bytes);
        let stale = |line: &str| match serde_json::from_str::<Value>(line) {
            Ok(line) => line["stage"] == stage && line["step"].as_u64().is_some_and(|step| step >= from),
            Err(_) => true,
        };
        if text.lines().any(stale) {
            write_file(&self.path, |out| {
                let kept = text.lines().filter(|line| !stale(line));
                kept.into_iter().try_for_each(|line| writeln!(out, "{line}")).map_err(Error::io("write", &self.path))
            })?;
            self.out = open(&self.path)?;
        }
        Ok(())
    }
}

/// A hash of a line without its time.
fn hash(line: &Map<String, Value>) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.iter()
        .filter(|(name, _)| *name != "time")
        .for_each(|(name, value)| (name, value.to_string()).hash(&mut hasher));
    hasher.finish()
}

fn open(path: &Path) -> Result<File, Error> {
    File::options().create(true).append(true).open(path).map_err(Error::io("open", path))
}

impl Observer for MetricsLog {
    fn observe(&mut self, event: &Event<'_>) -> Control {
        let written = match event {
            Event::Metrics { stage, step, values } => self.write(&stage.to_string(), *step, values),
            Event::Finished { .. } => self.write_waiting(),
            _ => Ok(()),
        };
        if let Err(error) = written {
            // A log that cannot be written does not stop the work.
            tracing::warn!(%error, "the log of metrics cannot be written; its lines wait");
            self.error = Some(error);
        }
        Control::Continue
    }
}

#[cfg(test)]
mod tests {
    use ser_core::Stage;

    use super::*;

    #[test]
    fn every_step_is_a_line_of_json() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("metrics.jsonl");
        for (step, loss) in [(1, 0.5), (2, 0.25), (3, 0.5), (2, 0.5)] {
            let mut log = MetricsLog::append(&path).unwrap();
            let values = [("loss", loss), ("grad_norm", f64::NAN)];
            let stage = &Stage::from("train loop 0");
            assert_eq!(log.observe(&Event::Metrics { stage, step, values: &values }), Control::Continue);
            assert_eq!(log.observe(&Event::Finished { stage }), Control::Continue);
            log.finish().unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2, "steps 2 and 3 were taken again from step 2 on, with another result");
        assert_eq!(lines[1]["step"], 2);
        assert_eq!(lines[1]["loss"], 0.5);
        assert!(lines[1]["time"].as_f64().unwrap() >= lines[0]["time"].as_f64().unwrap());
        assert!(lines[1]["grad_norm"].is_null());
        // With the same result nothing changes, but for an incomplete line.
        std::fs::write(&path, format!("{text}{{\"stage\":\"tr\u{fffd}")).unwrap();
        let mut log = MetricsLog::append(&path).unwrap();
        for step in [1, 2] {
            let (stage, values) = (&Stage::from("train loop 0"), &[("loss", 0.5), ("grad_norm", f64::NAN)]);
            let _ = log.observe(&Event::Metrics { stage, step, values });
        }
        log.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let stage = MetricsLog::stage(&path, "train loop 0", "RM", PolicyTraining::Sft).unwrap();
        assert_eq!(stage.curves.len(), 1);
        assert_eq!((&stage.curves[0].steps, &stage.curves[0].values), (&vec![1, 2], &vec![0.5, 0.5]));
    }
}
