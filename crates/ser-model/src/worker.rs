//! A process that computes for rank 0.

use ser_libtorch::ProcessGroup;

use crate::parallel::{Message, compare_versions, receive};
use crate::{CausalLm, Device, ModelError, PolicyModel, RewardModel};

/// Computes for rank 0 of the group, which has [`Workers`](crate::Workers), until it has no more work. Models are computed on
/// `device`.
///
/// ```no_run
/// use ser_model::{Device, ProcessGroup, Workers, work};
/// # fn run(workers: Option<Workers>) {}
///
/// let environment = ser_core::distributed::Environment::from_env()?;
/// let group = ProcessGroup::connect(&environment)?;
/// match environment.rank {
///     0 if environment.size == 1 => run(None),
///     0 => run(Some(Workers::new(group)?)),
///     _ => work(&group, Device::cpu())?,
/// }
/// # Ok::<(), ser_core::BoxError>(())
/// ```
///
/// # Errors
/// Rank 0 ended before it said so; a model that cannot be loaded, or another base model than that of rank 0; another version
/// of this library.
pub fn work(group: &ProcessGroup, device: Device) -> Result<(), ModelError> {
    compare_versions(group)?;
    let (mut reward, mut causal, mut policy) = (None, None, None);
    loop {
        let message = receive(group)?;
        tracing::trace!(?message, "message of rank 0");
        match message {
            Message::Wait => {}
            Message::End => return Ok(()),
            Message::LoadReward(load) => {
                // One model of a kind at a time.
                drop(reward.take());
                reward = Some(RewardModel::shared(load, device, group)?);
            }
            Message::Weights { adapter, merged } => {
                loaded(&mut reward)?.receive_weights(adapter.as_deref(), merged, group)?;
            }
            Message::Score(request) => loaded(&mut reward)?.score_part(&request, group)?,
            Message::Step(request) => loaded(&mut reward)?.take_part(&request, group)?,
            Message::Gradients => loaded(&mut reward)?.sum_gradients(group)?,
            Message::LoadCausal(load) => {
                drop(causal.take());
                causal = Some(CausalLm::shared(load, device, group)?);
            }
            Message::CausalWeights(part) => loaded(&mut causal)?.receive_weights(&part, group)?,
            Message::Sft { request, weight } => loaded(&mut causal)?.sft_part(&request, weight, group)?,
            Message::Dpo { request, average, backward } => {
                loaded(&mut causal)?.dpo_part(&request, average, backward, group)?;
            }
            Message::CausalGradients(part) => loaded(&mut causal)?.sum_gradients(&part, group)?,
            Message::LoadPolicy(load) => {
                drop(policy.take());
                policy = Some(PolicyModel::shared(load, device, group)?);
            }
            Message::PolicyWeights => loaded(&mut policy)?.broadcast_weights(group)?,
            Message::Rollout(request) => loaded(&mut policy)?.rollout_part(&request, group)?,
            Message::MiniBatch { request, min_new_tokens } => {
                loaded(&mut policy)?.mini_batch_part(&request, &min_new_tokens, group)?;
            }
            Message::PolicyGradients => loaded(&mut policy)?.sum_gradients(group)?,
        }
    }
}

fn loaded<M>(model: &mut Option<M>) -> Result<&mut M, ModelError> {
    model.as_mut().ok_or_else(|| ModelError::Workers("rank 0 asks for the work of a model before it names one".into()))
}

#[cfg(test)]
pub(crate) mod testing {
    use std::net::TcpListener;
    use std::thread;

    use ser_core::distributed::Environment;

    use super::*;
    use crate::Workers;

    /// Runs `first` as rank 0 of `size` processes.
    pub(crate) fn with_workers<T>(size: usize, first: impl FnOnce(&Workers) -> T) -> T {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let group = move |rank: usize| {
            let environment = Environment::from_variables(|name| match name {
                "RANK" => Some(rank.to_string()),
                "WORLD_SIZE" => Some(size.to_string()),
                "MASTER_ADDR" => Some("127.0.0.1".into()),
                "MASTER_PORT" => Some(port.clone()),
                "SER_GROUP_TIMEOUT" => Some("60".into()),
                _ => None,
            });
            ProcessGroup::connect(&environment.unwrap()).unwrap()
        };
        let others: Vec<_> = (1..size)
            .map(|rank| {
                let group = group.clone();
                thread::spawn(move || work(&group(rank), Device::cpu()).map_err(|error| error.to_string()))
            })
            .collect();
        let result = first(&Workers::new(group(0)).unwrap());
        for other in others {
            assert_eq!(other.join().unwrap(), Ok(()));
        }
        result
    }
}
