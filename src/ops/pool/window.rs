//! Pooling over any windows, as networks of other programs have it: oblong, dilated, padded by any number of pixels;
//! forward only. x is `[C][H][W][N]`, y `[C][P][Q][N]`; `y[c][p][q][n]` is the maximum or average of `x[c][h][w][n]`
//! over h = p·stride + r·dilation − pad (and w alike) for r over the rows of the window, where that lies in the map.

use super::raise;
use crate::kernel::{Args, Case, Fill, Kernel, Params, Variant, for_each_chunk, read, write};
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// Pooling of each map: x is `[channels][height][width][images]`, y `[channels][out_height][out_width][images]`.
    pub struct Window {
        /// C: maps of x and of y.
        maps: usize,
        /// Rows of an input map.
        height: usize,
        /// Columns of an input map.
        width: usize,
        /// Rows of an output map.
        out_height: usize,
        /// Columns of an output map.
        out_width: usize,
        /// Images, a multiple of 8.
        images: usize,
        /// Rows of a window.
        rows: usize,
        /// Columns of a window.
        columns: usize,
        /// Rows from one window to the next.
        stride_y: usize,
        /// Columns from one window to the next.
        stride_x: usize,
        /// Rows from one row of a window to the next.
        dilation_y: usize,
        /// Columns from one column of a window to the next.
        dilation_x: usize,
        /// Rows by which the first window begins outside.
        pad_y: usize,
        /// Columns by which the first window begins outside.
        pad_x: usize,
        /// The first row that an average counts, from the edge of the padding.
        low_y: usize,
        /// The first column that an average counts.
        low_x: usize,
        /// The row behind the last that an average counts.
        high_y: usize,
        /// The column behind the last that an average counts.
        high_x: usize,
    }
}

impl Window {
    /// Elements of a map before and after pooling.
    fn extents(&self) -> [usize; 2] {
        [self.height * self.width, self.out_height * self.out_width].map(|pixels| pixels * self.images)
    }

    /// Elements of all maps before and after.
    fn elements(&self) -> [usize; 2] {
        self.extents().map(|map| self.maps * map)
    }
}

/// A variant whose invocations take four images of an output.
const fn variant(entry: &'static str) -> Variant {
    Variant::linear(entry, &[include_str!("../../../shaders/pool_window.wgsl")], |p| Window::from(p).elements()[1])
        .vectors(4)
}

fn flops(params: &Params) -> u64 {
    let shape = Window::from(params);
    (shape.elements()[1] * shape.rows * shape.columns) as u64
}

/// Common part of both kernels: exact where nothing is computed.
const POOL: Kernel = Kernel { bindings: &[read("x"), write("y")], cases, flops, ..Kernel::PLAIN };

/// y = the largest x of the window, NaN where it holds one, -inf where it holds nothing.
pub static MAX: Kernel = Kernel {
    name: "pool.window_max",
    doc: "y = max of x over rows x columns windows with strides and dilations; [C][H][W][N] -> [C][P][Q][N]",
    variants: &[variant("window_max")],
    twin: twin!(max),
    cases: || [cases(), vec![endless()]].concat(),
    ..POOL
};

/// y = the sum of the window's pixels that lie in the map, over the number of those that count.
pub static AVERAGE: Kernel = Kernel {
    name: "pool.window_average",
    doc: "y = sum of x over windows with strides and dilations / pixels that count; [C][H][W][N] -> [C][P][Q][N]",
    variants: &[variant("window_average")],
    twin: twin!(average),
    tolerance: 3e-6, // a sum of as many terms as the window has, and a division
    ..POOL
};

