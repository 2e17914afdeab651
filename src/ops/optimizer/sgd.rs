//! Stochastic gradient descent with momentum and weight decay (section 5; released code, weights.cu).
//!
//! v := momentum · v − λ · ε · w − ε · g, then w := w + v, evaluated from left to right. v, the state `momentum`, is
//! the last increment of the weights; ε is inside it, so that an increment of an earlier rate goes on as it was.

use super::{optimizer, update};
use crate::kernel::Args;
use crate::tensor::Real;

optimizer! {
    /// The optimiser of 2012.
    SGD = "sgd" {
        doc: "v = momentum v - decay rate w - rate g / scale; w += v",
        states: ["momentum"],
        increment: Some("momentum"),
        hyper: &[("momentum", 0.9)],
        wgsl: STEP,
        twin: step,
        flops: 7,
    }
}

const STEP: &str = "
@group(0) @binding(4) var<storage, read_write> momentum: array<Numbers>;

fn step(i: u32, weight: Numbers, gradient: Numbers, rate: f32, decay: f32, row: u32) -> Numbers {
    let v = rule[row + MOMENTUM] * momentum[i] - decay * rate * weight - rate * gradient;
    momentum[i] = v;
    return weight + v;
}
";

fn step<T: Real>(args: Args<T>) {
    update(args, |[rate, decay, momentum]| {
        move |w, g, [v]| {
            let v = momentum * v - decay * rate * w - rate * g;
            (w + v, [v])
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::health;
    use crate::ops::optimizer::{WELL, testing::run};

    #[test]
    fn follows_the_rule_by_hand() {
        // v = 0.5 * 2 - 0.25 * 0.5 * 8 - 0.5 * 6 = 1 - 1 - 3 = -3 and w = 8 - 3 = 5; then with g = 0:
        // v = -1.5 - 0.625 = -2.125 and w = 2.875. Every number is exact.
        let mut tensors = [8.0, 2.0];
        run(&SGD, &[0.5, 0.25, 0.5], WELL, 6.0, &mut tensors);
        assert_eq!(tensors, [5.0, -3.0]);
        run(&SGD, &[0.5, 0.25, 0.5], WELL, 0.0, &mut tensors);
        assert_eq!(tensors, [2.875, -2.125]);
    }

    #[test]
    fn a_scaled_gradient_counts_as_it_was() {
        let mut tensors = [8.0, 2.0];
        run(&SGD, &[0.5, 0.25, 0.5], health::state(64.0), 64.0 * 6.0, &mut tensors);
        assert_eq!(tensors, [5.0, -3.0]);
    }
}
