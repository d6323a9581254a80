//! Which device each layer lies on, where a model is spread over several GPUs.

use crate::{Device, ModelError};

/// Share of a GPU's memory that is left free for activations.
const RESERVE: f64 = 0.15;

/// Bytes of a network's weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightSizes {
    /// Number of layers.
    pub(crate) layers: usize,
    /// Bytes of one layer.
    pub(crate) layer: f64,
    /// Bytes of embedding and output embedding.
    pub(crate) ends: f64,
}

/// Each layer's device. Embedding, final norm and output embedding lie on the first one.
#[derive(Clone, Debug)]
pub(crate) struct LayerMap {
    first: tch::Device,
    layers: Vec<tch::Device>,
}

impl LayerMap {
    /// All layers on one device, or spread over as many GPUs as `device` names, in proportion to their free memory.
    pub(crate) fn new(sizes: &WeightSizes, device: Device) -> Result<Self, ModelError> {
        let Device(first, gpus) = device;
        if gpus <= 1 {
            return Ok(LayerMap { first, layers: Vec::new() });
        }
        let free = (0..gpus).map(ser_libtorch::free_memory).collect::<Result<Vec<_>, _>>()?;
        let usable: Vec<f64> = free.iter().map(|&bytes| bytes as f64 * (1.0 - RESERVE)).collect();
        let Some(gpu_of_layer) = spread(sizes.layers, sizes.layer, sizes.ends, &usable) else {
            return Err(ModelError::TooLarge {
                needed: (sizes.layer * sizes.layers as f64 + sizes.ends) / 1e9,
                free: usable.iter().sum::<f64>() / 1e9,
                gpus,
            });
        };
        Ok(LayerMap { first, layers: gpu_of_layer.into_iter().map(tch::Device::Cuda).collect() })
    }

    /// The device of embedding, final norm and output embedding.
    pub(crate) fn first(&self) -> tch::Device {
        self.first
    }

    /// The device of the tensor of that name, such as `layers.3.mlp.up_proj.weight`.
    pub(crate) fn device_of(&self, name: &str) -> tch::Device {
        let layer = name.strip_prefix("layers.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        layer.and_then(|layer| self.layers.get(layer)).copied().unwrap_or(self.first)
    }
}

/// The GPU of each of `layers` layers of `size` bytes, in order, filled in proportion to the `usable` bytes of each GPU, of
/// which the first also has `ends` bytes of embeddings. `None` if they do not fit.
fn spread(layers: usize, size: f64, ends: f64, usable: &[f64]) -> Option<Vec<usize>> {
    let free: Vec<f64> =
        usable.iter().enumerate().map(|(i, bytes)| (bytes - if i == 0 { ends } else { 0.0 }).max(0.0)).collect();
    let total: f64 = free.iter().sum();
    let mut counts = Vec::with_capacity(free.len());
    let (mut given, mut share) = (0, 0.0);
    for bytes in &free {
        share += bytes / total;
        let until = ((share * layers as f64).round() as usize).min(layers);
        counts.push(until.saturating_sub(given));
        given = until.max(given);
    }
    // Rounding may have put one too many on a GPU that is already full.
    let fits = given == layers && counts.iter().zip(&free).all(|(&count, bytes)| count as f64 * size <= *bytes);
    fits.then(|| counts.iter().enumerate().flat_map(|(gpu, &count)| std::iter::repeat_n(gpu, count)).collect())
}

#[cfg(test)]
mod tests {
    use tch::Device::Cuda;

    use super::*;

    #[test]
    fn layers_go_by_memory() {
        assert_eq!(spread(4, 1.0, 0.0, &[10.0, 10.0]), Some(vec![0, 0, 1, 1]));
        // The first has 5 besides its layers: a third of the memory.
        assert_eq!(spread(6, 1.0, 5.0, &[10.0, 10.0]), Some(vec![0, 0, 1, 1, 1, 1]));
        assert_eq!(spread(3, 1.0, 0.0, &[9.0]), Some(vec![0, 0, 0]));
        assert_eq!(spread(5, 1.0, 0.0, &[2.0, 2.0]), None);
        assert_eq!(spread(5, 1.0, 9.0, &[2.0, 2.0]), None);
        // 80 layers of 1.7 GB on eight GPUs of 68 usable: each gets its ten, the first one fewer.
        let gpus = spread(80, 1.7, 2.1, &[68.0; 8]).unwrap();
        assert!((0..8).all(|gpu| (9..=11).contains(&gpus.iter().filter(|&&p| p == gpu).count())), "{gpus:?}");
        assert!(gpus.is_sorted());
    }

    #[test]
    fn tensors_find_their_device() {
        let map = LayerMap { first: Cuda(0), layers: vec![Cuda(0), Cuda(1)] };
        assert_eq!(map.device_of("layers.1.mlp.up_proj.weight"), Cuda(1));
        assert_eq!(map.device_of("embed_tokens.weight"), Cuda(0));
        assert_eq!(map.device_of("norm.weight"), Cuda(0));
    }
}
