//! Optimisers: how the gradient of a minibatch changes tensors of weights, those of a tower in one run. Each is a value
//! in [`OPTIMIZERS`] and one file; slots, names in checkpoints, memory figures, and what model files may set derive
//! from the value.
//!
//! Letters: w weights, g the gradient of the mean loss over the minibatch, ε the learning rate, λ the weight decay. For
//! all optimisers, as in the released code, ε = 0 freezes a tensor altogether: no decay, and no state moves. Once the
//! loss was not finite ([`crate::ops::health`]) nothing changes any more, nor in a step that mixed precision leaves out
//! ([`crate::ops::loss_scale`]).

pub mod nesterov;
pub mod sgd;

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::kernel::{Args, Case, Fill, Kernel, Params, Tile};
use crate::ops::elementwise::CHUNK;
use crate::ops::health;
use crate::params;
use crate::tensor::Real;

/// Every optimiser; the first is that of model files which name none.
pub const OPTIMIZERS: &[&Optimizer] = &[&sgd::SGD, &nesterov::NESTEROV];

params! {
    /// The update of tensors that lie one behind the other, or of a piece of them.
    pub struct Shape {
        /// Numbers of the piece, a multiple of 4.
        count: usize,
        /// Index of its first number among those of all tensors.
        first: usize,
        /// Tensors, each with a row in the `rule` slot.
        tensors: usize,
    }
}

/// An optimiser: its kernel, and what it needs beside weights and gradients.
#[derive(Debug)]
pub struct Optimizer {
    /// Name in model files.
    pub name: &'static str,
    /// The update of some tensors. Bindings: gradient, rule, health, weights, then the states.
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

/// First numbers of a row of every optimiser's `rule` slot; its hyper-parameters follow.
const COMMON: [&str; 3] = ["begin", "rate", "decay"];

/// Invocations of a workgroup of the update, each with a vector of four numbers at a time: a workgroup costs a software
/// driver as much as some loads.
const WORKGROUP: usize = 256;

/// Most workgroups: they fill a large GPU some times over, and more would look up more often in which tensor they
/// begin, which costs as much as some vectors do.
const GROUPS: usize = 2048;

/// Neighbours whose vectors lie next to each other in every trip: as many as a software driver computes at once, which
/// ends all their trips before it begins with those of other neighbours.
const LANES: usize = 8;

/// Vectors of an invocation, one a trip through its loop.
fn trips(params: &Params) -> usize {
    (Shape::from(params).count / 4).div_ceil(WORKGROUP * GROUPS).max(1)
}

impl Optimizer {
    /// The optimiser called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        OPTIMIZERS.iter().copied().find(|optimizer| optimizer.name == name)
    }

    /// Numbers of a row of the `rule` slot.
    fn row(&self) -> usize {
        COMMON.len() + self.hyper.len()
    }

    /// Number of floats in the `rule` slot of so many tensors.
    pub fn rule_len(&self, tensors: usize) -> usize {
        self.row() * tensors
    }

    /// The content of the `rule` slot of tensors that lie one behind the other, given of each the index of its first
    /// number, its learning rate and its decay. Hyper-parameters that `hyper` does not name have their defaults.
    pub fn rule(
        &self,
        tensors: impl IntoIterator<Item = (usize, f32, f32)>,
        hyper: &BTreeMap<&'static str, f32>,
    ) -> Vec<f32> {
        let own = || self.hyper.iter().map(|(name, default)| hyper.get(name).copied().unwrap_or(*default));
        // Multiples of 64 below 2^30 are floats.
        let row = |(begin, rate, decay)| [begin as f32, rate, decay].into_iter().chain(own());
        tensors.into_iter().flat_map(row).collect()
    }

