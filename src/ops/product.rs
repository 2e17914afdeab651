//! Products of matrices for the CPU engine, tile by tile in the registers of a core.
//!
//! The left operand lies as it is, in rows along the sum. The right one lies in panels: as many columns side by side as
//! fill two vectors, one line of them for each term of the sum. An element of the result is summed up from zero in the
//! order of its terms, whatever the tile and the processor's vectors.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

/// Terms that are summed up at once, from zero: so many lines of a panel stay in a core's first cache.
pub(super) const DEPTH: usize = 256;

/// Vectors in a line of a panel.
const VECTORS: usize = 2;
/// Elements between panels, and between lines that lie a power of two apart: caches have few places for these.
const SPACING: usize = 16;
/// Rows that are turned side by side.
const TURNED: usize = 8;

/// Vectors of this processor.
pub(super) static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);
static WIDTH: LazyLock<usize> = LazyLock::new(|| ARCH.dispatch(Width));

/// Columns of a panel on this processor.
pub(super) fn panel_width() -> usize {
    *WIDTH
}

struct Width;

impl WithSimd for Width {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        VECTORS * S::F32_LANES
    }
}

/// Rows of a matrix, `stride` elements from one to the next.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Elements from the first one that counts.
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

/// Some columns of a result, at most those of a panel.
pub(super) struct Columns<'a> {
    /// Elements from the first row and column that count.
    pub(super) values: &'a mut [f32],
    /// Elements from a row to the next.
    pub(super) stride: usize,
    pub(super) count: usize,
}

/// A matrix of `width` columns by blocks of them, each a part of every row.
pub(super) fn column_blocks<T>(matrix: &mut [T], width: usize, block: usize) -> Vec<Vec<&mut [T]>> {
    let mut blocks: Vec<Vec<&mut [T]>> = Vec::new();
    blocks.resize_with(width.div_ceil(block), Vec::new);
    for row in matrix.chunks_exact_mut(width) {
        blocks.iter_mut().zip(row.chunks_mut(block)).for_each(|(block, part)| block.push(part));
    }
    blocks
}

/// Left operand of a product.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// One line a row of the result.
    Rows(Rows<'a>),
    /// One line a term.
    Terms(Rows<'a>),
}

impl<'a> Left<'a> {
    /// The first `columns` numbers of every term, copied to `lines` so that these lie apart from each other by no power
    /// of two, for which caches have few places.
    pub(super) fn apart(terms: Rows, columns: usize, lines: &'a mut Vec<f32>) -> Self {
        let stride = columns + SPACING;
        lines.resize(terms.values.len().div_ceil(terms.stride) * stride, 0.0);
        for (line, term) in lines.chunks_exact_mut(stride).zip(terms.values.chunks(terms.stride)) {
            line[..columns].copy_from_slice(&term[..columns]);
        }
        Self::Terms(Rows { values: lines, stride })
    }

    /// The operand without its first `count` terms.
    pub(super) fn skip(self, count: usize) -> Self {
        match self {
            Self::Rows(Rows { values, stride }) => Self::Rows(Rows { values: &values[count..], stride }),
            Self::Terms(Rows { values, stride }) => Self::Terms(Rows { values: &values[count * stride..], stride }),
        }
    }
}

/// `out` = left·panel, or `out` + left·panel where it accumulates, for the first `rows` rows; on the calling thread.
pub(super) fn multiply(left: Left, rows: usize, panel: &[f32], out: Columns, accumulate: bool) {
    ARCH.dispatch(Product { left, rows, panel, out, accumulate });
}

struct Product<'a> {
    left: Left<'a>,
    rows: usize,
    panel: &'a [f32],
    out: Columns<'a>,
    accumulate: bool,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.out.count > S::F32_LANES { self.tiles::<S, VECTORS>(simd) } else { self.tiles::<S, 1>(simd) }
    }
}

