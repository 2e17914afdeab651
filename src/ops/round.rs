//! Weights as contractions of mixed precision read them: stored as maps are, made anew in every pass from the 32-bit
//! ones that are trained. A weight of 1 that learns 1e-4 a step would not move if it were a 16-bit float.

use crate::kernel::{Args, Case, Fill, Kernel, Split, read, write_map};
use crate::ops::elementwise::{any_count, count, map};
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// The weights of one tensor.
    pub struct Shape {
        /// Number of weights, any.
        count: usize,
    }
}

/// y = x, stored as maps are.
pub static WEIGHTS: Kernel = Kernel {
    name: "round.weights",
    doc: "y = x, stored as maps are; any shape",
    bindings: &[read("x"), write_map("y")],
    variants: &any_count("weights", &[include_str!("../../shaders/round.wgsl")]),
    twin: twin!(weights),
    cases,
    tolerance: 0.0, // a copy, but for halves
    terms: |_| 0,
    split: Some(Split { along: "count", outermost: &[true, true], part: |params, _| params }),
    flops: |p| count(p) as u64,
};

fn cases() -> Vec<Case> {
    // The last needs more workgroups than one dispatch holds: the kernel must stride.
    let shapes = [("one", 1), ("ragged", 1003), ("whole vectors", 1004), ("strided", 64 * 65_535 + 7)];
    let case = |(name, count)| {
        Case::new(name, Shape { count }.params(), vec![(count, Fill::Normal(0.1)), (count, Fill::Output)])
    };
    shapes.map(case).into()
}

fn weights<T: Real>(mut args: Args<T>) {
    let (x, y) = (args.read(), args.write());
    map(y, x, |x| x);
}
