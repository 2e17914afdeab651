//! Local response normalisation across maps, section 3.3 of the paper: neighbouring maps compete for large responses.
//!
//! y_i = x_i s_i^-beta with s_i = k + alpha Σ x_j², the sum over the `size` maps around i that exist in this tower.
//!
//! There are two alphas. The paper's formula multiplies the sum by alpha = 1e-4. The released code divides its scale,
//! 1e-4 too, by the size of the window first, so what multiplies its sum is 2e-5. The kernels take what multiplies the
//! sum; who records them decides. The paper's other numbers are k = 2, size = 5, beta = 0.75. What the layer is in ONNX
//! and in Caffe stands at the end, as in every file of a layer.

use std::ops::Range;

use crate::kernel::{Args, Case, Fill, Kernel, Params, Variant, read_map, write_map};
use crate::ops::activation::{Activation, rectify};
use crate::ops::elementwise::buffers;
use crate::ops::kind::{Built, Caffe, LayerKind, Place, Scaling, Setting};
use crate::ops::layer::{Chw, LayerError, Unary};
use crate::ops::onnx::{Attribute, Form, Shapes, Subgraph, X, Y, int, ints};
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// Normalisation across the maps of one tower: x and y are `[maps][pixels][images]`.
    pub struct Shape {
        /// Maps of the tower; the window does not reach into another.
        maps: usize,
        /// Pixels of a map, height times width.
        pixels: usize,
        /// Images, a multiple of 8.
        images: usize,
        /// Maps in a window: from i - size / 2 to i - size / 2 + size - 1, clipped to the tower.
        size: usize,
        /// Start of the sum; above 0, or a window of zeros divides by zero.
        k: f32,
        /// Factor of the sum of squares (see the top of the file).
        alpha: f32,
        /// Exponent of the sum, positive.
        beta: f32,
        /// Whether a ReLU made x, through which the gradient goes as well (backward only).
        relu: bool,
    }
}

impl Shape {
    fn elements(&self) -> usize {
        self.maps * self.pixels * self.images
    }
}

const SOURCES: &[&str] = &[include_str!("../../shaders/common/power.wgsl"), include_str!("../../shaders/lrn.wgsl")];

/// Elements of one map, each of which is walked through all maps.
fn columns(params: &Params) -> usize {
    let shape = Shape::from(params);
    shape.pixels * shape.images
}

/// Common part of the forward kernels of both normalisations.
pub(super) const NORMALISE: Kernel = Kernel {
    bindings: &[read_map("x"), write_map("y")],
    tolerance: 5e-6, // a sum of positive terms, then roots of two ulp each; pow is exp2(beta log2 s), a little worse
    ..Kernel::PLAIN
};

/// Common part of the backward kernels; the difference of their two terms can lose a bit, but not against the rms.
pub(super) const PULL: Kernel = Kernel { bindings: &[read_map("x"), read_map("dy"), write_map("dx")], ..NORMALISE };

/// y_i = x_i (k + alpha Σ x_j²)^-beta.
pub static FORWARD: Kernel = Kernel {
    name: "lrn.forward",
    doc: "y_i = x_i (k + alpha sum of x_j^2)^-beta, j in the window of maps around i; [C][H][W][N]",
    variants: &[Variant::linear("forward", SOURCES, columns).vectors(4)],
    twin: twin!(forward),
    cases: || cases(&[Fill::Normal(3.0)]),
    flops: |p| Shape::from(p).elements() as u64 * (2 * Shape::from(p).size as u64 + 5),
    ..NORMALISE
};

/// The gradient of [`FORWARD`], which recomputes the sums: reading them back would cost more than taking them.
pub static BACKWARD: Kernel = Kernel {
    name: "lrn.backward",
    doc: "dx_i = dy_i s_i^-beta - 2 alpha beta x_i sum of dy_j x_j s_j^(-beta-1), i in the window of j (relu: 0 where \
        x_i <= 0); [C][H][W][N]",
    variants: &[Variant::linear("backward", SOURCES, columns).vectors(4)],
    twin: twin!(backward),
    cases: || cases(&[Fill::Normal(3.0), Fill::Normal(1.0)]),
    flops: |p| Shape::from(p).elements() as u64 * (3 * Shape::from(p).size as u64 + 11),
    ..PULL
};

