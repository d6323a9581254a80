//! Which device each layer lies on, where a model is spread over several GPUs.

use tch::{Device as Place, Kind};

use crate::layer::projections;
use crate::{Device, ModelError, NetworkConfig};

/// What is left free of a GPU's memory for activations, as a share.
const RESERVE: f64 = 0.15;

/// Each layer's device. Embedding, final norm and output embedding lie on the first one.
#[derive(Clone, Debug)]
pub(crate) struct LayerMap {
    first: Place,
    layers: Vec<Place>,
}

impl LayerMap {
    /// All on one device, or spread over as many GPUs as the device says, by their free memory.
    pub(crate) fn new(config: &NetworkConfig, kind: Kind, device: Device) -> Result<Self, ModelError> {
        let Device(first, gpus) = device;
        if gpus <= 1 {
            return Ok(LayerMap { first, layers: Vec::new() });
        }
        let free = (0..gpus).map(ser_libtorch::free_memory).collect::<Result<Vec<_>, _>>()?;
        let width = if kind == Kind::Float { 4.0 } else { 2.0 };
        let weights = |map: crate::layer::Projection| map.out as f64 * map.input as f64;
        let layer = projections(config).into_iter().map(weights).sum::<f64>() * width;
        let ends = config.vocab_size as f64 * config.hidden_size as f64 * width * if config.tied { 1.0 } else { 2.0 };
        let usable: Vec<f64> = free.iter().map(|&bytes| bytes as f64 * (1.0 - RESERVE)).collect();
        let Some(places) = spread(config.layers as usize, layer, ends, &usable) else {
            return Err(ModelError::NoRoom {
                needed: (layer * config.layers as f64 + ends) / 1e9,
                free: usable.iter().sum::<f64>() / 1e9,
                gpus,
            });
        };
        Ok(LayerMap { first, layers: places.into_iter().map(Place::Cuda).collect() })
    }

    /// The device of what is no layer.
    pub(crate) fn first(&self) -> Place {
        self.first
    }

    /// Where the tensor of that name belongs, such as `layers.3.mlp.up_proj.weight`.
    pub(crate) fn place(&self, name: &str) -> Place {
        let layer = name.strip_prefix("layers.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        layer.and_then(|layer| self.layers.get(layer)).copied().unwrap_or(self.first)
    }
}

/// The GPU of each of `layers` layers of `size` bytes, in order, filled in proportion to the `usable` bytes of each GPU, of
/// which the first holds `ends` bytes beside. `None` if they do not fit.
fn spread(layers: usize, size: f64, ends: f64, usable: &[f64]) -> Option<Vec<usize>> {
    let room: Vec<f64> =
        usable.iter().enumerate().map(|(i, bytes)| (bytes - if i == 0 { ends } else { 0.0 }).max(0.0)).collect();
    let total: f64 = room.iter().sum();
    let mut counts = Vec::with_capacity(room.len());
    let (mut given, mut share) = (0, 0.0);
    for bytes in &room {
        share += bytes / total;
        let until = ((share * layers as f64).round() as usize).min(layers);
        counts.push(until.saturating_sub(given));
        given = until.max(given);
    }
    // Rounding may have put one too many on a GPU that is full to the brim.
    let fits = given == layers && counts.iter().zip(&room).all(|(&count, bytes)| count as f64 * size <= *bytes);
    fits.then(|| counts.iter().enumerate().flat_map(|(gpu, &count)| std::iter::repeat_n(gpu, count)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_go_by_memory() {
        assert_eq!(spread(4, 1.0, 0.0, &[10.0, 10.0]), Some(vec![0, 0, 1, 1]));
        // The first holds 5 beside its layers: a third of the room.
        assert_eq!(spread(6, 1.0, 5.0, &[10.0, 10.0]), Some(vec![0, 0, 1, 1, 1, 1]));
        assert_eq!(spread(3, 1.0, 0.0, &[9.0]), Some(vec![0, 0, 0]));
        assert_eq!(spread(5, 1.0, 0.0, &[2.0, 2.0]), None);
        assert_eq!(spread(5, 1.0, 9.0, &[2.0, 2.0]), None);
        // 80 layers of 1.7 GB on eight GPUs of 68 usable: each gets its ten, the first one fewer.
        let places = spread(80, 1.7, 2.1, &[68.0; 8]).unwrap();
        assert!((0..8).all(|gpu| (9..=11).contains(&places.iter().filter(|&&p| p == gpu).count())), "{places:?}");
        assert!(places.is_sorted());
    }

    #[test]
    fn tensors_find_their_device() {
        let map = LayerMap { first: Place::Cuda(0), layers: vec![Place::Cuda(0), Place::Cuda(1)] };
        assert_eq!(map.place("layers.1.mlp.up_proj.weight"), Place::Cuda(1));
        assert_eq!(map.place("embed_tokens.weight"), Place::Cuda(0));
        assert_eq!(map.place("norm.weight"), Place::Cuda(0));
    }
}
