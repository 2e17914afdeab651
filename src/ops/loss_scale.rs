//! Dynamic scaling of the loss under mixed precision (Micikevicius et al. 2018). Gradients of maps are some 1e-7 for
//! one image, where 16-bit floats have lost most digits, so the loss is taken a power of two larger, which changes no
//! digit of a gradient that fits; the update takes the factor out again. Where a gradient of a weight is not finite,
//! the step is left out and the scale halved; after [`INTERVAL`] steps without one it is doubled. A step is left out on
//! all devices or on none.

use super::elementwise::count;
use super::health::{COUNT, LAYOUT, state};
use crate::kernel::{Args, Case, Fill, Grid, Kernel, Split, Variant, read, update, words};
use crate::ops::{binary, step};
use crate::program::{Home, Recorder, Slot, Tower};
use crate::tensor::Real;
use crate::{params, twin};

/// Steps after which a scale that did no harm is doubled.
pub const INTERVAL: usize = 2000;

/// The scale is not doubled beyond this.
const LARGEST: f32 = 16_777_216.0;

/// Numbers in which a search is summed up.
const PARTS: usize = 4096;

params! {
    /// The search for gradients of one tensor that are not finite.
    pub struct Search {
        /// Gradients of the tensor.
        count: usize,
        /// Shares in which they are searched, a multiple of 64.
        parts: usize,
        /// Whether another tensor was searched before, whose findings stay.
        accumulate: bool,
    }
}

params! {
    /// The decision that follows from all searches.
    pub struct Decision {
        /// Numbers in which the searches are summed up.
        parts: usize,
        /// Good steps until the scale is doubled.
        interval: usize,
        /// The largest scale, a power of two.
        largest: f32,
    }
}

/// found = 1 where a share of the gradients, or of those before, is not finite, else 0.
pub static WATCH: Kernel = Kernel {
    name: "loss_scale.watch",
    doc: "found[i] = 1 if any of g[i], g[i + parts], … is not finite, else 0; g any shape, found [parts]",
    bindings: &[read("g"), update("found")],
    variants: &[Variant {
        grid: Grid::Tiles(|p| [p.get("parts"), 1, 1]),
        ..Variant::linear("watch", &[include_str!("../../shaders/loss_scale_watch.wgsl")], count)
    }],
    twin: twin!(watch),
    cases: searches,
    tolerance: 0.0, // ones and zeros
    terms: |_| 0,
    split: Some(Split {
        along: "count",
        outermost: &[true, false],
        part: |params, part| {
            let before = params.get::<bool>("accumulate") || !part.first;
            params.replaced("accumulate", before)
        },
    }),
    flops: |p| count(p) as u64,
};

/// health = the scale of the next loss, what undoes that of this one, and whether this step is left out.
pub static DECIDE: Kernel = Kernel {
    name: "loss_scale.decide",
    doc: "scale halved and step left out if any found != 0, scale doubled after interval good steps; health [6]",
    bindings: &[read("found"), words("step"), update("health")],
    variants: &[Variant::single(
        "decide",
        &[step::LAYOUT, LAYOUT, include_str!("../../shaders/loss_scale_decide.wgsl")],
    )],
    twin: twin!(decide),
    cases: decisions,
    tolerance: 0.0, // powers of two and small integers
    terms: |_| 0,
    flops: |p| p.get::<usize>("parts") as u64,
    ..Kernel::PLAIN
};

/// Records what is between gradients and update: searches `gradients` on the towers that have them, and the decision on
/// `health`, which lies on tower 0.
pub fn judge(r: &mut Recorder, gradients: &[(Tower, Slot)], step: Slot, health: Slot) {
    let mut founds: Vec<(Tower, Slot)> = Vec::new();
    for &(tower, gradient) in gradients {
        let before = founds.iter().find(|(owner, _)| *owner == tower).map(|(_, slot)| *slot);
        let found = before.unwrap_or_else(|| {
            let found = r.floats(format!("found.{tower}"), vec![PARTS], Home::Tower(tower));
            founds.push((tower, found));
            found
        });
        let search = Search { count: r.info(gradient).count(), parts: PARTS, accumulate: before.is_some() };
        r.run(&WATCH, search.params(), &[gradient, found]);
    }
    let arrived: Vec<Slot> = founds.into_iter().map(|(_, found)| r.copy(found, 0, None)).collect();
    let Some((&first, others)) = arrived.split_first() else { return };
    let mut all = first;
    for (index, &found) in others.iter().enumerate() {
        let sum = r.floats(format!("found.all{index}"), vec![PARTS], Home::Tower(0));
        r.run(&binary::FORWARD, binary::Shape::sum(PARTS), &[all, found, sum]);
        all = sum;
    }
    let decision = Decision { parts: PARTS, interval: INTERVAL, largest: LARGEST };
    r.run(&DECIDE, decision.params(), &[all, step, health]);
}