    /// The tile: who takes what, the length of a row in the `rule` slot, and the places of numbers in it: `RATE`,
    /// `DECAY` and so on in WGSL.
    fn tile(&self, params: &Params) -> Tile {
        let places = COMMON.into_iter().chain(self.hyper.iter().map(|(name, _)| *name)).zip(0..);
        let shares = [("workgroup", WORKGROUP), ("lanes", LANES), ("trips", trips(params)), ("row", self.row())];
        shares.into_iter().chain(places).collect()
    }

    /// Cases of its kernel.
    fn cases(&self) -> Vec<Case> {
        // Numbers for three trips.
        const MANY: usize = 2 * 4 * WORKGROUP * GROUPS + 64;
        // Of each tensor where it begins, its rate and its decay; hyper-parameters are `share` times their defaults.
        type Tensors<'a> = &'a [(usize, f32, f32)];
        type Health = [f32; health::COUNT];
        let case = |(name, [first, count], tensors, share, health): (&str, [usize; 2], Tensors<'_>, f32, Health)| {
            let hyper = self.hyper.iter().map(|(name, default)| (*name, share * default)).collect();
            let rule = self.rule(tensors.iter().copied(), &hyper);
            let shape = Shape { count, first, tensors: tensors.len() };
            let mut buffers = vec![
                (count, Fill::Normal(1.0)),
                (rule.len(), Fill::Floats(rule)),
                (health::COUNT, Fill::Floats(health.to_vec())),
                (count, Fill::Normal(0.1)),
            ];
            buffers.extend(self.states.iter().map(|_| (count, Fill::Normal(0.01))));
            Case::new(name, shape.params(), buffers)
        };
        let (one, rates) =
            ([(0, 0.01, 0.0005)], [(0, 0.01, 0.0005), (64, 0.02, 0.0), (128, 0.0, 0.1), (1280, 0.1, 0.1)]);
        [
            ("one bias", [0, 64], &[(0, 0.02, 0.0)][..], 1.0, WELL),
            ("scaled", [0, 1004], &one, 1.0, health::state(1024.0)),
            ("many", [0, 150_000], &[(0, 0.1, 0.1)], 0.5, WELL),
            ("four tensors, one of them frozen", [0, 1408], &rates, 1.0, health::state(64.0)),
            ("a piece of four tensors", [64, 192], &rates, 1.0, WELL),
            ("several trips", [64, MANY], &[(0, 0.1, 0.1), (128, 0.0, 0.1), (MANY - 64, 0.2, 0.0)], 1.0, WELL),
            ("unhealthy", [0, 76], &one, 1.0, [1.0, 7.0, 1.0, 1.0, 0.0, 0.0]),
            ("left out", [0, 76], &one, 1.0, [0.0, 0.0, 1.0, 1.0, 0.0, 1.0]),
        ]
        .map(case)
        .into()
    }
}

/// Invocations share the numbers of all tensors, whatever tensors these are in: a software driver gives each thread its
/// part of the workgroups beforehand, so that all should have as much to do.
fn grid(params: &Params) -> [usize; 3] {
    // Whole groups of neighbours.
    let [vectors, trips] = [Shape::from(params).count / 4, params.get("trips")];
    [vectors.div_ceil(LANES * trips) * LANES, 1, 1]
}

