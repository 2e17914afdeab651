//! Contractions by tiles in workgroup memory, for GPUs (`shaders/common/steps.wgsl`): extents of tiles, and parts of sums.
//!
//! A tile's workgroup sums up alone, or, where tiles are few and sums long, a part of its sums: as many parts as fill a
//! large GPU. Their number depends on the shape alone, so that results do not depend on the device.

use super::Conv;
use super::variants::{VECTOR, fills_images, images_of};
use crate::kernel::{Adding, Grid, Needs, Params, Tile, Variant, WORKGROUP_BYTES};

/// Warps of 32 threads that fill a large GPU, each with 128 registers a thread: 16 for each of 132 processors.
const WARPS: usize = 132 * 16;
/// The fewest workgroups that keep it busy: two for each processor.
const WORKGROUPS: usize = 2 * 132;
/// Most parts of a sum.
const MOST_PARTS: usize = 256;
/// Outputs of a thread, 8 rows by 8 columns.
const THREAD_OUTPUTS: usize = 64;
/// Terms of a step where memory for tiles is scarce.
const FEW_TERMS: usize = 8;
/// Rows (or filters) of tiles, and the cost of computing one, in hundredths: smaller ones load more for a product.
const EXTENTS: [(usize, usize); 3] = [(64, 100), (48, 107), (32, 120)];
/// Window columns that make a step of their own where maps are few.
const LINES: std::ops::RangeInclusive<usize> = 3..=11;

/// A contraction as a matrix product for each of some pixels.
pub(super) struct Blocks {
    /// Extents of the product.
    rows: usize,
    columns: usize,
    /// Products, one for each pixel.
    pixels: usize,
    /// Neighbouring terms of a sum, which steps divide evenly, and how many of them follow one another.
    terms: usize,
    places: usize,
    /// Columns of a tile.
    width: usize,
    /// Whether a step is the line of a window, all `terms` of it.
    line: bool,
    /// Whether vectors of the operands do not cross rows.
    whole: bool,
}

/// One of the three contractions of a convolution.
pub(super) trait Contracted {
    /// What it is for these parameters.
    fn blocks(params: &Params) -> Blocks;
}

/// y of x and w.
pub(super) struct Forward;
/// dx of w and dy.
pub(super) struct BackwardInput;
/// dw of x and dy.
pub(super) struct BackwardFilter;

impl Contracted for Forward {
    fn blocks(params: &Params) -> Blocks {
        let Conv { maps, k: rows, p, q, n: columns, r, s, .. } = Conv::from(params);
        let line = !maps.is_multiple_of(FEW_TERMS) && LINES.contains(&s);
        let (terms, places) = if line { (s, maps * r) } else { (maps, r * s) };
        let whole = fills_images(columns) && rows.is_multiple_of(VECTOR);
        let narrow = line && 8 * s * (best(rows) + images_of(params, 128)) > WORKGROUP_BYTES as usize;
        let width = images_of(params, if narrow { 64 } else { 128 });
        Blocks { rows, columns, pixels: p * q, terms, places, width, line, whole }
    }
}

impl Contracted for BackwardInput {
    fn blocks(params: &Params) -> Blocks {
        let Conv { maps: rows, h, w, n: columns, k: terms, r, s, stride_y, stride_x, .. } = Conv::from(params);
        let (places, width) = (r.div_ceil(stride_y) * s.div_ceil(stride_x), images_of(params, 128));
        Blocks { rows, columns, pixels: h * w, terms, places, width, line: false, whole: fills_images(columns) }
    }
}

impl Contracted for BackwardFilter {
    fn blocks(params: &Params) -> Blocks {
        let conv = Conv::from(params);
        let Conv { k: columns, p, q, n: terms, .. } = conv;
        let (rows, width, whole) = (conv.rows(), best(columns), columns.is_multiple_of(VECTOR));
        Blocks { rows, columns, pixels: 1, terms, places: p * q, width, line: false, whole }
    }
}

/// Of [`EXTENTS`] the one whose whole tiles cost the least for `extent`.
fn best(extent: usize) -> usize {
    EXTENTS.into_iter().min_by_key(|(tile, cost)| extent.next_multiple_of(*tile) * cost).unwrap_or(EXTENTS[0]).0
}

impl Blocks {
    /// Rows of a tile: twice as many beside 48 columns, whose threads would leave every second warp half empty.
    fn height(&self) -> usize {
        if self.width == 48 { 128 } else { best(self.rows) }
    }

    /// Terms of a step, of which `depth` are asked.
    fn depth(&self, depth: usize) -> usize {
        if self.line { self.terms } else { depth }
    }

    fn threads(&self) -> usize {
        self.height() * self.width / THREAD_OUTPUTS
    }

