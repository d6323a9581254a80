//! The key/value cache: pages of slots, taken as answers grow and given back as they end.

use std::collections::BTreeSet;

use ser_libtorch::Run;
use tch::{Device, Kind, Tensor};

use crate::network::{Attention, PackedBatch, Rows};
use crate::{ModelError, NetworkConfig};

/// Slots of a page.
pub(crate) const PAGE: usize = 32;

/// Keys and values of every layer, one slot per token. Prompts and answers own pages of slots.
pub(crate) struct KvCache {
    /// Keys and values of each layer: [slots, kv_heads, dim], f32 on the CPU, the network's kind elsewhere.
    layers: Vec<[Tensor; 2]>,
    kv_heads: i64,
    dim: i64,
    pages: usize,
    free: BTreeSet<usize>,
}

impl KvCache {
    /// An empty one.
    pub(crate) fn new(
        config: &NetworkConfig,
        kind: Kind,
        devices: impl Iterator<Item = Device>,
    ) -> Result<Self, ModelError> {
        let empty = |device: Device| {
            // The CPU's kernel reads f32; what was bf16 stays what it was.
            let kind = if device == Device::Cpu { Kind::Float } else { kind };
            Tensor::f_empty([0, config.kv_heads, config.head_dim], (kind, device))
        };
        let layers = devices.map(|device| Ok([empty(device)?, empty(device)?])).collect::<Result<_, ModelError>>()?;
        let (kv_heads, dim) = (config.kv_heads, config.head_dim);
        Ok(KvCache { layers, kv_heads, dim, pages: 0, free: BTreeSet::new() })
    }

    /// Takes pages for so many tokens, the first free ones.
    pub(crate) fn take(&mut self, tokens: usize) -> Result<Vec<usize>, ModelError> {
        let count = tokens.div_ceil(PAGE);
        if self.free.len() < count {
            self.grow(count - self.free.len())?;
        }
        Ok((0..count).filter_map(|_| self.free.pop_first()).collect())
    }

    /// Gives pages back.
    pub(crate) fn give(&mut self, pages: &[usize]) {
        self.free.extend(pages);
    }

    /// Adds pages, at least half as many as there are: slots are copied a few times over a whole run, not at each step.
    fn grow(&mut self, at_least: usize) -> Result<(), ModelError> {
        let pages = self.pages + at_least.max(self.pages / 2);
        for tensor in self.layers.iter_mut().flatten() {
            let shape = [(pages * PAGE) as i64, self.kv_heads, self.dim];
            let grown = Tensor::f_empty(shape, (tensor.kind(), tensor.device()))?;
            grown.f_narrow(0, 0, tensor.size3()?.0)?.f_copy_(tensor)?;
            *tensor = grown;
        }
        self.free.extend(self.pages..pages);
        self.pages = pages;
        Ok(())
    }

    /// Puts rows of keys and values, [rows, kv_heads, dim], into slots.
    fn store(&mut self, layer: usize, slots: &Tensor, k: &Tensor, v: &Tensor) -> Result<(), ModelError> {
        let Some(place) = self.layers.get_mut(layer) else { return Ok(()) };
        for (tensor, rows) in place.iter_mut().zip([k, v]) {
            let slots = slots.f_to_device(tensor.device())?;
            let _ = tensor.f_index_copy_(0, &slots, &rows.f_to_kind(tensor.kind())?)?;
        }
        Ok(())
    }
}

/// The slot of a text's token.
pub(crate) fn slot(pages: &[usize], token: usize) -> i64 {
    pages.get(token / PAGE).map_or(-1, |page| (page * PAGE + token % PAGE) as i64)
}

/// Keeps the keys and values of prompts while they are computed.
pub(crate) struct PrefillAttention<'a> {
    pub(crate) cache: &'a mut KvCache,
    /// The slot of every row.
    pub(crate) slots: &'a Tensor,
    pub(crate) batch: &'a PackedBatch,
    /// The layer that comes next.
    pub(crate) layer: usize,
}

impl Attention for PrefillAttention<'_> {
    fn attend(
        &mut self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        asking: Rows,
        window: Option<i64>,
    ) -> Result<Tensor, ModelError> {
        self.cache.store(self.layer, self.slots, k, v)?;
        self.layer += 1;
        let mut within = self.batch;
        within.attend(q, k, v, asking, window)
    }
}