fn searches() -> Vec<Case> {
    let case = |(name, count, bad, accumulate): (&str, usize, Option<(usize, f32)>, bool)| {
        let mut g = vec![f32::MAX; count];
        if let Some((at, value)) = bad {
            g[at] = value;
        }
        // Pieces of a run begin at multiples of 64, so a gradient is in the same share whatever the pieces.
        let parts = 64;
        let found = if accumulate { Fill::Integers(1) } else { Fill::Output };
        let params = Search { count, parts, accumulate }.params();
        Case::new(name, params, vec![(count, Fill::Floats(g)), (parts, found)])
    };
    [
        ("well", 1000, None, false),
        ("fewer than shares", 9, None, false),
        ("not a number", 1000, Some((999, f32::NAN)), false),
        ("infinite", 1000, Some((0, f32::INFINITY)), false),
        ("minus infinity, after others", 256, Some((128, f32::NEG_INFINITY)), true),
        ("well, after others", 300, None, true),
    ]
    .map(case)
    .into()
}

fn decisions() -> Vec<Case> {
    let case = |(name, bad, [ill, scale, good]): (&str, Option<usize>, [f32; 3])| {
        let (parts, interval, largest) = (64, 5, 1024.0);
        let mut found = vec![0.0; parts];
        if let Some(at) = bad {
            found[at] = 1.0;
        }
        let mut health = state(scale);
        (health[0], health[4]) = (ill, good);
        let buffers = vec![
            (parts, Fill::Floats(found)),
            (step::COUNT, Fill::Words(step::words(1, 70_001, 8, 0).into())),
            (COUNT, Fill::Floats(health.into())),
        ];
        Case::new(name, Decision { parts, interval, largest }.params(), buffers)
    };
    [
        ("good", None, [0.0, 256.0, 3.0]),
        ("good for long", None, [0.0, 256.0, 4.0]),
        ("the largest", None, [0.0, 1024.0, 4.0]),
        ("too large", Some(63), [0.0, 256.0, 3.0]),
        ("too large as it is", Some(0), [0.0, 1.0, 3.0]),
        ("ill before", Some(9), [1.0, 1.0, 0.0]),
    ]
    .map(case)
    .into()
}

fn watch<T: Real>(mut args: Args<T>) {
    let Search { parts, accumulate, .. } = Search::from(args.params);
    let (g, found) = (args.read(), args.write());
    for (part, found) in found.iter_mut().enumerate() {
        let bad = g.iter().skip(part).step_by(parts).any(|g| !g.is_finite());
        let own = if bad { T::one() } else { T::zero() };
        *found = if accumulate && *found > own { *found } else { own };
    }
}

fn decide<T: Real>(mut args: Args<T>) {
    use super::health::{GOOD, ILL, INVERSE, SCALE, SKIP, STEP};
    let Decision { interval, largest, .. } = Decision::from(args.params);
    let (found, words, health) = (args.read(), args.words(), args.write());
    let (one, two) = (T::one(), T::of(2.0));
    let scale = health[SCALE];
    if found.iter().all(|found| *found == T::zero()) {
        let good = health[GOOD] + one;
        let grows = good >= T::of(interval as f64);
        health[INVERSE] = one / scale;
        health[SCALE] = if grows { (two * scale).min(T::of(f64::from(largest))) } else { scale };
        health[GOOD] = if grows { T::zero() } else { good };
        health[SKIP] = T::zero();
        return;
    }
    (health[SKIP], health[GOOD]) = (one, T::zero());
    if scale > one {
        health[SCALE] = scale / two;
    } else if health[ILL] == T::zero() {
        (health[ILL], health[STEP]) = (one, T::of(f64::from(words[step::STEP])));
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::{GOOD, ILL, INVERSE, SCALE, SKIP};
    use super::*;
    use crate::kernel::Arg;

    /// Scale and whether the step counts, step by step.
    fn run(health: &mut [f32; COUNT], bad: &[bool]) -> Vec<(f32, bool)> {
        let params = Decision { parts: 1, interval: 3, largest: 16.0 }.params();
        let step = step::words(0, 7, 8, 0);
        let mut steps = Vec::new();
        for &bad in bad {
            let found = [f32::from(u8::from(bad))];
            decide(Args::new(&params, vec![Arg::Read(&found), Arg::Words(&step), Arg::Write(&mut health[..])]));
            steps.push((health[SCALE], health[SKIP] == 0.0));
        }
        steps
    }

    #[test]
    fn the_scale_follows_what_gradients_bear() {
        let mut health = state(8.0);
        let steps = run(&mut health, &[false, true, false, false, false, false]);
        assert_eq!(steps, [(8.0, true), (4.0, false), (4.0, true), (4.0, true), (8.0, true), (8.0, true)]);
        // The step that doubled it was still made with the smaller.
        assert_eq!((health[INVERSE], health[GOOD], health[ILL]), (1.0 / 8.0, 1.0, 0.0));
        let mut large = state(16.0);
        assert_eq!(run(&mut large, &[false; 3])[2], (16.0, true));
    }

    #[test]
    fn gradients_that_do_not_fit_unscaled_end_the_training() {
        let mut health = state(2.0);
        assert_eq!(run(&mut health, &[true]), [(1.0, false)]);
        assert_eq!(health[ILL], 0.0);
        run(&mut health, &[true]);
        assert_eq!((health[ILL], health[1]), (1.0, 7.0));
    }
}
