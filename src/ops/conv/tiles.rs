//! Register tiles and grids of the convolution kernels.
//!
//! Larger tiles load less a multiplication and compile longer: what is unrolled (tile × window columns) stays under
//! a budget that keeps the slowest driver's compiler under three seconds; small work gets a smaller one. What does not
//! fit the registers goes through memory at every multiplication: with 16 of them a tile of 208 sums is four times
//! slower than one of 32, with 32 it is half again as fast.

use super::Conv;
use crate::kernel::{Grid, Params};
use crate::ops::contraction::Tiling;

/// Constants of a tile.
type Tile = Vec<(&'static str, usize)>;

/// Invocations of a plain workgroup.
const WORKGROUP: usize = 64;

/// Multiply-adds a large tile is worth compiling for.
const LARGE: u64 = 300_000_000;

/// Lanes along images and rows of tiles in a workgroup.
fn lanes(n: usize, tiling: Tiling) -> (usize, usize) {
    if tiling.subgroup() {
        return (8, 1);
    }
    let lanes = [32, 16].into_iter().find(|lanes| n.is_multiple_of(*lanes)).unwrap_or(8);
    (lanes, WORKGROUP / lanes)
}

/// Multiply-adds that one trip of the innermost loop may be unrolled to, and the most accumulators.
fn budget(conv: &Conv, tiling: Tiling) -> (usize, usize) {
    match (tiling, conv.macs() >= LARGE) {
        (Tiling::Large, true) => (1150, 224),
        (Tiling::Large, false) => (400, 72),
        (Tiling::Small, _) => (400, 32),
        // A GPU keeps the tile in registers only while there are few.
        (Tiling::Plain, _) => (400, 64),
    }
}

/// Filters (or maps) and neighbouring pixels of a tile: as many pixels as divide `extent` evenly, in multiples of
/// `step`.
fn tile(outer: usize, extent: usize, window: usize, step: usize, budget: (usize, usize)) -> (usize, usize) {
    let height = if outer > 8 && budget.1 > 100 { 16 } else { 8 };
    let most = (budget.0 / (height * window)).min(budget.1 / height).max(1);
    let tiles = extent.div_ceil(most.max(step));
    (height, extent.div_ceil(tiles).next_multiple_of(step))
}

pub(super) fn forward(params: &Params, tiling: Tiling) -> Tile {
    let conv = Conv::of(params);
    let (lanes, rows) = lanes(conv.n, tiling);
    let (tm, tq) = tile(conv.k, conv.q, conv.s, 1, budget(&conv, tiling));
    vec![("lanes", lanes), ("rows", rows), ("tm", tm), ("tq", tq)]
}

pub(super) fn forward_grid(params: &Params) -> Grid {
    let conv = Conv::of(params);
    let across = conv.q.div_ceil(params.get("tq"));
    Grid::Tiles([conv.n, conv.k.div_ceil(params.get("tm")), conv.p * across])
}

pub(super) fn backward_input(params: &Params, tiling: Tiling) -> Tile {
    let conv = Conv::of(params);
    let (lanes, rows) = lanes(conv.n, tiling);
    let (tm, tx) = tile(conv.c, conv.w, conv.s.div_ceil(conv.stride_x), conv.stride_x, budget(&conv, tiling));
    vec![("lanes", lanes), ("rows", rows), ("tm", tm), ("tx", tx)]
}

pub(super) fn backward_input_grid(params: &Params) -> Grid {
    let conv = Conv::of(params);
    let across = conv.w.div_ceil(params.get("tx"));
    Grid::Tiles([conv.n, conv.c.div_ceil(params.get("tm")), conv.h * across])
}

/// Floats of workgroup memory that every adapter has.
const WORKGROUP_FLOATS: usize = 4096;

pub(super) fn backward_filter(params: &Params, tiling: Tiling) -> Tile {
    let conv = Conv::of(params);
    let most = match tiling {
        Tiling::Large if conv.macs() >= LARGE => 192,
        Tiling::Small => 40,
        Tiling::Large | Tiling::Plain => 64,
    };
    let tk = match conv.s {
        0..=3 if most > 100 => 16,
        0..=64 if most < 64 => 4,
        0..=64 => 8,
        _ => 1,
    };
    let tc = (most / (tk * conv.s)).clamp(1, 4).min(conv.c);
    if tiling.subgroup() {
        return vec![("lanes", 8), ("tc", tc), ("tk", tk)];
    }
    // The plain variant keeps every lane's sums in workgroup memory in the end.
    let fits = |lanes: &usize| conv.n.is_multiple_of(*lanes) && tc * conv.s * tk * lanes <= WORKGROUP_FLOATS;
    let lanes = [32, 16].into_iter().find(fits).unwrap_or(8);
    vec![("lanes", lanes), ("tc", tc), ("tk", tk)]
}

pub(super) fn backward_filter_grid(params: &Params) -> Grid {
    let conv = Conv::of(params);
    let lanes: usize = params.get("lanes");
    Grid::Tiles([conv.c.div_ceil(params.get("tc")) * lanes, conv.r, conv.k.div_ceil(params.get("tk"))])
}
