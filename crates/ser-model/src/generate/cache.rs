//! The key/value cache: pages of slots, allocated while answers grow and freed when they end.

use std::collections::BTreeSet;

use ser_libtorch::SlotRange;
use tch::{Device, Kind, Tensor};

use crate::network::{Attention, AttentionInputs, PackedBatch};
use crate::{ModelError, NetworkConfig};

/// Slots per page.
pub(crate) const PAGE: usize = 32;

/// Keys and values of every layer, one slot per token. Prompts and answers own pages of slots.
pub(crate) struct KvCache {
    /// Keys and values of each layer: [slots, kv_heads, dim], in the network's kind, or in f32 where the CPU's kernel does not
    /// take that.
    layers: Vec<[Tensor; 2]>,
    kv_heads: i64,
    dim: i64,
    pages: usize,
    free_pages: BTreeSet<usize>,
}

impl KvCache {
    /// An empty cache.
    pub(crate) fn new(
        config: &NetworkConfig,
        kind: Kind,
        devices: impl Iterator<Item = Device>,
    ) -> Result<Self, ModelError> {
        let empty = |device: Device| {
            let kind = if device == Device::Cpu && kind != Kind::BFloat16 { Kind::Float } else { kind };
            Tensor::f_empty([0, config.kv_heads, config.head_dim], (kind, device))
        };
        let layers = devices.map(|device| Ok([empty(device)?, empty(device)?])).collect::<Result<_, ModelError>>()?;
        let (kv_heads, dim) = (config.kv_heads, config.head_dim);
        Ok(KvCache { layers, kv_heads, dim, pages: 0, free_pages: BTreeSet::new() })
    }

    /// Allocates the first free pages for a number of tokens.
    pub(crate) fn allocate(&mut self, tokens: usize) -> Result<Vec<usize>, ModelError> {
        let count = tokens.div_ceil(PAGE);
        if self.free_pages.len() < count {
            self.grow(count - self.free_pages.len())?;
        }
        Ok((0..count).filter_map(|_| self.free_pages.pop_first()).collect())
    }

    /// Frees pages.
    pub(crate) fn free(&mut self, pages: &[usize]) {
        self.free_pages.extend(pages);
    }

    /// Adds pages, at least half as many as there are, so that a run copies the cache only a few times.
    fn grow(&mut self, at_least: usize) -> Result<(), ModelError> {
        let pages = self.pages + at_least.max(self.pages / 2);
        for tensor in self.layers.iter_mut().flatten() {
            let shape = [(pages * PAGE) as i64, self.kv_heads, self.dim];
            let grown = Tensor::f_empty(shape, (tensor.kind(), tensor.device()))?;
            grown.f_narrow(0, 0, tensor.size3()?.0)?.f_copy_(tensor)?;
            *tensor = grown;
        }
        self.free_pages.extend(self.pages..pages);
        self.pages = pages;
        Ok(())
    }

    /// Stores rows of keys and values, [rows, kv_heads, dim], in slots.
    fn store(&mut self, layer: usize, slots: &Tensor, k: &Tensor, v: &Tensor) -> Result<(), ModelError> {
        let Some(tensors) = self.layers.get_mut(layer) else { return Ok(()) };
        for (tensor, rows) in tensors.iter_mut().zip([k, v]) {
            let slots = slots.f_to_device(tensor.device())?;
            let _ = tensor.f_index_copy_(0, &slots, &rows.f_to_kind(tensor.kind())?)?;
        }
        Ok(())
    }
}

/// The slot of a token of a text with the given pages.
pub(crate) fn slot(pages: &[usize], token: usize) -> i64 {
    pages.get(token / PAGE).map_or(-1, |page| (page * PAGE + token % PAGE) as i64)
}

/// Attention within prompts, which stores their keys and values in the cache.
pub(crate) struct PrefillAttention<'a> {
    pub(crate) cache: &'a mut KvCache,
    /// The slot of each row.
    pub(crate) slots: &'a Tensor,
    pub(crate) batch: &'a PackedBatch,
    /// The index of the next layer.
    pub(crate) layer: usize,
}

impl Attention for PrefillAttention<'_> {
    fn attend(&mut self, inputs: AttentionInputs<'_>) -> Result<Tensor, ModelError> {
        self.cache.store(self.layer, self.slots, inputs.k, inputs.v)?;
        self.layer += 1;
        let mut within = self.batch;
        within.attend(inputs)
    }
}

