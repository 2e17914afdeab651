//! Nesterov momentum with weight decay, as PyTorch has it (`torch.optim.SGD(nesterov=True)`, torch/optim/sgd.py): with
//! d = g + λ · w, buf := m · buf + d, then w := w − ε · (d + m · buf).
//!
//! The state `momentum` is v = −ε · buf, in the unit of weights like the paper's: v := m · v − ε · λ · w − ε · g, then
//! w := w + m · v − ε · λ · w − ε · g. At one rate the two are the same. When the rate changes, v keeps what earlier
//! steps moved at theirs, as [`super::sgd`] and Caffe do, where torch multiplies all of buf by the new rate. Looking
//! ahead by m · v is Sutskever et al. 2013, of which this is the form for the weights that gradients are taken at.

use super::{optimizer, update};
use crate::kernel::Args;
use crate::tensor::Real;

optimizer! {
    /// SGD that looks ahead.
    NESTEROV = "nesterov" {
        doc: "d = - decay rate w - rate g / scale; v = momentum v + d; w += momentum v + d",
        states: ["momentum"],
        increment: Some("momentum"),
        hyper: &[("momentum", 0.9)],
        wgsl: STEP,
        twin: step,
        flops: 9,
    }
}

const STEP: &str = "
@group(0) @binding(4) var<storage, read_write> momentum: array<Numbers>;

fn step(i: u32, weight: Numbers, gradient: Numbers, rate: f32, decay: f32, row: u32) -> Numbers {
    let m = rule[row + MOMENTUM];
    let d = -decay * rate * weight - rate * gradient;
    let v = m * momentum[i] + d;
    momentum[i] = v;
    return weight + m * v + d;
}
";

fn step<T: Real>(args: Args<T>) {
    update(args, |[rate, decay, momentum]| {
        move |w, g, [v]| {
            let d = -decay * rate * w - rate * g;
            let v = momentum * v + d;
            (w + momentum * v + d, [v])
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::optimizer::{WELL, testing::run};

    /// torch's formula, by hand, on the slope of a cosine.
    #[test]
    fn steps_are_torch_s_and_the_state_is_its_buffer_times_minus_the_rate() {
        let (rate, decay, m) = (0.1, 0.01, 0.9);
        let (mut tensors, mut weight, mut buf) = ([0.5, 0.0], 0.5, 0.0);
        for step in 0..20 {
            let g = (3.0 * weight + f64::from(step)).cos();
            run(&NESTEROV, &[rate, decay, m], WELL, g, &mut tensors);
            let d = g + decay * weight;
            buf = m * buf + d;
            weight -= rate * (d + m * buf);
            let [w, v] = tensors;
            assert!((w - weight).abs() < 1e-13 && (v + rate * buf).abs() < 1e-13, "step {step}: {tensors:?}");
        }
    }

    /// v = 0.5 · 2 − 0.25 · 6 = −0.5 and w = 8 − 0.25 − 1.5 = 6.25; at half the rate, with g = 0, v halves, and w moves
    /// by half of that: the rate of the step before stays in v.
    #[test]
    fn what_moved_at_an_earlier_rate_keeps_it() {
        let mut tensors = [8.0, 2.0];
        run(&NESTEROV, &[0.25, 0.0, 0.5], WELL, 6.0, &mut tensors);
        assert_eq!(tensors, [6.25, -0.5]);
        run(&NESTEROV, &[0.125, 0.0, 0.5], WELL, 0.0, &mut tensors);
        assert_eq!(tensors, [6.125, -0.25]);
    }
}
