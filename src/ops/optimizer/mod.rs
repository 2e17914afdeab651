//! Optimisers: how the gradient of a minibatch changes a tensor of weights. Each is a value in [`OPTIMIZERS`] and one
//! file; slots, names in checkpoints, memory figures, and what model files may set derive from the value.
//!
//! Letters: w weights, g the gradient of the mean loss over the minibatch, ε the learning rate, λ the weight decay. For
//! all optimisers, as in the released code, ε = 0 freezes a tensor altogether: no decay, and no state moves. Once the
//! loss was not finite ([`crate::ops::health`]) nothing changes any more, nor in a step that mixed precision leaves out
//! ([`crate::ops::loss_scale`]).

pub mod nesterov;
pub mod sgd;

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::kernel::{Args, Case, Fill, Kernel};
use crate::ops::elementwise::CHUNK;
use crate::ops::health;
use crate::params;
use crate::tensor::Real;

/// Every optimiser; the first is that of model files which name none.
pub const OPTIMIZERS: &[&Optimizer] = &[&sgd::SGD, &nesterov::NESTEROV];

params! {
    /// The update of one tensor.
    pub struct Shape {
        /// Weights of the tensor.
        count: usize,
    }
}

/// An optimiser: its kernel, and what it needs beside weights and gradients.
#[derive(Debug)]
pub struct Optimizer {
    /// Name in model files.
    pub name: &'static str,
    /// The update of one tensor. Bindings: gradient, rule, health, weights, then the states.
    pub kernel: Kernel,
    /// Names of the tensors that are kept beside each tensor of weights, in its shape, 0 in the beginning.
    pub states: &'static [&'static str],
    /// The state that tells how far weights moved in the last step, in their unit.
    pub increment: Option<&'static str>,
    /// Hyper-parameters besides learning rate and weight decay, with their defaults.
    pub hyper: &'static [(&'static str, f32)],
}

impl PartialEq for Optimizer {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Good health, for cases and tests.
const WELL: [f32; health::COUNT] = health::state(1.0);

/// First numbers of every optimiser's `rule` slot; its hyper-parameters follow.
const COMMON: [&str; 2] = ["rate", "decay"];

impl Optimizer {
    /// The optimiser called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        OPTIMIZERS.iter().copied().find(|optimizer| optimizer.name == name)
    }

    /// Number of floats in the `rule` slot.
    pub fn rule_len(&self) -> usize {
        COMMON.len() + self.hyper.len()
    }

    /// The content of the `rule` slot of a tensor; hyper-parameters that `hyper` does not name have their defaults.
    pub fn rule(&self, rate: f32, decay: f32, hyper: &BTreeMap<&'static str, f32>) -> Vec<f32> {
        let own = self.hyper.iter().map(|(name, default)| hyper.get(name).copied().unwrap_or(*default));
        [rate, decay].into_iter().chain(own).collect()
    }