/// The twin of `shaders/optimizer.wgsl`. `element` makes, of the numbers in a row of the rule from the rate on, what
/// turns a weight, its gradient and its states into the new weight and states.
fn update<T: Real, E, const RULE: usize, const STATES: usize>(mut args: Args<T>, element: impl Fn([T; RULE]) -> E)
where
    E: Fn(T, T, [T; STATES]) -> (T, [T; STATES]) + Sync,
{
    let first = Shape::from(args.params).first;
    let (g, rule, health, w) = (args.read(), args.read(), args.read(), args.write());
    if health[health::ILL] != T::zero() || health[health::SKIP] != T::zero() {
        return;
    }
    let rows = || rule.chunks_exact(RULE + 1);
    let ends = rows().skip(1).map(|row| row[0].to_f64() as usize).chain([usize::MAX]);
    let row = |(row, end): (&[T], usize)| (row[0].to_f64() as usize..end, element(std::array::from_fn(|i| row[1 + i])));
    // A rate of 0 freezes.
    let rows: Vec<_> = rows().zip(ends).filter(|(row, _)| row[1] != T::zero()).map(row).collect();
    let inverse = health[health::INVERSE];
    let mut states: [_; STATES] = std::array::from_fn(|_| args.write().chunks_mut(CHUNK));
    let with_states = |(w, g)| (w, g, states.each_mut().map(|chunks| chunks.next().unwrap_or_default()));
    let chunks: Vec<_> = w.chunks_mut(CHUNK).zip(g.chunks(CHUNK)).map(with_states).collect();
    // Weights, gradients and states in one pass over memory, which is all that this costs.
    chunks.into_par_iter().enumerate().for_each(|(index, (w, g, mut states))| {
        let start = first + index * CHUNK;
        for (tensor, element) in &rows {
            let within = |at: usize| at.clamp(start, start + g.len()) - start;
            let own = within(tensor.start)..within(tensor.end);
            let (w, g) = (&mut w[own.clone()], &g[own.clone()]);
            let mut states = states.each_mut().map(|state| &mut state[own.clone()][..g.len()]);
            for (i, (w, &g)) in w.iter_mut().zip(g).enumerate() {
                let (weight, new) = element(*w, g * inverse, states.each_ref().map(|state| state[i]));
                *w = weight;
                states.iter_mut().zip(new).for_each(|(state, new)| state[i] = new);
            }
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
                use $crate::kernel::{Grid, Kernel, Split, Variant, read, update};
                use $crate::ops::elementwise::count;
                const UPDATE: &str = include_str!("../../../shaders/optimizer.wgsl");
                const SOURCES: &[&str] = &[$crate::ops::health::LAYOUT, UPDATE, $wgsl];
                Kernel {
                    name: concat!($name, ".update"),
                    doc: concat!($doc, "; nothing if rate = 0 or health is against it; tensors one behind the other"),
                    bindings: &[read("g"), read("rule"), read("health"), update("w") $(, update($state))*],
                    variants: &[Variant {
                        tile: |params| $NAME.tile(params),
                        grid: Grid::Tiles($crate::ops::optimizer::grid),
                        ..Variant::linear("update", SOURCES, count).vectors(4)
                    }],
                    twin: $crate::twin!($twin),
                    cases: || $NAME.cases(),
                    tolerance: 1e-6, // some six roundings, or fewer where a device fuses products and sums
                    terms: |_| 0,
                    split: Some(Split {
                        along: "count",
                        outermost: &[true, false, false, true $(, !$state.is_empty())*],
                        part: |params, piece| {
                            let first = params.get::<usize>("first");
                            params.replaced("first", first + piece.start)
                        },
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

    /// Updates one weight, the first of `tensors`, and its states, which follow; `rule` begins with the rate.
    pub(super) fn run(optimizer: &Optimizer, rule: &[f64], health: [f32; health::COUNT], g: f64, tensors: &mut [f64]) {
        let shape = super::Shape { count: 1, first: 0, tensors: 1 };
        let (params, g, health, rule) = (shape.params(), [g], health.map(f64::from), [&[0.0], rule].concat());
        let mut buffers = vec![Arg::Read(&g), Arg::Read(&rule), Arg::Read(&health)];
        buffers.extend(tensors.chunks_mut(1).map(Arg::Write));
        (optimizer.kernel.twin.f64)(Args::new(&params, buffers));
    }
}

#[cfg(test)]
mod tests {
    use super::testing::run;
    use super::*;

    /// The rule of `optimizer` for one tensor, from the rate on, with its defaults.
    fn rule(optimizer: &Optimizer, rate: f32, decay: f32) -> Vec<f64> {
        let rule = optimizer.rule([(0, rate, decay)], &BTreeMap::new());
        rule[1..].iter().copied().map(f64::from).collect()
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
