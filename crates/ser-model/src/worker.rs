//! A process that computes for rank 0.

use std::collections::BTreeMap;

use ser_libtorch::ProcessGroup;

use crate::parallel::{Message, ModelKind, ModelToLoad, Work, compare_versions, receive};
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
    let mut models = BTreeMap::new();
    loop {
        let message: Message = receive(group)?;
        tracing::trace!(?message, "message of rank 0");
        match message {
            Message::Wait => {}
            Message::End => return Ok(()),
            Message::Load(number, load) => {
                models.insert(number, Model::load(&load, device, group)?);
            }
            Message::Drop(number) => drop(models.remove(&number)),
            Message::Work(number, work) => match models.get_mut(&number) {
                Some(model) => model.work(work, group)?,
                None => return Err(unexpected()),
            },
        }
    }
}

/// A model of rank 0 in this process.
enum Model {
    Reward(RewardModel),
    Causal(CausalLm),
    Policy(PolicyModel),
}

impl Model {
    fn load(load: &ModelToLoad, device: Device, group: &ProcessGroup) -> Result<Self, ModelError> {
        Ok(match load.kind {
            ModelKind::Reward => Model::Reward(RewardModel::shared(load, device, group)?),
            ModelKind::Causal => Model::Causal(CausalLm::shared(load, device, group)?),
            ModelKind::Policy => Model::Policy(PolicyModel::shared(load, device, group)?),
        })
    }

    fn work(&mut self, work: Work, group: &ProcessGroup) -> Result<(), ModelError> {
        match (self, work) {
            (Model::Reward(model), Work::Weights { part, merged }) => model.receive_weights(&part, merged, group),
            (Model::Reward(model), Work::Gradients(_)) => model.sum_gradients(group),
            (Model::Reward(model), Work::Score(request)) => model.score_part(&request, group),
            (Model::Reward(model), Work::Step(request)) => model.take_part(&request, group),
            (Model::Causal(model), Work::Weights { part, .. }) => model.receive_weights(&part, group),
            (Model::Causal(model), Work::Gradients(part)) => model.sum_gradients(&part, group),
            (Model::Causal(model), Work::Sft { request, weight }) => model.sft_part(&request, weight, group),
            (Model::Causal(model), Work::Dpo { request, average, backward }) => {
                model.dpo_part(&request, average, backward, group)
            }
            (Model::Policy(model), Work::Weights { .. }) => model.broadcast_weights(group),
            (Model::Policy(model), Work::Gradients(_)) => model.sum_gradients(group),
            (Model::Policy(model), Work::Rollout(request)) => model.rollout_part(&request, group),
            (Model::Policy(model), Work::MiniBatch { request, min_new_tokens }) => {
                model.mini_batch_part(&request, &min_new_tokens, group)
            }
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> ModelError {
    ModelError::Workers("rank 0 asks for the work of a model that it did not share, or of another kind".into())
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
