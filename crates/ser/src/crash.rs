//! Crash points: named points at which a test kills the process.

use std::path::Path;

/// The variable with the crash point, as `point:subject`: `incomplete:rounds/01/scores.jsonl`.
#[cfg(feature = "testing")]
const VARIABLE: &str = "SER_TEST_CRASH_AT";

/// Aborts the process if the environment names this point, and a subject that `subject` ends with. Without the feature
/// `testing` it does nothing.
///
/// Points and their subjects:
/// - `incomplete`: a file or folder is written, but not renamed to its name yet (its path);
/// - `renamed`: a file or folder has its name (its path);
/// - `part`: a part of a file of scores is there (its number in the file of parts: `rounds/01/scores.parts/2`);
/// - `step`: a step of a training is done (the stage and the number of the step: `train loop 0/3`).
#[inline]
pub(crate) fn crash_point(point: &str, subject: &Path) {
    #[cfg(feature = "testing")]
    if let Ok(wanted) = std::env::var(VARIABLE)
        && let Some((wanted_point, wanted_subject)) = wanted.split_once(':')
        && wanted_point == point
        && subject.ends_with(wanted_subject)
    {
        std::process::abort();
    }
    let _ = (point, subject);
}
