//! Left operands of products, as they lie or packed in the order in which tiles read them.

use pulp::Simd;
use rayon::prelude::*;

use super::{SPACING, TALLEST, TALLEST_OF_32, VECTORS, tiles};

/// Rows of a matrix, `stride` elements from one to the next.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Rows<'a> {
    /// Elements from the first one that counts.
    pub(in crate::ops) values: &'a [f32],
    pub(in crate::ops) stride: usize,
}

/// Left operand of a product.
pub(in crate::ops) trait Left: Copy {
    /// Sums of a tile of `R` rows by `V` vectors that begins at this row; `lines` are those of a panel.
    fn sums<S: Simd, const V: usize, const R: usize>(
        self,
        simd: S,
        row: usize,
        lines: &[[S::f32s; VECTORS]],
    ) -> [[S::f32s; V]; R];
}

impl Rows<'_> {
    /// The rows without their first `count` elements.
    pub(in crate::ops) fn skip(self, count: usize) -> Self {
        Self { values: &self.values[count..], ..self }
    }
}

/// One line a row of the result.
impl Left for Rows<'_> {
    #[inline(always)]
    fn sums<S: Simd, const V: usize, const R: usize>(
        self,
        simd: S,
        row: usize,
        lines: &[[S::f32s; VECTORS]],
    ) -> [[S::f32s; V]; R] {
        let left: [&[f32]; R] = std::array::from_fn(|i| &self.values[(row + i) * self.stride..][..lines.len()]);
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (k, line) in lines.iter().enumerate() {
            for (sums, left) in sums.iter_mut().zip(left) {
                add(simd, sums, left[k], line);
            }
        }
        sums
    }
}

/// Left operand with one line a term.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Terms<'a>(Rows<'a>);

impl<'a> Terms<'a> {
    /// The first `columns` numbers of every term, copied to `lines` so that these lie apart from each other by no power
    /// of two, for which caches have few places.
    pub(in crate::ops) fn apart(terms: Rows, columns: usize, lines: &'a mut Vec<f32>) -> Self {
        let stride = columns + SPACING;
        lines.resize(terms.values.len().div_ceil(terms.stride) * stride, 0.0);
        for (line, term) in lines.chunks_exact_mut(stride).zip(terms.values.chunks(terms.stride)) {
            line[..columns].copy_from_slice(&term[..columns]);
        }
        Self(Rows { values: lines, stride })
    }
}

impl Left for Terms<'_> {
    #[inline(always)]
    fn sums<S: Simd, const V: usize, const R: usize>(
        self,
        simd: S,
        row: usize,
        lines: &[[S::f32s; VECTORS]],
    ) -> [[S::f32s; V]; R] {
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (line, left) in lines.iter().zip(self.0.values[row..].chunks(self.0.stride)) {
            for (sums, &left) in sums.iter_mut().zip(&left[..R]) {
                add(simd, sums, left, line);
            }
        }
        sums
    }
}

/// Numbers of a left operand in the order in which tiles read them: tile after tile, one line of a tile's rows for each
/// term.
pub(in crate::ops) struct Packed {
    values: Vec<f32>,
    depth: usize,
}

/// Left operand from numbers in the order of tiles, with the first of their terms.
#[derive(Clone, Copy)]
pub(in crate::ops) struct PackedFrom<'a>(&'a Packed, usize);

impl Left for PackedFrom<'_> {
    #[inline(always)]
    fn sums<S: Simd, const V: usize, const R: usize>(
        self,
        simd: S,
        row: usize,
        lines: &[[S::f32s; VECTORS]],
    ) -> [[S::f32s; V]; R] {
        let Self(Packed { values, depth }, first) = self;
        let terms = values[row * depth + first * R..].as_chunks::<R>().0;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (line, left) in lines.iter().zip(terms) {
            for (sums, &left) in sums.iter_mut().zip(left) {
                add(simd, sums, left, line);
            }
        }
        sums
    }
}

impl Packed {
    /// The first `rows` numbers of every term.
    pub(in crate::ops) fn of_terms(terms: Rows, rows: usize) -> Self {
        let depth = terms.values.len().div_ceil(terms.stride);
        Self::of_tiles(rows, depth, |row, height, tile| {
            by_height!(height, true, H => {
                let lines = tile.as_chunks_mut::<H>().0.iter_mut();
                for (line, term) in lines.zip(terms.values[row..].chunks(terms.stride)) {
                    line.copy_from_slice(&term[..H]);
                }
            });
        })
    }

    /// The first rows of a matrix, in each of them the terms with these numbers.
    pub(in crate::ops) fn of_rows(matrix: Rows, rows: usize, terms: &[usize]) -> Self {
        Self::of_tiles(rows, terms.len(), |row, height, tile| {
            let rows: Vec<&[f32]> = (row..row + height).map(|row| &matrix.values[row * matrix.stride..]).collect();
            for (line, &term) in tile.chunks_exact_mut(height).zip(terms) {
                line.iter_mut().zip(&rows).for_each(|(to, row)| *to = row[term]);
            }
        })
    }

    /// The operand behind its first `first` terms.
    pub(in crate::ops) fn behind(&self, first: usize) -> PackedFrom<'_> {
        PackedFrom(self, first)
    }

    /// Fills every tile, given its first row and height, on all cores.
    fn of_tiles(rows: usize, depth: usize, fill: impl Fn(usize, usize, &mut [f32]) + Sync) -> Self {
        let mut values = vec![0.0; rows * depth];
        let (mut parts, mut rest) = (Vec::new(), &mut values[..]);
        for (row, height) in tiles(rows) {
            let (tile, behind) = rest.split_at_mut(height * depth);
            parts.push((row, height, tile));
            rest = behind;
        }
        parts.into_par_iter().for_each(|(row, height, tile)| fill(row, height, tile));
        Self { values, depth }
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
