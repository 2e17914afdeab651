//! Pieces of WGSL that the three kernels of a convolution share, and the ways in which each is computed.

use std::cmp::Reverse;

use crate::kernel::{Grid, Needs, Params, Piece, Tile, Variant};
use crate::ops::activation::Activation;

/// Lanes of the subgroups over which weights are handed around.
pub(in crate::ops) const SUBGROUP: usize = 8;

/// Images (or outputs) of a vector of the wide variants, `VECTOR` in WGSL.
pub(super) const VECTOR: usize = 4;

pub(super) const ACTIVATION: &str = include_str!("../../../shaders/common/activation.wgsl");
pub(super) const FETCH_SUBGROUP: &str = include_str!("../../../shaders/common/fetch_subgroup.wgsl");
pub(super) const WIDE_TILE: &str = include_str!("../../../shaders/common/wide.wgsl");
pub(super) const WIDE_FORWARD: &str = include_str!("../../../shaders/common/wide_forward.wgsl");
pub(super) const WIDE_BACKWARD: &str = include_str!("../../../shaders/common/wide_backward.wgsl");
pub(super) const STEPS: &str = include_str!("../../../shaders/common/steps.wgsl");
pub(super) const SHARE: &str = include_str!("../../../shaders/common/share.wgsl");
pub(super) const WHOLE: &str = include_str!("../../../shaders/common/whole.wgsl");
pub(super) const PARTS: &str = include_str!("../../../shaders/common/parts.wgsl");
pub(super) const THREADS: &str = include_str!("../../../shaders/common/threads.wgsl");
pub(super) const ROW_VECTORS: &str = concat!("@operand row\n", include_str!("../../../shaders/common/vectors.wgsl"));
pub(super) const ROW_BLOCKS: &str = concat!("@operand row\n", include_str!("../../../shaders/common/blocks.wgsl"));
pub(super) const COLUMN_VECTORS: &str =
    concat!("@operand column\n", include_str!("../../../shaders/common/vectors.wgsl"));
pub(super) const COLUMN_BLOCKS: &str =
    concat!("@operand column\n", include_str!("../../../shaders/common/blocks.wgsl"));
pub(super) const ROW_LINES: &str = concat!("@operand row\n", include_str!("../../../shaders/common/lines.wgsl"));
pub(super) const COLUMN_LINES: &str = concat!("@operand column\n", include_str!("../../../shaders/common/lines.wgsl"));
pub(super) const MATRIX: &str = include_str!("../../../shaders/common/matrix.wgsl");
pub(super) const MATRIX8: &str = include_str!("../../../shaders/common/matrix8.wgsl");
pub(super) const MATRIX16: &str = include_str!("../../../shaders/common/matrix16.wgsl");
pub(super) const FETCH_PLAIN: &str = include_str!("../../../shaders/common/fetch_plain.wgsl");

/// A part of a run that sums over the extent which is cut: bias and activation come with the last.
pub(super) fn summing_part(params: Params, part: Piece) -> Params {
    let params = if part.first { params } else { params.replaced("accumulate", true) };
    if part.last { params } else { params.replaced("bias", false).replaced("activation", Activation::Linear as usize) }
}

/// A part of a run whose outputs are cut: nothing else changes.
pub(super) fn plain_part(params: Params, _: Piece) -> Params {
    params
}

/// How variants of one name compute a contraction, with what that asks of an adapter.
pub(super) struct Strategy {
    name: &'static str,
    vector: usize,
    needs: Needs,
}

impl Strategy {
    const fn new(name: &'static str, needs: Needs) -> Self {
        Self { name, vector: 1, needs }
    }

    /// Weights handed around subgroups of 8 lanes, where loads are dear: four images a lane, in words of 64 bits.
    pub(super) const WIDE: Self = Self {
        name: "wide",
        vector: VECTOR,
        needs: Needs { subgroup_size: Some(SUBGROUP as u32), words: true, ..Needs::NONE },
    };
    /// The same with one image a lane, for the shapes that do not fill it.
    pub(super) const SUBGROUP: Self =
        Self::new("subgroup", Needs { subgroup_size: Some(SUBGROUP as u32), ..Needs::NONE });
    /// Every invocation for itself: runs everywhere.
    pub(super) const PLAIN: Self = Self::new("plain", Needs::NONE);

    /// The variant of this strategy, for some shapes.
    pub(super) const fn variant(
        self,
        entry: &'static str,
        sources: &'static [&'static str],
        tile: fn(&Params) -> Tile,
        grid: fn(&Params) -> [usize; 3],
        shapes: fn(&Params) -> bool,
    ) -> Variant {
        let (grid, needs) = (Grid::Tiles(grid), Needs { shapes, ..self.needs });
        Variant { name: self.name, sources, entry, vector: self.vector, tile, grid, adding: None, needs }
    }
}

/// The variant that every adapter runs, with every shape.
pub(super) const fn plain(
    entry: &'static str,
    sources: &'static [&'static str],
    tile: fn(&Params) -> Tile,
    grid: fn(&Params) -> [usize; 3],
) -> Variant {
    Strategy::PLAIN.variant(entry, sources, tile, grid, Needs::NONE.shapes)
}

/// Images of a workgroup of the wide variants, and the least of the tiled ones.
const WIDE: usize = SUBGROUP * VECTOR;

/// Most rows of a wide tile: with four sums each and two steps a trip, longer loops were slower.
const WIDE_ROWS: usize = 32;

/// Whether the batch can be computed 32 images at a time.
pub(super) fn fills_images(images: usize) -> bool {
    images.is_multiple_of(WIDE)
}

/// Whether vectors of four images fill the lanes, and vectors of four weights the rows of which they are a part.
pub(super) fn fills_wide(images: usize, row: usize) -> bool {
    fills_images(images) && row.is_multiple_of(VECTOR)
}

/// Multiply-adds below which a wide tile has half as many rows at most: a software driver compiles it in 0.4 s instead
/// of 1.4, and a run takes less than a millisecond anyway.
const FEW: u64 = 1_000_000;

/// Rows of a wide tile for `macs` multiply-adds, a multiple of `step`: those that leave the fewest of `extent` rows
/// over in the last tile.
pub(super) fn wide_rows(extent: usize, step: usize, macs: u64) -> usize {
    let most = if macs < FEW { WIDE_ROWS / 2 } else { WIDE_ROWS };
    // The last of equals is the largest.
    let best = (most / 2..=most).step_by(step).max_by_key(|rows| Reverse(extent.next_multiple_of(*rows)));
    best.unwrap_or(most).min(extent.next_multiple_of(step))
}

/// Steps of a contraction over `extent` that a wide tile takes in one trip of its loop.
pub(super) fn wide_steps(extent: usize) -> usize {
    [2, 3].into_iter().find(|&steps| extent.is_multiple_of(steps)).unwrap_or(1)
}
