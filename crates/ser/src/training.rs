//! A training as a stage of a run, with checkpoints.

use std::path::Path;

use ser_core::{Context, FitSummary, Learner, Observer, PairLoss, PreferenceStore, Stage, Training};

use crate::Error;
use crate::crash::crash_point;
use crate::observe::Observers;
use crate::run_folder::RunFolder;

/// Trains until all steps are done, as the stage `{name}/model` of a run; if that is done, loads its result.
///
/// Checkpoints are written to `{name}/checkpoints` as set by [`Training::saving`], and when the observer requests a stop. A
/// resumed run continues from the newest one, so a killed run ends with the same result as one that was never stopped. The
/// metrics of each step are reported as [`Event::Metrics`](ser_core::Event::Metrics) under the name of the stage.
///
/// # Errors
/// [`Error::Interrupted`], after a checkpoint, if the observer requested a stop; the training's own errors.
pub fn train_in<T: Training + ?Sized>(
    training: &mut T,
    run: &mut RunFolder,
    name: &str,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let (model, checkpoints) = (format!("{name}/model"), format!("{name}/checkpoints"));
    if run.is_done(&model) {
        run.folder_stage(&model, |_| Ok::<(), Error>(()))?;
        let folder = run.stage_path(&model);
        training.load(&folder).map_err(Error::stage(&format!("loading {}", folder.display())))?;
    } else {
        run.training_stage(
            &model,
            |run| {
                let seconds = take_steps(training, run, &Stage::from(name), &checkpoints, observer)?;
                Ok((training, seconds))
            },
            |training, folder| training.save(folder).map_err(Error::stage(&format!("saving {model}"))),
        )?;
    }
    run.drop_checkpoints(&checkpoints)
}

/// The data, loss and seed that a learner is fitted with.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    /// The preferences.
    pub data: &'a dyn PreferenceStore,
    /// The loss.
    pub loss: &'a dyn PairLoss,
    /// The seed of the training's random numbers.
    pub seed: u64,
}

/// Fits a learner as the stage `model` of a run, reported as `stage`; if that is done, loads its result.
///
/// A learner whose training can be stopped between steps (`Learner::training`) writes checkpoints beside the model, and a
/// resumed run continues from these.
///
/// # Errors
/// [`Error::Interrupted`] if an observer requested a stop; [`Error::Diverged`]; the learner's own errors.
pub fn fit_in<L: Learner + ?Sized>(
    learner: &mut L,
    fit: Fit<'_>,
    run: &mut RunFolder,
    stage: impl Into<Stage>,
    model: &str,
    observers: &mut Observers<'_>,
) -> Result<FitSummary, Error> {
    let done = run.is_done(model);
    let summary = fit_stage(learner, fit, run, &stage.into(), model, observers)?;
    if done {
        learner.restore(&run.stage_path(model)).map_err(Error::stage(&format!("loading {model}")))?;
    }
    Ok(summary)
}

/// Like [`fit_in`], but a stage that is done is not loaded.
pub(crate) fn fit_stage<L: Learner + ?Sized>(
    learner: &mut L,
    Fit { data, loss, seed }: Fit<'_>,
    run: &mut RunFolder,
    stage: &Stage,
    model: &str,
    observers: &mut Observers<'_>,
) -> Result<FitSummary, Error> {
    let checkpoints = match model.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/checkpoints"),
        None => "checkpoints".to_owned(),
    };
    let summary = run.training_stage(
        model,
        |run| {
            let name = stage.to_string();
            let (mut summary, mut seconds) = (None, 0.0);
            if let Some(mut training) = learner.training(data, loss, seed).map_err(Error::stage(&name))? {
                seconds = take_steps(training.as_mut(), run, stage, &checkpoints, observers)?;
                summary = Some(training.summary());
            }
            let summary = match summary {
                Some(summary) => summary,
                None => observers.run_stage(run.path(), stage, seed, |cx| {
                    learner.fit(data, loss, cx).map_err(Error::stage(&name))
                })?,
            };
            if !(summary.loss.is_finite() && summary.accuracy.is_finite()) {
                return Err(Error::Diverged { stage: name, loss: summary.loss });
            }
            Ok(((learner, summary), seconds))
        },
        |(learner, summary), folder| {
            learner.snapshot(folder).map_err(Error::stage(&stage.to_string()))?;
            Ok(summary)
        },
    )?;
    run.drop_checkpoints(&checkpoints)?;
    Ok(summary)
}

/// Takes the remaining steps, from the newest checkpoint if there is one. Returns the seconds that earlier processes spent
/// up to that checkpoint.
fn take_steps<T: Training + ?Sized>(
    training: &mut T,
    run: &RunFolder,
    stage: &Stage,
    checkpoints: &str,
    observer: &mut dyn Observer,
) -> Result<f64, Error> {
    let _span = tracing::info_span!("training", %stage).entered();
    let (started, mut earlier) = (std::time::Instant::now(), 0.0);
    if let Some((_, folder)) = run.checkpoint(checkpoints)? {
        training.restore(&folder).map_err(Error::stage(&format!("loading {}", folder.display())))?;
        earlier = RunFolder::checkpoint_seconds(&folder)?;
    }
    let saving = training.saving();
    let save = |training: &mut T| {
        let (step, seconds) = (training.done(), earlier + started.elapsed().as_secs_f64());
        run.save_checkpoint(checkpoints, step, saving.save_total_limit, seconds, |folder| {
            training.snapshot(folder).map_err(Error::stage(&format!("saving a checkpoint of {stage}")))
        })
    };
    let interrupted = || Error::Interrupted { stage: stage.to_string(), path: run.path().to_owned() };
    let total = training.total();
    let mut cx = Context::new(stage, observer);
    if cx.resume(training.done(), Some(total), "steps").is_err() {
        return Err(interrupted());
    }
    while training.done() < total {
        let this = format!("{stage} step {}", training.done() + 1);
        let outcome = training.step().map_err(Error::stage(&this))?;
        let step = training.done();
        crash_point("step", Path::new(&format!("{stage}/{step}")));
        let stop = cx.step(step, &outcome).is_err();
        if stop || (step < total && step.is_multiple_of(saving.save_steps.max(1))) {
            save(training)?;
        }
        if stop {
            return Err(interrupted());
        }
    }
    cx.finish();
    Ok(earlier)
}
