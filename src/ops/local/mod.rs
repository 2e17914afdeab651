//! The untied local layer, `local`: a convolution whose filters differ from one output pixel to the next, and so do its
//! biases (cuda-convnet's `type=local`, layers-conv-local-13pct.cfg).
//!
//! Letters are cuDNN's: x `[C][H][W][N]`, w `[P][Q][C][R][S][K]`, b `[K][P][Q]`, y `[K][P][Q][N]`, a matrix of C·R·S
//! rows and K columns for every output pixel.

mod layer;

pub use self::layer::{KIND, Settings};
use super::activation::Activation;
use super::conv::extent;
use crate::kernel::{
    Args, Case, Fill, Kernel, Needs, Params, Variant, for_each_chunk, read, read_map, update, update_map, write_map,
};
use crate::params;
use crate::tensor::Real;
use crate::twin;

params! {
    /// One untied local layer: C·H·W maps, K filters a pixel, P·Q output pixels, R×S window, N images.
    pub struct Shape {
        /// C: channels of the input.
        maps: usize,
        /// H: rows of an input map.
        h: usize,
        /// W: columns of an input map.
        w: usize,
        /// N: images, a multiple of 8.
        n: usize,
        /// K: filters of each output pixel, which are the output maps.
        k: usize,
        /// P: rows of an output map.
        p: usize,
        /// Q: columns of an output map.
        q: usize,
        /// R: rows of the window.
        r: usize,
        /// S: columns of the window.
        s: usize,
        /// Pixels from one window to the next.
        stride: usize,
        /// Rows of zeros above, and columns of zeros to the left.
        pad: usize,
        /// Adds to what is there.
        accumulate: bool,
        /// Adds a bias for each output (forward only).
        bias: bool,
        /// [`Activation`] applied last (forward only).
        activation: usize,
    }
}

impl Shape {
    const fn window(&self) -> usize {
        self.maps * self.r * self.s
    }

    const fn pixels(&self) -> usize {
        self.p * self.q
    }

    const fn x_count(&self) -> usize {
        self.maps * self.h * self.w * self.n
    }

    const fn w_count(&self) -> usize {
        self.pixels() * self.window() * self.k
    }

    const fn y_count(&self) -> usize {
        self.k * self.pixels() * self.n
    }

    fn macs(&self) -> u64 {
        (self.w_count() * self.n) as u64
    }

    /// Input row of window row `r` of output row `p`, likewise for columns; `None` beyond the edge.
    fn inside(&self, p: usize, r: usize, extent: usize) -> Option<usize> {
        (p * self.stride + r).checked_sub(self.pad).filter(|&row| row < extent)
    }
}

/// Filters or maps that share what an invocation loads.
const TILE: usize = 8;

const SOURCES: &[&str] =
    &[include_str!("../../../shaders/common/activation.wgsl"), include_str!("../../../shaders/local.wgsl")];

/// A variant with [`TILE`] filters or maps an invocation, and one that any shape has.
const fn variants(entry: &'static str, items: [fn(&Params) -> usize; 2], fits: fn(&Params) -> bool) -> [Variant; 2] {
    let tiled = Variant {
        name: "tiled",
        tile: |_| vec![("workgroup", 64), ("tile", TILE)],
        needs: Needs { shapes: fits, ..Needs::NONE },
        ..Variant::linear(entry, SOURCES, items[0])
    };
    let plain = Variant { tile: |_| vec![("workgroup", 64), ("tile", 1)], ..Variant::linear(entry, SOURCES, items[1]) };
    [tiled.vectors(4), plain.vectors(4)]
}

/// y = f(x through the filters of each pixel + b), or f(y + …) where it accumulates.
pub static FORWARD: Kernel = Kernel {
    name: "local.forward",
    doc: "y[k][p][q][n] = f(sum over c, r, s of w[p][q][c][r][s][k] x[c][p·stride+r-pad][q·stride+s-pad][n] + b[k][p][q])",
    bindings: &[read_map("x"), read_map("w"), read("b"), update_map("y")],
    variants: &variants("forward", [|p| Shape::from(p).y_count() / TILE, |p| Shape::from(p).y_count()], |p| {
        Shape::from(p).k.is_multiple_of(TILE)
    }),
    twin: twin!(forward),
    cases: || {
        cases(|shape| {
            let weights = Fill::Normal(1.0 / (shape.window() as f32).sqrt());
            let (x, w) = ((shape.x_count(), Fill::Normal(1.0)), (shape.w_count(), weights));
            vec![x, w, (shape.k * shape.pixels(), Fill::Normal(1.0)), (shape.y_count(), Fill::Normal(1.0))]
        })
    },
    tolerance: 3e-6, // sums of some hundred products, as conv.forward
    flops: |p| 2 * Shape::from(p).macs(),
    ..Kernel::PLAIN
};