/// The slots that each row of a step attends to, in order.
#[derive(Debug, Default)]
pub(crate) struct VisibleRanges {
    ranges: Vec<SlotRange>,
    /// The end of each row's ranges in `ranges`.
    ends: Vec<i64>,
}

impl VisibleRanges {
    /// Adds a row that attends to the tokens of the parts, given as pages and length; with a window, to the last ones.
    pub(crate) fn push(&mut self, parts: &[(&[usize], usize)], window: Option<i64>) {
        let all: usize = parts.iter().map(|(_, tokens)| tokens).sum();
        let mut skipped = window.map_or(0, |w| all.saturating_sub(usize::try_from(w).unwrap_or(usize::MAX)));
        let first = self.ranges.len();
        for &(pages, tokens) in parts {
            let mut from = skipped.min(tokens);
            skipped -= from;
            while from < tokens {
                let to = tokens.min((from / PAGE + 1) * PAGE);
                let (start, length) = (slot(pages, from), (to - from) as i64);
                match self.ranges.get_mut(first..).and_then(|ranges| ranges.last_mut()) {
                    Some(range) if range.start + range.length == start => range.length += length,
                    _ => self.ranges.push(SlotRange { start, length }),
                }
                from = to;
            }
        }
        self.ends.push(self.ranges.len() as i64);
    }

    /// The slots of all rows as [rows * longest], padded with slot 0, and the mask of the others: [rows, 1, 1, longest].
    fn table(&self) -> Result<(Tensor, Tensor), ModelError> {
        let mut rows: Vec<Vec<i64>> = Vec::with_capacity(self.ends.len());
        let mut from = 0;
        for &end in &self.ends {
            let ranges = self.ranges.get(from..end as usize).unwrap_or_default();
            rows.push(ranges.iter().flat_map(|range| range.start..range.start + range.length).collect());
            from = end as usize;
        }
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut mask = Vec::with_capacity(rows.len() * longest);
        for row in &mut rows {
            mask.extend((0..longest).map(|i| i < row.len()));
            row.resize(longest, 0);
        }
        let mask = Tensor::f_from_slice(&mask)?.f_view([rows.len() as i64, 1, 1, longest as i64])?;
        Ok((Tensor::f_from_slice(&rows.concat())?, mask))
    }
}

/// The slots that the layers with one window size attend to.
struct WindowRanges {
    window: Option<i64>,
    ranges: VisibleRanges,
    /// The ranges as indices and mask; `None` on the CPU.
    table: Option<(Tensor, Tensor)>,
}

/// Attention of one new token per answer: stores its key and value, and attends to the prompt and the answer so far.
pub(crate) struct DecodeAttention<'a> {
    cache: &'a mut KvCache,
    /// The slot of each row.
    slots: Tensor,
    /// The slots to attend to, by window size.
    windows: Vec<WindowRanges>,
    /// The index of the next layer.
    layer: usize,
}

impl<'a> DecodeAttention<'a> {
    /// `slots` are those of the rows' own tokens; `ranges` are the slots that the rows attend to, by window size, their own
    /// tokens included.
    pub(crate) fn new(
        cache: &'a mut KvCache,
        slots: &[i64],
        ranges: Vec<(Option<i64>, VisibleRanges)>,
    ) -> Result<Self, ModelError> {
        let first = cache.layers.first().map_or(Device::Cpu, |[keys, _]| keys.device());
        let slots = ser_libtorch::upload(slots, first)?;
        let mut windows = Vec::with_capacity(ranges.len());
        for (window, ranges) in ranges {
            let on_first = |(index, mask): (Tensor, Tensor)| Ok((index.f_to_device(first)?, mask.f_to_device(first)?));
            let table = (first != Device::Cpu).then(|| ranges.table().and_then(on_first)).transpose()?;
            windows.push(WindowRanges { window, ranges, table });
        }
        Ok(DecodeAttention { cache, slots, windows, layer: 0 })
    }
}

impl Attention for DecodeAttention<'_> {
    fn attend(&mut self, inputs: AttentionInputs<'_>) -> Result<Tensor, ModelError> {
        let AttentionInputs { q, k, v, window, .. } = inputs;
        self.cache.store(self.layer, &self.slots, k, v)?;
        let found = self.windows.iter().find(|ranges| ranges.window == window);
        let (Some([keys, values]), Some(found)) = (self.cache.layers.get(self.layer), found) else {
            // Unreachable: the engine creates cache and ranges for the layers and windows of this network.
            return Ok(q.f_zeros_like()?);
        };
        self.layer += 1;
        match &found.table {
            // The copies do nothing unless the layers are spread over several GPUs.
            Some((index, mask)) => {
                let device = keys.device();
                by_gathering(q, keys, values, &index.f_to_device(device)?, &mask.f_to_device(device)?)
            }
            None => {
                let query = q.f_to_kind(keys.kind())?;
                let out =
                    ser_libtorch::decode_attention(&query, keys, values, &found.ranges.ranges, &found.ranges.ends)?;
                Ok(out.f_to_kind(q.kind())?)
            }
        }
    }
}

