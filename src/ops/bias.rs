//! Gradient of a bias: one bias a map (shared by all its pixels, as in the released code), so db is the sum of dy over
//! pixels and images. Software drivers and the processor take it in parts of fixed length, whose sums are added in
//! their order; every way has a fixed order, and so the same bits in every run. Adding the bias itself rides in the
//! epilogue of the contraction.

use crate::kernel::{Args, Case, Fill, Grid, Kernel, Needs, Params, Tile, Variant, for_each_chunk, read_map, update};
use crate::ops::conv::SUBGROUP;
use crate::ops::layer::{Chw, Site};
use crate::program::{Recorder, Slot};
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// One layer's bias gradient; [`Shape::new`] chooses the parts.
    pub struct Shape {
        /// K: maps, each with one bias.
        maps: usize,
        /// Pixels of a map, P·Q; 1 for a fully-connected layer.
        pixels: usize,
        /// Images, N: a multiple of 8.
        images: usize,
        /// Partial sums of a map.
        parts: usize,
        /// Whether db is added to (later micro-batches) or replaced.
        accumulate: bool,
    }
}

impl Shape {
    /// The shape with [`parts`] parts.
    pub fn new(maps: usize, pixels: usize, images: usize, accumulate: bool) -> Self {
        Self { maps, pixels, images, parts: parts(pixels * images), accumulate }
    }
}

/// Into how many partial sums a map of `elements` (pixels · images) is cut: one per 2048, at most 64.
pub fn parts(elements: usize) -> usize {
    elements.div_ceil(2048).clamp(1, 64)
}

/// Records db = (accumulating: db +) sum of dy over pixels and images for maps of shape `y`.
pub fn backward(r: &mut Recorder, site: &Site, y: Chw, dy: Slot, db: Slot) {
    let shape = Shape::new(y.channels, y.pixels(), site.images, site.accumulate);
    r.run(&BACKWARD, shape.params(), &[dy, db]);
}

const SOURCES: &[&str] = &[include_str!("../../shaders/bias.wgsl")];

/// Invocations that sum up parts in a workgroup of a software driver, at least as many as a map has parts.
const LANES_OF_PARTS: usize = 64;

/// Vectors that an invocation of a GPU has on their way at a time.
const LOADS: usize = 8;

/// db = the sum of dy over pixels and images.
pub static BACKWARD: Kernel = Kernel {
    name: "bias.backward",
    doc: "db[k] = (accumulate: db[k] +) sum of dy[k][pixels][N]; dy [K][P*Q][N], db [K]",
    bindings: &[read_map("dy"), update("db")],
    variants: &[
        Variant {
            name: "chains",
            // Of software drivers, where lanes that read far apart cost no more than neighbours, and a barrier is dear.
            needs: Needs { subgroup_size: Some(SUBGROUP as u32), ..Needs::NONE },
            tile: |p| tile(p, LANES_OF_PARTS),
            grid: Grid::Tiles(|p| {
                let [maps, at_once] = ["maps", "maps_at_once"].map(|name| p.get::<usize>(name));
                [maps.div_ceil(at_once) * LANES_OF_PARTS, 1, 1]
            }),
            ..Variant::linear("chains", SOURCES, maps)
        },
        Variant {
            tile: |p| tile(p, if elements(p) < 1 << 13 { 64 } else { 256 }),
            grid: Grid::Tiles(|p| [maps(p) * p.get::<usize>("workgroup"), 1, 1]),
            ..Variant::linear("sums", SOURCES, maps)
        },
    ],
    twin: twin!(gradient),
    cases,
    tolerance: 1e-6, // the last sums of lanes and parts, ten or so
    terms: |p| elements(p).div_ceil(4 * p.get::<usize>("parts")) + p.get::<usize>("parts"),
    flops: |p| (maps(p) * elements(p)) as u64,
    ..Kernel::PLAIN
};

