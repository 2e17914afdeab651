//! Local response normalisation within a map: pixels compete with the pixels around them.
//!
//! y_i = x_i s_i^-beta with s_i = k + alpha Σ x_j², the sum over the `size` x `size` pixels around i that lie in the
//! map.
//!
//! The paper does not mention it; the released code has it after the second normalisation across maps, with k = 1,
//! size = 5, beta = 0.75 and a scale of 1e-3 that it divides by size², so that alpha, what multiplies the sum, is 4e-5.

use super::elementwise::buffers;
use super::lrn::{Curve, NORMALISE, PULL, SETTINGS, Settings, holders, window};
use crate::kernel::{Args, Case, Fill, Kernel, Params, Variant, for_each_chunk};
use crate::ops::activation::Activation;
use crate::ops::kind::{Caffe, LayerKind, Place, Scaling};
use crate::ops::layer::Chw;
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// Normalisation within each map: x and y are `[channels][height][width][images]`.
    pub struct Shape {
        /// Maps of the tower.
        maps: usize,
        /// Rows of a map.
        height: usize,
        /// Columns of a map.
        width: usize,
        /// Images, a multiple of 8.
        images: usize,
        /// Rows and columns of a window: from i - size / 2 to i - size / 2 + size - 1, clipped to the map.
        size: usize,
        /// Start of the sum; above 0, or a window of zeros divides by zero.
        k: f32,
        /// Factor of the sum of squares.
        alpha: f32,
        /// Exponent of the sum, positive.
        beta: f32,
    }
}

impl Shape {
    fn elements(&self) -> usize {
        self.maps * self.height * self.width * self.images
    }
}

const SOURCES: &[&str] =
    &[include_str!("../../shaders/common/power.wgsl"), include_str!("../../shaders/lrn_spatial.wgsl")];

/// Elements of one row of every map, each of which is walked down its column.
fn columns(params: &Params) -> usize {
    let shape = Shape::from(params);
    shape.maps * shape.width * shape.images
}

/// y_i = x_i (k + alpha Σ x_j²)^-beta.
pub static FORWARD: Kernel = Kernel {
    name: "lrn_spatial.forward",
    doc: "y_i = x_i (k + alpha sum of x_j^2)^-beta, j in the window of pixels around i; [C][H][W][N]",
    variants: &[Variant::linear("forward", SOURCES, columns).vectors(2)],
    twin: twin!(forward),
    cases: || cases(&[Fill::Normal(3.0)]),
    flops: |p| Shape::from(p).elements() as u64 * (3 * Shape::from(p).size as u64 + 5),
    ..NORMALISE
};

/// The gradient of [`FORWARD`], which recomputes the sums.
pub static BACKWARD: Kernel = Kernel {
    name: "lrn_spatial.backward",
    doc: "dx_i = dy_i s_i^-beta - 2 alpha beta x_i sum of dy_j x_j s_j^(-beta-1), i in the window of j; [C][H][W][N]",
    variants: &[Variant::linear("backward", SOURCES, columns).vectors(2)],
    twin: twin!(backward),
    cases: || cases(&[Fill::Normal(3.0), Fill::Normal(1.0)]),
    flops: |p| Shape::from(p).elements() as u64 * (5 * Shape::from(p).size as u64 + 11),
    ..PULL
};

/// Cases whose inputs, all as long as x, are filled so.
fn cases(inputs: &[Fill]) -> Vec<Case> {
    let case = |(name, [maps, height, width, images, size], [k, alpha, beta]): (&str, [usize; 5], [f32; 3])| {
        let shape = Shape { maps, height, width, images, size, k, alpha, beta };
        Case::new(name, shape.params(), buffers(shape.elements(), inputs))
    };
    [
        ("released code, conv2", [8, 27, 27, 8, 5], [1.0, 4e-5, 0.75]),
        ("strong, ragged", [3, 7, 11, 24, 5], [1.0, 0.1, 0.75]),
        ("CIFAR-10, 18 %", [4, 16, 16, 8, 3], [1.0, 5e-3, 0.75]),
        ("another beta, even window", [2, 6, 9, 8, 4], [1.5, 0.1, 0.6]),
        ("map smaller than the window", [5, 2, 3, 8, 7], [2.0, 0.1, 0.75]),
        ("one pixel", [3, 1, 1, 24, 5], [2.0, 0.1, 0.75]),
        ("window of one", [3, 5, 2, 8, 1], [2.0, 0.1, 1.0]),
    ]
    .map(case)
    .into()
}

