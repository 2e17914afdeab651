//! Who multiplies the tiles of a contraction (`shaders/common/steps.wgsl`): threads of their own, or the matrix units
//! that subgroups share.

use crate::kernel::{Needs, Params, Tile, WORKGROUP_BYTES};

/// Processors of a large GPU.
const PROCESSORS: usize = 132;
/// Outputs of a thread, 8 rows by 8 columns.
const THREAD_OUTPUTS: usize = 64;
/// Terms of a step where memory for tiles is scarce.
pub(super) const FEW_TERMS: usize = 8;
/// Subgroups that share a tile on matrix units.
const SHARING: usize = 4;
/// Fewest lanes of a subgroup on matrix units of 16 x 16.
const LEAST_LANES: usize = 32;

/// Extents of a tile, and the cost of computing one row or column of it, in hundredths: smaller ones load more for a
/// product.
type Extents = &'static [(usize, usize)];

/// What computes the product of two tiles.
pub(super) trait Unit {
    /// Rows (or filters) of tiles.
    const EXTENTS: Extents;
    /// Bytes of an operand's element in workgroup memory.
    const BYTES: usize;
    /// Terms of a step are a multiple of this.
    const SIDE: usize;
    /// Warps of 32 threads that fill a large GPU, by the registers of a thread.
    const WARPS: usize;
    /// What it asks of an adapter.
    const NEEDS: Needs;

    /// Most images of a tile of so many rows.
    fn images(height: usize) -> usize;
    /// Rows of a tile of so many columns, for a product of so many rows.
    fn height(rows: usize, width: usize) -> usize;
    /// Threads of a workgroup.
    fn threads(height: usize, width: usize) -> usize;
    /// Further constants of a tile.
    fn constants(height: usize, width: usize) -> Tile;
}

/// The one of `extents` whose whole tiles cost the least for `extent`.
pub(super) fn best(extents: impl Iterator<Item = (usize, usize)>, extent: usize) -> Option<usize> {
    extents.min_by_key(|(tile, cost)| extent.next_multiple_of(*tile) * cost).map(|(tile, _)| tile)
}

/// Threads of their own, each with 8 rows by 8 columns of sums: 128 registers. Steps have up to `DEPTH` terms.
pub(super) struct Threads<const DEPTH: usize>;

impl<const DEPTH: usize> Unit for Threads<DEPTH> {
    const EXTENTS: Extents = &[(64, 100), (48, 107), (32, 120)];
    const BYTES: usize = 4;
    const SIDE: usize = 1;
    const WARPS: usize = 16 * PROCESSORS;
    const NEEDS: Needs =
        Needs { workgroup_bytes: if DEPTH > FEW_TERMS { 2 * WORKGROUP_BYTES } else { WORKGROUP_BYTES }, ..Needs::NONE };

    fn images(_: usize) -> usize {
        128
    }

    /// Twice as many beside 48 columns, whose threads would leave every second warp half empty.
    fn height(rows: usize, width: usize) -> usize {
        if width == 48 { 128 } else { best(Self::EXTENTS.iter().copied(), rows).unwrap_or(64) }
    }

    fn threads(height: usize, width: usize) -> usize {
        height * width / THREAD_OUTPUTS
    }

    fn constants(_: usize, _: usize) -> Tile {
        Tile::new()
    }
}

/// Matrix units of `SIDE` x `SIDE` halves, whose matrices are held by subgroups of `LANES` lanes.
pub(super) struct Matrix<const SIDE: usize, const LANES: usize>;

impl<const SIDE: usize, const LANES: usize> Matrix<SIDE, LANES> {
    /// Subgroups along the rows of a tile, so that each has whole matrices and nearly a square of them; `None` where
    /// four cannot share it.
    fn down(height: usize, width: usize) -> Option<usize> {
        let whole = |down: &usize| height.is_multiple_of(down * SIDE) && width.is_multiple_of(SHARING / down * SIDE);
        [if width > 2 * height { 1 } else { 2 }, 2, 1, SHARING].into_iter().find(whole)
    }
}

impl<const SIDE: usize, const LANES: usize> Unit for Matrix<SIDE, LANES> {
    const EXTENTS: Extents = &[(8 * SIDE, 100), (6 * SIDE, 106), (4 * SIDE, 118), (3 * SIDE, 130)];
    const BYTES: usize = 2;
    const SIDE: usize = SIDE;
    const WARPS: usize = 8 * PROCESSORS;
    const NEEDS: Needs = Needs {
        subgroup_size: Some(LANES as u32),
        subgroup_least: if LANES > LEAST_LANES { Some(LEAST_LANES as u32) } else { None },
        matrix: Some(SIDE as u32),
        workgroup_bytes: 2 * WORKGROUP_BYTES,
        ..Needs::NONE
    };

    fn images(height: usize) -> usize {
        if height > 4 * SIDE { 8 * SIDE } else { 16 * SIDE }
    }

    fn height(rows: usize, width: usize) -> usize {
        let shared = Self::EXTENTS.iter().copied().filter(|&(height, _)| Self::down(height, width).is_some());
        best(shared, rows).unwrap_or(8 * SIDE)
    }

    fn threads(_: usize, _: usize) -> usize {
        SHARING * LANES
    }

    fn constants(height: usize, width: usize) -> Tile {
        let units = SHARING * LANES / LANES.min(LEAST_LANES);
        vec![("down", Self::down(height, width).unwrap_or(1)), ("units", units)]
    }
}

/// Images of a tile, as many of `most` as the batch fills.
pub(super) fn images_of(params: &Params, most: usize) -> usize {
    let images: usize = params.get("n");
    [256, 128, 64].into_iter().find(|&tile| tile <= most && images.is_multiple_of(tile)).unwrap_or(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares_every_tile<const SIDE: usize, const LANES: usize>() {
        let widths = Matrix::<SIDE, LANES>::EXTENTS.iter().map(|(width, _)| *width).chain([32, 64, 128, 256]);
        for width in widths.filter(|&width| width <= Matrix::<SIDE, LANES>::images(32)) {
            for rows in 1..400 {
                let height = Matrix::<SIDE, LANES>::height(rows, width);
                let down = Matrix::<SIDE, LANES>::down(height, width).unwrap();
                let part = (height / down, width / (SHARING / down));
                assert!(part.0 * part.1 * SHARING == height * width, "{height} x {width} in parts of {part:?}");
                assert!(
                    part.0.is_multiple_of(SIDE) && part.1.is_multiple_of(SIDE),
                    "{height} x {width} in parts of {part:?}"
                );
            }
        }
    }

    #[test]
    fn four_subgroups_share_every_tile_in_whole_matrices() {
        shares_every_tile::<16, 32>();
        shares_every_tile::<16, 64>();
        shares_every_tile::<8, 8>();
    }
}