/// dx = gradient of the loss by the input.
pub static BACKWARD_INPUT: Kernel = Kernel {
    name: "local.backward_input",
    doc: "dx[c][h][w][n] = sum over k, r, s of w[p][q][c][r][s][k] dy[k][p][q][n], p·stride+r-pad = h, q·stride+s-pad = w",
    bindings: &[read_map("w"), read_map("dy"), write_map("dx")],
    variants: &variants("backward_input", [|p| Shape::from(p).x_count() / TILE, |p| Shape::from(p).x_count()], |p| {
        Shape::from(p).maps.is_multiple_of(TILE)
    }),
    twin: twin!(backward_input),
    cases: || {
        cases(|shape| {
            let weights = Fill::Normal(1.0 / ((shape.k * shape.r * shape.s) as f32).sqrt());
            vec![(shape.w_count(), weights), (shape.y_count(), Fill::Normal(1.0)), (shape.x_count(), Fill::Output)]
        })
    },
    tolerance: 3e-6, // as forward
    flops: |p| 2 * Shape::from(p).macs(),
    ..Kernel::PLAIN
};

/// dw = gradient of the loss by the filters, summed over the batch.
pub static BACKWARD_FILTER: Kernel = Kernel {
    name: "local.backward_filter",
    doc: "dw[p][q][c][r][s][k] = sum over n of x[c][p·stride+r-pad][q·stride+s-pad][n] dy[k][p][q][n]",
    bindings: &[read_map("x"), read_map("dy"), update("dw")],
    variants: &variants(
        "backward_filter",
        // Items are divided by the images that an invocation takes at once, of which it takes all here.
        [|p| 4 * Shape::from(p).w_count() / TILE, |p| 4 * Shape::from(p).w_count()],
        |p| Shape::from(p).k.is_multiple_of(TILE),
    ),
    twin: twin!(backward_filter),
    cases: || {
        cases(|shape| {
            let (x, dy) = ((shape.x_count(), Fill::Normal(1.0)), (shape.y_count(), Fill::Normal(1.0)));
            vec![x, dy, (shape.w_count(), Fill::Normal(1.0))]
        })
    },
    tolerance: 3e-6, // sums over the images
    flops: |p| 2 * Shape::from(p).macs(),
    ..Kernel::PLAIN
};

/// Shapes of the cases; every second one accumulates.
fn cases(buffers: fn(Shape) -> Vec<(usize, Fill)>) -> Vec<Case> {
    let shapes = [
        ("13 %, local3", [64, 6, 6, 32, 3, 1, 1, 8]),
        ("13 %, local4, images of a minibatch", [8, 6, 6, 32, 3, 1, 1, 128]),
        ("ragged", [5, 7, 6, 9, 3, 1, 1, 24]),
        ("stride over the window", [3, 11, 8, 8, 2, 3, 0, 8]),
        ("hangs over", [8, 10, 9, 16, 3, 4, 0, 8]),
        ("one pixel", [16, 1, 1, 8, 1, 1, 0, 8]),
        ("window as large as the map", [3, 4, 4, 5, 4, 1, 0, 16]),
    ];
    let case = |(index, (name, [maps, h, w, k, size, stride, pad, n])): (usize, (&str, [usize; 8]))| {
        let [p, q] = [h, w].map(|input| extent(input, size, stride, pad).unwrap_or(0));
        let (accumulate, activation) = (index % 2 == 1, index % 3);
        let shape =
            Shape { maps, h, w, n, k, p, q, r: size, s: size, stride, pad, accumulate, bias: index != 2, activation };
        Case::new(name, shape.params(), buffers(shape))
    };
    shapes.into_iter().enumerate().map(case).collect()
}

/// Calls `body` with every place of the window of output pixel (p, q) that lies in the maps: the row of its matrix, and
/// the pixel of x.
#[inline(always)]
fn each_place(shape: &Shape, pixel: usize, mut body: impl FnMut(usize, usize)) {
    for c in 0..shape.maps {
        for r in 0..shape.r {
            let Some(row) = shape.inside(pixel / shape.q, r, shape.h) else { continue };
            for s in 0..shape.s {
                if let Some(column) = shape.inside(pixel % shape.q, s, shape.w) {
                    body((c * shape.r + r) * shape.s + s, (c * shape.h + row) * shape.w + column);
                }
            }
        }
    }
}

