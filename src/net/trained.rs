//! Trained tensors of a lowered network, and the parts of them that ranks have.

use std::ops::Range;

use crate::ops::layer::Init;
use crate::program::{Slot, Tower};
use crate::random::{Purpose, Stream, tag};
use crate::tensor::share_of_rows;

/// A trained tensor of a lowered network.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Name in checkpoints: `conv3.a.weights.b` is tower A's matrix over tower B's maps.
    pub name: String,
    /// Slot of its values, of which a rank may have a part.
    pub value: Slot,
    /// The part of its outputs that this rank has; `None` for all.
    pub cut: Option<Cut>,
    /// Slot of the values rounded to 16 bits, which contractions of mixed precision read.
    pub rounded: Option<Slot>,
    /// States of the optimiser; like the gradient only where the program trains, and the layer is not frozen.
    pub states: Vec<Slot>,
    /// Gradient of the loss by the tensor; `None` for a frozen one.
    pub gradient: Option<Slot>,
    /// Learning rate, decay and the optimiser's hyper-parameters, as [`crate::ops::optimizer::Optimizer::rule`] gives them.
    pub rule: Option<Slot>,
    /// Distribution of its initial values.
    pub init: Init,
    /// Whether it is a bias, which has a rate of its own and no decay.
    pub bias: bool,
    /// Weight decay λ of the tensor.
    pub decay: f32,
    /// Index of its node.
    pub node: usize,
    /// The tower that has it.
    pub tower: Tower,
    /// The tower whose maps it weighs; of a bias its own.
    pub reads: Tower,
}

/// A rank's part of a tensor, whose last axis counts outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Number of outputs of the whole tensor.
    pub outputs: usize,
    /// Those of this rank.
    pub own: Range<usize>,
}

impl Cut {
    /// This rank's part of the values of a whole tensor.
    pub fn part(&self, whole: &[f32]) -> Vec<f32> {
        whole.chunks_exact(self.outputs).flat_map(|row| &row[self.own.clone()]).copied().collect()
    }

    /// The whole tensor from the parts of `ranks` ranks, one behind the other.
    pub fn whole(&self, parts: &[f32], ranks: usize) -> Vec<f32> {
        let rows = parts.len() / self.outputs;
        let mut whole = vec![0.0; parts.len()];
        for rank in 0..ranks {
            let own = share_of_rows(self.outputs, rank, ranks);
            let part = &parts[rows * own.start..rows * own.end];
            for (row, values) in whole.chunks_exact_mut(self.outputs).zip(part.chunks_exact(own.len())) {
                row[own.clone()].copy_from_slice(values);
            }
        }
        whole
    }
}

impl Trained {
    /// Its `count` initial values, those of this rank.
    pub fn draw(&self, count: usize, seed: u64) -> Vec<f32> {
        match (self.init, &self.cut) {
            (Init::Constant(value), _) => vec![value; count],
            (Init::Normal(sd), cut) => {
                let all = cut.as_ref().map_or(count, |cut| count / cut.own.len() * cut.outputs);
                let whole = Stream::new(seed, Purpose::Weights, tag(&self.name)).normal_vec(all, f64::from(sd));
                cut.as_ref().map_or_else(|| whole.clone(), |cut| cut.part(&whole))
            }
        }
    }
}