/// Cases whose inputs, all as long as x, are filled so.
fn cases(inputs: &[Fill]) -> Vec<Case> {
    let case =
        |(index, (name, [maps, pixels, images, size], [k, alpha, beta])): (usize, (&str, [usize; 4], [f32; 3]))| {
            let shape = Shape { maps, pixels, images, size, k, alpha, beta, relu: index % 3 == 2 };
            Case::new(name, shape.params(), buffers(shape.elements(), inputs))
        };
    let cases = [
        ("paper, conv1", [48, 55, 8, 5], [2.0, 1e-4, 0.75]),
        ("released code, conv2", [128, 27, 8, 5], [2.0, 2e-5, 0.75]),
        ("strong, ragged", [13, 21, 24, 5], [1.0, 0.3, 0.75]),
        ("another beta, even window", [9, 7, 8, 4], [1.5, 0.2, 0.6]),
        ("fewer maps than the window", [3, 5, 8, 9], [2.0, 0.1, 0.75]),
        ("one map", [1, 9, 24, 5], [2.0, 0.1, 0.75]),
        ("window of one", [5, 3, 8, 1], [2.0, 0.1, 1.0]),
    ];
    cases.into_iter().enumerate().map(case).collect()
}

/// Window of a normalisation around `i`, clipped to the extent; the same maps or pixels in WGSL.
#[inline(always)]
pub(crate) fn window(i: usize, size: usize, extent: usize) -> Range<usize> {
    i.saturating_sub(size / 2)..(i + size - size / 2).min(extent)
}

/// Maps or pixels whose window holds `i`; for odd sizes the same as [`window`].
#[inline(always)]
pub(super) fn holders(i: usize, size: usize, extent: usize) -> Range<usize> {
    i.saturating_sub(size - 1 - size / 2)..(i + size / 2 + 1).min(extent)
}

/// k, alpha and beta at a twin's precision, with the arithmetic that both normalisations share.
#[derive(Clone, Copy)]
pub(super) struct Curve<T> {
    pub k: T,
    pub alpha: T,
    pub beta: T,
}

impl<T: Real> Curve<T> {
    pub(super) fn new(k: f32, alpha: f32, beta: f32) -> Self {
        Self { k: T::of(f64::from(k)), alpha: T::of(f64::from(alpha)), beta: T::of(f64::from(beta)) }
    }

    /// s += alpha x².
    #[inline(always)]
    pub(super) fn square(self, s: &mut [T], x: &[T]) {
        s.iter_mut().zip(x).for_each(|(s, &x)| *s += self.alpha * x * x);
    }

    /// s becomes y = x s^-beta.
    #[inline(always)]
    pub(super) fn scale(self, s: &mut [T], x: &[T]) {
        if self.beta == T::of(0.75) {
            s.iter_mut().zip(x).for_each(|(s, &x)| *s = x * Self::quarters(*s));
        } else {
            s.iter_mut().zip(x).for_each(|(s, &x)| *s = x * s.powf(-self.beta));
        }
    }

    /// s becomes dy s^-beta, `pull` dy x s^(-beta-1).
    #[inline(always)]
    pub(super) fn split(self, s: &mut [T], pull: &mut [T], x: &[T], dy: &[T]) {
        let each = s.iter_mut().zip(pull).zip(x.iter().zip(dy));
        let set = |s: &mut T, pull: &mut T, x: T, scaled: T| {
            *pull = scaled * x / *s;
            *s = scaled;
        };
        if self.beta == T::of(0.75) {
            each.for_each(|((s, pull), (&x, &dy))| set(s, pull, x, dy * Self::quarters(*s)));
        } else {
            each.for_each(|((s, pull), (&x, &dy))| set(s, pull, x, dy * s.powf(-self.beta)));
        }
    }

    /// dx -= 2 alpha beta x pull.
    #[inline(always)]
    pub(super) fn pull(self, dx: &mut [T], x: &[T], pull: &[T]) {
        let rate = T::of(2.0) * self.alpha * self.beta;
        dx.iter_mut().zip(x.iter().zip(pull)).for_each(|(dx, (&x, &pull))| *dx = *dx - rate * x * pull);
    }

    /// s^(-3/4) without a logarithm.
    #[inline(always)]
    fn quarters(s: T) -> T {
        let root = s.sqrt();
        T::one() / (root * root.sqrt())
    }
}

params! {
    /// Settings of both kinds of normalisation, in a row or as `lrn = { … }` at the top of a model file.
    pub struct Settings {
        /// Maps (or, within a map, the side in pixels) that are summed over.
        size: usize,
        /// Start of the sum; above 0.
        k: f32,
        /// Factor of the sum, as it stands in the paper's formula.
        alpha: f32,
        /// Exponent of the sum, positive.
        beta: f32,
    }
}

/// The keys of [`Settings`] in model files.
pub(super) const SETTINGS: &[Setting] =
    &[Setting::count("size"), Setting::real("k"), Setting::real("alpha"), Setting::real("beta")];

