//! The CPU engine's convolutions: blocks of pixels are gathered into a small matrix, one row a map under one element of
//! the window, and multiplied on all cores. Blocks depend on the shape alone, so results do not depend on the cores.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::parallel::prelude::*;
use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};

use super::twins::{above, inside};
use super::{Conv, dense};
use crate::kernel::Args;
use crate::ops::activation::Activation;
use crate::ops::product::{DEPTH, matrix, matrix_mut, multiply};

/// Columns gathered at once, at least those of one pixel: with `DEPTH` rows they stay in a core's own cache.
const COLUMNS: usize = 256;
/// Rows of the gradient by filter that one core computes at once.
const FILTER_ROWS: usize = 96;

pub(super) fn forward(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    if conv.is_dense() {
        return dense::forward(args);
    }
    let (x, w, b, y) = (args.read(), args.read(), args.read(), args.write());
    let under = Gather::under(&conv, x);
    let weights = matrix(w, under.rows).reversed_axes();
    let activation = Activation::numbered(conv.activation);
    contract(&under, &weights, matrix_mut(y, conv.k), args.stop, |_, mut y| {
        for (k, mut y) in y.outer_iter_mut().enumerate() {
            let bias = if conv.bias { b[k] } else { 0.0 };
            y.mapv_inplace(|y| activation.apply(y + bias));
        }
    });
}

pub(super) fn backward_input(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    if conv.is_dense() {
        return dense::backward_input(args);
    }
    let (w, dy, x, dx) = (args.read(), args.read(), args.read(), args.write());
    let end = InputEnd::new(&conv, x, dx, conv.h * conv.w * conv.n);
    let sum = Conv { accumulate: false, ..conv };
    let (above, weights) = (Gather::above(&sum, dy), matrix(w, conv.maps));
    contract(&above, &weights, matrix_mut(dx, conv.maps), args.stop, |column, dx| end.apply([0, column], dx));
}

/// The end of a gradient by input, once the products are summed up: what was there before is added, and the whole goes
/// through the activation that made x.
pub(super) struct InputEnd<'a> {
    before: Option<Vec<f32>>,
    x: &'a [f32],
    activation: Activation,
    width: usize,
}

impl<'a> InputEnd<'a> {
    /// Keeps what is in dx, if that counts; dx is seen as a matrix of `width` columns.
    pub(super) fn new(conv: &Conv, x: &'a [f32], dx: &[f32], width: usize) -> Self {
        let before = conv.accumulate.then(|| dx.to_vec());
        Self { before, x, activation: Activation::numbered(conv.activation), width }
    }

    /// Finishes a block of dx that begins at this row and column.
    pub(super) fn apply(&self, [first, column]: [usize; 2], mut dx: ArrayViewMut2<f32>) {
        if self.before.is_none() && self.activation == Activation::Linear {
            return;
        }
        for (row, mut dx) in dx.outer_iter_mut().enumerate() {
            let begin = (first + row) * self.width + column;
            for (i, dx) in dx.iter_mut().enumerate() {
                let sum = self.before.as_ref().map_or(*dx, |before| *dx + before[begin + i]);
                *dx = self.activation.gradient(sum, self.x[begin + i]);
            }
        }
    }
}

pub(super) fn backward_filter(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    if conv.is_dense() {
        return dense::backward_filter(args);
    }
    let (x, dy, dw) = (args.read(), args.read(), args.write());
    let under = Gather::under(&conv, x);
    let (dy, mut dw) = (matrix(dy, conv.k), matrix_mut(dw, under.rows));
    let (count, block) = (conv.p * conv.q, pixels(&conv));
    let parts = dw.axis_chunks_iter_mut(Axis(0), FILTER_ROWS).into_par_iter().enumerate();
    parts.for_each_init(Vec::new, |scratch, (index, mut dw)| {
        let rows = index * FILTER_ROWS..index * FILTER_ROWS + dw.nrows();
        for start in (0..count).step_by(block) {
            if args.stop.load(Ordering::Relaxed) {
                return;
            }
            let pixels = start..count.min(start + block);
            let dy = dy.slice(s![.., pixels.start * conv.n..pixels.end * conv.n]);
            let x = under.gather(scratch, rows.clone(), &under.places(pixels));
            multiply(&x, &dy.reversed_axes(), conv.accumulate || start > 0, &mut dw);
        }
    });
}