    /// Parts of the sums with steps of `depth` terms, none of them empty.
    fn parts(&self, depth: usize) -> usize {
        let tiles = self.pixels * self.rows.div_ceil(self.height()) * self.columns.div_ceil(self.width);
        let fill = WARPS / (tiles * self.threads().div_ceil(32));
        let wanted = fill.max(WORKGROUPS.div_ceil(tiles)).clamp(1, MOST_PARTS);
        let steps = self.places * self.terms / self.depth(depth);
        steps.div_ceil(steps.div_ceil(wanted).max(1)).max(1)
    }
}

fn tile<C: Contracted, const DEPTH: usize, const SPLIT: bool>(params: &Params) -> Tile {
    let blocks = C::blocks(params);
    let parts = if SPLIT { blocks.parts(DEPTH) } else { 1 };
    let (bm, bn, bk, threads) = (blocks.height(), blocks.width, blocks.depth(DEPTH), blocks.threads());
    vec![("bm", bm), ("bn", bn), ("bk", bk), ("threads", threads), ("parts", parts)]
}

fn grid<C: Contracted>(params: &Params) -> [usize; 3] {
    let Blocks { rows, columns, pixels, .. } = C::blocks(params);
    let [bm, bn, threads, parts] = ["bm", "bn", "threads", "parts"].map(|name| params.get::<usize>(name));
    [threads * columns.div_ceil(bn), rows.div_ceil(bm), pixels * parts]
}

fn outputs<C: Contracted>(params: &Params) -> usize {
    let Blocks { rows, columns, pixels, .. } = C::blocks(params);
    rows * columns * pixels / VECTOR
}

fn fits<C: Contracted, const DEPTH: usize, const SPLIT: bool>(params: &Params) -> bool {
    let blocks = C::blocks(params);
    // Lines are as deep as they are: once is enough.
    let deep = if blocks.line { DEPTH == FEW_TERMS } else { blocks.terms.is_multiple_of(DEPTH) };
    blocks.whole && deep && (!SPLIT || blocks.parts(DEPTH) > 1)
}

/// The variant with steps of `DEPTH` terms, whole sums or split ones.
pub(super) const fn variant<C: Contracted, const DEPTH: usize, const SPLIT: bool>(
    name: &'static str,
    entry: &'static str,
    sources: &'static [&'static str],
) -> Variant {
    let workgroup_bytes = if DEPTH > FEW_TERMS { 2 * WORKGROUP_BYTES } else { WORKGROUP_BYTES };
    Variant {
        name,
        sources,
        entry,
        vector: 1,
        tile: tile::<C, DEPTH, SPLIT>,
        grid: Grid::Tiles(grid::<C>),
        adding: if SPLIT { Some(Adding { entry: "add_parts", outputs: outputs::<C> }) } else { None },
        needs: Needs { workgroup_bytes, shapes: fits::<C, DEPTH, SPLIT>, ..Needs::NONE },
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::square;
    use super::*;

    /// AlexNet's own shapes, one tower, 128 images: (contraction, groups of 32 threads or more).
    fn workgroups<C: Contracted>(conv: &Conv) -> usize {
        let params = conv.params();
        let params = params.with(&tile::<C, 16, true>(&params));
        let [x, y, z] = grid::<C>(&params);
        x / params.get::<usize>("threads") * y * z
    }

    #[test]
    fn every_contraction_of_alexnet_has_two_workgroups_for_each_processor_of_a_large_gpu() {
        let convs = [
            square(3, 224, 48, 11, 4, 0, 128),
            square(48, 27, 128, 5, 1, 2, 128),
            square(128, 13, 192, 3, 1, 1, 128),
            square(192, 13, 192, 3, 1, 1, 128),
            square(192, 13, 128, 3, 1, 1, 128),
        ];
        let dense = [Conv::dense(4608, 2048, 128), Conv::dense(2048, 2048, 128), Conv::dense(2048, 1000, 128)];
        for conv in convs.iter().chain(&dense) {
            let groups = [workgroups::<Forward>, workgroups::<BackwardInput>, workgroups::<BackwardFilter>]
                .map(|workgroups| workgroups(conv));
            assert!(groups.iter().all(|&groups| groups >= WORKGROUPS), "{groups:?} for {}", conv.params());
        }
    }

    /// Whatever the shape, parts share the steps out without an empty one, and their sums stay below 64 MiB.
    #[test]
    fn parts_are_never_empty_and_their_memory_is_bounded() {
        for (k, maps, size, n) in [(4, 8, 1, 32), (1000, 4096, 1, 128), (192, 192, 13, 128), (48, 64, 55, 256)] {
            let conv = square(maps, size, k, 1, 1, 0, n);
            for blocks in [Forward::blocks, BackwardInput::blocks, BackwardFilter::blocks] {
                let blocks = blocks(&conv.params());
                let (parts, steps) = (blocks.parts(8), blocks.places * blocks.terms / 8);
                let each = steps.div_ceil(parts).max(1);
                assert!((parts - 1) * each < steps.max(1), "{parts} parts of {steps} steps");
                let bytes = 4 * parts * blocks.rows * blocks.columns * blocks.pixels;
                assert!(parts == 1 || bytes <= 64 << 20, "{bytes} bytes for {}", conv.params());
            }
        }
    }
}
