//! Pooling: the maximum or average over windows that may overlap, section 3.4 of the paper (size 3, stride 2).
//!
//! Windows hang over the right and lower edge until every pixel is covered; what lies outside does not count.

mod layer;
pub mod window;

pub use self::layer::{AVERAGE_KIND, MAX_KIND, PoolKind, PoolLayer, Settings};

use std::ops::Range;

use crate::kernel::{Arg, Args, Case, Fill, Kernel, Params, Variant, for_each_chunk, read_map, write_map};
use crate::ops::activation::rectify;
use crate::tensor::Real;
use crate::{params, twin};

/// Windows along one axis: 1 + ceil((extent + 2 pad - size) / stride), as in the released code (55 -> 27 -> 13 -> 6).
///
/// A last window that would begin at or beyond extent + pad, where it would see nothing, does not exist: Caffe drops
/// it when there is padding, the released code needs no such rule as it has none and keeps stride <= size. With
/// pad < size, which callers ensure, every window then holds at least one pixel.
pub fn pooled(extent: usize, size: usize, stride: usize, pad: usize) -> usize {
    let last = (extent + 2 * pad).saturating_sub(size).div_ceil(stride);
    if last > 0 && last * stride >= extent + pad { last } else { last + 1 }
}

params! {
    /// Pooling of each map: x is `[channels][height][width][images]`, y `[channels][out_height][out_width][images]`.
    pub struct Shape {
        /// Maps of the tower.
        maps: usize,
        /// Rows of an input map.
        height: usize,
        /// Columns of an input map.
        width: usize,
        /// Rows of an output map: [`pooled`].
        out_height: usize,
        /// Columns of an output map: [`pooled`].
        out_width: usize,
        /// Images, a multiple of 8.
        images: usize,
        /// Rows and columns of a window.
        size: usize,
        /// Pixels from one window to the next.
        stride: usize,
        /// Rows and columns by which the first window begins outside, less than `size`.
        pad: usize,
        /// Whether a ReLU made x, through which the gradient goes as well (gradient of the maximum only).
        relu: bool,
    }
}

impl Shape {
    /// Square windows over maps of height and width `extent`.
    pub fn new(maps: usize, extent: [usize; 2], images: usize, size: usize, stride: usize, pad: usize) -> Self {
        let [height, width] = extent;
        let [out_height, out_width] = extent.map(|extent| pooled(extent, size, stride, pad));
        Self { maps, height, width, out_height, out_width, images, size, stride, pad, relu: false }
    }

    /// Elements of a map before and after pooling.
    fn extents(&self) -> (usize, usize) {
        (self.height * self.width * self.images, self.out_height * self.out_width * self.images)
    }

    fn inputs(&self) -> usize {
        self.maps * self.extents().0
    }

    fn outputs(&self) -> usize {
        self.maps * self.extents().1
    }
}

const SOURCES: &[&str] = &[include_str!("../../../shaders/pool.wgsl")];

/// A variant whose invocations take four images of an item.
const fn variant(entry: &'static str, items: fn(&Params) -> usize) -> Variant {
    Variant::linear(entry, SOURCES, items).vectors(4)
}

/// Blocks of stride x stride pixels, the first of which begins with the padding, of all maps and images.
fn blocks(params: &Params) -> usize {
    let shape = Shape::from(params);
    let along = |extent: usize| (extent + shape.pad).div_ceil(shape.stride);
    shape.maps * along(shape.height) * along(shape.width) * shape.images
}

/// Pixels of the output, of all maps and images.
fn outputs(params: &Params) -> usize {
    Shape::from(params).outputs()
}

/// One operation for every pixel of every window; windows that hang over the edge are counted whole.
fn flops(params: &Params) -> u64 {
    let shape = Shape::from(params);
    (shape.outputs() * shape.size * shape.size) as u64
}

/// Common part of the kernels from x to y: exact where nothing is computed.
const POOL: Kernel = Kernel {
    bindings: &[read_map("x"), write_map("y")],
    cases: || cases(|shape, x| vec![(shape.inputs(), x), (shape.outputs(), Fill::Output)]),
    flops,
    ..Kernel::PLAIN
};

/// y = the largest x of the window; NaN where it holds one.
pub static MAX_FORWARD: Kernel = Kernel {
    name: "pool.max_forward",
    doc: "y = max of x over size x size windows, stride apart; [C][H][W][N] -> [C][P][Q][N]",
    variants: &[variant("max_forward", outputs)],
    twin: twin!(max_forward),
    ..POOL
};

