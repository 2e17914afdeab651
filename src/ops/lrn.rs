//! Local response normalisation across maps, section 3.3 of the paper: neighbouring maps compete for large responses.
//!
//! y_i = x_i s_i^-beta with s_i = k + alpha Σ x_j², the sum over the `size` maps around i that exist in this tower.
//!
//! There are two alphas. The paper's formula multiplies the sum by alpha = 1e-4. The released code divides its scale,
//! 1e-4 too, by the size of the window first, so what multiplies its sum is 2e-5. The kernels take what multiplies the
//! sum; who records them decides. The paper's other numbers are k = 2, size = 5, beta = 0.75.

use std::ops::Range;

use crate::kernel::{Args, Case, Fill, Kernel, Params, Variant, read_map, write_map};
use crate::ops::layer::{Layer, Maps, Saved, Site, map_slot, only};
use crate::program::{Recorder, Slot};
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

/// y_i = x_i (k + alpha Σ x_j²)^-beta.
pub static FORWARD: Kernel = Kernel {
    name: "lrn.forward",
    doc: "y_i = x_i (k + alpha sum of x_j^2)^-beta, j in the window of maps around i; [C][H][W][N]",
    bindings: &[read_map("x"), write_map("y")],
    variants: &[Variant::linear("forward", SOURCES, columns).vectors(4)],
    twin: twin!(forward),
    cases: || cases(|n| vec![(n, Fill::Normal(3.0)), (n, Fill::Output)]),
    tolerance: 5e-6, // a sum of positive terms, then roots of two ulp each; pow is exp2(beta log2 s), a little worse
    split: None,
    flops: |p| Shape::from(p).elements() as u64 * (2 * Shape::from(p).size as u64 + 5),
};

/// The gradient of [`FORWARD`], which recomputes the sums: reading them back would cost more than taking them.
pub static BACKWARD: Kernel = Kernel {
    name: "lrn.backward",
    doc: "dx_i = dy_i s_i^-beta - 2 alpha beta x_i sum of dy_j x_j s_j^(-beta-1), i in the window of j; [C][H][W][N]",
    bindings: &[read_map("x"), read_map("dy"), write_map("dx")],
    variants: &[Variant::linear("backward", SOURCES, columns).vectors(4)],
    twin: twin!(backward),
    cases: || cases(|n| vec![(n, Fill::Normal(3.0)), (n, Fill::Normal(1.0)), (n, Fill::Output)]),
    tolerance: 5e-6, // as forward; the difference of the two terms can lose a bit, but not against the rms
    split: None,
    flops: |p| Shape::from(p).elements() as u64 * (3 * Shape::from(p).size as u64 + 11),
};

fn cases(buffers: fn(usize) -> Vec<(usize, Fill)>) -> Vec<Case> {
    let case = |(name, [maps, pixels, images, size], [k, alpha, beta]): (&str, [usize; 4], [f32; 3])| {
        let shape = Shape { maps, pixels, images, size, k, alpha, beta };
        Case::new(name, shape.params(), buffers(shape.elements()))
    };
    [
        ("paper, conv1", [48, 55, 8, 5], [2.0, 1e-4, 0.75]),
        ("released code, conv2", [128, 27, 8, 5], [2.0, 2e-5, 0.75]),
        ("strong, ragged", [13, 21, 24, 5], [1.0, 0.3, 0.75]),
        ("another beta, even window", [9, 7, 8, 4], [1.5, 0.2, 0.6]),
        ("fewer maps than the window", [3, 5, 8, 9], [2.0, 0.1, 0.75]),
        ("one map", [1, 9, 24, 5], [2.0, 0.1, 0.75]),
        ("window of one", [5, 3, 8, 1], [2.0, 0.1, 1.0]),
    ]
    .map(case)
    .into()
}

/// Where a normalisation's window around `i` reaches, clipped to the extent; the same maps or pixels in WGSL.
#[inline(always)]
pub(super) fn window(i: usize, size: usize, extent: usize) -> Range<usize> {
    i.saturating_sub(size / 2)..(i + size - size / 2).min(extent)
}

/// Those whose window holds `i`; for odd sizes the same as [`window`].
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

/// Normalisation across the maps of one tower's maps.
#[derive(Clone, Debug, PartialEq)]
pub struct LrnLayer {
    /// Maps that are summed over.
    pub size: usize,
    /// Added to the sum; above 0.
    pub k: f32,
    /// Multiplies the sum.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
}

impl LrnLayer {
    fn shape(&self, site: &Site, maps: Maps) -> Shape {
        let Self { size, k, alpha, beta } = *self;
        Shape { maps: maps.maps, pixels: maps.pixels(), images: site.images, size, k, alpha, beta }
    }
}

impl Layer for LrnLayer {
    fn describe(&self) -> String {
        format!("lrn over {} maps, k {}, alpha {}, beta {}", self.size, self.k, self.alpha, self.beta)
    }

    fn output(&self, x: &[Maps]) -> Result<Maps, String> {
        only(x)
    }

    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Maps)], _: &[Slot], y: Maps, _: bool) -> Slot {
        let out = map_slot(r, site, "y", y);
        r.run(&FORWARD, self.shape(site, y).params(), &[x[0].0, out]);
        out
    }

    fn cheap(&self) -> bool {
        true
    }

    fn backward_input(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot, _: usize) -> Slot {
        let dx = map_slot(r, site, "dx", saved.y.1);
        r.run(&BACKWARD, self.shape(site, saved.y.1).params(), &[saved.x[0].0, dz, dx]);
        dx
    }
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
        }
    });
}

/// Runs `body(first, parts)` on all cores: `parts` are elements `first..first + BLOCK` of every map of `columns`.
fn for_each_block<T: Real>(out: &mut [T], columns: usize, body: impl Fn(usize, &mut [&mut [T]]) + Sync) {
    use rayon::prelude::*;
    let mut blocks: Vec<Vec<&mut [T]>> = Vec::new();
    blocks.resize_with(columns.div_ceil(BLOCK), Vec::new);
    for map in out.chunks_mut(columns) {
        blocks.iter_mut().zip(map.chunks_mut(BLOCK)).for_each(|(block, part)| block.push(part));
    }
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
        Shape { maps: 9, pixels: 3, images: 8, size: 5, k: 2.0, alpha: 0.2, beta: 0.75 },
        Shape { maps: 7, pixels: 1, images: 8, size: 4, k: 1.0, alpha: 0.5, beta: 0.6 },
        Shape { maps: 2, pixels: 2, images: 8, size: 5, k: 1.0, alpha: 0.5, beta: 0.75 },
        Shape { maps: 1, pixels: 40, images: 8, size: 3, k: 1.0, alpha: 0.5, beta: 1.0 },
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
        let shape = Shape { maps: 3, pixels: 1, images: 1, size: 3, k: 0.0, alpha: 1.0, beta: 0.5 };
        let y = run(&FORWARD, &shape.params(), &[&[3.0, 4.0, 12.0]]);
        assert_close(&y, &[3.0 / 5.0, 4.0 / 13.0, 12.0 / 160.0_f64.sqrt()], 1e-15);
        // 16^(3/4) = 8.
        let shape = Shape { maps: 1, pixels: 1, images: 1, size: 5, k: 7.0, alpha: 1.0, beta: 0.75 };
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