/// `out[map][pixel·n]` = Σ over rows of `weights[map][row]` · `gathered[row][pixel·n]`, added to what is there if the
/// convolution accumulates; then `finish` on every block of columns, with the first of them. Of what is left once
/// `stop` is raised nothing is done.
fn contract(
    gather: &Gather,
    weights: &ArrayView2<f32>,
    mut out: ArrayViewMut2<f32>,
    stop: &AtomicBool,
    finish: impl Fn(usize, ArrayViewMut2<f32>) + Sync,
) {
    let (n, block) = (gather.conv.n, pixels(gather.conv));
    let parts = out.axis_chunks_iter_mut(Axis(1), block * n).into_par_iter().enumerate();
    parts.for_each_init(Vec::new, |scratch, (index, mut out)| {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let places = gather.places(index * block..index * block + out.ncols() / n);
        for start in (0..gather.rows).step_by(DEPTH) {
            let rows = start..gather.rows.min(start + DEPTH);
            let matrix = gather.gather(scratch, rows.clone(), &places);
            multiply(&weights.slice(s![.., rows]), &matrix, gather.conv.accumulate || start > 0, &mut out);
        }
        finish(index * block * n, out);
    });
}

/// Pixels in a block.
fn pixels(conv: &Conv) -> usize {
    (COLUMNS / conv.n).max(1)
}

/// Maps seen through the window from the pixels on its other side: a matrix with one row a map and element of the
/// window, one column a pixel and image.
struct Gather<'a> {
    conv: &'a Conv,
    maps: &'a [f32],
    /// Height and width of a map.
    extents: (usize, usize),
    /// Rows of the matrix, of all blocks together.
    rows: usize,
    /// Map, row and column of the window that make up a row of the matrix.
    row: fn(&Conv, usize) -> (usize, usize, usize),
    /// Width of the maps on the other side.
    width: usize,
    /// From coordinate, stride, element of the window, padding and extent to the coordinate it sees.
    sees: fn(usize, usize, usize, usize, usize) -> Option<usize>,
}

/// What the pixels of a block see: where lines begin, for every row of the window, and where in a line images begin,
/// for every column of the window.
struct Places {
    count: usize,
    lines: Vec<Option<usize>>,
    columns: Vec<Option<usize>>,
}

impl<'a> Gather<'a> {
    /// The input under output pixels; rows in the order of the weights, `[C][R][S]`.
    fn under(conv: &'a Conv, x: &'a [f32]) -> Self {
        let row = |conv: &Conv, index| (index / (conv.r * conv.s), index / conv.s % conv.r, index % conv.s);
        Self { conv, maps: x, extents: (conv.h, conv.w), rows: conv.rows(), row, width: conv.q, sees: inside }
    }

    /// The output's gradient above input pixels; rows in the order of one map's weights, `[R][S][K]`.
    fn above(conv: &'a Conv, dy: &'a [f32]) -> Self {
        let row = |conv: &Conv, index| (index % conv.k, index / (conv.s * conv.k), index / conv.k % conv.s);
        let rows = conv.r * conv.s * conv.k;
        Self { conv, maps: dy, extents: (conv.p, conv.q), rows, row, width: conv.w, sees: above }
    }

    fn places(&self, pixels: Range<usize>) -> Places {
        let (conv, (height, width)) = (self.conv, self.extents);
        let line = |r, pixel| (self.sees)(pixel / self.width, conv.stride_y, r, conv.pad_y, height);
        let column = |s, pixel| (self.sees)(pixel % self.width, conv.stride_x, s, conv.pad_x, width);
        let lines = (0..conv.r).flat_map(|r| pixels.clone().map(move |pixel| Some(line(r, pixel)? * width * conv.n)));
        let columns = (0..conv.s).flat_map(|s| pixels.clone().map(move |pixel| Some(column(s, pixel)? * conv.n)));
        Places { count: pixels.len(), lines: lines.collect(), columns: columns.collect() }
    }