fn forward<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (x, w, b, y) = (args.read(), args.read(), args.read(), args.write());
    let (n, pixels, window) = (shape.n, shape.pixels(), shape.window());
    let activation = Activation::numbered(shape.activation);
    // A chunk is an output map of one filter.
    for_each_chunk(y, pixels * n, |k, map| {
        let mut sums = vec![T::of(0.0); n];
        for (pixel, y) in map.chunks_exact_mut(n).enumerate() {
            sums.fill(T::of(0.0));
            each_place(&shape, pixel, |row, at| {
                let weight = w[(pixel * window + row) * shape.k + k];
                sums.iter_mut().zip(&x[at * n..]).for_each(|(sum, &x)| *sum += weight * x);
            });
            let bias = if shape.bias { b[k * pixels + pixel] } else { T::of(0.0) };
            for (y, &sum) in y.iter_mut().zip(&sums) {
                let before = if shape.accumulate { *y } else { T::of(0.0) };
                *y = activation.apply(sum + bias + before);
            }
        }
    });
}

fn backward_input<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (w, dy, dx) = (args.read(), args.read(), args.write());
    let (n, pixels, window, area) = (shape.n, shape.pixels(), shape.window(), shape.r * shape.s);
    // A chunk is an input map.
    for_each_chunk(dx, shape.h * shape.w * n, |c, map| {
        map.fill(T::of(0.0));
        for pixel in 0..pixels {
            for place in 0..area {
                let (row, column) = (place / shape.s, place % shape.s);
                let row = shape.inside(pixel / shape.q, row, shape.h);
                let column = shape.inside(pixel % shape.q, column, shape.w);
                let Some((row, column)) = row.zip(column) else { continue };
                let dx = &mut map[(row * shape.w + column) * n..][..n];
                let weights = &w[(pixel * window + c * area + place) * shape.k..][..shape.k];
                for (k, &weight) in weights.iter().enumerate() {
                    dx.iter_mut().zip(&dy[(k * pixels + pixel) * n..]).for_each(|(dx, &dy)| *dx += weight * dy);
                }
            }
        }
    });
}

fn backward_filter<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (x, dy, dw) = (args.read(), args.read(), args.write());
    let (n, pixels) = (shape.n, shape.pixels());
    // A chunk is the matrix of one output pixel.
    for_each_chunk(dw, shape.window() * shape.k, |pixel, matrix| {
        if !shape.accumulate {
            matrix.fill(T::of(0.0));
        }
        each_place(&shape, pixel, |row, at| {
            let x = &x[at * n..][..n];
            for (k, dw) in matrix[row * shape.k..][..shape.k].iter_mut().enumerate() {
                let dy = &dy[(k * pixels + pixel) * n..][..n];
                // As many sums side by side as images divide by.
                let mut sums = [T::of(0.0); 8];
                for (x, dy) in x.chunks_exact(8).zip(dy.chunks_exact(8)) {
                    (0..8).for_each(|lane| sums[lane] += x[lane] * dy[lane]);
                }
                *dw = sums.into_iter().fold(*dw, |total, sum| total + sum);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;
    use crate::ops::testing::{assert_close, numbers};

    /// Where all pixels have the same filters, it is a convolution.
    #[test]
    fn tied_filters_are_a_convolution() {
        let (maps, side, k, size, pad, n) = (3, 5, 4, 3, 1, 8);
        let local = Shape {
            maps,
            h: side,
            w: side,
            n,
            k,
            p: side,
            q: side,
            r: size,
            s: size,
            stride: 1,
            pad,
            accumulate: false,
            bias: false,
            activation: 0,
        };
        let conv = crate::ops::conv::Conv {
            h: side,
            w: side,
            p: side,
            q: side,
            r: size,
            s: size,
            pad_y: pad,
            pad_x: pad,
            ..crate::ops::conv::Conv::dense(maps, k, n)
        };
        let (x, filters) = (numbers(local.x_count(), 1), numbers(local.window() * k, 2));
        let b = vec![0.0; k * local.pixels()];
        let run = |kernel: &Kernel, params: &Params, w: &[f64]| {
            let mut y = vec![0.0; local.y_count()];
            (kernel.twin.f64)(Args::new(params, vec![Arg::Read(&x), Arg::Read(w), Arg::Read(&b), Arg::Write(&mut y)]));
            y
        };
        let untied = run(&FORWARD, &local.params(), &filters.repeat(local.pixels()));
        assert_close(&untied, &run(&crate::ops::conv::FORWARD, &conv.params(), &filters), 1e-12);
    }
}
