//! Softmax over classes (section 3.5), its cost, and the errors that the paper's tables report.
//!
//! The cost of an image is the negative log-probability of its label; the gradient is its mean over the labelled
//! images of the minibatch. Errors follow the released code (layer_kernels.cu): where the label's score is tied, it is
//! counted with the chance it would have if ties were broken at random. A logit that is not finite makes the loss NaN
//! and the prediction wrong, so that a network that diverges does not look healthy.

use crate::kernel::{
    Args, Case, Fill, Grid, Kernel, Params, Tile, Variant, for_each_chunk, read, read_map, words, write, write_map,
};
use crate::ops::kind::{Caffe, LayerKind, Place, Scaling, caffe_words};
use crate::ops::onnx::{Form, Subgraph, int};
use crate::ops::{health, step};
use crate::tensor::{NO_LABEL, Real};
use crate::{params, twin};

params! {
    /// Logits of a batch, `[classes][N]`.
    pub struct Shape {
        /// Number of classes, 1000 in the contest.
        classes: usize,
        /// Images, N: a multiple of 8.
        images: usize,
        /// Whether logarithms are wanted instead of probabilities (forward only).
        log: bool,
        /// Whether a logit that is not finite makes its image NaN, as in training, or -inf is the probability 0 that
        /// IEEE arithmetic makes of it.
        finite: bool,
    }
}

/// `softmax` over the classes, with the loss.
pub static KIND: LayerKind = LayerKind {
    name: "softmax",
    settings: &[],
    shared: None,
    place: Place::Loss,
    scaling: Scaling::Other,
    onnx: |_, _| Subgraph::one(Form::Features, "Softmax", vec![("axis", int(1))]),
    caffe: Caffe::Words(caffe_words),
    kernels: &[&FORWARD, &LOSS, &BACKWARD],
    examples: &["\"softmax\""],
};

const SOURCES: &[&str] = &[step::LAYOUT, health::LAYOUT, include_str!("../../shaders/softmax.wgsl")];

/// A variant that takes the items of `grid` in the tile that all three kernels share.
const fn plain(entry: &'static str, grid: Grid) -> Variant {
    fn tile(_: &Params) -> Tile {
        vec![("image_lanes", 8), ("class_lanes", 32), ("workgroup", 64)]
    }
    Variant { tile, grid, ..Variant::linear(entry, SOURCES, elements) }
}

/// Workgroups of some images by some lanes along the classes.
const LANES: Grid = Grid::Tiles(|p| [p.get("images"), p.get("class_lanes"), 1]);

fn elements(params: &Params) -> usize {
    params.get::<usize>("classes") * params.get::<usize>("images")
}

/// p = exp(x − max) / Σ exp(x − max), or its logarithm.
pub static FORWARD: Kernel = Kernel {
    name: "softmax.forward",
    doc: "p = exp(x - max) / sum of exp(x - max) over classes, or its logarithm; x, p [classes][N]",
    bindings: &[read_map("x"), write("p")],
    variants: &[plain("forward", LANES)],
    twin: twin!(forward),
    cases: || cases(|s| vec![logits(s), (s.classes * s.images, Fill::Output)]),
    tolerance: 2e-5, // the driver's exp: 3 + 2 |x| units in the last place, |x| up to some 20
    flops: |p| 5 * elements(p) as u64,
    ..Kernel::PLAIN
};

/// Cost and errors of every image.
pub static LOSS: Kernel = Kernel {
    name: "softmax.loss",
    doc: "loss = log sum exp x - x[label], top1 and top5 error, all 0 without label; x [classes][N], the rest [N]",
    bindings: &[read_map("x"), words("labels"), write("loss"), write("top1"), write("top5")],
    variants: &[plain("losses", LANES)],
    twin: twin!(loss),
    cases: || {
        cases(|s| {
            let output = || (s.images, Fill::Output);
            vec![logits(s), labels(s), output(), output(), output()]
        })
    },
    tolerance: 2e-5, // the driver's exp and log, and sums of 1000 terms; the errors have one rounding
    flops: |p| 5 * elements(p) as u64,
    ..Kernel::PLAIN
};

/// dx = (p − \[label\]) / B, B the labelled images of the minibatch.
pub static BACKWARD: Kernel = Kernel {
    name: "softmax.backward",
    doc: "dx = scale (p - [class = label]) / step[IMAGES], 0 without label; p, dx [classes][N], labels [N]",
    bindings: &[read("p_saved"), words("labels"), words("step"), read("health"), write_map("dx")],
    variants: &[plain("backward", Grid::Linear(elements))],
    twin: twin!(backward),
    cases: || {
        cases(|s| {
            let step = step::words(1, 2, s.images as u32 - 3, 0);
            let count = s.classes * s.images;
            let p = (count, Fill::Uniform(0.0, 1.0));
            let health = (health::COUNT, Fill::Floats(health::state(256.0).into()));
            vec![p, labels(s), (step::COUNT, Fill::Words(step.into())), health, (count, Fill::Output)]
        })
    },
    tolerance: 1e-6, // two roundings, the division to 2.5 units in the last place
    flops: |p| 2 * elements(p) as u64,
    ..Kernel::PLAIN
};

