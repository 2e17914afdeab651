//! Tiles and grids of the convolution kernels.
//!
//! Larger register tiles load less a multiplication and compile longer: what is unrolled (tile × window columns) stays
//! under a budget that keeps the slowest driver's compiler under three seconds; small work gets a smaller one.

use std::cmp::Reverse;

use super::Conv;
use super::variants::{SUBGROUP, VECTOR, fills_wide, tiled_grid, wide_rows, wide_steps};
use crate::kernel::{Params, Tile};

/// Invocations of a plain workgroup.
const WORKGROUP: usize = 64;

/// Multiply-adds a large tile is worth compiling for.
const LARGE: u64 = 300_000_000;

/// Multiply-adds that one trip of the innermost loop may be unrolled to, and the most accumulators.
type Budget = (usize, usize);

/// The budget of a GPU, which keeps sums in registers.
const PLAIN: Budget = (400, 64);

/// The budget of a software driver: as much as is worth compiling where loads cost more than sums that do not fit the registers.
fn subgroup_budget(conv: &Conv) -> Budget {
    if conv.macs() >= LARGE { (1150, 224) } else { (400, 72) }
}

/// Lanes along images and rows of tiles in a plain workgroup.
fn plain_lanes(n: usize) -> (usize, usize) {
    let lanes = [32, 16].into_iter().find(|lanes| n.is_multiple_of(*lanes)).unwrap_or(8);
    (lanes, WORKGROUP / lanes)
}

/// Filters (or maps) and neighbouring pixels of a tile: as many pixels as divide `extent` evenly, in multiples of
/// `step`.
fn tile(outer: usize, extent: usize, window: usize, step: usize, budget: Budget) -> (usize, usize) {
    let height = if outer > 8 && budget.1 > 100 { 16 } else { 8 };
    let most = (budget.0 / (height * window)).min(budget.1 / height).max(1);
    let tiles = extent.div_ceil(most.max(step));
    (height, extent.div_ceil(tiles).next_multiple_of(step))
}

/// Rows of a tile of single pixels, and images a lane, as many as leave no lane without.
fn dense_tile(outer: usize, images: usize, lanes: usize) -> (usize, usize) {
    // A large tile compiles twice as long, which few rows are not worth.
    let tm = if lanes == SUBGROUP && outer >= 64 { 16 } else { 8 };
    (tm, [4, 2].into_iter().find(|count| images.is_multiple_of(lanes * count)).unwrap_or(1))
}

fn forward(conv: &Conv, (lanes, rows): (usize, usize), budget: Budget) -> Tile {
    let ((tm, tn), tq) = if conv.is_dense() {
        (dense_tile(conv.k, conv.n, lanes), 1)
    } else {
        let (tm, tq) = tile(conv.k, conv.q, conv.s, 1, budget);
        ((tm, 1), tq)
    };
    vec![("lanes", lanes), ("rows", rows), ("tm", tm), ("tn", tn), ("tq", tq)]
}

pub(super) fn forward_subgroup(params: &Params) -> Tile {
    let conv = Conv::from(params);
    forward(&conv, (SUBGROUP, 1), subgroup_budget(&conv))
}

pub(super) fn forward_plain(params: &Params) -> Tile {
    let conv = Conv::from(params);
    forward(&conv, plain_lanes(conv.n), PLAIN)
}

pub(super) fn forward_grid(params: &Params) -> [usize; 3] {
    let conv = Conv::from(params);
    let across = conv.q.div_ceil(params.get("tq"));
    [conv.n / params.get::<usize>("tn"), conv.k.div_ceil(params.get("tm")), conv.p * across]
}

pub(super) fn forward_wide(params: &Params) -> Tile {
    let conv = Conv::from(params);
    vec![("tm", wide_rows(conv.k, VECTOR)), ("steps", wide_steps(conv.maps))]
}

pub(super) fn forward_wide_grid(params: &Params) -> [usize; 3] {
    let conv = Conv::from(params);
    [conv.n / VECTOR, conv.k.div_ceil(params.get("tm")), conv.p * conv.q]
}

/// Whether images fill the lanes or matrices, and vectors of four filters the rows of the weights.
pub(super) fn wide_shapes(params: &Params) -> bool {
    let conv = Conv::from(params);
    fills_wide(conv.n, conv.k)
}

pub(super) fn forward_tiled_grid(params: &Params) -> [usize; 3] {
    let conv = Conv::from(params);
    tiled_grid(params, conv.k, conv.p * conv.q)
}

