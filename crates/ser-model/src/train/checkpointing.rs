//! Gradient checkpointing (Chen et al., 2016): the forward pass stores only the input of each layer, and the backward pass
//! computes one layer at a time again. The gradients equal those without checkpointing bit for bit, dropout included.

use tch::{Kind, Tensor};

use crate::ModelError;
use crate::network::{Entry, ForwardMode, Network, PackedBatch, RotaryTables, Rows};
use crate::seeds::Seeds;

/// A forward pass for training, with checkpointing or without.
pub(crate) struct CheckpointedForward<'a> {
    /// The output of [`Network::forward`]. Compute the loss from it, call `backward` on the loss, then
    /// [`finish`](CheckpointedForward::finish).
    pub(crate) hidden: Tensor,
    inputs: Option<LayerInputs<'a>>,
}

/// The inputs of the backward pass through the layers.
struct LayerInputs<'a> {
    network: &'a Network,
    batch: PackedBatch,
    tables: RotaryTables,
    /// The lowest layer with a trained tensor; nothing is back-propagated below it.
    lowest: usize,
    /// The input of each layer from the lowest on, and its seeds if there is dropout.
    inputs: Vec<(Tensor, Option<Seeds>)>,
    /// The last layer's output.
    output: Tensor,
    adapter: Option<usize>,
}

impl<'a> CheckpointedForward<'a> {
    /// Runs the network on a batch, from the rows of `entry` if they are given.
    pub(crate) fn forward(
        network: &'a Network,
        batch: PackedBatch,
        entry: Option<Entry>,
        rows: Rows,
        dropout: Option<&Seeds>,
        checkpointing: bool,
    ) -> Result<Self, ModelError> {
        if !checkpointing {
            return Ok(CheckpointedForward {
                hidden: network.forward_after(entry, &batch, rows, dropout)?,
                inputs: None,
            });
        }
        let mode = ForwardMode { adapter: network.adapters.active(), dropout, rows: batch.places.as_ref() };
        let tables = network.tables(&batch, rows)?;
        let lowest = network.lowest_trained();
        let (inputs, output, hidden) = tch::no_grad(|| -> Result<_, ModelError> {
            let mut inputs = Vec::with_capacity(network.layers.len());
            let entry = network.entry_or_embedding(entry, &batch)?;
            let mut x = entry.rows;
            for i in entry.layer..network.layers.len() {
                if i >= lowest {
                    // The seeds before the layer draws.
                    inputs.push((x.shallow_clone(), dropout.cloned()));
                }
                x = network.layer(i, &x, &mut &batch, &tables, mode)?;
            }
            let hidden = network.last_norm(&x)?;
            Ok((inputs, x, hidden))
        })?;
        let hidden = hidden.f_set_requires_grad(true)?;
        let adapter = mode.adapter;
        let inputs = LayerInputs { network, batch, tables, lowest, inputs, output, adapter };
        Ok(CheckpointedForward { hidden, inputs: Some(inputs) })
    }

    /// The number of layers' inputs that are stored for the backward pass; 0 without checkpointing.
    #[cfg(test)]
    pub(crate) fn stored_inputs(&self) -> usize {
        self.inputs.as_ref().map_or(0, |inputs| inputs.inputs.len())
    }

    /// Completes the backward pass, from the gradient of `hidden` to the parameters. Does nothing without checkpointing.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        let Some(inputs) = self.inputs else { return Ok(()) };
        let gradient = self.hidden.f_grad()?;
        if gradient.defined() { inputs.backward(gradient) } else { Ok(()) }
    }
}

impl LayerInputs<'_> {
    fn backward(mut self, gradient: Tensor) -> Result<(), ModelError> {
        let (network, adapter) = (self.network, self.adapter);
        let mut gradient = self.through(&self.output, true, &gradient, |x| network.last_norm(x))?;
        while let Some((input, seeds)) = self.inputs.pop() {
            let i = self.lowest + self.inputs.len();
            let mode = ForwardMode { adapter, dropout: seeds.as_ref(), rows: self.batch.places.as_ref() };
            // Only the embedding can be trained below the lowest trained layer.
            let further = i > self.lowest || network.embedding_is_trained();
            let (batch, tables) = (&self.batch, &self.tables);
            gradient = self.through(&input, further, &gradient, |x| network.layer(i, x, &mut &*batch, tables, mode))?;
        }
        if network.embedding_is_trained() {
            push(&network.embed(&self.batch.tokens)?, &gradient)?;
        }
        Ok(())
    }

    /// Computes one part again and back-propagates the gradient of its output to its leaves and to its input.
    fn through(
        &self,
        input: &Tensor,
        further: bool,
        gradient: &Tensor,
        part: impl Fn(&Tensor) -> Result<Tensor, ModelError>,
    ) -> Result<Tensor, ModelError> {
        let input = input.f_detach()?.f_set_requires_grad(further)?;
        push(&part(&input)?, gradient)?;
        Ok(input.f_grad()?)
    }
}

/// Back-propagates `gradient` from `output`, if `output` depends on a trained tensor.
fn push(output: &Tensor, gradient: &Tensor) -> Result<(), ModelError> {
    if output.requires_grad() {
        // The gradient of this sum by `output` is exactly `gradient`.
        output.f_mul(gradient)?.f_sum(Kind::Float)?.f_backward()?;
    }
    Ok(())
}
