//! Right operands of products: columns in panels, as many side by side as fill two vectors.

use pulp::{Simd, WithSimd};

use super::{ARCH, Rows, SPACING, VECTORS, panel_width};

/// Rows that are turned side by side.
const TURNED: usize = 8;
/// Right operand of a product: its columns in panels.
#[derive(Default)]
pub(in crate::ops) struct Panels {
    values: Vec<f32>,
    columns: usize,
    depth: usize,
}

impl Panels {
    /// Makes place for so many columns and terms; what is in it is of no account.
    pub(in crate::ops) fn resize(&mut self, columns: usize, depth: usize) {
        (self.columns, self.depth) = (columns, depth);
        self.values.resize(columns.div_ceil(panel_width()) * self.distance(), 0.0);
    }

    /// Panels of `columns` columns of a matrix with one row a term, `depth` of them.
    pub(in crate::ops) fn of(terms: Rows, columns: usize, depth: usize) -> Self {
        let mut panels = Self::default();
        panels.resize(columns, depth);
        ARCH.dispatch(Lay { terms, panels: &mut panels });
        panels
    }

    /// Elements from a panel to the next: not their own size, a power of two, for which caches have few places.
    pub(in crate::ops) fn distance(&self) -> usize {
        self.depth * panel_width() + SPACING
    }

    /// All elements, to be written: line k of a panel begins k times the width of a panel behind its begin.
    pub(in crate::ops) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Every panel, with the first of its columns and their number.
    pub(in crate::ops) fn iter(&self) -> impl Iterator<Item = (&[f32], usize, usize)> {
        let (width, lines) = (panel_width(), self.depth * panel_width());
        let firsts = (0..self.columns).step_by(width);
        self.values
            .chunks(self.distance())
            .zip(firsts)
            .map(move |(panel, first)| (&panel[..lines], first, width.min(self.columns - first)))
    }

    /// Lays out `columns` rows of a matrix, of which `depth` elements count.
    pub(in crate::ops) fn lay_turned(&mut self, rows: Rows, columns: usize, depth: usize) {
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
pub(in crate::ops) fn copy<S: Simd>(from: &[f32], to: &mut [f32]) {
    let (vectors, (whole, rest)) = (S::as_simd_f32s(from).0, S::as_mut_simd_f32s(to));
    match (vectors, whole, rest) {
        (&[first, second], [to, next], []) => {
            *to = first;
            *next = second;
        }
        (&[a, b, c, d], [to, second, third, fourth], []) => {
            (*to, *second, *third, *fourth) = (a, b, c, d);
        }
        _ => to.copy_from_slice(from),
    }
}

/// `out[k][row]` = `rows[row][k]` for `count` rows of `depth` elements, lines of `out` `width` apart.
pub(super) fn turn(rows: Rows, count: usize, depth: usize, out: &mut [f32], width: usize) {
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