fn backward_input(conv: &Conv, (lanes, rows): (usize, usize), budget: Budget) -> Tile {
    let ((tm, tn), tx) = if (conv.h, conv.w) == (1, 1) && conv.is_dense() {
        (dense_tile(conv.maps, conv.n, lanes), 1)
    } else {
        let (tm, tx) = tile(conv.maps, conv.w, conv.s.div_ceil(conv.stride_x), conv.stride_x, budget);
        ((tm, 1), tx)
    };
    vec![("lanes", lanes), ("rows", rows), ("tm", tm), ("tn", tn), ("tx", tx)]
}

pub(super) fn backward_input_subgroup(params: &Params) -> Tile {
    let conv = Conv::from(params);
    backward_input(&conv, (SUBGROUP, 1), subgroup_budget(&conv))
}

pub(super) fn backward_input_plain(params: &Params) -> Tile {
    let conv = Conv::from(params);
    backward_input(&conv, plain_lanes(conv.n), PLAIN)
}

pub(super) fn backward_input_grid(params: &Params) -> [usize; 3] {
    let conv = Conv::from(params);
    let across = conv.w.div_ceil(params.get("tx"));
    [conv.n / params.get::<usize>("tn"), conv.maps.div_ceil(params.get("tm")), conv.h * across]
}

pub(super) fn backward_input_wide(params: &Params) -> Tile {
    vec![("tm", wide_rows(Conv::from(params).maps, SUBGROUP))]
}

pub(super) fn backward_input_wide_grid(params: &Params) -> [usize; 3] {
    let conv = Conv::from(params);
    [conv.n / VECTOR, conv.maps.div_ceil(params.get("tm")), conv.h * conv.w]
}

pub(super) fn backward_input_tiled_grid(params: &Params) -> [usize; 3] {
    let conv = Conv::from(params);
    tiled_grid(params, conv.maps, conv.h * conv.w)
}

/// Floats of workgroup memory that every adapter has.
const WORKGROUP_FLOATS: usize = 4096;

pub(super) fn backward_filter_plain(params: &Params) -> Tile {
    let conv = Conv::from(params);
    let tk = if conv.s > PLAIN.1 { 1 } else { 8 };
    let tc = (PLAIN.1 / (tk * conv.s)).clamp(1, 4).min(conv.maps);
    // Every lane's sums are in workgroup memory in the end.
    let fits = |lanes: &usize| conv.n.is_multiple_of(*lanes) && tc * conv.s * tk * lanes <= WORKGROUP_FLOATS;
    let lanes = [32, 16].into_iter().find(fits).unwrap_or(8);
    vec![("lanes", lanes), ("tc", tc), ("tk", tk)]
}

pub(super) fn backward_filter_plain_grid(params: &Params) -> [usize; 3] {
    let conv = Conv::from(params);
    let lanes: usize = params.get("lanes");
    [conv.maps.div_ceil(params.get("tc")) * lanes, conv.r, conv.k.div_ceil(params.get("tk"))]
}

/// 16 rows by four filters a lane, for four images at a time: more sums than registers; larger tiles
/// were slower.
pub(super) fn backward_filter_wide(params: &Params) -> Tile {
    let conv = Conv::from(params);
    let tm = if conv.rows() > 8 { 16 } else { 8 };
    vec![("tm", tm), ("tk", wide_filters(conv.k))]
}

/// Filters of a lane: the most of four that leave the fewest lanes without.
fn wide_filters(filters: usize) -> usize {
    (1..=4).min_by_key(|tk| (filters.next_multiple_of(SUBGROUP * tk), Reverse(*tk))).unwrap_or(1)
}

pub(super) fn backward_filter_wide_grid(params: &Params) -> [usize; 3] {
    let conv = Conv::from(params);
    let filters = conv.k.div_ceil(SUBGROUP * params.get::<usize>("tk"));
    [SUBGROUP * filters, conv.rows().div_ceil(params.get("tm")), 1]
}

/// Whether the operands are matrices as they lie, and four filters of a row of weights one vector.
pub(super) fn dense_shapes(params: &Params) -> bool {
    let conv = Conv::from(params);
    conv.is_dense() && conv.k.is_multiple_of(VECTOR)
}

/// A workgroup a tile of rows by filters.
pub(super) fn backward_filter_tiled_grid(params: &Params) -> [usize; 3] {
    let (conv, [bm, bn, threads]) = (Conv::from(params), ["bm", "bn", "threads"].map(|name| params.get::<usize>(name)));
    [threads * conv.k.div_ceil(bn), conv.rows().div_ceil(bm), 1]
}

/// A workgroup whose threads share the sum for a square of rows and filters.
pub(super) fn backward_filter_grid(params: &Params) -> [usize; 3] {
    let (conv, [threads, edge]) = (Conv::from(params), ["threads", "edge"].map(|name| params.get::<usize>(name)));
    [threads * conv.k.div_ceil(edge), conv.rows().div_ceil(edge), 1]
}
