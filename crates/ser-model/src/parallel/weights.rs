//! Weights and gradients among processes.

use ser_libtorch::{ProcessGroup, clear_gradients};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::ModelError;
use crate::checkpoint::Bytes;
use crate::network::Network;
use crate::train::Parameter;

/// Replaces the numbers of tensors by those of rank 0, as one tensor in f32. In the other processes it also drops the tensors'
/// gradients, which a step that failed in rank 0 leaves behind.
pub(crate) fn broadcast_into(group: &ProcessGroup, tensors: &[Tensor]) -> Result<(), ModelError> {
    let mut flat = flattened(tensors)?;
    group.broadcast(&mut flat, 0)?;
    if group.rank() == 0 {
        return Ok(());
    }
    copy_into(&flat, tensors)?;
    Ok(clear_gradients(&mut tensors.iter().map(Tensor::shallow_clone).collect::<Vec<_>>())?)
}

/// Adds the gradients of all processes up in those of rank 0, and drops them in the others. A parameter without a gradient has one
/// of zeros. Rank 0 has a gradient of each that has one anywhere: it takes part in every pass.
pub(crate) fn sum_gradients(group: &ProcessGroup, parameters: &[Parameter]) -> Result<(), ModelError> {
    let gradients: Vec<Tensor> =
        parameters.iter().map(|parameter| parameter.tensor.f_grad()).collect::<Result<_, _>>()?;
    let parts = gradients.iter().zip(parameters).map(|(gradient, parameter)| match gradient.defined() {
        true => Ok(gradient.shallow_clone()),
        false => Ok(parameter.tensor.f_detach()?.f_zeros_like()?),
    });
    let mut flat = flattened(&parts.collect::<Result<Vec<_>, ModelError>>()?)?;
    group.all_reduce_sum(&mut flat)?;
    if group.rank() > 0 {
        let mut tensors: Vec<Tensor> = parameters.iter().map(|parameter| parameter.tensor.shallow_clone()).collect();
        return Ok(clear_gradients(&mut tensors)?);
    }
    let sizes: Vec<i64> = parameters.iter().map(|parameter| parameter.tensor.numel() as i64).collect();
    for (sum, gradient) in flat.f_split_with_sizes(&sizes, 0)?.into_iter().zip(gradients) {
        if gradient.defined() {
            copy_into(&sum, &[gradient])?;
        }
    }
    Ok(())
}

/// All numbers of the tensors, one after the other, in f32 on the CPU.
fn flattened(tensors: &[Tensor]) -> Result<Tensor, ModelError> {
    if tensors.is_empty() {
        return Ok(Tensor::f_zeros([0], (Kind::Float, Device::Cpu))?);
    }
    let parts = tensors
        .iter()
        .map(|tensor| tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_reshape([-1]));
    Ok(Tensor::f_cat(&parts.collect::<Result<Vec<_>, _>>()?, 0)?)
}

fn copy_into(flat: &Tensor, tensors: &[Tensor]) -> Result<(), ModelError> {
    let sizes: Vec<i64> = tensors.iter().map(|tensor| tensor.numel() as i64).collect();
    for (part, tensor) in flat.f_split_with_sizes(&sizes, 0)?.into_iter().zip(tensors) {
        tch::no_grad(|| tensor.shallow_clone().f_copy_(&part.f_view_as(tensor)?))?;
    }
    Ok(())
}

/// Bytes of each tensor in a fingerprint, at its start.
const SAMPLE: i64 = 1024;

/// Tells base models apart: by shapes, precision and the first numbers of each tensor, in which trained models differ.
pub(super) fn fingerprint(network: &Network) -> Result<i64, ModelError> {
    let mut hash = Sha256::new();
    hash.update(network.config.to_json().to_string());
    for (name, tensor) in network.tensors() {
        hash.update(format!("{name} {:?} {:?}\n", tensor.kind(), tensor.size()));
        let numbers = tensor.f_detach()?.f_view([-1])?;
        let start = numbers.f_narrow(0, 0, SAMPLE.min(numbers.numel() as i64))?;
        hash.update(&Bytes::of(&start.f_to_device(Device::Cpu)?)?.data);
    }
    Ok(hash.finalize().iter().take(8).fold(0, |value, byte| (value << 8) | i64::from(*byte)))
}
