//! Trained tensors of a lowered network, and the parts of them that ranks have.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::kernel::Elem;
use crate::ops::layer::Init;
use crate::ops::optimizer::Optimizer;
use crate::program::{ALIGNMENT, Recorder, Role, Slot, SlotInfo, Tower};
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

/// Trained tensors of a tower that the optimiser updates in one run: each kind of theirs lies in a bundle.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The tower that has them.
    pub tower: Tower,
    /// The tensors, as indices among all trained ones, each with the index of its first number in the bundles.
    pub tensors: Vec<(usize, usize)>,
    /// Bundle of the gradients.
    pub gradients: Slot,
    /// Bundle of the values.
    pub values: Slot,
    /// Bundles of the optimiser's states.
    pub states: Vec<Slot>,
    /// Learning rates, decays and the optimiser's hyper-parameters, as [`Updated::rule_of`] gives them.
    pub rule: Slot,
}

impl Updated {
    /// The content of the `rule` slot; `rate` gives a tensor's learning rate and decay by its index.
    pub fn rule_of(
        &self,
        optimizer: &Optimizer,
        hyper: &BTreeMap<&'static str, f32>,
        rate: impl Fn(usize) -> (f32, f32),
    ) -> Vec<f32> {
        let tensor = |&(index, begin): &(usize, usize)| {
            let (rate, decay) = rate(index);
            (begin, rate, decay)
        };
        optimizer.rule(self.tensors.iter().map(tensor), hyper)
    }

    /// Declares the bundles of some tensors, given by their indices among all `trained` ones.
    fn declare(r: &mut Recorder, trained: &[Trained], indices: &[usize], optimizer: &Optimizer) -> Self {
        let bundle = |r: &mut Recorder, of: &dyn Fn(&Trained) -> Option<Slot>| {
            r.bundle(&indices.iter().filter_map(|&index| of(&trained[index])).collect::<Vec<_>>())
        };
        let values = bundle(r, &|tensor| Some(tensor.value));
        let gradients = bundle(r, &|tensor| tensor.gradient);
        let state = |state: usize| bundle(r, &|tensor: &Trained| tensor.states.get(state).copied());
        let states = (0..optimizer.states.len()).map(state).collect();
        let SlotInfo { name, home, .. } = r.info(values).clone();
        let (name, shape) = (format!("{name}, rule"), vec![optimizer.rule_len(indices.len())]);
        let rule = r.slot(SlotInfo { name, shape, elem: Elem::F32, home, role: Role::Input });
        let begins = r.members(values).iter().map(|&(_, begin)| begin);
        let tensors = indices.iter().copied().zip(begins).collect();
        Self { tower: trained[indices[0]].tower, tensors, gradients, values, states, rule }
    }

    /// Declares the bundles of all tensors that are trained.
    pub(super) fn declare_all(r: &mut Recorder, trained: &[Trained], optimizer: &Optimizer) -> Vec<Self> {
        let towers = trained.iter().map(|tensor| tensor.tower + 1).max().unwrap_or(0);
        let mut all = Vec::new();
        for tower in 0..towers {
            let (mut indices, mut numbers) = (Vec::new(), 0);
            for (index, tensor) in trained.iter().enumerate() {
                if tensor.tower != tower || tensor.gradient.is_none() {
                    continue;
                }
                let count = r.info(tensor.value).count().next_multiple_of(ALIGNMENT / Elem::F32.bytes());
                if !indices.is_empty() && numbers + count > BUNDLE {
                    all.push(Self::declare(r, trained, &std::mem::take(&mut indices), optimizer));
                    numbers = 0;
                }
                indices.push(index);
                numbers += count;
            }
            if !indices.is_empty() {
                all.push(Self::declare(r, trained, &indices, optimizer));
            }
        }
        all
    }
}

/// Most numbers of a bundle of several tensors: 128 MiB, which every adapter binds at once.
const BUNDLE: usize = 32 << 20;

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