impl Settings {
    /// The layer that two kernels with these parameters compute.
    pub(super) fn layer(
        self,
        over: &str,
        [forward, backward]: [&'static Kernel; 2],
        params: fn(&Params, Chw, usize) -> Params,
    ) -> Built {
        let Self { size, k, alpha, beta } = self;
        if !(size > 0 && k > 0.0 && alpha >= 0.0 && beta > 0.0) {
            let expected = "size ≥ 1, k > 0, alpha ≥ 0, beta > 0".into();
            return Err(LayerError::Settings { layer: "lrn", expected, found: self.params() });
        }
        let text = format!("lrn {over}, k {k}, alpha {alpha}, beta {beta}");
        Ok(Box::new(Unary { text, settings: self.params(), forward, backward, params }))
    }

    /// Words of a network of Caffe, whose `over` are maps or pixels.
    pub(super) fn words(self, over: &str, towers: usize) -> String {
        let inside = if towers > 1 { format!(" inside each of {towers} towers") } else { String::new() };
        let Self { size, k, alpha, beta } = self;
        format!("normalisation over {size} {over}{inside}, k {k}, alpha {alpha:.4e}, beta {beta}")
    }

    /// x s^-beta in ONNX, where s is k and a convolution of x²: how a sum over any neighbours is written exactly.
    pub(super) fn divide(
        self,
        shape: [usize; 4],
        filters: Vec<f32>,
        groups: usize,
        [before, behind]: [usize; 2],
    ) -> Subgraph {
        Subgraph::new(Form::Maps)
            .constant("alpha", &shape, filters)
            .constant("k", &[shape[0]], vec![self.k; shape[0]])
            .constant("exponent", &[], vec![-self.beta])
            .then("Mul", &[X, X], &["squares"], Vec::new())
            .then(
                "Conv",
                &["squares", "alpha", "k"],
                &["sums"],
                vec![("pads", ints(&[before, before, behind, behind])), ("group", int(groups))],
            )
            .then("Pow", &["sums", "exponent"], &["scale"], Vec::new())
            .then("Mul", &["scale", X], &[Y], Vec::new())
    }
}

/// `lrn`: normalisation across the maps of one tower.
pub static KIND: LayerKind = LayerKind {
    name: "lrn",
    settings: SETTINGS,
    shared: Some("lrn"),
    place: Place::Stage {
        build: |settings| {
            let settings = Settings::from(settings);
            settings.layer(&format!("over {} maps", settings.size), [&FORWARD, &BACKWARD], |settings, maps, images| {
                let Settings { size, k, alpha, beta } = Settings::from(settings);
                Shape { maps: maps.channels, pixels: maps.pixels(), images, size, k, alpha, beta, relu: false }.params()
            })
        },
        epilogue: Activation::Linear,
    },
    scaling: Scaling::Other,
    onnx: |settings, shapes| onnx(Settings::from(settings), shapes),
    caffe: Caffe::Words(|_, settings, towers| Settings::from(settings).words("maps", towers)),
    kernels: &[&FORWARD, &BACKWARD],
    examples: &[
        "lrn = { size = 3, k = 1.5, alpha = 0.3, beta = 0.75 }",
        "lrn = { size = 4, k = 1.0, alpha = 0.2, beta = 0.6 }",
    ],
};

/// ONNX divides alpha by the size of the window, and knows odd ones only.
fn onnx(settings: Settings, &Shapes { x: Chw { channels: maps, .. }, towers, .. }: &Shapes) -> Subgraph {
    let Settings { size, k, alpha, beta } = settings;
    if size.is_multiple_of(2) {
        // Which output sums over which map of its tower.
        let sums = |(i, j): (usize, usize)| window(i, size, maps).contains(&j);
        let filter = |i: usize| (0..maps).map(move |j| (i % maps, j));
        let filters = (0..towers * maps).flat_map(filter).map(|at| if sums(at) { alpha } else { 0.0 });
        return settings.divide([towers * maps, maps, 1, 1], filters.collect(), towers, [0, 0]);
    }
    let attributes = || {
        let alpha = (f64::from(alpha) * size as f64) as f32;
        let floats =
            [("alpha", alpha), ("beta", beta), ("bias", k)].map(|(name, value)| (name, Attribute::Float(value)));
        [("size", int(size))].into_iter().chain(floats).collect()
    };
    if towers == 1 {
        return Subgraph::one(Form::Maps, "LRN", attributes());
    }
    let parts = |name: &str| (0..towers).map(|tower| format!("{name}.{tower}")).collect::<Vec<_>>();
    let (split, part) = (parts("split"), parts("part"));
    let subgraph = Subgraph::new(Form::Maps).then("Split", &[X.to_owned()], &split, vec![("axis", int(1))]);
    let each = split.iter().zip(&part);
    let subgraph = each.fold(subgraph, |subgraph, (from, to)| subgraph.then("LRN", &[from], &[to], attributes()));
    subgraph.then("Concat", &part, &[Y.to_owned()], vec![("axis", int(1))])
}

/// Elements of one map that a core carries through all maps: with their neighbours they stay in its cache.
const BLOCK: usize = 256;

fn forward<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let curve = Curve::new(shape.k, shape.alpha, shape.beta);
    let (x, y) = (args.read(), args.write());
    let columns = shape.pixels * shape.images;
    for_each_block(y, columns, |first, y| {
        for (i, y) in y.iter_mut().enumerate() {
            let map = |j: usize| &x[j * columns + first..];
            y.fill(curve.k);
            window(i, shape.size, shape.maps).for_each(|j| curve.square(y, map(j)));
            curve.scale(y, map(i));
        }
    });
}