/// dx = Σ dy over the windows whose maximum x is: every tied maximum gets the full gradient, as in the released code.
pub static MAX_BACKWARD: Kernel = Kernel {
    name: "pool.max_backward",
    doc: "dx = sum of dy over the windows with y = x (relu: 0 where x <= 0); [C][P][Q][N] -> [C][H][W][N]",
    bindings: &[read_map("x"), read_map("y_saved"), read_map("dy"), write_map("dx")],
    variants: &[variant("max_backward", blocks)],
    twin: twin!(max_backward),
    cases: max_backward_cases,
    tolerance: 1e-6, // a sum of ceil(size / stride)² terms
    ..POOL
};

/// y = the mean of the window's pixels that lie in the map.
pub static AVERAGE_FORWARD: Kernel = Kernel {
    name: "pool.average_forward",
    doc: "y = mean of x over the pixels of size x size windows, stride apart; [C][H][W][N] -> [C][P][Q][N]",
    variants: &[variant("average_forward", outputs)],
    twin: twin!(average_forward),
    tolerance: 1e-6, // a sum of size² terms and a division
    ..POOL
};

/// dx = Σ dy / (pixels of the window that lie in the map), over the windows that hold the pixel.
pub static AVERAGE_BACKWARD: Kernel = Kernel {
    name: "pool.average_backward",
    doc: "dx = sum of dy / count over the windows of a pixel; [C][P][Q][N] -> [C][H][W][N]",
    bindings: &[read_map("dy"), write_map("dx")],
    variants: &[variant("average_backward", blocks)],
    twin: twin!(average_backward),
    cases: || cases(|shape, dy| vec![(shape.outputs(), dy), (shape.inputs(), Fill::Output)]),
    tolerance: 1e-6, // a sum of ceil(size / stride)² quotients
    ..POOL
};

/// Shapes of the cases, and what fills the tensor that is pooled: small integers tie.
fn shapes() -> [(&'static str, Shape, Fill); 10] {
    let normal = Fill::Normal(1.0);
    [
        ("pool1", Shape::new(4, [55, 55], 8, 3, 2, 0), normal.clone()),
        ("pool2, ties", Shape::new(5, [27, 27], 8, 3, 2, 0), Fill::Integers(3)),
        ("pool5", Shape::new(7, [13, 13], 24, 3, 2, 0), normal.clone()),
        ("not overlapping, hanging over", Shape::new(3, [55, 13], 8, 2, 2, 0), normal.clone()),
        ("constant", Shape::new(3, [7, 6], 24, 3, 2, 0), Fill::Integers(0)),
        ("stride above size", Shape::new(3, [11, 8], 8, 2, 3, 0), Fill::Integers(2)),
        ("stride 1, padded, ties", Shape::new(3, [9, 5], 8, 3, 1, 1), Fill::Integers(2)),
        ("last window dropped", Shape::new(3, [7, 10], 24, 3, 3, 2), normal.clone()),
        ("map smaller than the window", Shape::new(3, [2, 4], 8, 5, 2, 1), normal.clone()),
        ("one pixel", Shape::new(3, [1, 1], 8, 3, 2, 0), normal),
    ]
}

fn cases(buffers: fn(Shape, Fill) -> Vec<(usize, Fill)>) -> Vec<Case> {
    shapes().map(|(name, shape, fill)| Case::new(name, shape.params(), buffers(shape, fill))).into()
}

/// x is made of integers and y are its true maxima: random numbers would hardly ever equal.
fn max_backward_cases() -> Vec<Case> {
    let case = |(name, shape, fill): (String, Shape, Fill)| {
        let most = if let Fill::Integers(most) = fill { most } else { 1000 };
        let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) as u32 % (most + 1);
        let x: Vec<f32> = (0..shape.inputs()).map(|i| value(i) as f32).collect();
        let mut y = vec![0.0; shape.outputs()];
        max_forward(Args::new(&shape.params(), vec![Arg::Read(&x), Arg::Write(&mut y)]));
        let dy = (shape.outputs(), Fill::Normal(1.0));
        let buffers = vec![(x.len(), Fill::Floats(x)), (y.len(), Fill::Floats(y)), dy, (shape.inputs(), Fill::Output)];
        Case::new(name, shape.params(), buffers)
    };
    // Integers from 0 on: of those that tie some are 0.
    let ties = shapes().into_iter().filter(|(_, _, fill)| matches!(fill, Fill::Integers(2..)));
    let behind =
        ties.map(|(name, shape, fill)| (format!("{name}, behind a ReLU"), Shape { relu: true, ..shape }, fill));
    shapes().into_iter().map(|(name, shape, fill)| (name.to_owned(), shape, fill)).chain(behind).map(case).collect()
}