/// Classes of the case whose logits tie, and of the one where some are not finite.
const TIES: usize = 7;
const ILL: usize = 33;

fn logits(shape: Shape) -> (usize, Fill) {
    let count = shape.classes * shape.images;
    // Of 24 images some have a NaN, some an infinity, one nothing but -inf.
    let ill = |i: usize| match i % 70 {
        _ if i % 24 == 12 => f32::NEG_INFINITY,
        5 => f32::NAN,
        41 => f32::INFINITY,
        66 => f32::NEG_INFINITY,
        i => i as f32 / 10.0,
    };
    let fill = match shape.classes {
        TIES => Fill::Integers(2),
        ILL => Fill::Floats((0..count).map(|i| if i % 3 == 0 { ill(i) } else { 1.0 }).collect()),
        _ => Fill::Normal(3.0),
    };
    (count, fill)
}

/// Every class in turn; every fifth image fills up the batch.
fn labels(shape: Shape) -> (usize, Fill) {
    let label = |n: usize| if n % 5 == 3 { NO_LABEL } else { (n * 37 % shape.classes) as u32 };
    (shape.images, Fill::Words((0..shape.images).map(label).collect()))
}

fn cases(buffers: fn(Shape) -> Vec<(usize, Fill)>) -> Vec<Case> {
    let shapes = [
        ("one class", 1, 8),
        ("fewer than five classes", 3, 24),
        ("logarithms", 21, 24),
        ("ties", TIES, 128),
        ("ten classes", 10, 24),
        ("as many classes as lanes", 32, 8),
        ("not finite", ILL, 24),
        ("not finite, by IEEE", ILL, 24),
        ("logarithms, not finite, by IEEE", ILL, 24),
        ("the contest", 1000, 128),
    ];
    let case = |(name, classes, images): (&str, _, _)| {
        let shape = Shape { classes, images, log: name.contains("logarithms"), finite: !name.contains("IEEE") };
        Case::new(name, shape.params(), buffers(shape))
    };
    shapes.map(case).into()
}

/// Images that one core handles at a time.
const IMAGES: usize = 8;

/// Largest logit and sum of exponentials of one image.
struct Extent<T> {
    /// The greatest logit of the image.
    most: T,
    /// Sum of exp(x − most); NaN when a logit is not finite, or by IEEE NaN or +inf, or all are -inf.
    sum: T,
}

fn extents<T: Real>(x: &[T], Shape { images, finite, .. }: Shape) -> Vec<Extent<T>> {
    let mut pairs = vec![T::zero(); 2 * images];
    for_each_chunk(&mut pairs, 2 * IMAGES, |chunk, pairs| {
        let first = chunk * IMAGES;
        let mut most = [T::neg_infinity(); IMAGES];
        // Becomes and stays NaN at the first logit that must not be.
        let mut sum = [T::zero(); IMAGES];
        for row in x.chunks_exact(images) {
            for (n, &v) in row[first..].iter().take(IMAGES).enumerate() {
                most[n] = if v > most[n] { v } else { most[n] };
                if finite || v != T::neg_infinity() {
                    sum[n] += v * T::zero();
                }
            }
        }
        for row in x.chunks_exact(images) {
            let row = row[first..].iter().take(IMAGES);
            row.enumerate().for_each(|(n, &v)| sum[n] += (v - most[n]).exp());
        }
        for (pair, (most, sum)) in pairs.chunks_exact_mut(2).zip(most.into_iter().zip(sum)) {
            pair.copy_from_slice(&[most, sum]);
        }
    });
    pairs.chunks_exact(2).map(|pair| Extent { most: pair[0], sum: pair[1] }).collect()
}

fn forward<T: Real>(mut args: Args<T>) {
    let shape @ Shape { images, log, .. } = Shape::from(args.params);
    let (x, p) = (args.read(), args.write());
    let extents = extents(x, shape);
    for_each_chunk(p, images, |class, p| {
        let row = x[class * images..].iter().zip(&extents);
        p.iter_mut().zip(row).for_each(|(p, (&x, extent))| {
            let x = x - extent.most;
            *p = if log { x - extent.sum.ln() } else { x.exp() / extent.sum };
        });
    });
}