fn tile(params: &Params, workgroup: usize) -> Tile {
    let maps_at_once = LANES_OF_PARTS / params.get::<usize>("parts");
    vec![("workgroup", workgroup), ("maps_at_once", maps_at_once), ("loads", LOADS)]
}

fn maps(params: &Params) -> usize {
    params.get("maps")
}

/// Elements of dy in one map.
fn elements(params: &Params) -> usize {
    params.get::<usize>("pixels") * params.get::<usize>("images")
}

/// (name, K, P·Q, N).
const SHAPES: [(&str, usize, usize, usize); 5] = [
    ("one map of one vector", 1, 1, 8),
    ("fully connected", 130, 1, 128),
    ("ragged parts", 3, 9 * 31, 24),
    ("a map of many parts", 2, 55 * 55, 24),
    ("as many parts as there may be", 1, 33 * 33, 128),
];

fn cases() -> Vec<Case> {
    let case = |(name, shape): (&str, Shape)| {
        // What db held is NaN where it must not matter.
        let old = if shape.accumulate { Fill::Normal(3.0) } else { Fill::Output };
        let dy = (shape.maps * shape.pixels * shape.images, Fill::Normal(1.0));
        Case::new(name, shape.params(), vec![dy, (shape.maps, old)])
    };
    let shape = |(index, (name, maps, pixels, images))| (name, Shape::new(maps, pixels, images, index % 2 == 1));
    // 18 vectors in 8 parts of 3: the last two parts are empty.
    let empty = Shape { maps: 2, pixels: 3, images: 24, parts: 8, accumulate: false };
    SHAPES.into_iter().enumerate().map(shape).chain([("empty parts", empty)]).map(case).collect()
}

/// Independent sums, so that the processor can use its vectors.
const LANES: usize = 16;

fn gradient<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (dy, db) = (args.read(), args.write());
    let elements = shape.pixels * shape.images;
    // Whole vectors of four, as on a device; an empty part is an empty slice.
    let part = 4 * (elements / 4).div_ceil(shape.parts);
    for_each_chunk(
        db,
        1,
        #[inline(always)]
        |map, db| {
            let map = &dy[map * elements..][..elements];
            let parts = (0..shape.parts).map(|i| total(&map[(i * part).min(elements)..((i + 1) * part).min(elements)]));
            let sum = parts.fold(T::zero(), |sum, part| sum + part);
            db[0] = if shape.accumulate { sum + db[0] } else { sum };
        },
    );
}

#[inline(always)]
fn total<T: Real>(values: &[T]) -> T {
    let mut lanes = [T::zero(); LANES];
    let blocks = values.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, &v)| *lane += v);
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &v)| *lane += v);
    lanes.into_iter().fold(T::zero(), |sum, lane| sum + lane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;
    use proptest::prelude::*;

    fn run(shape: Shape, dy: &[f32], db: &mut [f32]) {
        gradient(Args::new(&shape.params(), vec![Arg::Read(dy), Arg::Write(db)]));
    }

    proptest! {
        /// On small integers every order of summation gives the same bits.
        #[test]
        fn the_gradient_is_the_plain_sum(maps in 1..4_usize, pixels in 1..300_usize, eights in 1..5_usize) {
            let images = 8 * eights;
            let dy: Vec<f32> = (0..maps * pixels * images).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
            let naive: Vec<f32> = dy.chunks(pixels * images).map(|map| map.iter().sum()).collect();
            let mut db = vec![f32::NAN; maps];
            run(Shape::new(maps, pixels, images, false), &dy, &mut db);
            prop_assert_eq!(&db, &naive);
            run(Shape::new(maps, pixels, images, true), &dy, &mut db);
            prop_assert!(db.iter().zip(&naive).all(|(twice, once)| *twice == 2.0 * once));
        }
    }

    #[test]
    fn large_maps_are_cut_but_never_into_more_than_64_parts() {
        assert_eq!([8, 2048, 2049, 55 * 55 * 128, 1 << 30].map(parts), [1, 1, 2, 64, 64]);
    }
}