/// The rows or columns of window `at` that lie in the map.
#[inline(always)]
fn span(at: usize, extent: usize, shape: &Shape) -> Range<usize> {
    let first = at * shape.stride;
    first.saturating_sub(shape.pad)..(first + shape.size - shape.pad).min(extent)
}

/// Calls `body(window, pixel, count)` for every window of a map and each of its `count` pixels: the elements of both.
#[inline(always)]
fn for_each_pixel(shape: &Shape, mut body: impl FnMut(Range<usize>, Range<usize>, usize)) {
    let n = shape.images;
    let elements = |at: usize| at * n..(at + 1) * n;
    for at in 0..shape.out_height * shape.out_width {
        let rows = span(at / shape.out_width, shape.height, shape);
        let columns = span(at % shape.out_width, shape.width, shape);
        for row in rows.clone() {
            for column in columns.clone() {
                body(elements(at), elements(row * shape.width + column), rows.len() * columns.len());
            }
        }
    }
}

/// best = the larger of it and x, or NaN where one is.
#[inline(always)]
fn raise<T: Real>(best: &mut [T], x: &[T]) {
    for (best, &x) in best.iter_mut().zip(x) {
        let keep = x <= *best || best.is_nan();
        *best = if keep { *best } else { x };
    }
}

fn max_forward<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (x, y) = (args.read(), args.write());
    let (map, out) = shape.extents();
    for_each_chunk(y, out, |i, y| {
        let x = &x[i * map..];
        y.fill(T::neg_infinity());
        for_each_pixel(&shape, |window, pixel, _| raise(&mut y[window], &x[pixel]));
    });
}

fn max_backward<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (x, y, dy, dx) = (args.read(), args.read(), args.read(), args.write());
    let (map, out) = shape.extents();
    for_each_chunk(dx, map, |i, dx| {
        let (x, y, dy) = (&x[i * map..], &y[i * out..], &dy[i * out..]);
        dx.fill(T::zero());
        for_each_pixel(&shape, |window, pixel, _| {
            let maxima = y[window.clone()].iter().zip(&dy[window]);
            for ((dx, &x), (&y, &dy)) in dx[pixel.clone()].iter_mut().zip(&x[pixel]).zip(maxima) {
                *dx += if x == y { dy } else { T::zero() };
            }
        });
        if shape.relu {
            rectify(dx, x);
        }
    });
}

fn average_forward<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (x, y) = (args.read(), args.write());
    let (map, out) = shape.extents();
    for_each_chunk(y, out, |i, y| {
        let x = &x[i * map..];
        y.fill(T::zero());
        for_each_pixel(&shape, |window, pixel, count| {
            let share = T::one() / T::of(count as f64);
            y[window].iter_mut().zip(&x[pixel]).for_each(|(y, &x)| *y += x * share);
        });
    });
}

