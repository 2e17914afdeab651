//! Products of matrices for the CPU engine, tile by tile in the registers of a core.
//!
//! The left operand lies as it is, in rows along the sum, or is packed in the order in which tiles read it. The right
//! one lies in panels: as many columns side by side as fill two vectors, one line of them for each term of the sum. An
//! element of the result is summed up from zero in the order of its terms, whatever the tile and the processor's
//! vectors.

/// Evaluates an expression with a tile's height as the constant `$H`; what only some processors have is compiled for
/// these alone.
macro_rules! by_height {
    ($height:expr, $large:expr, $H:ident => $body:expr) => {
        match $height {
            1 => by_height!(@ $H, 1, $body),
            2 => by_height!(@ $H, 2, $body),
            3 => by_height!(@ $H, 3, $body),
            4 => by_height!(@ $H, 4, $body),
            5 => by_height!(@ $H, 5, $body),
            TALLEST => by_height!(@ $H, TALLEST, $body),
            7 if $large => by_height!(@ $H, 7, $body),
            8 if $large => by_height!(@ $H, 8, $body),
            9 if $large => by_height!(@ $H, 9, $body),
            10 if $large => by_height!(@ $H, 10, $body),
            11 if $large => by_height!(@ $H, 11, $body),
            TALLEST_OF_32 if $large => by_height!(@ $H, TALLEST_OF_32, $body),
            height => unreachable!("a tile of {height} rows"),
        }
    };
    (@ $H:ident, $height:expr, $body:expr) => {{
        const $H: usize = $height;
        $body
    }};
}

mod left;
mod panels;

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

use self::left::Left;
pub(super) use self::left::{Packed, Rows, Terms};
pub(super) use self::panels::{Panels, copy};

/// Terms that are summed up at once, from zero: so many lines of a panel stay in a core's first cache.
pub(super) const DEPTH: usize = 256;

/// Vectors in a line of a panel.
const VECTORS: usize = 2;
/// Elements between panels, and between lines that lie a power of two apart: caches have few places for these.
const SPACING: usize = 16;
/// Rows of the tallest tile: with its sums, a line of a panel and a factor, the registers are full.
const TALLEST: usize = 6;
/// The same on processors with 32 registers.
const TALLEST_OF_32: usize = 12;

/// Vectors of this processor.
pub(super) static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);
static EXTENTS: LazyLock<(usize, usize)> = LazyLock::new(|| ARCH.dispatch(Extents));

/// Columns of a panel on this processor.
pub(super) fn panel_width() -> usize {
    EXTENTS.1
}

/// Rows of the tallest tile and columns of a panel.
struct Extents;

impl WithSimd for Extents {
    type Output = (usize, usize);

    fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
        (if large::<S>() { TALLEST_OF_32 } else { TALLEST }, VECTORS * S::F32_LANES)
    }
}

const fn large<S: Simd>() -> bool {
    S::REGISTER_COUNT >= 32
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

/// First row and height of every tile of a result: as many rows as the registers hold sums of, or a little less. All
/// are of about the same height, the first ones by one higher, since a low one would wait for its own sums.
fn tiles(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = rows.div_ceil(EXTENTS.0);
    let (height, tall) = (rows / tiles, rows % tiles);
    (0..tiles).map(move |tile| (tile * height + tile.min(tall), height + usize::from(tile < tall)))
}

/// `out` = left·panel, or `out` + left·panel where it accumulates, for the first `rows` rows; on the calling thread.
pub(super) fn multiply(left: impl Left, rows: usize, panel: &[f32], out: Columns, accumulate: bool) {
    ARCH.dispatch(Product { left, rows, panel, out, accumulate });
}

struct Product<'a, L> {
    left: L,
    rows: usize,
    panel: &'a [f32],
    out: Columns<'a>,
    accumulate: bool,
}

impl<L: Left> WithSimd for Product<'_, L> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.out.count > S::F32_LANES { self.tiles::<S, VECTORS>(simd) } else { self.tiles::<S, 1>(simd) }
    }
}

impl<L: Left> Product<'_, L> {
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(mut self, simd: S) {
        for (row, height) in tiles(self.rows) {
            by_height!(height, large::<S>(), H => self.tile::<S, V, H>(simd, row));
        }
    }

    /// A tile of `R` rows by `V` vectors that begins at this row.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, row: usize) {
        let lines = S::as_simd_f32s(self.panel).0.as_chunks::<VECTORS>().0;
        let sums: [[S::f32s; V]; R] = self.left.sums(simd, row, lines);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::panels::turn;
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
            turned: bool, lies in 0..4,
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
            let rows_of_left = Rows { values: &left, stride: depth };
            let terms_of_left = Rows { values: &by_terms, stride: rows };
            let packed = if lies == 0 {
                Packed::of_terms(terms_of_left, rows)
            } else {
                Packed::of_rows(rows_of_left, rows, &(0..depth).collect::<Vec<_>>())
            };
            let (mut out, mut lines) = (before.clone(), Vec::new());
            for (panel, first, count) in panels.iter() {
                let out = Columns { values: &mut out[first..], stride: columns, count };
                match lies {
                    2 => multiply(rows_of_left, rows, panel, out, accumulate),
                    3 => multiply(Terms::apart(terms_of_left, rows, &mut lines), rows, panel, out, accumulate),
                    _ => multiply(packed.behind(0), rows, panel, out, accumulate),
                }
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