impl Product<'_> {
    /// Tiles of as many rows as the registers hold sums of, or a little less: all of about the same height, since a low
    /// one would wait for its own sums.
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(mut self, simd: S) {
        let large = S::REGISTER_COUNT >= 32;
        let tiles = self.rows.div_ceil(if large { 12 } else { 6 });
        let mut row = 0;
        for tile in 0..tiles {
            let rows = (self.rows - row).div_ceil(tiles - tile);
            match rows {
                1 => self.tile::<S, V, 1>(simd, row),
                2 => self.tile::<S, V, 2>(simd, row),
                3 => self.tile::<S, V, 3>(simd, row),
                4 => self.tile::<S, V, 4>(simd, row),
                5 => self.tile::<S, V, 5>(simd, row),
                6 => self.tile::<S, V, 6>(simd, row),
                7 if large => self.tile::<S, V, 7>(simd, row),
                8 if large => self.tile::<S, V, 8>(simd, row),
                9 if large => self.tile::<S, V, 9>(simd, row),
                10 if large => self.tile::<S, V, 10>(simd, row),
                11 if large => self.tile::<S, V, 11>(simd, row),
                _ if large => self.tile::<S, V, 12>(simd, row),
                _ => unreachable!("{rows} rows of at most 6"),
            }
            row += rows;
        }
    }

    /// A tile of `R` rows by `V` vectors that begins at this row.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, row: usize) {
        let lines = S::as_simd_f32s(self.panel).0.as_chunks::<VECTORS>().0;
        let sums = match self.left {
            Left::Rows(Rows { values, stride }) => {
                let left: [&[f32]; R] = std::array::from_fn(|i| &values[(row + i) * stride..][..lines.len()]);
                let mut sums = [[simd.splat_f32s(0.0); V]; R];
                for (k, line) in lines.iter().enumerate() {
                    for (sums, left) in sums.iter_mut().zip(left) {
                        add(simd, sums, left[k], line);
                    }
                }
                sums
            }
            Left::Terms(Rows { values, stride }) => {
                let mut sums = [[simd.splat_f32s(0.0); V]; R];
                for (line, left) in lines.iter().zip(values[row..].chunks(stride)) {
                    for (sums, &left) in sums.iter_mut().zip(&left[..R]) {
                        add(simd, sums, left, line);
                    }
                }
                sums
            }
        };
        for (i, sums) in sums.into_iter().enumerate() {
            let out = &mut self.out.values[(row + i) * self.out.stride..][..self.out.count];
            let (whole, rest) = S::as_mut_simd_f32s(out);
            let mut sums = sums.into_iter();
            for (out, sum) in whole.iter_mut().zip(&mut sums) {
                *out = if self.accumulate { simd.add_f32s(*out, sum) } else { sum };
            }
            // A part of a vector takes long to store on some processors.
            if let (false, Some(sum)) = (rest.is_empty(), sums.next()) {
                let sum = if self.accumulate { simd.add_f32s(simd.partial_load_f32s(rest), sum) } else { sum };
                simd.partial_store_f32s(rest, sum);
            }
        }
    }
}

/// Adds a factor of the left operand times a line of a panel to the sums of a tile's row.
#[inline(always)]
fn add<S: Simd, const V: usize>(simd: S, sums: &mut [S::f32s; V], factor: f32, line: &[S::f32s; VECTORS]) {
    let factor = simd.splat_f32s(factor);
    for (sum, &columns) in sums.iter_mut().zip(line) {
        *sum = simd.mul_add_e_f32s(factor, columns, *sum);
    }
}

/// Right operand of a product: its columns in panels.
#[derive(Default)]
pub(super) struct Panels {
    values: Vec<f32>,
    columns: usize,
    depth: usize,
}

impl Panels {
    /// Makes place for so many columns and terms; what is in it is of no account.
    pub(super) fn resize(&mut self, columns: usize, depth: usize) {
        (self.columns, self.depth) = (columns, depth);
        self.values.resize(columns.div_ceil(panel_width()) * self.distance(), 0.0);
    }

    /// Panels of `columns` columns of a matrix with one row a term, `depth` of them.
    pub(super) fn of(terms: Rows, columns: usize, depth: usize) -> Self {
        let mut panels = Self::default();
        panels.resize(columns, depth);
        ARCH.dispatch(Lay { terms, panels: &mut panels });
        panels
    }

    /// Elements from a panel to the next: not their own size, a power of two, for which caches have few places.
    pub(super) fn distance(&self) -> usize {
        self.depth * panel_width() + SPACING
    }

