//! The product of activations and weights where rows are few, as in a decoding step.

use tch::{Device, Kind, Tensor};

use crate::ModelError;

/// Up to so many rows the time goes into reading the weights, and our own product reads them faster.
const FEW: i64 = 16;

/// x W^T + bias: [rows, in] -> [rows, out]. No gradients.
pub(crate) fn few_rows(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, ModelError> {
    let few = matches!(x.size().as_slice(), [rows, _] if *rows <= FEW);
    let plain = x.kind() == Kind::Float && x.device() == Device::Cpu && weight.kind() == Kind::Float;
    if few && plain && weight.is_contiguous() {
        return Ok(ser_libtorch::few_rows_linear(x, weight, bias)?);
    }
    Ok(x.f_linear(weight, bias)?)
}
