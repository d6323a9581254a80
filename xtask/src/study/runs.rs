//! Runs of the demo, several at a time, each done once.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::{Options, Variant, write};
use crate::libtorch::Origin;
use crate::workspace::{Workspace, run as run_command};

/// One run to do.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) variant: &'a Variant,
    pub(crate) seed: u64,
}

/// The results of a run's report. Accuracies are shares.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SeedResult {
    pub(crate) seed: u64,
    /// Of the result's model on the validation pairs.
    pub(crate) validation: Option<f64>,
    /// On the test pairs, as the other ones.
    pub(crate) loop_0: Option<f64>,
    pub(crate) ser: Option<f64>,
    pub(crate) full: Option<f64>,
    pub(crate) random: Option<f64>,
    pub(crate) oracle: Option<f64>,
}

impl SeedResult {
    fn of_report(seed: u64, report: &Value) -> Self {
        let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
        let chosen = list("rounds").into_iter().find(|iteration| iteration["chosen"] == true);
        let baselines = list("baselines");
        let test = |kind: &str| {
            let found = baselines.iter().find(|baseline| baseline["kind"] == kind)?;
            found["evaluation"]["accuracy"]["value"].as_f64()
        };
        SeedResult {
            seed,
            validation: chosen.and_then(|iteration| iteration["validation_accuracy"].as_f64()),
            loop_0: test("loop0"),
            ser: test("ser"),
            full: test("full"),
            random: test("random"),
            oracle: test("oracle"),
        }
    }
}

/// Where and how runs are made.
pub(crate) struct Runner<'a> {
    workspace: &'a Workspace,
    options: &'a Options,
}

impl<'a> Runner<'a> {
    /// Builds the program once, so that runs that begin together do not wait for each other.
    pub(crate) fn build(workspace: &'a Workspace, options: &'a Options) -> Result<Self> {
        let mut build = workspace.cargo(&["build", "--release", "--package", "ser-cli"]);
        Origin::find(workspace).apply(&mut build)?;
        run_command(build)?;
        Ok(Runner { workspace, options })
    }

    /// Does the runs that are not done yet. Returns the outcomes of all, in the order of the tasks.
    pub(crate) fn run(&self, folder: &Path, tasks: Vec<Task<'_>>, baselines: bool) -> Result<Vec<SeedResult>> {
        let queue: Mutex<VecDeque<Task<'_>>> = Mutex::new(tasks.iter().copied().collect());
        let failed: Mutex<Vec<anyhow::Error>> = Mutex::new(Vec::new());
        let work = || {
            loop {
                // The lock must not be held during the run.
                let next = lock(&queue).pop_front();
                let Some(task) = next else { break };
                if let Err(error) = self.one(folder, task, baselines) {
                    lock(&queue).clear();
                    lock(&failed).push(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs {
                scope.spawn(work);
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().next() {
            return Err(error.context("the study stopped; finished runs are kept"));
        }
        let outcome = |task: &Task<'_>| {
            let path = run_folder(folder, *task).join("report.json");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let report = serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(SeedResult::of_report(task.seed, &report))
        };
        tasks.iter().map(outcome).collect()
    }

    fn one(&self, folder: &Path, task: Task<'_>, baselines: bool) -> Result<()> {
        let out = run_folder(folder, task);
        let arguments = self.arguments(task, baselines);
        let noted = out.with_extension("json");
        let note = serde_json::to_string_pretty(&arguments)?;
        fs::create_dir_all(out.parent().context("no folder")?)?;
        match fs::read_to_string(&noted) {
            Ok(was) if was != note => bail!(
                "{} was made with other settings ({} has them): give another --out, or remove it",
                out.display(),
                noted.display()
            ),
            Ok(_) => {}
            Err(_) => write(&noted, &note)?,
        }
        if out.join("report.json").exists() {
            return Ok(());
        }
        let started = Instant::now();
        let log = out.with_extension("log");
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.workspace.ser("run");
        command.args(&arguments).arg("--resume").arg("--out").arg(&out);
        command.env("OMP_NUM_THREADS", self.options.threads.to_string());
        command.stdout(output.try_clone()?).stderr(output);
        Origin::find(self.workspace).apply(&mut command)?;
        let status = command.status().context("ser could not be started")?;
        if !status.success() {
            return Err(anyhow!("{} failed ({status}): {} says why", out.display(), log.display()));
        }
        eprintln!("{}: {:.0} s", out.display(), started.elapsed().as_secs_f64());
        Ok(())
    }

    fn arguments(&self, task: Task<'_>, baselines: bool) -> Vec<String> {
        let mut arguments = vec!["--seed".to_owned(), task.seed.to_string()];
        arguments.extend(["--threads".to_owned(), self.options.threads.to_string()]);
        let without = ["full", "random", "oracle"].map(|name| format!("loop.baselines.{name}=false"));
        let without = without.iter().filter(|_| !baselines);
        for setting in task.variant.settings.iter().chain(without) {
            arguments.extend(["--set".to_owned(), setting.clone()]);
        }
        arguments.extend(self.options.further.iter().cloned());
        arguments
    }
}

/// The folder of a run.
fn run_folder(folder: &Path, task: Task<'_>) -> PathBuf {
    folder.join(&task.variant.name).join(format!("seed-{:02}", task.seed))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_by_kind_and_by_the_chosen_iteration() {
        let evaluation = |value: f64| serde_json::json!({"accuracy": {"value": value, "interval": null}});
        let report = serde_json::json!({
            "rounds": [
                {"chosen": false, "validation_accuracy": 0.5, "evaluation": evaluation(0.1)},
                {"chosen": true, "validation_accuracy": 0.75, "evaluation": evaluation(0.2)},
            ],
            "baselines": [
                {"kind": "loop0", "evaluation": evaluation(0.8)},
                {"kind": "ser", "evaluation": evaluation(0.9)},
                {"kind": "random", "evaluation": evaluation(0.85)},
            ],
        });
        let expected = SeedResult {
            seed: 3,
            validation: Some(0.75),
            loop_0: Some(0.8),
            ser: Some(0.9),
            random: Some(0.85),
            ..SeedResult::default()
        };
        assert_eq!(SeedResult::of_report(3, &report), expected);
    }
}
