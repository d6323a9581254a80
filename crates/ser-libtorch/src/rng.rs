use tch::Tensor;

use crate::{Error, ffi};

/// The state of libtorch's default CPU generator, as bytes: dropout and sampling go on from it.
pub fn rng_state() -> Result<Tensor, Error> {
    // SAFETY: `produced` hands over a place for one pointer.
    ffi::produced(|out| unsafe { ffi::ser_rng_state(out) })
}

/// Sets the default CPU generator to a state taken by [`rng_state`].
pub fn set_rng_state(state: &Tensor) -> Result<(), Error> {
    // SAFETY: the tensor lives through the call; libtorch checks that it is a state.
    ffi::check(unsafe { ffi::ser_set_rng_state(state.as_ptr()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn the_same_draws_come_again() {
        let state = rng_state().unwrap();
        let first = Tensor::rand([8], (Kind::Float, Device::Cpu));
        set_rng_state(&state).unwrap();
        assert_eq!(first, Tensor::rand([8], (Kind::Float, Device::Cpu)));
        let broken = Tensor::zeros([3], (Kind::Uint8, Device::Cpu));
        assert!(set_rng_state(&broken).is_err());
    }
}
