//! Is training still sane? Remembers the first step whose loss was not a finite number (the released code stops there
//! too). It runs on the device before the update, which then leaves the weights at their last good state, although
//! the host looks at losses only now and then.

use crate::kernel::{Args, Case, Fill, Grid, Kernel, Needs, Variant, read, update, words};
use crate::ops::step;
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// One look at a batch of losses.
    pub struct Shape {
        /// Images, N.
        images: usize,
    }
}

/// Floats in the `health` slot: 0 as long as all is well, else 1; the step at which it was not.
pub const COUNT: usize = 2;

/// health = [1, step] at the first loss that is not finite; the step is exact up to 2^24.
pub static WATCH: Kernel = Kernel {
    name: "health.watch",
    doc: "health = [1, step] if health[0] = 0 and any loss is not finite; loss [N], health [2]",
    bindings: &[read("loss"), words("step"), update("health")],
    variants: &[Variant {
        name: "plain",
        sources: &[include_str!("../../shaders/common/step.wgsl"), include_str!("../../shaders/health.wgsl")],
        entry: "watch",
        tile: |_| Vec::new(),
        grid: |_| Grid::Linear(1),
        needs: Needs::NONE,
    }],
    twin: twin!(watch),
    cases,
    tolerance: 0.0, // small integers
    split: None,
    flops: |p| p.get::<usize>("images") as u64,
};

fn cases() -> Vec<Case> {
    let case = |(name, images, bad, health): (&str, usize, Option<(usize, f32)>, [f32; COUNT])| {
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
        ("well", 8, None, [0.0; COUNT]),
        ("not a number", 128, Some((127, f32::NAN)), [0.0; COUNT]),
        ("infinite", 24, Some((0, f32::INFINITY)), [0.0; COUNT]),
        ("minus infinity", 24, Some((9, f32::NEG_INFINITY)), [0.0; COUNT]),
        ("ill before", 24, Some((9, f32::NAN)), [1.0, 12.0]),
        ("does not recover", 8, None, [1.0, 12.0]),
    ]
    .map(case)
    .into()
}

fn watch<T: Real>(mut args: Args<T>) {
    let (loss, words, health) = (args.read(), args.words(), args.write());
    if health[0] == T::zero() && loss.iter().any(|loss| !loss.is_finite()) {
        health[0] = T::one();
        health[1] = T::of(f64::from(words[step::STEP]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;

    #[test]
    fn the_first_bad_step_is_remembered() {
        let params = Shape { images: 8 }.params();
        let mut health = [0.0; COUNT];
        for (now, bad, expected) in
            [(1, 2.5, [0.0, 0.0]), (2, f32::NAN, [1.0, 2.0]), (3, f32::INFINITY, [1.0, 2.0]), (4, 1.0, [1.0, 2.0])]
        {
            let mut loss = [0.0; 8];
            loss[5] = bad;
            let step = step::words(0, now, 8, 0);
            watch(Args::new(&params, vec![Arg::Read(&loss), Arg::Words(&step), Arg::Write(&mut health)]));
            assert_eq!(health, expected, "step {now}");
        }
    }
}