/// Which slots each row of a step sees, in order.
#[derive(Debug, Default)]
pub(crate) struct VisibleRanges {
    runs: Vec<Run>,
    /// Where each row's runs end.
    ends: Vec<i64>,
}

impl VisibleRanges {
    /// Adds a row that sees the tokens of the parts, each with its pages and its length; of a window, the last ones.
    pub(crate) fn push(&mut self, parts: &[(&[usize], usize)], window: Option<i64>) {
        let all: usize = parts.iter().map(|(_, tokens)| tokens).sum();
        let mut unseen = window.map_or(0, |w| all.saturating_sub(usize::try_from(w).unwrap_or(usize::MAX)));
        let first = self.runs.len();
        for &(pages, tokens) in parts {
            let mut from = unseen.min(tokens);
            unseen -= from;
            while from < tokens {
                let to = tokens.min((from / PAGE + 1) * PAGE);
                let (start, length) = (slot(pages, from), (to - from) as i64);
                match self.runs.get_mut(first..).and_then(|runs| runs.last_mut()) {
                    Some(run) if run.start + run.length == start => run.length += length,
                    _ => self.runs.push(Run { start, length }),
                }
                from = to;
            }
        }
        self.ends.push(self.runs.len() as i64);
    }

    /// Every row's slots as [rows * longest], filled up with slot 0, and which of them count: [rows, 1, 1, longest].
    fn table(&self) -> Result<(Tensor, Tensor), ModelError> {
        let mut rows: Vec<Vec<i64>> = Vec::with_capacity(self.ends.len());
        let mut from = 0;
        for &end in &self.ends {
            let runs = self.runs.get(from..end as usize).unwrap_or_default();
            rows.push(runs.iter().flat_map(|run| run.start..run.start + run.length).collect());
            from = end as usize;
        }
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut see = Vec::with_capacity(rows.len() * longest);
        for row in &mut rows {
            see.extend((0..longest).map(|i| i < row.len()));
            row.resize(longest, 0);
        }
        let see = Tensor::f_from_slice(&see)?.f_view([rows.len() as i64, 1, 1, longest as i64])?;
        Ok((Tensor::f_from_slice(&rows.concat())?, see))
    }
}

/// What the layers of one window see: the window, the sight, and on other devices than the CPU the sight as tensors.
type WindowSight = (Option<i64>, VisibleRanges, Option<(Tensor, Tensor)>);

/// One new token per answer: keeps its key and value, and lets it see the prompt and the answer so far.
pub(crate) struct DecodeAttention<'a> {
    cache: &'a mut KvCache,
    /// The slot of every row.
    slots: Tensor,
    /// What the layers of each window see.
    sights: Vec<WindowSight>,
    /// The layer that comes next.
    layer: usize,
}

impl<'a> DecodeAttention<'a> {
    /// With the slots that the rows' own tokens go to, and what layers of each window see, those tokens included.
    pub(crate) fn new(
        cache: &'a mut KvCache,
        slots: &[i64],
        sights: Vec<(Option<i64>, VisibleRanges)>,
    ) -> Result<Self, ModelError> {
        let first = cache.layers.first().map_or(Device::Cpu, |[keys, _]| keys.device());
        let slots = Tensor::f_from_slice(slots)?.f_to_device(first)?;
        let mut all = Vec::with_capacity(sights.len());
        for (window, sight) in sights {
            let on_first = |(index, see): (Tensor, Tensor)| Ok((index.f_to_device(first)?, see.f_to_device(first)?));
            let table = (first != Device::Cpu).then(|| sight.table().and_then(on_first)).transpose()?;
            all.push((window, sight, table));
        }
        Ok(DecodeAttention { cache, slots, sights: all, layer: 0 })
    }
}