fn backward<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let curve = Curve::new(shape.k, shape.alpha, shape.beta);
    let (x, dy, dx) = (args.read(), args.read(), args.write());
    let columns = shape.pixels * shape.images;
    for_each_block(dx, columns, |first, dx| {
        let map = |j: usize| j * columns + first..;
        let mut pulls = vec![T::zero(); shape.maps * BLOCK];
        for (i, (s, pull)) in dx.iter_mut().zip(pulls.chunks_mut(BLOCK)).enumerate() {
            s.fill(curve.k);
            window(i, shape.size, shape.maps).for_each(|j| curve.square(s, &x[map(j)]));
            curve.split(s, pull, &x[map(i)], &dy[map(i)]);
        }
        for (i, dx) in dx.iter_mut().enumerate() {
            holders(i, shape.size, shape.maps).for_each(|j| curve.pull(dx, &x[map(i)], &pulls[j * BLOCK..]));
            if shape.relu {
                rectify(dx, &x[map(i)]);
            }
        }
    });
}

/// Runs `body(first, parts)` on all cores: `parts` are elements `first..first + BLOCK` of every map of `columns`.
fn for_each_block<T: Real>(out: &mut [T], columns: usize, body: impl Fn(usize, &mut [&mut [T]]) + Sync) {
    use rayon::prelude::*;
    let mut blocks = super::product::column_blocks(out, columns, BLOCK);
    let arch = pulp::Arch::new();
    blocks.par_iter_mut().enumerate().for_each(|(i, parts)| arch.dispatch(|| body(i * BLOCK, parts)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, gradient_error, numbers, run};

    /// The formula of section 3.3, element by element.
    fn naive(shape: &Shape, x: &[f64]) -> Vec<f64> {
        let column = shape.pixels * shape.images;
        let y = |at: usize| {
            let (map, rest) = ((at / column) as isize, at % column);
            let first = map - (shape.size / 2) as isize;
            let inside = (first..first + shape.size as isize).filter(|j| (0..shape.maps as isize).contains(j));
            let sum: f64 = inside.map(|j| x[j as usize * column + rest].powi(2)).sum();
            x[at] / (f64::from(shape.k) + f64::from(shape.alpha) * sum).powf(f64::from(shape.beta))
        };
        (0..x.len()).map(y).collect()
    }

    const SHAPES: [Shape; 4] = [
        Shape { maps: 9, pixels: 3, images: 8, size: 5, k: 2.0, alpha: 0.2, beta: 0.75, relu: false },
        Shape { maps: 7, pixels: 1, images: 8, size: 4, k: 1.0, alpha: 0.5, beta: 0.6, relu: false },
        Shape { maps: 2, pixels: 2, images: 8, size: 5, k: 1.0, alpha: 0.5, beta: 0.75, relu: false },
        Shape { maps: 1, pixels: 40, images: 8, size: 3, k: 1.0, alpha: 0.5, beta: 1.0, relu: false },
    ];

    #[test]
    fn the_twin_is_the_formula_of_the_paper() {
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
        // s = 0 + 1 (9 + 16 + 144), clipped sums 25, 169 and 160; beta 1/2 makes them lengths.
        let shape = Shape { maps: 3, pixels: 1, images: 1, size: 3, k: 0.0, alpha: 1.0, beta: 0.5, relu: false };
        let y = run(&FORWARD, &shape.params(), &[&[3.0, 4.0, 12.0]]);
        assert_close(&y, &[3.0 / 5.0, 4.0 / 13.0, 12.0 / 160.0_f64.sqrt()], 1e-15);
        // 16^(3/4) = 8.
        let shape = Shape { maps: 1, pixels: 1, images: 1, size: 5, k: 7.0, alpha: 1.0, beta: 0.75, relu: false };
        assert_close(&run(&FORWARD, &shape.params(), &[&[3.0]]), &[3.0 / 8.0], 1e-15);
    }

    #[test]
    fn even_windows_reach_further_back() {
        let reach: Vec<_> = (0..4).map(|i| window(i, 4, 4)).collect();
        assert_eq!(reach, [0..2, 0..3, 0..4, 1..4]);
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
            assert_eq!(holders(i, 4, 4).contains(&j), window(j, 4, 4).contains(&i));
        }
    }
}