fn average_backward<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (dy, dx) = (args.read(), args.write());
    let (map, out) = shape.extents();
    for_each_chunk(dx, map, |i, dx| {
        let dy = &dy[i * out..];
        dx.fill(T::zero());
        for_each_pixel(&shape, |window, pixel, count| {
            let share = T::one() / T::of(count as f64);
            dx[pixel].iter_mut().zip(&dy[window]).for_each(|(dx, &dy)| *dx += dy * share);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, gradient_error, numbers, run_into};
    use proptest::prelude::*;

    /// The in-image rows or columns of every window, from the definition.
    fn windows(extent: usize, size: usize, stride: usize, pad: usize) -> Vec<Vec<usize>> {
        let mut found = Vec::new();
        for start in (-(pad as isize)..).step_by(stride) {
            let pixels = (start..start + size as isize).filter(|p| (0..extent as isize).contains(p));
            found.push(pixels.map(|p| p as usize).collect());
            let next = start + stride as isize;
            if start + size as isize >= (extent + pad) as isize || next >= extent as isize {
                break;
            }
        }
        found
    }

    /// `fold` over the pixels of every window.
    fn naive(shape: &Shape, x: &[f64], fold: fn(&[f64]) -> f64) -> Vec<f64> {
        let rows = windows(shape.height, shape.size, shape.stride, shape.pad);
        let columns = windows(shape.width, shape.size, shape.stride, shape.pad);
        let mut y = Vec::new();
        for map in 0..shape.maps {
            for (rows, columns) in rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c))) {
                for image in 0..shape.images {
                    let at = |r, c| ((map * shape.height + r) * shape.width + c) * shape.images + image;
                    let pixels = rows.iter().flat_map(|&r| columns.iter().map(move |&c| x[at(r, c)]));
                    y.push(fold(&pixels.collect::<Vec<_>>()));
                }
            }
        }
        y
    }

    fn max(pixels: &[f64]) -> f64 {
        pixels.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    fn mean(pixels: &[f64]) -> f64 {
        pixels.iter().sum::<f64>() / pixels.len() as f64
    }

    fn max_gradient(shape: &Shape, x: &[f64], dy: &[f64]) -> Vec<f64> {
        let y = run_into(&MAX_FORWARD, &shape.params(), &[x], shape.outputs());
        run_into(&MAX_BACKWARD, &shape.params(), &[x, &y, dy], x.len())
    }

    /// Extent, size, stride and pad < size.
    fn axis() -> impl Strategy<Value = (usize, usize, usize, usize)> {
        (1..24_usize, 1..6_usize, 1..6_usize).prop_flat_map(|(e, z, s)| (Just(e), Just(z), Just(s), 0..z))
    }

    proptest! {
        #[test]
        fn pooled_counts_the_windows((extent, size, stride, pad) in axis()) {
            let windows = windows(extent, size, stride, pad);
            prop_assert_eq!(pooled(extent, size, stride, pad), windows.len());
            prop_assert!(windows.iter().all(|pixels| !pixels.is_empty()));
            for p in 0..extent {
                // Only strides above the size leave gaps.
                let covered = windows.iter().any(|pixels| pixels.contains(&p));
                prop_assert_eq!(covered, (p + pad) % stride < size, "pixel {}", p);
            }
        }

        #[test]
        fn the_twins_are_the_definition((height, size, stride, pad) in axis(), width in 1..9_usize, maps in 1..3_usize) {
            let shape = Shape::new(maps, [height, width], 8, size, stride, pad);
            let x = numbers(shape.inputs(), 0);
            let forward = |kernel| run_into(kernel, &shape.params(), &[&x], shape.outputs());
            prop_assert_eq!(forward(&MAX_FORWARD), naive(&shape, &x, max));
            assert_close(&forward(&AVERAGE_FORWARD), &naive(&shape, &x, mean), 1e-13);
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        for (size, stride, pad) in [(3, 2, 0), (2, 2, 0), (2, 3, 0), (3, 1, 1), (4, 3, 2)] {
            let shape = Shape::new(2, [7, 4], 8, size, stride, pad);
            // No two pixels are as near as the step of the differences.
            let x: Vec<f64> = (0..shape.inputs()).map(|i| (i * 389 % 977) as f64 / 100.0).collect();
            let dy = numbers(shape.outputs(), 1);
            let error = gradient_error(&x, &dy, &max_gradient(&shape, &x, &dy), |x| naive(&shape, x, max));
            assert!(error < 1e-6, "maximum, {shape:?}: {error:.1e}");
            let dx = run_into(&AVERAGE_BACKWARD, &shape.params(), &[&dy], shape.inputs());
            let error = gradient_error(&x, &dy, &dx, |x| naive(&shape, x, mean));
            assert!(error < 1e-6, "average, {shape:?}: {error:.1e}");
        }
    }

    #[test]
    fn sizes_are_those_of_the_paper() {
        assert_eq!([55, 27, 13].map(|extent| pooled(extent, 3, 2, 0)), [27, 13, 6]);
        // The network with windows that do not overlap: 55 -> 28, 26 -> 13 -> ... -> 11 -> 6.
        assert_eq!([55, 26, 11].map(|extent| pooled(extent, 2, 2, 0)), [28, 13, 6]);
        // Caffe drops the third window of a padded axis that would begin in the padding.
        assert_eq!(pooled(4, 2, 2, 1), 3);
        assert_eq!(pooled(3, 2, 2, 1), 2);
    }

    #[test]
    fn every_tied_maximum_gets_the_full_gradient() {
        let shape = Shape::new(1, [1, 5], 1, 3, 2, 0);
        // Windows 5 5 1 and 1 5 2: both 5s of the first, the 5 of the second.
        assert_eq!(max_gradient(&shape, &[5.0, 5.0, 1.0, 5.0, 2.0], &[10.0, 1.0]), [10.0, 10.0, 0.0, 1.0, 0.0]);
        // A 5 that both windows share gets both gradients.
        assert_eq!(max_gradient(&shape, &[5.0, 1.0, 5.0, 4.0, 5.0], &[10.0, 1.0]), [10.0, 0.0, 11.0, 0.0, 1.0]);
    }

    #[test]
    fn a_nan_passes_through_the_maximum() {
        for place in 0..9 {
            let mut x = [1.0; 9];
            x[place] = f64::NAN;
            assert!(run_into(&MAX_FORWARD, &Shape::new(1, [3, 3], 1, 3, 2, 0).params(), &[&x], 1)[0].is_nan());
        }
    }
}
