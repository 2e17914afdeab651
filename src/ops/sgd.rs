//! Stochastic gradient descent with momentum and weight decay (section 5; released code, weights.cu).
//!
//! v := momentum · v − decay · ε · w − ε · g, then w := w + v, evaluated from left to right, where g is the gradient of
//! the loss averaged over the minibatch. As in the released code ε = 0 freezes a tensor altogether: no decay, and the
//! momentum does not coast. Once the loss was not finite ([`crate::ops::health`]) nothing changes any more, nor in a step
//! that mixed precision leaves out ([`crate::ops::loss_scale`]).

use rayon::prelude::*;

use crate::kernel::{Args, Case, Fill, Kernel, Split, read, update};
use crate::ops::elementwise::{QUADS, SINGLES, quads, singles};
use crate::ops::health;
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// The update of one tensor.
    pub struct Shape {
        /// Weights.
        count: usize,
    }
}

/// Layout of the `rule` slot.
pub mod rule {
    /// Learning rate ε.
    pub const RATE: usize = 0;
    /// Momentum.
    pub const MOMENTUM: usize = 1;
    /// Weight decay.
    pub const DECAY: usize = 2;
    /// Floats in the slot; the last is unused.
    pub const COUNT: usize = 4;
}

const HEALTH: &str = include_str!("../../shaders/common/health.wgsl");
const SOURCE: &str = include_str!("../../shaders/sgd.wgsl");

/// One step of one tensor.
pub static UPDATE: Kernel = Kernel {
    name: "sgd.update",
    doc: "v = momentum v - decay rate w - rate g / scale; w += v; nothing if rate = 0 or health is against it; any shape",
    bindings: &[read("g"), read("rule"), read("health"), update("w"), update("v")],
    variants: &[quads("update", &[HEALTH, QUADS, SOURCE]), singles("update", &[HEALTH, SINGLES, SOURCE])],
    twin: twin!(step),
    cases,
    tolerance: 1e-6, // six roundings, or fewer where a device fuses products and sums
    split: Some(Split { along: "count", outermost: &[true, false, false, true, true], part: |params, _| params }),
    flops: |p| 7 * p.get::<usize>("count") as u64,
};

const WELL: [f32; health::COUNT] = health::state(1.0);

fn cases() -> Vec<Case> {
    let case = |(name, count, rule, health): (&str, usize, [f32; 4], [f32; health::COUNT])| {
        let buffers = vec![
            (count, Fill::Normal(1.0)),
            (rule::COUNT, Fill::Floats(rule.to_vec())),
            (health::COUNT, Fill::Floats(health.to_vec())),
            (count, Fill::Normal(0.1)),
            (count, Fill::Normal(0.01)),
        ];
        Case::new(name, Shape { count }.params(), buffers)
    };
    [
        ("one bias", 1, [0.02, 0.9, 0.0, 0.0], WELL),
        ("ragged", 1003, [0.01, 0.9, 0.0005, 0.0], WELL),
        ("scaled", 1003, [0.01, 0.9, 0.0005, 0.0], health::state(1024.0)),
        ("whole vectors", 1004, [0.01, 0.9, 0.0005, 0.0], health::state(64.0)),
        ("many", 150_000, [0.1, 0.5, 0.1, 0.0], WELL),
        ("frozen", 77, [0.0, 0.9, 0.0005, 0.0], WELL),
        ("unhealthy", 77, [0.01, 0.9, 0.0005, 0.0], [1.0, 7.0, 1.0, 1.0, 0.0, 0.0]),
        ("left out", 77, [0.01, 0.9, 0.0005, 0.0], [0.0, 0.0, 1.0, 1.0, 0.0, 1.0]),
    ]
    .map(case)
    .into()
}

/// Elements that one core handles at a time.
const CHUNK: usize = 16 * 1024;