    /// Some rows at the pixels of a block, zeros beyond the edge.
    fn gather<'s>(&self, scratch: &'s mut Vec<f32>, rows: Range<usize>, places: &Places) -> ArrayView2<'s, f32> {
        let (n, count) = (self.conv.n, rows.len());
        let plane = self.extents.0 * self.extents.1 * n;
        scratch.resize(count * places.count * n, 0.0);
        for (index, values) in rows.zip(scratch.chunks_exact_mut(places.count * n)) {
            let (map, r, s) = (self.row)(self.conv, index);
            let map = &self.maps[map * plane..][..plane];
            let (lines, columns) = (&places.lines[r * places.count..], &places.columns[s * places.count..]);
            let seen = |pixel: usize| Some(lines[pixel]? + columns[pixel]?);
            let mut pixel = 0;
            while pixel < places.count {
                // With the pixels behind it that see what lies behind it, or nothing as well: one copy for all of them.
                let from = seen(pixel);
                let follows = |other: &usize| seen(*other) == from.map(|from| from + (other - pixel) * n);
                let end = (pixel + 1..places.count).find(|other| !follows(other)).unwrap_or(places.count);
                let images = &mut values[pixel * n..end * n];
                match from {
                    Some(from) => images.copy_from_slice(&map[from..][..images.len()]),
                    None => images.fill(0.0),
                }
                pixel = end;
            }
        }
        matrix(scratch, count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::sync::atomic::AtomicBool;

    use super::super::cases::{backward_filter_of, backward_input_of, forward_of, square};
    use super::super::{BACKWARD_FILTER, BACKWARD_INPUT, Conv, FORWARD};
    use crate::backend::compare::{compare, program};
    use crate::backend::cpu::Cpu;
    use crate::kernel::{Arg, Args};

    /// The longest kernels of a step end as soon as their results are not wanted.
    #[test]
    fn nothing_is_computed_once_it_is_stopped() {
        let stop = AtomicBool::new(true);
        for conv in [square(3, 6, 4, 3, 1, 1, 8), Conv::dense(12, 4, 8)] {
            let [x, w, y] =
                [conv.maps * conv.h * conv.w * conv.n, conv.rows() * conv.k, conv.k * conv.p * conv.q * conv.n]
                    .map(|count| vec![1.0_f32; count]);
            let bias = vec![1.0; conv.k];
            let runs = [
                (&FORWARD, vec![&x, &w, &bias], y.len()),
                (&BACKWARD_INPUT, vec![&w, &y, &x], x.len()),
                (&BACKWARD_FILTER, vec![&x, &y], w.len()),
            ];
            for (kernel, inputs, count) in runs {
                let mut out = vec![-7.0; count];
                let mut buffers: Vec<Arg<f32>> = inputs.into_iter().map(|values| Arg::Read(values)).collect();
                buffers.push(Arg::Write(&mut out));
                (kernel.twin.f32)(Args::new(&conv.params(), buffers).unless(&stop));
                assert!(out.iter().all(|&out| out == -7.0), "{}", kernel.name);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Any shape, with many blocks or a part of one, against the twins of the tests.
        #[test]
        fn products_match_the_reference(
            c in 1_usize..40, size in 1_usize..12, k in 1_usize..20, window in 1_usize..6, stride in 1_usize..4,
            pad in 0_usize..3, images in 1_usize..5, accumulate: bool,
        ) {
            prop_assume!(window <= size + 2 * pad && pad < window);
            let mut conv = square(c, size, k, window, stride, pad, 8 * images);
            conv.accumulate = accumulate;
            let cases = [
                (&FORWARD, forward_of("any", &conv)),
                (&BACKWARD_INPUT, backward_input_of("any", &conv)),
                (&BACKWARD_FILTER, backward_filter_of("any", &conv)),
            ];
            for (kernel, case) in cases {
                let finding = compare(&mut Cpu::<f32>::new(program(kernel, &case, 0)), kernel, &case).unwrap();
                prop_assert!(finding.within(kernel.tolerance_of(&case.params)), "{kernel:?}: {finding}");
            }
        }
    }
}