/// `lrn_spatial`: normalisation within each map.
pub static KIND: LayerKind = LayerKind {
    name: "lrn_spatial",
    settings: SETTINGS,
    shared: Some("lrn"),
    place: Place::Stage {
        build: |settings| {
            let settings = Settings::from(settings);
            let over = format!("within a map over {}² pixels", settings.size);
            settings.layer(&over, [&FORWARD, &BACKWARD], |settings, Chw { channels: maps, height, width }, images| {
                let Settings { size, k, alpha, beta } = Settings::from(settings);
                Shape { maps, height, width, images, size, k, alpha, beta }.params()
            })
        },
        epilogue: Activation::Linear,
    },
    scaling: Scaling::Other,
    // ONNX has no operator for it.
    onnx: |settings, shapes| {
        let settings = Settings::from(settings);
        let (maps, size, before) = (shapes.x.channels * shapes.towers, settings.size, settings.size / 2);
        let filters = vec![settings.alpha; maps * size * size];
        settings.divide([maps, 1, size, size], filters, maps, [before, size - 1 - before])
    },
    caffe: Caffe::Words(|_, settings, _| Settings::from(settings).words("pixels", 1)),
    kernels: &[&FORWARD, &BACKWARD],
    examples: &[
        "lrn_spatial = { size = 3, k = 1.5, alpha = 0.1, beta = 0.75 }",
        "lrn_spatial = { size = 4, k = 1.0, alpha = 0.1, beta = 0.6 }",
    ],
};

/// s_i of every pixel of one map.
#[inline(always)]
fn sums<T: Real>(shape: &Shape, curve: Curve<T>, s: &mut [T], x: &[T]) {
    let n = shape.images;
    s.fill(curve.k);
    for (i, s) in s.chunks_exact_mut(n).enumerate() {
        for row in window(i / shape.width, shape.size, shape.height) {
            for column in window(i % shape.width, shape.size, shape.width) {
                curve.square(s, &x[(row * shape.width + column) * n..]);
            }
        }
    }
}

fn forward<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let curve = Curve::new(shape.k, shape.alpha, shape.beta);
    let (x, y) = (args.read(), args.write());
    let map = shape.height * shape.width * shape.images;
    for_each_chunk(y, map, |i, y| {
        let x = &x[i * map..][..map];
        sums(&shape, curve, y, x);
        curve.scale(y, x);
    });
}

fn backward<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let curve = Curve::new(shape.k, shape.alpha, shape.beta);
    let (x, dy, dx) = (args.read(), args.read(), args.write());
    let n = shape.images;
    let map = shape.height * shape.width * n;
    for_each_chunk(dx, map, |i, dx| {
        let (x, dy) = (&x[i * map..][..map], &dy[i * map..][..map]);
        let mut pulls = vec![T::zero(); map];
        sums(&shape, curve, dx, x);
        curve.split(dx, &mut pulls, x, dy);
        for (i, (dx, x)) in dx.chunks_exact_mut(n).zip(x.chunks_exact(n)).enumerate() {
            for row in holders(i / shape.width, shape.size, shape.height) {
                for column in holders(i % shape.width, shape.size, shape.width) {
                    curve.pull(dx, x, &pulls[(row * shape.width + column) * n..]);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, gradient_error, numbers, run};

    fn naive(shape: &Shape, x: &[f64]) -> Vec<f64> {
        let (h, w, n) = (shape.height as isize, shape.width as isize, shape.images as isize);
        let (half, size) = ((shape.size / 2) as isize, shape.size as isize);
        let y = |at: usize| {
            let i = at as isize;
            let (map, row, column, image) = (i / n / w / h, i / n / w % h, i / n % w, i % n);
            let mut s = f64::from(shape.k);
            for r in (row - half..row - half + size).filter(|r| (0..h).contains(r)) {
                for c in (column - half..column - half + size).filter(|c| (0..w).contains(c)) {
                    s += f64::from(shape.alpha) * x[(((map * h + r) * w + c) * n + image) as usize].powi(2);
                }
            }
            x[at] / s.powf(f64::from(shape.beta))
        };
        (0..x.len()).map(y).collect()
    }

    const SHAPES: [Shape; 4] = [
        Shape { maps: 2, height: 4, width: 7, images: 8, size: 3, k: 2.0, alpha: 0.2, beta: 0.75 },
        Shape { maps: 1, height: 6, width: 5, images: 8, size: 4, k: 1.0, alpha: 0.1, beta: 0.6 },
        Shape { maps: 2, height: 3, width: 2, images: 8, size: 7, k: 1.0, alpha: 0.3, beta: 0.75 },
        Shape { maps: 3, height: 1, width: 1, images: 8, size: 5, k: 1.0, alpha: 0.5, beta: 1.0 },
    ];

    #[test]
    fn the_twin_is_the_formula() {
        for shape in SHAPES {
            let x = numbers(shape.elements(), 0);
            assert_close(&run(&FORWARD, &shape.params(), &[&x]), &naive(&shape, &x), 1e-13);
        }
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        for shape in SHAPES {
            let (x, dy) = (numbers(shape.elements(), 0), numbers(shape.elements(), 1));
            let dx = run(&BACKWARD, &shape.params(), &[&x, &dy]);
            let error = gradient_error(&x, &dy, &dx, |x| naive(&shape, x));
            assert!(error < 1e-6, "{shape:?}: {error:.1e}");
        }
    }

    #[test]
    fn small_numbers_come_out_by_hand() {
        // Each of the four pixels sees all four: 1 + 4 + 4 + 16 = 25, a length of 5.
        let shape = Shape { maps: 1, height: 2, width: 2, images: 1, size: 3, k: 0.0, alpha: 1.0, beta: 0.5 };
        let y = run(&FORWARD, &shape.params(), &[&[1.0, 2.0, 2.0, 4.0]]);
        assert_close(&y, &[0.2, 0.4, 0.4, 0.8], 1e-15);
    }
}