fn step<T: Real>(mut args: Args<T>) {
    let (g, rule, health, w, v) = (args.read(), args.read(), args.read(), args.write(), args.write());
    let (rate, momentum, decay) = (rule[rule::RATE], rule[rule::MOMENTUM], rule[rule::DECAY]);
    if rate == T::zero() || health[health::ILL] != T::zero() || health[health::SKIP] != T::zero() {
        return;
    }
    let inverse = health[health::INVERSE];
    // Both tensors in one pass over memory, which is all that this costs.
    let tensors = v.par_chunks_mut(CHUNK).zip(w.par_chunks_mut(CHUNK)).zip(g.par_chunks(CHUNK));
    tensors.for_each(|((v, w), g)| {
        for ((v, w), &g) in v.iter_mut().zip(w).zip(g) {
            *v = momentum * *v - decay * rate * *w - rate * (g * inverse);
            *w += *v;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;

    fn run(rule: [f64; 4], health: [f32; health::COUNT], g: &[f64], w: &mut [f64], v: &mut [f64]) {
        let params = Shape { count: g.len() }.params();
        let health = health.map(f64::from);
        let buffers = vec![Arg::Read(g), Arg::Read(&rule), Arg::Read(&health), Arg::Write(w), Arg::Write(v)];
        step(Args::new(&params, buffers));
    }

    #[test]
    fn follows_the_rule_by_hand() {
        // v = 0.5 * 2 - 0.25 * 0.5 * 8 - 0.5 * 6 = 1 - 1 - 3 = -3 and w = 8 - 3 = 5; then with g = 0:
        // v = -1.5 - 0.625 = -2.125 and w = 2.875. Every number is exact.
        let (mut w, mut v) = ([8.0], [2.0]);
        run([0.5, 0.5, 0.25, 0.0], WELL, &[6.0], &mut w, &mut v);
        assert_eq!((w, v), ([5.0], [-3.0]));
        run([0.5, 0.5, 0.25, 0.0], WELL, &[0.0], &mut w, &mut v);
        assert_eq!((w, v), ([2.875], [-2.125]));
    }

    #[test]
    fn a_frozen_tensor_neither_decays_nor_coasts() {
        let (mut w, mut v) = ([8.0], [2.0]);
        run([0.0, 0.9, 0.5, 0.0], WELL, &[6.0], &mut w, &mut v);
        assert_eq!((w, v), ([8.0], [2.0]));
    }

    #[test]
    fn nothing_changes_once_the_loss_was_not_finite() {
        let (mut w, mut v) = ([8.0], [2.0]);
        run([0.5, 0.9, 0.5, 0.0], [1.0, 3.0, 1.0, 1.0, 0.0, 0.0], &[f64::NAN], &mut w, &mut v);
        assert_eq!((w, v), ([8.0], [2.0]));
    }

    #[test]
    fn a_step_that_is_left_out_changes_nothing() {
        let (mut w, mut v) = ([8.0], [2.0]);
        run([0.5, 0.9, 0.5, 0.0], [0.0, 0.0, 2.0, 0.5, 0.0, 1.0], &[f64::INFINITY], &mut w, &mut v);
        assert_eq!((w, v), ([8.0], [2.0]));
    }

    #[test]
    fn a_scaled_gradient_counts_as_it_was() {
        let (mut w, mut v) = ([8.0], [2.0]);
        run([0.5, 0.5, 0.25, 0.0], health::state(64.0), &[64.0 * 6.0], &mut w, &mut v);
        assert_eq!((w, v), ([5.0], [-3.0]));
    }

    #[test]
    fn descends_to_the_minimum_of_a_parabola() {
        // d/dw (w - 3)^2 = 2 (w - 3), without decay.
        let (mut w, mut v) = ([0.0], [0.0]);
        for _ in 0..400 {
            let g = [2.0 * (w[0] - 3.0)];
            run([0.05, 0.9, 0.0, 0.0], WELL, &g, &mut w, &mut v);
        }
        assert!((w[0] - 3.0).abs() < 1e-6, "{w:?}");
    }
}
