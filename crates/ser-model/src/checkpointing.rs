//! Gradient checkpointing (Chen et al., 2016): a forward that keeps each layer's input alone, and a backward that computes
//! one layer at a time again. The gradients are those of the plain way, to the bit, dropout included.

use tch::{Kind, Tensor};

use crate::ModelError;
use crate::lora::Pass;
use crate::network::{Network, Rows, Way};
use crate::packed::PackedBatch;
use crate::seeds::Seeds;

/// A forward that is to be trained on.
pub(crate) struct Tape<'a> {
    /// As [`Network::forward`] has it. Make the loss of it and call `backward` on that, then [`finish`](Tape::finish).
    pub(crate) hidden: Tensor,
    kept: Option<Kept<'a>>,
}

/// What is needed to go back through the layers.
struct Kept<'a> {
    network: &'a Network,
    batch: &'a PackedBatch,
    way: Way,
    /// Each layer's input, and its seeds where there is dropout.
    inputs: Vec<(Tensor, Option<Seeds>)>,
    /// The last layer's output.
    output: Tensor,
    adapter: Option<usize>,
}

impl<'a> Tape<'a> {
    /// Goes through the network, with checkpointing or without.
    pub(crate) fn forward(
        network: &'a Network,
        batch: &'a PackedBatch,
        rows: Rows,
        dropout: Option<&Seeds>,
        checkpointing: bool,
    ) -> Result<Self, ModelError> {
        if !checkpointing {
            return Ok(Tape { hidden: network.forward(batch, rows, dropout)?, kept: None });
        }
        let pass = Pass { adapter: network.adapters.active(), dropout };
        let way = network.way(batch, rows)?;
        let (inputs, output, hidden) = tch::no_grad(|| -> Result<_, ModelError> {
            let mut inputs = Vec::with_capacity(network.layers.len());
            let mut x = network.embed(&batch.tokens)?;
            for i in 0..network.layers.len() {
                // The seeds as they stand before the layer draws.
                inputs.push((x.shallow_clone(), dropout.cloned()));
                x = network.layer(i, &x, &mut &*batch, &way, pass)?;
            }
            let hidden = network.last_norm(&x)?;
            Ok((inputs, x, hidden))
        })?;
        let hidden = hidden.f_set_requires_grad(true)?;
        Ok(Tape { hidden, kept: Some(Kept { network, batch, way, inputs, output, adapter: pass.adapter }) })
    }

    /// The rest of the backward: from the gradient that reached `hidden` into the leaves. Nothing without checkpointing.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        let Some(kept) = self.kept else { return Ok(()) };
        let gradient = self.hidden.f_grad()?;
        if gradient.defined() { kept.backward(gradient) } else { Ok(()) }
    }
}

impl Kept<'_> {
    fn backward(mut self, gradient: Tensor) -> Result<(), ModelError> {
        let Kept { network, batch, adapter, .. } = self;
        let mut gradient = self.through(&self.output, true, &gradient, |x| network.last_norm(x))?;
        while let Some((input, seeds)) = self.inputs.pop() {
            let i = self.inputs.len();
            let pass = Pass { adapter, dropout: seeds.as_ref() };
            // Below the first layer there is nothing to train but the embedding.
            let further = i > 0 || network.embedding_is_trained();
            gradient =
                self.through(&input, further, &gradient, |x| network.layer(i, x, &mut &*batch, &self.way, pass))?;
        }
        if network.embedding_is_trained() {
            push(&network.embed(&batch.tokens)?, &gradient)?;
        }
        Ok(())
    }

    /// Computes one part again and takes the gradient of its output to the leaves in it and to its input.
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

/// Back-propagates `gradient` from `output`, if anything before it is trained.
fn push(output: &Tensor, gradient: &Tensor) -> Result<(), ModelError> {
    if output.requires_grad() {
        // The sum's gradient is `gradient` itself, exactly.
        output.f_mul(gradient)?.f_sum(Kind::Float)?.f_backward()?;
    }
    Ok(())
}
