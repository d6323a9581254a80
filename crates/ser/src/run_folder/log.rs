//! The log of metrics as a file of the run: it is flushed before work is recorded, and the manifest has its checksum.

use std::path::PathBuf;

use ser_core::durable;

use super::digest::sha256;
use super::folder::{LOG, RunFolder};
use super::manifest::LogRecord;
use crate::Error;

impl RunFolder {
    /// Flushes the log of metrics, so that no work is on the disk before the lines of its steps.
    pub(super) fn sync_log(&self) -> Result<(), Error> {
        let log = self.path.join(LOG);
        if log.exists() { durable::sync_file(&log).map_err(Error::io("flush", &log)) } else { Ok(()) }
    }

    /// Records the log of metrics in the manifest.
    pub(super) fn record_log(&mut self) -> Result<(), Error> {
        let log = self.path.join(LOG);
        self.manifest.log = match log.exists() && self.manifest.format > 0 {
            true => Some(sha256(&log, u64::MAX)?).map(|(bytes, sha256)| LogRecord { bytes, sha256 }),
            false => None,
        };
        Ok(())
    }

    /// The file with the log of metrics, if it is not as it was when the last stage was recorded.
    pub(super) fn damaged_log(&self) -> Result<Option<PathBuf>, Error> {
        let Some(record) = &self.manifest.log else { return Ok(None) };
        let log = self.path.join(LOG);
        let sound = log.exists() && sha256(&log, record.bytes)? == (record.bytes, record.sha256.clone());
        Ok((!sound).then_some(log))
    }
}