/// libtorch's attention over copies of the rows' keys and values.
fn by_gathering(q: &Tensor, k: &Tensor, v: &Tensor, index: &Tensor, mask: &Tensor) -> Result<Tensor, ModelError> {
    let (rows, _, _) = q.size3()?;
    let (_, kv_heads, dim) = k.size3()?;
    // [slots, kv_heads, dim] -> [rows, kv_heads, longest, dim]
    let take = |x: &Tensor| x.f_index_select(0, index)?.f_view([rows, -1, kv_heads, dim])?.f_transpose(1, 2);
    let query = q.f_unsqueeze(2)?;
    let out = Tensor::f_scaled_dot_product_attention(&query, &take(k)?, &take(v)?, Some(mask), 0.0, false, None, true)?;
    Ok(out.f_squeeze_dim(2)?)
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    fn ranges(visible: &VisibleRanges) -> Vec<(i64, i64)> {
        visible.ranges.iter().map(|range| (range.start, range.length)).collect()
    }

    #[test]
    fn adjacent_pages_form_one_range_and_windows_drop_the_first_tokens() {
        let page = PAGE as i64;
        let mut visible = VisibleRanges::default();
        let prompt = [0, 1, 5];
        visible.push(&[(&prompt, 2 * PAGE + 3), (&[6], 2)], None);
        visible.push(&[(&prompt, 2 * PAGE + 3), (&[7], 1)], Some(5));
        visible.push(&[(&prompt, 2 * PAGE + 3), (&[7], 4)], Some(3));
        let all = [(0, 2 * page), (5 * page, 3), (6 * page, 2)];
        let windowed = [(2 * page - 1, 1), (5 * page, 3), (7 * page, 1), (7 * page + 1, 3)];
        assert_eq!(ranges(&visible), [all.as_slice(), &windowed].concat());
        assert_eq!(visible.ends, [3, 6, 7]);
    }

    #[test]
    fn the_decode_kernel_agrees_with_libtorch() {
        tch::manual_seed(2);
        let random = |n: i64, heads: i64| Tensor::randn([n, heads, 8], (Kind::Float, Device::Cpu));
        let (q, k, v) = (random(2, 4), random(4 * PAGE as i64, 2), random(4 * PAGE as i64, 2));
        let mut visible = VisibleRanges::default();
        visible.push(&[(&[0, 2], PAGE + 9), (&[3], 4)], None);
        visible.push(&[(&[0, 2], PAGE + 9), (&[1], 1)], Some(20));
        let ours = ser_libtorch::decode_attention(&q, &k, &v, &visible.ranges, &visible.ends).unwrap();
        let (index, mask) = visible.table().unwrap();
        let expected = by_gathering(&q, &k, &v, &index, &mask).unwrap();
        assert_abs_diff_eq!((ours - expected).abs().max().double_value(&[]), 0.0, epsilon = 1e-5);
    }

    #[test]
    fn the_cache_keeps_its_rows_when_it_grows_and_reuses_pages() {
        let shape = crate::LlamaShape { hidden_size: 8, layers: 1, heads: 2, kv_heads: 1, ..Default::default() };
        let config = NetworkConfig::llama(16, &shape).unwrap();
        let mut cache = KvCache::new(&config, Kind::Float, [Device::Cpu].into_iter()).unwrap();
        let first = cache.allocate(PAGE + 1).unwrap();
        assert_eq!(first, [0, 1]);
        let slots = Tensor::from_slice(&[slot(&first, PAGE)]);
        let rows = Tensor::ones([1, 1, 4], (Kind::Float, Device::Cpu));
        cache.store(0, &slots, &rows, &rows).unwrap();
        assert_eq!(cache.allocate(1).unwrap(), [2]);
        assert_eq!(cache.layers[0][1].get(PAGE as i64), rows.get(0));
        cache.free(&first);
        assert_eq!(cache.allocate(1).unwrap(), [0]);
    }
}
