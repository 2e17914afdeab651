//! Contractions by tiles in workgroup memory, for GPUs (`shaders/common/steps.wgsl`): extents of tiles, and parts of
//! sums.
//!
//! A tile's workgroup sums up alone, or, where tiles are few and sums long, a part of its sums: as many parts as fill a
//! large GPU. Their number depends on the shape alone, so that results do not depend on the device.

use super::Conv;
use super::units::{FEW_TERMS, Unit, best, images_of};
use super::variants::{VECTOR, fills_images};
use crate::kernel::{Adding, Grid, Needs, Params, Tile, Variant, WORKGROUP_BYTES};

/// The fewest workgroups that keep a large GPU busy: two for each of 132 processors.
const WORKGROUPS: usize = 2 * 132;
/// Most parts of a sum.
const MOST_PARTS: usize = 256;
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
    /// Columns of a tile, its rows, and the threads of a workgroup.
    width: usize,
    height: usize,
    threads: usize,
    /// Warps of 32 threads that fill a large GPU.
    warps: usize,
    /// Terms of a step that is the line of a window, all `terms` of it.
    line: Option<usize>,
    /// Whether vectors of the operands do not cross rows.
    whole: bool,
}

/// One of the three contractions of a convolution.
pub(super) trait Contracted {
    /// What it is for these parameters, in tiles for `U`.
    fn blocks<U: Unit>(params: &Params) -> Blocks;
}

/// y of x and w.
pub(super) struct Forward;
/// dx of w and dy.
pub(super) struct BackwardInput;
/// dw of x and dy.
pub(super) struct BackwardFilter;

/// Rows of the tiles that cost the least for `rows`, where their columns do not matter.
fn rows_of<U: Unit>(rows: usize) -> usize {
    best(U::EXTENTS.iter().copied(), rows).unwrap_or(rows)
}

impl Contracted for Forward {
    fn blocks<U: Unit>(params: &Params) -> Blocks {
        let Conv { maps, k: rows, p, q, n: columns, r, s, .. } = Conv::from(params);
        let line = (!maps.is_multiple_of(FEW_TERMS) && LINES.contains(&s)).then(|| s.next_multiple_of(U::SIDE));
        let (terms, places) = if line.is_some() { (s, maps * r) } else { (maps, r * s) };
        let height = rows_of::<U>(rows);
        let images = images_of(params, U::images(height));
        let narrow = line.is_some_and(|s| 2 * U::BYTES * s * (height + images) > WORKGROUP_BYTES as usize);
        let width = if narrow { images_of(params, 64) } else { images };
        let whole = fills_images(columns) && rows.is_multiple_of(VECTOR);
        Blocks { line, ..Blocks::new::<U>((rows, columns), p * q, (terms, places), width, whole) }
    }
}

impl Contracted for BackwardInput {
    fn blocks<U: Unit>(params: &Params) -> Blocks {
        let Conv { maps: rows, h, w, n: columns, k: terms, r, s, stride_y, stride_x, .. } = Conv::from(params);
        let places = r.div_ceil(stride_y) * s.div_ceil(stride_x);
        let width = images_of(params, U::images(rows_of::<U>(rows)));
        Blocks::new::<U>((rows, columns), h * w, (terms, places), width, fills_images(columns))
    }
}

impl Contracted for BackwardFilter {
    fn blocks<U: Unit>(params: &Params) -> Blocks {
        let conv = Conv::from(params);
        let Conv { k: columns, p, q, n: terms, .. } = conv;
        let (width, whole) = (rows_of::<U>(columns), columns.is_multiple_of(VECTOR));
        Blocks::new::<U>((conv.rows(), columns), 1, (terms, p * q), width, whole)
    }
}

impl Blocks {
    fn new<U: Unit>(
        (rows, columns): (usize, usize),
        pixels: usize,
        (terms, places): (usize, usize),
        width: usize,
        whole: bool,
    ) -> Self {
        let height = U::height(rows, width);
        let threads = U::threads(height, width);
        Self { rows, columns, pixels, terms, places, width, height, threads, warps: U::WARPS, line: None, whole }
    }

