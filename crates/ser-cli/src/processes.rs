//! The processes that share a command's work.

use ser::config::Config;
use ser::distributed::Environment;
use ser::model::{Device, ProcessGroup, Workers, set_threads, work};

/// The part of this process in a command.
pub(crate) enum Part {
    /// The command, alone or with workers.
    Command(Option<Workers>),
    /// What rank 0 asked for, which is done.
    Done,
}

/// Meets the other processes of the command, if there are any. One that is not rank 0 then computes for it, and returns when rank 0 has
/// no more work.
pub(crate) fn join(environment: &Environment, config: &Config, device: Device) -> anyhow::Result<Part> {
    if environment.size == 1 {
        return Ok(Part::Command(None));
    }
    let device = device.of_process(environment.local_rank, environment.local_size)?;
    if environment.local_size > 1 && config.run.threads == 0 && device == Device::cpu() {
        let cores = std::thread::available_parallelism()?.get();
        set_threads(environment.threads(cores));
    }
    if environment.rank > 0 {
        // Rank 0 stops the work and ends the others.
        ctrlc::set_handler(|| {})?;
    }
    let group = ProcessGroup::connect(environment)?;
    // FNV-1a
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let settings = serde_json::to_vec(config)?.iter().fold(0xcbf2_9ce4_8422_2325, hash);
    group.require_equal(&[("settings", settings.cast_signed())])?;
    if environment.rank > 0 {
        work(&group, device)?;
        return Ok(Part::Done);
    }
    Ok(Part::Command(Some(Workers::new(group)?)))
}