    /// A variant's tile followed by the places of numbers in the `rule` slot: `RATE`, `DECAY` and so on in WGSL.
    fn constants(&self, mut tile: Vec<(&'static str, usize)>) -> Vec<(&'static str, usize)> {
        tile.extend(COMMON.into_iter().chain(self.hyper.iter().map(|(name, _)| *name)).zip(0..));
        tile
    }

    /// Cases of its kernel.
    fn cases(&self) -> Vec<Case> {
        // Hyper-parameters are `share` times their defaults.
        let case = |(name, count, [rate, decay, share], health): (&str, usize, [f32; 3], [f32; health::COUNT])| {
            let hyper = self.hyper.iter().map(|(name, default)| (*name, share * default)).collect();
            let mut buffers = vec![
                (count, Fill::Normal(1.0)),
                (self.rule_len(), Fill::Floats(self.rule(rate, decay, &hyper))),
                (health::COUNT, Fill::Floats(health.to_vec())),
                (count, Fill::Normal(0.1)),
            ];
            buffers.extend(self.states.iter().map(|_| (count, Fill::Normal(0.01))));
            Case::new(name, Shape { count }.params(), buffers)
        };
        [
            ("one bias", 1, [0.02, 0.0, 1.0], WELL),
            ("ragged", 1003, [0.01, 0.0005, 1.0], WELL),
            ("scaled", 1003, [0.01, 0.0005, 1.0], health::state(1024.0)),
            ("whole vectors", 1004, [0.01, 0.0005, 1.0], health::state(64.0)),
            ("many", 150_000, [0.1, 0.1, 0.5], WELL),
            ("frozen", 77, [0.0, 0.0005, 1.0], WELL),
            ("unhealthy", 77, [0.01, 0.0005, 1.0], [1.0, 7.0, 1.0, 1.0, 0.0, 0.0]),
            ("left out", 77, [0.01, 0.0005, 1.0], [0.0, 0.0, 1.0, 1.0, 0.0, 1.0]),
        ]
        .map(case)
        .into()
    }
}

/// The twin of `shaders/optimizer.wgsl`. `element` makes, of the numbers in the rule, what turns a weight, its gradient
/// and its states into the new weight and states.
fn update<T: Real, E, const RULE: usize, const STATES: usize>(mut args: Args<T>, element: impl Fn([T; RULE]) -> E)
where
    E: Fn(T, T, [T; STATES]) -> (T, [T; STATES]) + Sync,
{
    let (g, rule, health, w) = (args.read(), args.read(), args.read(), args.write());
    if rule[0] == T::zero() || health[health::ILL] != T::zero() || health[health::SKIP] != T::zero() {
        return;
    }
    let (element, inverse) = (element(std::array::from_fn(|i| rule[i])), health[health::INVERSE]);
    let mut states: [_; STATES] = std::array::from_fn(|_| args.write().chunks_mut(CHUNK));
    let with_states = |(w, g)| (w, g, states.each_mut().map(|chunks| chunks.next().unwrap_or_default()));
    let chunks: Vec<_> = w.chunks_mut(CHUNK).zip(g.chunks(CHUNK)).map(with_states).collect();
    // All tensors in one pass over memory, which is all that this costs.
    chunks.into_par_iter().for_each(|(w, g, states)| {
        let mut states = states.map(|state| &mut state[..g.len()]);
        for (i, (w, &g)) in w.iter_mut().zip(g).enumerate() {
            let (weight, new) = element(*w, g * inverse, states.each_ref().map(|state| state[i]));
            *w = weight;
            states.iter_mut().zip(new).for_each(|(state, new)| state[i] = new);
        }
    });
}

/// Declares an optimiser. Its states have the names of their bindings in `wgsl`; `twin` computes with [`update`].
macro_rules! optimizer {
    ($(#[$meta:meta])* $NAME:ident = $name:literal {
        doc: $doc:expr,
        states: [$($state:literal),*],
        increment: $increment:expr,
        hyper: $hyper:expr,
        wgsl: $wgsl:expr,
        twin: $twin:path,
        flops: $flops:literal,
    }) => {
        $(#[$meta])*
        pub static $NAME: $crate::ops::optimizer::Optimizer = $crate::ops::optimizer::Optimizer {
            name: $name,
            kernel: {
                use $crate::kernel::{Kernel, Split, Variant, linear_tile, read, update};
                use $crate::ops::elementwise::{count, quads, quads_tile};
                const UPDATE: &str = include_str!("../../../shaders/optimizer.wgsl");
                const SOURCES: &[&str] = &[$crate::ops::health::LAYOUT, UPDATE, $wgsl];
                Kernel {
                    name: concat!($name, ".update"),
                    doc: concat!($doc, "; nothing if rate = 0 or health is against it; any shape"),
                    bindings: &[read("g"), read("rule"), read("health"), update("w") $(, update($state))*],
                    variants: &[
                        Variant { tile: |p| $NAME.constants(quads_tile(p)), ..quads("update", SOURCES) },
                        Variant {
                            tile: |p| $NAME.constants(linear_tile(p)),
                            ..Variant::linear("update", SOURCES, count)
                        },
                    ],
                    twin: $crate::twin!($twin),
                    cases: || $NAME.cases(),
                    tolerance: 1e-6, // some six roundings, or fewer where a device fuses products and sums
                    terms: |_| 0,
                    split: Some(Split {
                        along: "count",
                        outermost: &[true, false, false, true $(, !$state.is_empty())*],
                        part: |params, _| params,
                    }),
                    flops: |p| $flops * count(p) as u64,
                }
            },
            states: &[$($state),*],
            increment: $increment,
            hyper: $hyper,
        };
    };
}
use optimizer;

#[cfg(test)]
mod testing {
    use super::Optimizer;
    use crate::kernel::{Arg, Args};
    use crate::ops::health;

    /// Updates one weight, the first of `tensors`, and its states, which follow.
    pub(super) fn run(optimizer: &Optimizer, rule: &[f64], health: [f32; health::COUNT], g: f64, tensors: &mut [f64]) {
        let (params, g, health) = (super::Shape { count: 1 }.params(), [g], health.map(f64::from));
        let mut buffers = vec![Arg::Read(&g), Arg::Read(rule), Arg::Read(&health)];
        buffers.extend(tensors.chunks_mut(1).map(Arg::Write));
        (optimizer.kernel.twin.f64)(Args::new(&params, buffers));
    }
}

#[cfg(test)]
mod tests {
    use super::testing::run;
    use super::*;

    /// The rule of `optimizer` with its defaults.
    fn rule(optimizer: &Optimizer, rate: f32, decay: f32) -> Vec<f64> {
        optimizer.rule(rate, decay, &BTreeMap::new()).into_iter().map(f64::from).collect()
    }

    #[test]
    fn names_are_unique_and_increments_are_states() {
        for (index, optimizer) in OPTIMIZERS.iter().enumerate() {
            assert!(OPTIMIZERS[..index].iter().all(|other| other.name != optimizer.name), "{}", optimizer.name);
            assert_eq!(Optimizer::find(optimizer.name), Some(*optimizer));
            assert!(optimizer.increment.is_none_or(|state| optimizer.states.contains(&state)), "{}", optimizer.name);
        }
    }

    #[test]
    fn nothing_changes_where_the_rate_is_0_the_loss_was_not_finite_or_the_step_is_left_out() {
        let [ill, left_out] = [[1.0, 3.0, 1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.5, 0.0, 1.0]];
        for optimizer in OPTIMIZERS {
            let before: Vec<f64> = (0..=optimizer.states.len()).map(|i| 8.0 - i as f64).collect();
            for (rate, health, g) in [(0.0, WELL, 6.0), (0.5, ill, f64::NAN), (0.5, left_out, f64::INFINITY)] {
                let mut tensors = before.clone();
                run(optimizer, &rule(optimizer, rate, 0.5), health, g, &mut tensors);
                assert_eq!(tensors, before, "{}", optimizer.name);
            }
        }
    }

    #[test]
    fn descends_to_the_minimum_of_a_parabola() {
        // d/dw (w - 3)^2 = 2 (w - 3), without decay.
        for optimizer in OPTIMIZERS {
            let mut tensors = vec![0.0; 1 + optimizer.states.len()];
            for _ in 0..400 {
                let g = 2.0 * (tensors[0] - 3.0);
                run(optimizer, &rule(optimizer, 0.05, 0.0), WELL, g, &mut tensors);
            }
            assert!((tensors[0] - 3.0).abs() < 1e-6, "{}: {tensors:?}", optimizer.name);
        }
    }
}
