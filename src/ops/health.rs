//! The watch over training: remembers the first step whose loss was not a finite number (the released code stops there
//! too). The kernel runs on the device before the update, which then leaves the weights at their last good state,
//! although the host looks at losses only now and then.

use crate::kernel::{Args, Case, Fill, Kernel, Variant, read, update, words};
use crate::ops::step;
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// The losses of one batch.
    pub struct Shape {
        /// N: images of the batch.
        images: usize,
    }
}

/// The layout of the `health` slot in WGSL.
pub const LAYOUT: &str = include_str!("../../shaders/common/health.wgsl");

/// Index in the `health` slot of a flag: 0 as long as all is well, else 1.
pub const ILL: usize = 0;
/// The step at which it was not.
pub const STEP: usize = 1;
/// Factor of the next loss before its gradients are taken, a power of two ([`super::loss_scale`]).
pub const SCALE: usize = 2;
/// Factor that undoes the scale in the gradients of this step.
pub const INVERSE: usize = 3;
/// Steps since the scale was changed.
pub const GOOD: usize = 4;
/// 1 where this step is left out.
pub const SKIP: usize = 5;
/// Floats in the slot.
pub const COUNT: usize = 6;

/// Good health, and losses scaled by `scale`.
pub const fn state(scale: f32) -> [f32; COUNT] {
    [0.0, 0.0, scale, 1.0 / scale, 0.0, 0.0]
}

/// health = [1, step] at the first loss that is not finite; the step is exact up to 2^24.
pub static WATCH: Kernel = Kernel {
    name: "health.watch",
    doc: "health[0, 1] = [1, step] if health[0] = 0 and any loss is not finite; loss [N], health [6]",
    bindings: &[read("loss"), words("step"), update("health")],
    variants: &[Variant::single("watch", &[step::LAYOUT, LAYOUT, include_str!("../../shaders/health.wgsl")])],
    twin: twin!(watch),
    cases,
    tolerance: 0.0, // small integers
    flops: |p| p.get::<usize>("images") as u64,
    ..Kernel::PLAIN
};

fn cases() -> Vec<Case> {
    let case = |(name, images, bad, [ill, since]): (&str, usize, Option<(usize, f32)>, [f32; 2])| {
        let mut health = state(2.0);
        (health[ILL], health[STEP]) = (ill, since);
        let mut loss = vec![f32::MAX; images];
        if let Some((image, value)) = bad {
            loss[image] = value;
        }
        let buffers = vec![
            (images, Fill::Floats(loss)),
            (step::COUNT, Fill::Words(step::words(1, 70_001, 8, 0).into())),
            (COUNT, Fill::Floats(health.into())),
        ];
        Case::new(name, Shape { images }.params(), buffers)
    };
    [
        ("well", 8, None, [0.0; 2]),
        ("not a number", 128, Some((127, f32::NAN)), [0.0; 2]),
        ("infinite", 24, Some((0, f32::INFINITY)), [0.0; 2]),
        ("minus infinity", 24, Some((9, f32::NEG_INFINITY)), [0.0; 2]),
        ("ill before", 24, Some((9, f32::NAN)), [1.0, 12.0]),
        ("does not recover", 8, None, [1.0, 12.0]),
    ]
    .map(case)
    .into()
}

fn watch<T: Real>(mut args: Args<T>) {
    let (loss, words, health) = (args.read(), args.words(), args.write());
    if health[ILL] == T::zero() && loss.iter().any(|loss| !loss.is_finite()) {
        health[ILL] = T::one();
        health[STEP] = T::of(f64::from(words[step::STEP]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;

    #[test]
    fn the_first_bad_step_is_remembered() {
        let params = Shape { images: 8 }.params();
        let mut health = state(1.0);
        for (now, bad, expected) in
            [(1, 2.5, [0.0, 0.0]), (2, f32::NAN, [1.0, 2.0]), (3, f32::INFINITY, [1.0, 2.0]), (4, 1.0, [1.0, 2.0])]
        {
            let mut loss = [0.0; 8];
            loss[5] = bad;
            let step = step::words(0, now, 8, 0);
            watch(Args::new(&params, vec![Arg::Read(&loss), Arg::Words(&step), Arg::Write(&mut health)]));
            assert_eq!(health[..2], expected, "step {now}");
        }
    }
}
