//! A training as a stage of a run: checkpoints on the way, the result at the end.

use ser_core::{Control, Event, Observer, Training};

use crate::Error;
use crate::run_folder::RunFolder;

/// Trains until all steps are done, as the stage `{name}/model` of a run; if that is done, loads it.
///
/// Every `checkpoint_every` steps, and when the observer says stop, the training's state is written to
/// `{name}/checkpoints`, from where a resumed run goes on: a run killed at any instant ends with the result of one
/// that was never stopped. Each step's figures are told as [`Event::Metrics`] under the name of the stage.
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
    if !done {
        if let Some((_, folder)) = run.checkpoint(&checkpoints)? {
            training.restore(&folder).map_err(Error::stage(&format!("loading {}", folder.display())))?;
        }
        steps(training, run, name, &checkpoints, checkpoint_every, observer)?;
    }
    run.folder_stage(&model, |folder| training.save(folder).map_err(Error::stage(&format!("saving {model}"))))?;
    if done {
        let folder = run.stage_path(&model);
        training.load(&folder).map_err(Error::stage(&format!("loading {}", folder.display())))?;
    }
    run.drop_checkpoints(&checkpoints)
}

fn steps<T: Training>(
    training: &mut T,
    run: &RunFolder,
    name: &str,
    checkpoints: &str,
    checkpoint_every: u64,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let save = |training: &mut T| {
        let step = training.done();
        run.save_checkpoint(checkpoints, step, |folder| {
            training.snapshot(folder).map_err(Error::stage(&format!("saving a checkpoint of {name}")))
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
