//! Metrics of trainings as JSON lines.

use std::collections::HashSet;
use std::fs::File;
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
/// A resumed run appends. If it repeats steps of a stage that the file has, their old lines are removed.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    out: File,
    /// Stages that this process reported.
    begun: HashSet<String>,
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
        Ok(MetricsLog { path, out, begun: HashSet::new(), error: None })
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
        if self.begun.insert(stage.to_owned()) {
            self.remove_from(stage, step)?;
        }
        let mut line = Map::new();
        line.insert("stage".to_owned(), stage.into());
        line.insert("step".to_owned(), step.into());
        line.insert("time".to_owned(), unix_time().into());
        line.extend(values.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
        // At once and as a whole: a process that is killed leaves every line it wrote.
        let line = Value::Object(line).to_string() + "\n";
        self.out.write_all(line.as_bytes()).map_err(Error::io("write", &self.path))
    }

    /// Removes a stage's lines from a step on, and an incomplete last line.
    fn remove_from(&mut self, stage: &str, from: u64) -> Result<(), Error> {
        let text = std::fs::read_to_string(&self.path).map_err(Error::io("read", &self.path))?;
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

fn open(path: &Path) -> Result<File, Error> {
    File::options().create(true).append(true).open(path).map_err(Error::io("open", path))
}

impl Observer for MetricsLog {
    fn observe(&mut self, event: &Event<'_>) -> Control {
        if let Event::Metrics { stage, step, values } = event
            && self.error.is_none()
            && let Err(error) = self.write(&stage.to_string(), *step, values)
        {
            // A log that cannot be written does not stop the work.
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
        for step in [1, 2, 3, 2] {
            let mut log = MetricsLog::append(&path).unwrap();
            let values = [("loss", 0.5), ("grad_norm", f64::NAN)];
            let stage = &Stage::from("train loop 0");
            assert_eq!(log.observe(&Event::Metrics { stage, step, values: &values }), Control::Continue);
            assert_eq!(log.observe(&Event::Finished { stage }), Control::Continue);
            log.finish().unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2, "steps 2 and 3 were taken again from step 2 on");
        assert_eq!(lines[1]["step"], 2);
        assert_eq!(lines[1]["loss"], 0.5);
        assert!(lines[1]["time"].as_f64().unwrap() >= lines[0]["time"].as_f64().unwrap());
        assert!(lines[1]["grad_norm"].is_null());
        let stage = MetricsLog::stage(&path, "train loop 0", "RM", PolicyTraining::Sft).unwrap();
        assert_eq!(stage.curves.len(), 1);
        assert_eq!((&stage.curves[0].steps, &stage.curves[0].values), (&vec![1, 2], &vec![0.5, 0.5]));
    }
}
