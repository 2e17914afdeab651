//! The CPU engine's convolutions: blocks of pixels are gathered into a small matrix, one row a map under one element of
//! the window, and multiplied on all cores. Blocks depend on the shape alone, so results do not depend on the cores.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::twins::{above, inside};
use super::{Conv, dense};
use crate::kernel::Args;
use crate::ops::activation::Activation;
use crate::ops::product::{ARCH, Columns, DEPTH, Packed, Panels, Rows, column_blocks, copy, multiply, panel_width};

/// Columns gathered at once, at least those of one pixel: with `DEPTH` rows, and what they are gathered from, they stay
/// in a core's second cache.
const COLUMNS: usize = 128;
/// Sums that one core keeps at once, at least those of the columns gathered at once: the more of them, the longer what
/// is gathered from and the weights stay in its second cache.
const SUMS: usize = 1 << 15;
/// Times that columns are gathered for the sums that one core keeps, at most: every core needs work.
const PARTS: usize = 8;
/// Rows of the gradient by filter that one core computes at once.
const FILTER_ROWS: usize = 48;
/// Blocks of pixels whose gradients are turned at once, for all rows of the gradient by filter.
const TURNED_BLOCKS: usize = 16;

pub(super) fn forward(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    if conv.is_dense() {
        return dense::forward(args);
    }
    let (x, w, b, y) = (args.read(), args.read(), args.read(), args.write());
    let weights = Packed::of_terms(Rows { values: w, stride: conv.k }, conv.k);
    let activation = Activation::numbered(conv.activation);
    contract(&Gather::under(&conv, x), &weights, y, args.stop, |k, _, y| {
        let bias = if conv.bias { b[k] } else { 0.0 };
        activation.finish(y, bias);
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
    let above = Gather::above(&sum, dy);
    let window = conv.r * conv.s;
    let terms: Vec<usize> = (0..above.rows).map(|row| row % window * conv.k + row / window).collect();
    let weights = Packed::of_rows(Rows { values: w, stride: above.rows }, conv.maps, &terms);
    contract(&above, &weights, dx, args.stop, |map, column, dx| end.apply(map, column, dx));
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

    /// Finishes a part of dx that begins at this row and column, along the row.
    pub(super) fn apply(&self, row: usize, column: usize, dx: &mut [f32]) {
        let begin = row * self.width + column;
        if let Some(before) = &self.before {
            dx.iter_mut().zip(&before[begin..]).for_each(|(dx, before)| *dx += before);
        }
        self.activation.gradients(dx, &self.x[begin..]);
    }
}

pub(super) fn backward_filter(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    if conv.is_dense() {
        return dense::backward_filter(args);
    }
    let (x, dy, dw) = (args.read(), args.read(), args.write());
    let under = Gather::under(&conv, x);
    let (count, block) = (conv.p * conv.q, pixels(&conv, DEPTH));
    let blocks: Vec<Range<usize>> = (0..count).step_by(block).map(|start| start..count.min(start + block)).collect();
    let mut turned: Vec<(Vec<Panels>, Places)> = Vec::new();
    for (first, blocks) in (0..).step_by(TURNED_BLOCKS).zip(blocks.chunks(TURNED_BLOCKS)) {
        // Gradients of these pixels, a panel's line one of a pixel and an image, and what the pixels see.
        turned.resize_with(blocks.len(), Default::default);
        turned.par_iter_mut().zip(blocks).for_each(|((panels, places), pixels)| {
            let columns = pixels.len() * conv.n;
            panels.resize_with(columns.div_ceil(DEPTH), Default::default);
            for (panels, start) in panels.iter_mut().zip((0..).step_by(DEPTH)) {
                let gradients = Rows { values: &dy[pixels.start * conv.n + start..], stride: count * conv.n };
                panels.lay_turned(gradients, conv.k, DEPTH.min(columns - start));
            }
            *places = under.places(pixels.clone(), columns);
        });
        let parts = dw.par_chunks_mut(FILTER_ROWS * conv.k).enumerate();
        parts.for_each_init(Vec::new, |scratch, (part, dw)| {
            let rows = part * FILTER_ROWS..part * FILTER_ROWS + dw.len() / conv.k;
            for (block, ((panels, places), pixels)) in turned.iter().zip(blocks).enumerate() {
                if args.stop.load(Ordering::Relaxed) {
                    return;
                }
                let columns = pixels.len() * conv.n;
                scratch.resize(rows.len() * columns, 0.0);
                under.gather(scratch, rows.clone(), places, columns, 0);
                let left = Rows { values: scratch, stride: columns };
                for (start, panels) in (0..).step_by(DEPTH).zip(panels) {
                    for (panel, k, count) in panels.iter() {
                        let out = Columns { values: &mut dw[k..], stride: conv.k, count };
                        multiply(
                            left.skip(start),
                            rows.len(),
                            panel,
                            out,
                            conv.accumulate || first + block + start > 0,
                        );
                    }
                }
            }
        });
    }
}

/// `out[map][pixel·n]` = Σ over rows of `weights[map][row]` · `gathered[row][pixel·n]`, added to what is there if the
/// convolution accumulates; then `finish` on every block of a map's columns, with the map and the first of them. Of
/// what is left once `stop` is raised nothing is done.
fn contract(
    gather: &Gather,
    weights: &Packed,
    out: &mut [f32],
    stop: &AtomicBool,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let (n, part, width) = (gather.conv.n, pixels(gather.conv, COLUMNS), panel_width());
    let count = gather.pixels();
    let maps = out.len() / (count * n);
    let block = part * (SUMS / (maps * part * n)).clamp(1, PARTS);
    let blocks = column_blocks(out, count * n, block * n).into_par_iter().enumerate();
    blocks.for_each_init(Default::default, |(panels, sums): &mut (Panels, Vec<f32>), (index, mut out)| {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let pixels = index * block..count.min((index + 1) * block);
        let parts: Vec<(Places, usize)> = (pixels.clone().step_by(part))
            .map(|first| {
                let pixels = first..pixels.end.min(first + part);
                (gather.places(pixels.clone(), width), pixels.len() * n)
            })
            .collect();
        // The sums of a panel's columns lie together, one line a map.
        let size = maps * (part * n).next_multiple_of(width);
        sums.resize(parts.len() * size, 0.0);
        if gather.conv.accumulate {
            for (map, out) in out.iter().enumerate() {
                for (out, sums) in out.chunks(part * n).zip(sums.chunks_exact_mut(size)) {
                    for (out, sums) in out.chunks(width).zip(sums.chunks_exact_mut(maps * width)) {
                        sums[map * width..][..out.len()].copy_from_slice(out);
                    }
                }
            }
        }
        for start in (0..gather.rows).step_by(DEPTH) {
            let rows = start..gather.rows.min(start + DEPTH);
            for ((places, columns), sums) in parts.iter().zip(sums.chunks_exact_mut(size)) {
                panels.resize(*columns, rows.len());
                let distance = panels.distance();
                gather.gather(panels.values_mut(), rows.clone(), places, width, distance);
                for ((panel, _, count), sums) in panels.iter().zip(sums.chunks_exact_mut(maps * width)) {
                    let out = Columns { values: sums, stride: width, count };
                    multiply(weights.behind(start), maps, panel, out, gather.conv.accumulate || start > 0);
                }
            }
        }
        for (map, out) in out.iter_mut().enumerate() {
            for (out, sums) in out.chunks_mut(part * n).zip(sums.chunks_exact(size)) {
                for (out, sums) in out.chunks_mut(width).zip(sums.chunks_exact(maps * width)) {
                    out.copy_from_slice(&sums[map * width..][..out.len()]);
                }
            }
            finish(map, index * block * n, out);
        }
    });
}

/// Pixels in a block of so many columns.
fn pixels(conv: &Conv, columns: usize) -> usize {
    (columns / conv.n).max(1)
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
    /// Height and width of the maps on the other side.
    others: (usize, usize),
    /// From coordinate, stride, element of the window, padding and extent to the coordinate it sees.
    sees: fn(usize, usize, usize, usize, usize) -> Option<usize>,
}

/// What the pixels of a block see through each element of the window, in pieces that are copied as they lie.
#[derive(Default)]
struct Places {
    pieces: Vec<Piece>,
    /// Where the pieces of an element of the window end.
    ends: Vec<usize>,
}

/// Neighbouring columns of a line.
struct Piece {
    /// Where they lie in a map; `None` beyond its edge.
    from: Option<usize>,
    count: usize,
    /// Panel they go to, and the first of its columns.
    panel: usize,
    column: usize,
}

impl<'a> Gather<'a> {
    /// The input under output pixels; rows in the order of the weights, `[C][R][S]`.
    fn under(conv: &'a Conv, x: &'a [f32]) -> Self {
        Self { conv, maps: x, extents: (conv.h, conv.w), rows: conv.rows(), others: (conv.p, conv.q), sees: inside }
    }

    /// The output's gradient above input pixels; rows in the order `[K][R][S]`.
    fn above(conv: &'a Conv, dy: &'a [f32]) -> Self {
        let rows = conv.r * conv.s * conv.k;
        Self { conv, maps: dy, extents: (conv.p, conv.q), rows, others: (conv.h, conv.w), sees: above }
    }

    /// Pixels on the other side.
    fn pixels(&self) -> usize {
        self.others.0 * self.others.1
    }

    /// What these pixels see, for panels of so many columns.
    fn places(&self, pixels: Range<usize>, width: usize) -> Places {
        let (conv, (height, length)) = (self.conv, self.extents);
        let line = |r, pixel| (self.sees)(pixel / self.others.1, conv.stride_y, r, conv.pad_y, height);
        let column = |s, pixel| (self.sees)(pixel % self.others.1, conv.stride_x, s, conv.pad_x, length);
        let lines: Vec<_> = (0..conv.r)
            .map(|r| pixels.clone().map(|pixel| Some(line(r, pixel)? * length * conv.n)).collect::<Vec<_>>())
            .collect();
        let columns: Vec<_> = (0..conv.s)
            .map(|s| pixels.clone().map(|pixel| Some(column(s, pixel)? * conv.n)).collect::<Vec<_>>())
            .collect();
        let mut places = Places { pieces: Vec::new(), ends: Vec::with_capacity(conv.r * conv.s) };
        for (lines, columns) in lines.iter().flat_map(|lines| columns.iter().map(move |columns| (lines, columns))) {
            let begin = places.pieces.len();
            let (mut panel, mut first) = (0, 0);
            for (line, column) in lines.iter().zip(columns) {
                let mut from = line.and_then(|line| Some(line + (*column)?));
                let mut images = conv.n;
                while images > 0 {
                    let count = images.min(width - first);
                    match places.pieces[begin..].last_mut() {
                        Some(last) if first > 0 && from == last.from.map(|from| from + last.count) => {
                            last.count += count;
                        }
                        _ => places.pieces.push(Piece { from, count, panel, column: first }),
                    }
                    from = from.map(|from| from + count);
                    (images, first) = (images - count, first + count);
                    if first == width {
                        (panel, first) = (panel + 1, 0);
                    }
                }
            }
            places.ends.push(places.pieces.len());
        }
        places
    }

    /// Copies some rows at the pixels of a block to `out`, zeros beyond the edge: `width` columns of a row side by
    /// side, the next ones begin `distance` behind them.
    fn gather(&self, out: &mut [f32], rows: Range<usize>, places: &Places, width: usize, distance: usize) {
        ARCH.dispatch(Lines { gather: self, out, rows, places, width, distance });
    }
}

/// Rows of the matrix on their way to `out`, as [`Gather::gather`] says.
struct Lines<'a> {
    gather: &'a Gather<'a>,
    out: &'a mut [f32],
    rows: Range<usize>,
    places: &'a Places,
    width: usize,
    distance: usize,
}

impl WithSimd for Lines<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { gather, out, rows, places, width, distance } = self;
        let plane = gather.extents.0 * gather.extents.1 * gather.conv.n;
        let window = places.ends.len();
        for (line, index) in rows.enumerate() {
            let (map, element) = (index / window, index % window);
            let map = &gather.maps[map * plane..][..plane];
            let begin = element.checked_sub(1).map_or(0, |before| places.ends[before]);
            for piece in &places.pieces[begin..places.ends[element]] {
                let images = &mut out[piece.panel * distance + line * width + piece.column..][..piece.count];
                match piece.from {
                    Some(from) => copy::<S>(&map[from..][..piece.count], images),
                    None => images.fill(0.0),
                }
            }
        }
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
