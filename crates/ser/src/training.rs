//! A training as a stage of a run: checkpoints on the way, the result at the end.

use std::path::Path;
use std::time::Instant;

use ser_core::{Control, Event, Observer, Training};

use crate::Error;
use crate::run_folder::{RunFolder, read_json, write_json};

/// The file of a checkpoint with the seconds that led to it.
const ELAPSED: &str = "elapsed_seconds.json";

/// Trains until all steps are done, as the stage `{name}/model` of a run; if that is done, loads it.
///
/// Every `checkpoint_every` steps, and when the observer says stop, the training's state is written to
/// `{name}/checkpoints`, from where a resumed run goes on: a run killed at any instant ends with the result of one
/// that was never stopped. Each step's figures are told as [`Event::Metrics`] under the name of the stage. The stage's time
/// is that of all steps of the result, those before a resume included; steps that were lost and taken again count once.
///
/// # Errors
/// [`Error::Interrupted`] if the observer says stop, after a checkpoint; what the training says when it fails.
pub fn train_in<T: Training>(
    training: &mut T,
    run: &mut RunFolder,
    name: &str,
    checkpoint_every: u64,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let (model, checkpoints) = (format!("{name}/model"), format!("{name}/checkpoints"));
    let done = run.is_done(&model);
    let mut clock = Clock { started: Instant::now(), before: 0.0 };
    if !done {
        if let Some((_, folder)) = run.checkpoint(&checkpoints)? {
            training.restore(&folder).map_err(Error::stage(&format!("loading {}", folder.display())))?;
            clock.before = read_json(&folder.join(ELAPSED))?.unwrap_or_default();
        }
        steps(training, run, name, &checkpoints, checkpoint_every, &clock, observer)?;
    }
    let save = |folder: &Path| training.save(folder).map_err(Error::stage(&format!("saving {model}")));
    run.folder_stage_after(&model, clock.seconds(), save)?;
    if done {
        let folder = run.stage_path(&model);
        training.load(&folder).map_err(Error::stage(&format!("loading {}", folder.display())))?;
    }
    run.drop_checkpoints(&checkpoints)
}

/// How long a training has taken, over all processes that worked on it.
struct Clock {
    started: Instant,
    /// Seconds that the restored checkpoint had taken.
    before: f64,
}

impl Clock {
    fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }
}

fn steps<T: Training>(
    training: &mut T,
    run: &RunFolder,
    name: &str,
    checkpoints: &str,
    checkpoint_every: u64,
    clock: &Clock,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let save = |training: &mut T| {
        let step = training.done();
        run.save_checkpoint(checkpoints, step, |folder| {
            training.snapshot(folder).map_err(Error::stage(&format!("saving a checkpoint of {name}")))?;
            write_json(&folder.join(ELAPSED), &clock.seconds())
        })
    };
    let interrupted = || Error::Interrupted { stage: name.to_owned(), path: run.path().to_owned() };
    let total = training.total();
    if observer.observe(&Event::Started { stage: name, total: Some(total), unit: "steps" }) == Control::Stop {
        return Err(interrupted());
    }
    while training.done() < total {
        let this = format!("{name} step {}", training.done() + 1);
        let stop = training.step_observed(name, observer).map_err(Error::stage(&this))? == Control::Stop;
        let step = training.done();
        if stop || (step < total && step.is_multiple_of(checkpoint_every.max(1))) {
            save(training)?;
        }
        if stop {
            return Err(interrupted());
        }
    }
    let _ = observer.observe(&Event::Finished { stage: name });
    Ok(())
}
