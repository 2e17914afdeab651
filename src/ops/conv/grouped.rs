//! Convolution as other programs have it besides: filters that see a group of the maps, down to one each, and windows
//! whose elements lie apart; forward only.

use super::twins::inside;
use super::variants::ACTIVATION;
use crate::kernel::{Args, Case, Fill, Grid, Kernel, Needs, Params, Tile, Variant, for_each_chunk, read, write};
use crate::ops::activation::Activation;
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// One convolution, in the letters of [`super::Conv`].
    pub struct Grouped {
        /// C: maps that a filter sees.
        maps: usize,
        /// H: rows of an input map.
        h: usize,
        /// W: columns of an input map.
        w: usize,
        /// N: images, a multiple of 8.
        n: usize,
        /// K: filters of all groups.
        k: usize,
        /// P: rows of an output map.
        p: usize,
        /// Q: columns of an output map.
        q: usize,
        /// R: rows of the window.
        r: usize,
        /// S: columns of the window.
        s: usize,
        /// Rows from one window to the next.
        stride_y: usize,
        /// Columns from one window to the next.
        stride_x: usize,
        /// Rows from one row of a window to the next.
        dilation_y: usize,
        /// Columns from one column of a window to the next.
        dilation_x: usize,
        /// Rows of zeros above.
        pad_y: usize,
        /// Columns of zeros to the left.
        pad_x: usize,
        /// Groups, each of `maps` maps and `k / groups` filters.
        groups: usize,
        /// Adds a bias per filter.
        bias: bool,
        /// Number of the [`Activation`] that is applied last.
        activation: usize,
    }
}

impl Grouped {
    fn counts(&self) -> [usize; 3] {
        let Self { maps, h, w, n, k, p, q, r, s, groups, .. } = *self;
        [groups * maps * h * w * n, maps * r * s * k, k * p * q * n]
    }
}

/// y = f(w ∗ x + b), group by group.
pub static GROUPED: Kernel = Kernel {
    name: "conv.grouped",
    doc: "y[k][p][q][n] = f(sum over c, r, s of w[c][r][s][k] x[k's group, c][p·stride+r·dilation-pad][…][n] + b[k])",
    bindings: &[read("x"), read("w"), read("b"), write("y")],
    variants: &[Variant {
        name: "plain",
        sources: &[ACTIVATION, include_str!("../../../shaders/conv_grouped.wgsl")],
        entry: "grouped",
        vector: 4,
        tile,
        grid: Grid::Tiles(|p| {
            let Grouped { n, k, p: rows, q, .. } = Grouped::from(p);
            [n / 4, k / p.get::<usize>("tm"), rows * q]
        }),
        needs: Needs::NONE,
    }],
    twin: twin!(grouped),
    cases,
    tolerance: 3e-6, // sums of up to some thousand products in f32
    split: None,
    flops: |p| {
        let Grouped { maps, k, r, s, p, q, n, .. } = Grouped::from(p);
        2 * [maps, k, r, s, p, q, n].iter().map(|&extent| extent as u64).product::<u64>()
    },
};

/// As many filters for a thread as fill its group evenly.
fn tile(params: &Params) -> Tile {
    let shape = Grouped::from(params);
    let tm = [8, 4, 2].into_iter().find(|tm| (shape.k / shape.groups).is_multiple_of(*tm)).unwrap_or(1);
    let lanes = if shape.n.is_multiple_of(32) { 8 } else { 2 };
    vec![("lanes", lanes), ("rows", 64 / lanes), ("tm", tm)]
}

fn cases() -> Vec<Case> {
    let one = Grouped {
        maps: 3,
        h: 7,
        w: 6,
        n: 8,
        k: 12,
        p: 5,
        q: 4,
        r: 3,
        s: 3,
        stride_y: 1,
        stride_x: 1,
        dilation_y: 1,
        dilation_x: 1,
        pad_y: 0,
        pad_x: 0,
        groups: 1,
        bias: true,
        activation: Activation::Linear as usize,
    };
    let relu = Activation::Relu as usize;
    let shapes = [
        ("one group", one),
        ("two groups", Grouped { groups: 2, n: 40, bias: false, ..one }),
        ("a map for each filter", Grouped { maps: 1, k: 5, groups: 5, n: 32, activation: relu, ..one }),
        ("a map for three filters", Grouped { maps: 1, k: 6, groups: 2, ..one }),
        ("dilated, padded, strided", Grouped { dilation_y: 2, stride_x: 2, pad_y: 2, pad_x: 1, p: 7, q: 3, ..one }),
        ("dilated over the edge", Grouped { dilation_y: 4, dilation_x: 3, pad_y: 3, pad_x: 2, p: 5, q: 4, ..one }),
    ];
    let case = |(name, shape): (&str, Grouped)| {
        let [x, w, y] = shape.counts();
        let weights = [(x, Fill::Normal(1.0)), (w, Fill::Normal(0.3)), (shape.k, Fill::Normal(1.0))];
        Case::new(name, shape.params(), [&weights[..], &[(y, Fill::Output)]].concat())
    };
    shapes.map(case).into()
}

fn grouped<T: Real>(mut args: Args<T>) {
    let shape = Grouped::from(args.params);
    let (x, w, b, y) = (args.read(), args.read(), args.read(), args.write());
    let activation = Activation::numbered(shape.activation);
    for_each_chunk(y, shape.p * shape.q * shape.n, |k, y| {
        for (at, y) in y.chunks_exact_mut(shape.n).enumerate() {
            y.fill(if shape.bias { b[k] } else { T::zero() });
            products(&shape, k, (at / shape.q, at % shape.q), |pixel, weight| {
                let row = &x[pixel * shape.n..][..shape.n];
                y.iter_mut().zip(row).for_each(|(y, &x)| *y = w[weight].mul_add(x, *y));
            });
            for y in y {
                *y = activation.apply(*y);
            }
        }
    });
}

/// Calls `visit(pixel of x, weight)` for every product of filter `k` at output pixel `(p, q)`.
#[inline(always)]
fn products(shape: &Grouped, k: usize, (p, q): (usize, usize), mut visit: impl FnMut(usize, usize)) {
    let Grouped { maps, h, w, r: rows, s: columns, .. } = *shape;
    let first = k / (shape.k / shape.groups) * maps;
    for c in 0..maps {
        for r in 0..rows {
            let Some(row) = inside(p, shape.stride_y, r * shape.dilation_y, shape.pad_y, h) else { continue };
            for s in 0..columns {
                let Some(column) = inside(q, shape.stride_x, s * shape.dilation_x, shape.pad_x, w) else { continue };
                visit(((first + c) * h + row) * w + column, ((c * rows + r) * columns + s) * shape.k + k);
            }
        }
    }
}