impl Attention for DecodeAttention<'_> {
    fn attend(
        &mut self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: Rows,
        window: Option<i64>,
    ) -> Result<Tensor, ModelError> {
        self.cache.store(self.layer, &self.slots, k, v)?;
        let found = self.sights.iter().find(|(of, ..)| *of == window);
        let (Some([keys, values]), Some((_, sight, table))) = (self.cache.layers.get(self.layer), found) else {
            // The engine made the cache and the sights of this very network.
            return Ok(q.f_zeros_like()?);
        };
        self.layer += 1;
        match table {
            // All on one device, but for layers on other GPUs.
            Some((index, see)) => {
                let device = keys.device();
                by_gathering(q, keys, values, &index.f_to_device(device)?, &see.f_to_device(device)?)
            }
            None => {
                let query = q.f_to_kind(Kind::Float)?;
                let out = ser_libtorch::decode_attention(&query, keys, values, &sight.runs, &sight.ends)?;
                Ok(out.f_to_kind(q.kind())?)
            }
        }
    }
}

/// libtorch's attention over copies of the rows' keys and values.
fn by_gathering(q: &Tensor, k: &Tensor, v: &Tensor, index: &Tensor, see: &Tensor) -> Result<Tensor, ModelError> {
    let (rows, _, _) = q.size3()?;
    let (_, kv_heads, dim) = k.size3()?;
    // [slots, kv_heads, dim] -> [rows, kv_heads, longest, dim]
    let take = |x: &Tensor| x.f_index_select(0, index)?.f_view([rows, -1, kv_heads, dim])?.f_transpose(1, 2);
    let query = q.f_unsqueeze(2)?;
    let out = Tensor::f_scaled_dot_product_attention(&query, &take(k)?, &take(v)?, Some(see), 0.0, false, None, true)?;
    Ok(out.f_squeeze_dim(2)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(sight: &VisibleRanges) -> Vec<(i64, i64)> {
        sight.runs.iter().map(|run| (run.start, run.length)).collect()
    }

    #[test]
    fn adjacent_pages_are_one_run_and_windows_cut_from_the_front() {
        let page = PAGE as i64;
        let mut sight = VisibleRanges::default();
        let prompt = [0, 1, 5];
        sight.push(&[(&prompt, 2 * PAGE + 3), (&[6], 2)], None);
        sight.push(&[(&prompt, 2 * PAGE + 3), (&[7], 1)], Some(5));
        sight.push(&[(&prompt, 2 * PAGE + 3), (&[7], 4)], Some(3));
        let all = [(0, 2 * page), (5 * page, 3), (6 * page, 2)];
        let windowed = [(2 * page - 1, 1), (5 * page, 3), (7 * page, 1), (7 * page + 1, 3)];
        assert_eq!(runs(&sight), [all.as_slice(), &windowed].concat());
        assert_eq!(sight.ends, [3, 6, 7]);
    }

    #[test]
    fn both_ways_of_decoding_agree() {
        tch::manual_seed(2);
        let random = |n: i64, heads: i64| Tensor::randn([n, heads, 8], (Kind::Float, Device::Cpu));
        let (q, k, v) = (random(2, 4), random(4 * PAGE as i64, 2), random(4 * PAGE as i64, 2));
        let mut sight = VisibleRanges::default();
        sight.push(&[(&[0, 2], PAGE + 9), (&[3], 4)], None);
        sight.push(&[(&[0, 2], PAGE + 9), (&[1], 1)], Some(20));
        let ours = ser_libtorch::decode_attention(&q, &k, &v, &sight.runs, &sight.ends).unwrap();
        let (index, see) = sight.table().unwrap();
        let theirs = by_gathering(&q, &k, &v, &index, &see).unwrap();
        assert!((ours - theirs).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn the_cache_grows_keeping_what_it_holds_and_uses_pages_again() {
        let shape = crate::LlamaShape { hidden_size: 8, layers: 1, heads: 2, kv_heads: 1, ..Default::default() };
        let config = NetworkConfig::llama(16, &shape).unwrap();
        let mut cache = KvCache::new(&config, Kind::Float, [Device::Cpu].into_iter()).unwrap();
        let first = cache.take(PAGE + 1).unwrap();
        assert_eq!(first, [0, 1]);
        let slots = Tensor::from_slice(&[slot(&first, PAGE)]);
        let rows = Tensor::ones([1, 1, 4], (Kind::Float, Device::Cpu));
        cache.store(0, &slots, &rows, &rows).unwrap();
        assert_eq!(cache.take(1).unwrap(), [2]);
        assert_eq!(cache.layers[0][1].get(PAGE as i64), rows.get(0));
        cache.give(&first);
        assert_eq!(cache.take(1).unwrap(), [0]);
    }
}