    /// All elements, to be written: line k of a panel begins k times the width of a panel behind its begin.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Every panel, with the first of its columns and their number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[f32], usize, usize)> {
        let (width, lines) = (panel_width(), self.depth * panel_width());
        let firsts = (0..self.columns).step_by(width);
        self.values
            .chunks(self.distance())
            .zip(firsts)
            .map(move |(panel, first)| (&panel[..lines], first, width.min(self.columns - first)))
    }

    /// Lays out `columns` rows of a matrix, of which `depth` elements count.
    pub(super) fn lay_turned(&mut self, rows: Rows, columns: usize, depth: usize) {
        self.resize(columns, depth);
        let (width, distance) = (panel_width(), self.distance());
        for (panel, first) in self.values.chunks_mut(distance).zip((0..columns).step_by(width)) {
            let rows = Rows { values: &rows.values[first * rows.stride..], ..rows };
            turn(rows, width.min(columns - first), depth, panel, width);
        }
    }
}

struct Lay<'a> {
    terms: Rows<'a>,
    panels: &'a mut Panels,
}

impl WithSimd for Lay<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (width, distance, columns) = (VECTORS * S::F32_LANES, self.panels.distance(), self.panels.columns);
        for k in 0..self.panels.depth {
            let row = &self.terms.values[k * self.terms.stride..][..columns];
            let (mut at, mut done) = (k * width, 0);
            while done < columns {
                let count = width.min(columns - done);
                copy::<S>(&row[done..done + count], &mut self.panels.values[at..at + count]);
                (at, done) = (at + distance, done + count);
            }
        }
    }
}

/// Copies a line of a panel, or a part of one: too short to call somebody for it.
#[inline(always)]
pub(super) fn copy<S: Simd>(from: &[f32], to: &mut [f32]) {
    let (vectors, (whole, rest)) = (S::as_simd_f32s(from).0, S::as_mut_simd_f32s(to));
    if let (&[first, second], [to, next], []) = (vectors, whole, rest) {
        *to = first;
        *next = second;
    } else {
        to.copy_from_slice(from);
    }
}

/// `out[k][row]` = `rows[row][k]` for `count` rows of `depth` elements, lines of `out` `width` apart.
fn turn(rows: Rows, count: usize, depth: usize, out: &mut [f32], width: usize) {
    let row = |row: usize| &rows.values[row * rows.stride..][..depth];
    let whole = count - count % TURNED;
    for first in (0..whole).step_by(TURNED) {
        let rows: [&[f32]; TURNED] = std::array::from_fn(|i| row(first + i));
        for (k, line) in out.chunks_exact_mut(width).take(depth).enumerate() {
            line[first..first + TURNED].copy_from_slice(&rows.map(|row| row[k]));
        }
    }
    for first in whole..count {
        for (line, &value) in out.chunks_exact_mut(width).zip(row(first)) {
            line[first] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::{Purpose, Stream};

    fn random(count: usize, tag: u32) -> Vec<f32> {
        Stream::new(3, Purpose::Test, tag).normal_vec(count, 1.0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Any extents, laid out either way, bit for bit the sum in the order of its terms.
        #[test]
        fn tiles_sum_in_the_order_of_the_terms(
            rows in 1_usize..30, depth in 1_usize..40, columns in 1_usize..70, accumulate: bool,
            turned: bool, terms: bool,
        ) {
            let (left, right) = (random(rows * depth, 0), random(depth * columns, 1));
            let before = random(rows * columns, 2);
            let mut by_terms = vec![0.0; left.len()];
            turn(Rows { values: &left, stride: depth }, rows, depth, &mut by_terms, rows);
            let mut panels = Panels::of(Rows { values: &right, stride: columns }, columns, depth);
            if turned {
                let mut other = vec![0.0; right.len()];
                turn(Rows { values: &right, stride: columns }, depth, columns, &mut other, depth);
                panels.lay_turned(Rows { values: &other, stride: depth }, columns, depth);
            }
            let mut out = before.clone();
            for (panel, first, count) in panels.iter() {
                let out = Columns { values: &mut out[first..], stride: columns, count };
                let lines = Rows { values: &by_terms, stride: rows };
                let left = if terms { Left::Terms(lines) } else { Left::Rows(Rows { values: &left, stride: depth }) };
                multiply(left, rows, panel, out, accumulate);
            }
            let fused = !matches!(*ARCH, Arch::Scalar);
            for (at, out) in out.into_iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let sum = (0..depth).fold(0.0_f32, |sum, k| {
                    let (a, b) = (left[row * depth + k], right[k * columns + column]);
                    if fused { a.mul_add(b, sum) } else { a * b + sum }
                });
                prop_assert_eq!(out.to_bits(), if accumulate { before[at] + sum } else { sum }.to_bits());
            }
        }
    }
}