fn cases() -> Vec<Case> {
    let square = Window {
        maps: 3,
        height: 7,
        width: 7,
        out_height: 3,
        out_width: 3,
        images: 8,
        rows: 3,
        columns: 3,
        stride_y: 2,
        stride_x: 2,
        dilation_y: 1,
        dilation_x: 1,
        pad_y: 0,
        pad_x: 0,
        low_y: 0,
        low_x: 0,
        high_y: 7,
        high_x: 7,
    };
    let oblong = Window { rows: 2, out_height: 7, stride_y: 1, pad_y: 1, low_y: 1, high_y: 8, images: 24, ..square };
    let dilated = Window { dilation_y: 3, dilation_x: 2, out_height: 1, out_width: 2, ..square };
    let whole = Window { rows: 7, columns: 7, out_height: 1, out_width: 1, ..square };
    let padding_counts = Window { pad_y: 2, pad_x: 2, out_height: 5, out_width: 5, high_y: 10, high_x: 11, ..square };
    let nothing = Window { pad_y: 4, low_y: 4, high_y: 11, out_height: 4, ..square };
    let shapes = [
        ("square", square),
        ("oblong", oblong),
        ("dilated", dilated),
        ("the whole map", whole),
        ("padding counts", padding_counts),
        ("a window with nothing in it", nothing),
    ];
    let case = |(name, shape): (&str, Window)| {
        let [inputs, outputs] = shape.elements();
        Case::new(name, shape.params(), vec![(inputs, Fill::Normal(1.0)), (outputs, Fill::Output)])
    };
    shapes.map(case).into()
}

/// A map with -inf, windows of nothing else, and a NaN.
fn endless() -> Case {
    let mut case = cases().remove(0);
    let x = (0..3 * 49 * 8).map(|i| match i {
        ..392 => f32::NEG_INFINITY,
        400 => f32::NAN,
        i => -((i % 7) as f32),
    });
    (case.name, case.buffers[0].1) = ("minus infinity".into(), Fill::Floats(x.collect()));
    case
}

/// Calls `body(output, pixel)` for every pixel of every window of a map: the first elements of both.
#[inline(always)]
fn for_each_pixel(shape: &Window, mut body: impl FnMut(usize, usize)) {
    let places = |at: usize, size: usize, stride: usize, dilation: usize, pad: usize, extent: usize| {
        (0..size).filter_map(move |i| (at * stride + i * dilation).checked_sub(pad).filter(|&place| place < extent))
    };
    for at in 0..shape.out_height * shape.out_width {
        let (p, q) = (at / shape.out_width, at % shape.out_width);
        for row in places(p, shape.rows, shape.stride_y, shape.dilation_y, shape.pad_y, shape.height) {
            for column in places(q, shape.columns, shape.stride_x, shape.dilation_x, shape.pad_x, shape.width) {
                body(at * shape.images, (row * shape.width + column) * shape.images);
            }
        }
    }
}

fn max<T: Real>(mut args: Args<T>) {
    let shape = Window::from(args.params);
    let (x, y) = (args.read(), args.write());
    let [map, out] = shape.extents();
    for_each_chunk(y, out, |i, y| {
        y.fill(T::neg_infinity());
        for_each_pixel(&shape, |output, pixel| {
            raise(&mut y[output..][..shape.images], &x[i * map + pixel..]);
        });
    });
}

fn average<T: Real>(mut args: Args<T>) {
    let shape = Window::from(args.params);
    let (x, y) = (args.read(), args.write());
    let [map, out] = shape.extents();
    let counted = |at: usize, size: usize, stride: usize, dilation: usize, low: usize, high: usize| {
        (0..size).filter(|i| (low..high).contains(&(at * stride + i * dilation))).count()
    };
    for_each_chunk(y, out, |i, y| {
        y.fill(T::zero());
        for_each_pixel(&shape, |output, pixel| {
            y[output..][..shape.images].iter_mut().zip(&x[i * map + pixel..]).for_each(|(y, &x)| *y += x);
        });
        for (at, y) in y.chunks_exact_mut(shape.images).enumerate() {
            let (p, q) = (at / shape.out_width, at % shape.out_width);
            let rows = counted(p, shape.rows, shape.stride_y, shape.dilation_y, shape.low_y, shape.high_y);
            let columns = counted(q, shape.columns, shape.stride_x, shape.dilation_x, shape.low_x, shape.high_x);
            let count = T::of((rows * columns).max(1) as f64);
            for y in y {
                *y = *y / count;
            }
        }
    });
}