    /// Terms of a step, of which `depth` are asked.
    fn depth(&self, depth: usize) -> usize {
        self.line.unwrap_or(depth)
    }

    /// Parts of the sums with steps of `depth` terms, none of them empty.
    fn parts(&self, depth: usize) -> usize {
        let tiles = self.pixels * self.rows.div_ceil(self.height) * self.columns.div_ceil(self.width);
        let fill = self.warps / (tiles * self.threads.div_ceil(32));
        let wanted = fill.max(WORKGROUPS.div_ceil(tiles)).clamp(1, MOST_PARTS);
        let steps = self.places * self.terms.div_ceil(self.depth(depth));
        steps.div_ceil(steps.div_ceil(wanted).max(1)).max(1)
    }
}

fn tile<C: Contracted, U: Unit, const DEPTH: usize, const SPLIT: bool>(params: &Params) -> Tile {
    let blocks = C::blocks::<U>(params);
    let Blocks { height, width, threads, .. } = blocks;
    let parts = if SPLIT { blocks.parts(DEPTH) } else { 1 };
    let mut tile = vec![("bm", height), ("bn", width), ("bk", blocks.depth(DEPTH))];
    tile.extend([("threads", threads), ("parts", parts)]);
    tile.extend(U::constants(height, width));
    tile
}

fn grid<C: Contracted, U: Unit>(params: &Params) -> [usize; 3] {
    let Blocks { rows, columns, pixels, .. } = C::blocks::<U>(params);
    let [bm, bn, threads, parts] = ["bm", "bn", "threads", "parts"].map(|name| params.get::<usize>(name));
    [threads * columns.div_ceil(bn), rows.div_ceil(bm), pixels * parts]
}

fn outputs<C: Contracted, U: Unit>(params: &Params) -> usize {
    let Blocks { rows, columns, pixels, .. } = C::blocks::<U>(params);
    rows * columns * pixels / VECTOR
}

fn fits<C: Contracted, U: Unit, const DEPTH: usize, const SPLIT: bool>(params: &Params) -> bool {
    let blocks = C::blocks::<U>(params);
    // Lines are as deep as they are: once is enough.
    let deep = match blocks.line {
        Some(_) => U::SIDE > 1 || DEPTH == FEW_TERMS,
        None => blocks.terms.is_multiple_of(DEPTH),
    };
    blocks.whole && deep && (!SPLIT || blocks.parts(DEPTH) > 1)
}

/// The variant with steps of `DEPTH` terms, whole sums or split ones.
pub(super) const fn variant<C: Contracted, U: Unit, const DEPTH: usize, const SPLIT: bool>(
    name: &'static str,
    sources: &'static [&'static str],
) -> Variant {
    Variant {
        name,
        sources,
        entry: "contraction",
        vector: 1,
        tile: tile::<C, U, DEPTH, SPLIT>,
        grid: Grid::Tiles(grid::<C, U>),
        adding: if SPLIT { Some(Adding { entry: "add_parts", outputs: outputs::<C, U> }) } else { None },
        needs: Needs { shapes: fits::<C, U, DEPTH, SPLIT>, ..U::NEEDS },
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::square;
    use super::super::units::{Matrix, Threads};
    use super::*;

    /// AlexNet's own shapes, one tower, 128 images: (contraction, groups of 32 threads or more).
    fn workgroups<C: Contracted>(conv: &Conv) -> usize {
        let params = conv.params();
        let params = params.with(&tile::<C, Threads<16>, 16, true>(&params));
        let [x, y, z] = grid::<C, Threads<16>>(&params);
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
            let threads = [Forward::blocks::<Threads<8>>, BackwardInput::blocks::<Threads<8>>];
            let matrices = [Forward::blocks::<Matrix<16, 32>>, BackwardInput::blocks::<Matrix<16, 32>>];
            let filters = [BackwardFilter::blocks::<Threads<8>>, BackwardFilter::blocks::<Matrix<16, 32>>];
            for blocks in threads.into_iter().chain(matrices).chain(filters) {
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
