//! Tiles and grids of the convolution kernels.
//!
//! Larger register tiles load less a multiplication and compile longer: what is unrolled (tile × window columns) stays
//! under a budget that keeps the slowest driver's compiler under three seconds; small work gets a smaller one.

use std::cmp::Reverse;

use super::Conv;
use super::variants::{SUBGROUP, VECTOR, fills_wide, wide_rows, wide_steps};
use crate::kernel::{Params, Tile};

/// Invocations of a plain workgroup.
const WORKGROUP: usize = 64;

/// Multiply-adds a large tile is worth compiling for.
const LARGE: u64 = 300_000_000;

/// Multiply-adds that one trip of the innermost loop may be unrolled to, and the most accumulators.
type Budget = (usize, usize);

/// The budget of a GPU, which keeps sums in registers.
const PLAIN: Budget = (400, 64);

/// The maps that a contraction makes, y or dx, as its workgroups share them.
pub(super) struct Outputs {
    /// K filters of y, C maps of dx.
    maps: usize,
    /// Rows of a map.
    height: usize,
    /// Columns of a map.
    width: usize,
    images: usize,
    /// Whether a map is one pixel, and images take the place of neighbouring pixels.
    dense: bool,
    /// Columns of the window that meet one pixel.
    window: usize,
    /// Columns of a tile are a multiple of these.
    step: usize,
    /// Name of a tile's columns in WGSL.
    across: &'static str,
    macs: u64,
}

impl Outputs {
    /// Those of the forward pass.
    pub(super) fn of_y(params: &Params) -> Self {
        let conv = Conv::from(params);
        let Conv { k: maps, p: height, q: width, n: images, s: window, .. } = conv;
        Self { maps, height, width, images, dense: conv.is_dense(), window, step: 1, across: "tq", macs: conv.macs() }
    }

    /// Those of the gradient by the input.
    pub(super) fn of_dx(params: &Params) -> Self {
        let conv = Conv::from(params);
        let Conv { maps, h: height, w: width, n: images, stride_x: step, .. } = conv;
        let (dense, window) = ((height, width) == (1, 1) && conv.is_dense(), conv.s.div_ceil(step));
        Self { maps, height, width, images, dense, window, step, across: "tx", macs: conv.macs() }
    }

    /// The register tile of a workgroup with `lanes` along images and `rows` of tiles: TM maps by TN images by as many
    /// neighbouring columns as divide a map evenly.
    fn tile(&self, (lanes, rows): (usize, usize), (unrolled, sums): Budget) -> Tile {
        let [tm, tn, columns] = if self.dense {
            // A large tile compiles twice as long, which few rows are not worth.
            let tm = if lanes == SUBGROUP && self.maps >= 64 { 16 } else { 8 };
            [tm, [4, 2].into_iter().find(|tn| self.images.is_multiple_of(lanes * tn)).unwrap_or(1), 1]
        } else {
            let tm = if self.maps > 8 && sums > 100 { 16 } else { 8 };
            let most = (unrolled / (tm * self.window)).min(sums / tm).max(1);
            let tiles = self.width.div_ceil(most.max(self.step));
            [tm, 1, self.width.div_ceil(tiles).next_multiple_of(self.step)]
        };
        vec![("lanes", lanes), ("rows", rows), ("tm", tm), ("tn", tn), (self.across, columns)]
    }

    /// The tile of a subgroup on a software driver: as much as is worth compiling where loads cost more than sums that
    /// do not fit the registers.
    pub(super) fn subgroup(&self) -> Tile {
        self.tile((SUBGROUP, 1), if self.macs >= LARGE { (1150, 224) } else { (400, 72) })
    }

    /// The tile of a plain workgroup.
    pub(super) fn plain(&self) -> Tile {
        let lanes = [32, 16].into_iter().find(|lanes| self.images.is_multiple_of(*lanes)).unwrap_or(8);
        self.tile((lanes, WORKGROUP / lanes), PLAIN)
    }

    /// Invocations for register tiles.
    pub(super) fn grid(&self, params: &Params) -> [usize; 3] {
        let [tm, tn, columns] = ["tm", "tn", self.across].map(|name| params.get::<usize>(name));
        [self.images / tn, self.maps.div_ceil(tm), self.height * self.width.div_ceil(columns)]
    }

    /// Invocations for wide tiles.
    pub(super) fn wide_grid(&self, params: &Params) -> [usize; 3] {
        [self.images / VECTOR, self.maps.div_ceil(params.get("tm")), self.height * self.width]
    }
}

pub(super) fn forward_wide(params: &Params) -> Tile {
    let conv = Conv::from(params);
    vec![("tm", wide_rows(conv.k, VECTOR, conv.macs())), ("steps", wide_steps(conv.maps))]
}

pub(super) fn backward_input_wide(params: &Params) -> Tile {
    let conv = Conv::from(params);
    vec![("tm", wide_rows(conv.maps, SUBGROUP, conv.macs()))]
}

/// Whether images fill the lanes or matrices, and vectors of four filters the rows of the weights.
pub(super) fn wide_shapes(params: &Params) -> bool {
    let conv = Conv::from(params);
    fills_wide(conv.n, conv.k)
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