fn loss<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (x, labels) = (args.read(), args.words());
    let (loss, top1, top5) = (args.write(), args.write(), args.write());
    for (n, extent) in extents(x, shape).into_iter().enumerate() {
        (loss[n], top1[n], top5[n]) = if labels[n] == NO_LABEL {
            (T::zero(), T::zero(), T::zero())
        } else if extent.sum.is_nan() {
            (extent.sum, T::one(), T::one())
        } else {
            let score = x[(labels[n] as usize).min(shape.classes - 1) * shape.images + n];
            let scores = || x[n..].iter().step_by(shape.images);
            let above = scores().filter(|&&v| v > score).count();
            let equal = scores().filter(|&&v| v == score).count();
            let error = |ranks| T::one() - credit(ranks, above, equal);
            (extent.sum.ln() + (extent.most - score), error(1), error(5))
        };
    }
}

/// The chance that the label is among the first `ranks`, when `above` scores are greater than its own and `equal` (with
/// its own) tie in random order (released code, layer_kernels.cu:96-119).
pub fn credit<T: Real>(ranks: usize, above: usize, equal: usize) -> T {
    let free = ranks.saturating_sub(above).min(equal);
    T::of(free as f64) / T::of(equal as f64)
}

fn backward<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (p, labels, step, health, dx) = (args.read(), args.words(), args.words(), args.read(), args.write());
    let (images, scale) = (T::of(f64::from(step[step::IMAGES].max(1))), health[health::SCALE]);
    for_each_chunk(dx, shape.images, |class, dx| {
        let row = p[class * shape.images..].iter().zip(labels);
        for (dx, (&p, &label)) in dx.iter_mut().zip(row) {
            let hit = if label as usize == class { T::one() } else { T::zero() };
            *dx = if label == NO_LABEL { T::zero() } else { scale * ((p - hit) / images) };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;
    use proptest::prelude::*;

    /// Loss, top-1 and top-5 error of every image.
    fn losses(shape: Shape, x: &[f64], labels: &[u32]) -> [Vec<f64>; 3] {
        let [mut a, mut b, mut c] = [(); 3].map(|()| vec![f64::NAN; shape.images]);
        let buffers =
            vec![Arg::Read(x), Arg::Words(labels), Arg::Write(&mut a), Arg::Write(&mut b), Arg::Write(&mut c)];
        loss(Args::new(&shape.params(), buffers));
        [a, b, c]
    }

    fn probabilities(shape: Shape, x: &[f64]) -> Vec<f64> {
        let mut p = vec![f64::NAN; x.len()];
        forward(Args::new(&shape.params(), vec![Arg::Read(x), Arg::Write(&mut p)]));
        p
    }

    /// All 3^7 score sheets of seven classes with scores 0, 1, 2, eight at a time, against the definition: the share of
    /// the orders of the tied scores in which the label comes among the first.
    #[test]
    fn ties_are_worth_their_chance() {
        let shape = Shape { classes: 7, images: 8, log: false, finite: true };
        let sheets: Vec<Vec<u32>> = (0..3_u32.pow(7)).map(|i| (0..7).map(|k| i / 3_u32.pow(k) % 3).collect()).collect();
        for sheets in sheets.chunks_exact(8) {
            let x: Vec<f64> = (0..56).map(|i| f64::from(sheets[i % 8][i / 8])).collect();
            for label in 0..7_u32 {
                let [_, top1, top5] = losses(shape, &x, &[label; 8]);
                for (n, sheet) in sheets.iter().enumerate() {
                    let above = sheet.iter().filter(|&&s| s > sheet[label as usize]).count();
                    let places = above..above + sheet.iter().filter(|&&s| s == sheet[label as usize]).count();
                    let missed = |ranks| places.clone().filter(|&place| place >= ranks).count() as f64;
                    let all = places.len() as f64;
                    assert!((top1[n] - missed(1) / all).abs() < 1e-12, "{sheet:?} {label}");
                    assert!((top5[n] - missed(5) / all).abs() < 1e-12, "{sheet:?} {label}");
                }
            }
        }
    }

    #[test]
    fn ties_by_hand() {
        let shape = Shape { classes: 8, images: 8, log: false, finite: true };
        // Four above, the label ties with two others for rank 5: one place for three.
        let mut x = vec![0.0; 64];
        for (class, score) in [9.0, 8.0, 7.0, 6.0, 5.0, 5.0, 5.0, 1.0].into_iter().enumerate() {
            x[class * 8..][..8].fill(score);
        }
        let [_, top1, top5] = losses(shape, &x, &[0, 3, 4, 5, 6, 7, NO_LABEL, 0]);
        assert_eq!(top1, [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        let third = 1.0 - 1.0 / 3.0;
        assert_eq!(top5, [0.0, 0.0, third, third, third, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_logit_that_is_not_finite_makes_the_loss_nan_and_the_prediction_wrong() {
        let shape = Shape { classes: 3, images: 8, log: false, finite: true };
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for class in 0..3 {
                let mut x = vec![1.0; 24];
                x[class * 8 + 2] = bad;
                x[class * 8 + 3] = bad;
                let labels = [0, 0, 0, NO_LABEL, 0, 0, 0, 0];
                let [loss, top1, top5] = losses(shape, &x, &labels);
                assert!(loss[2].is_nan() && top1[2] == 1.0 && top5[2] == 1.0);
                assert_eq!((loss[3], top1[3], top5[3]), (0.0, 0.0, 0.0));
                assert!((loss[0] - 3.0_f64.ln()).abs() < 1e-12 && top5[0] == 0.0);
                let p = probabilities(shape, &x);
                assert!((0..3).all(|k| p[k * 8 + 2].is_nan() && !p[k * 8].is_nan()));
            }
        }
    }

    #[test]
    fn by_ieee_a_logit_of_minus_infinity_is_a_probability_of_0() {
        let (low, shape) = (f64::NEG_INFINITY, Shape { classes: 3, images: 8, log: false, finite: false });
        let rows = [[low, 0.0, 1.0], [low; 3], [low, f64::INFINITY, 0.0], [f64::NAN, low, 0.0], [low, low, -9e300]];
        let x: Vec<f64> = (0..24).map(|i| rows[i % 8 % 5][i / 8]).collect();
        let p = probabilities(shape, &x);
        let row = |n: usize| [0, 1, 2].map(|k| p[k * 8 + n]);
        let sigmoid = 1.0 / (1.0 + (-1.0_f64).exp());
        assert!(row(0)[0] == 0.0 && (row(0)[2] - sigmoid).abs() < 1e-15 && (row(0)[1] + sigmoid - 1.0).abs() < 1e-15);
        assert!([1, 2, 3].iter().all(|&n| row(n).iter().all(|p| p.is_nan())));
        assert_eq!(row(4), [0.0, 0.0, 1.0]);
        let logarithms = probabilities(Shape { log: true, ..shape }, &x);
        assert!(logarithms[0] == low && (logarithms[16] - sigmoid.ln()).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn loss_and_probability_are_the_textbook_ones(
            classes in 1..12_usize, shift in -500.0..500.0_f64, z in prop::collection::vec(-4.0..4.0_f64, 12 * 8),
        ) {
            let shape = Shape { classes, images: 8, log: false, finite: true };
            let x: Vec<f64> = z[..classes * 8].iter().map(|z| z + shift).collect();
            let labels: Vec<u32> = (0..8).map(|n| n % classes as u32).collect();
            let (p, [loss, ..]) = (probabilities(shape, &x), losses(shape, &x, &labels));
            for n in 0..8 {
                let sum: f64 = (0..classes).map(|k| z[k * 8 + n].exp()).sum();
                for k in 0..classes {
                    prop_assert!((p[k * 8 + n] - z[k * 8 + n].exp() / sum).abs() < 1e-9);
                }
                prop_assert!((loss[n] + p[labels[n] as usize * 8 + n].ln()).abs() < 1e-9);
            }
        }

        /// Central differences of the mean loss over labelled images.
        #[test]
        fn the_gradient_is_the_slope_of_the_mean_loss(z in prop::collection::vec(-3.0..3.0_f64, 6 * 8)) {
            let shape = Shape { classes: 6, images: 8, log: false, finite: true };
            let labels = [0, 5, NO_LABEL, 3, 2, NO_LABEL, 1, 4];
            let mean = |x: &[f64]| losses(shape, x, &labels)[0].iter().sum::<f64>() / 6.0;
            let (p, mut dx) = (probabilities(shape, &z), vec![f64::NAN; z.len()]);
            let step = step::words(0, 0, 6, 0);
            let health = health::state(4.0).map(f64::from);
            let buffers =
                vec![Arg::Read(&p), Arg::Words(&labels), Arg::Words(&step), Arg::Read(&health), Arg::Write(&mut dx)];
            backward(Args::new(&shape.params(), buffers));
            for i in 0..z.len() {
                let (mut up, mut down) = (z.clone(), z.clone());
                up[i] += 1e-5;
                down[i] -= 1e-5;
                let slope = (mean(&up) - mean(&down)) / 2e-5;
                prop_assert!((dx[i] / 4.0 - slope).abs() < 1e-8, "{} {slope}", dx[i]);
            }
        }
    }
}
