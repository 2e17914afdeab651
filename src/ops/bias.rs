//! Gradient of a bias: one bias a map (shared by all its pixels, as in the released code), so db is the sum of dy over
//! pixels and images. Two passes of fixed order: the same bits in every run, and parallel work for a device even
//! where a layer has few maps. Adding the bias itself rides in the epilogue of the contraction.

use crate::kernel::{
    Args, Case, Fill, Grid, Kernel, Needs, Params, Variant, for_each_chunk, read, read_map, update, write,
};
use crate::ops::conv::SUBGROUP;
use crate::ops::layer::{Chw, Site};
use crate::program::{Home, Recorder, Slot};
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// Both passes of one layer's bias gradient; [`Shape::new`] chooses the parts.
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
    let home = Home::Tower(site.tower);
    let partial = r.floats(format!("{}.bias_parts", site.name), vec![shape.maps, shape.parts], home);
    r.run(&PARTIAL, shape.params(), &[dy, partial]);
    r.run(&SUM, shape.params(), &[partial, db]);
}

const SOURCES: &[&str] = &[include_str!("../../shaders/bias.wgsl")];

/// First pass: each part of each map by itself.
pub static PARTIAL: Kernel = Kernel {
    name: "bias.partial",
    doc: "partial[k][part] = sum of dy[k][pixels][N] over the part; dy [K][P*Q][N], partial [K][parts]",
    bindings: &[read_map("dy"), write("partial")],
    variants: &[
        Variant {
            name: "chains",
            // Of software drivers: their barriers are dear, and lanes that read far apart cost no more than neighbours.
            needs: Needs { subgroup_size: Some(SUBGROUP as u32), ..Needs::NONE },
            ..Variant::linear("partial_chains", SOURCES, sums)
        },
        Variant {
            grid: Grid::Tiles(|p| [p.get::<usize>("parts") * p.get::<usize>("workgroup"), p.get("maps"), 1]),
            ..Variant::linear("partial_sums", SOURCES, sums)
        },
    ],
    twin: twin!(partial),
    cases: partial_cases,
    tolerance: 1e-5, // sums of up to 6000 numbers round like a random walk, some 1e-6 of their root mean square
    flops: |p| (p.get::<usize>("maps") * elements(p)) as u64,
    ..Kernel::PLAIN
};

/// Second pass: the parts of each map, in order.
pub static SUM: Kernel = Kernel {
    name: "bias.sum",
    doc: "db[k] = (accumulate: db[k] +) sum of partials[k][parts]; partials [K][parts], db [K]",
    bindings: &[read("partials"), update("db")],
    variants: &[Variant::linear("sum", SOURCES, |p| p.get("maps"))],
    twin: twin!(sum),
    cases: sum_cases,
    tolerance: 1e-5, // at most 65 roundings
    flops: |p| sums(p) as u64,
    ..Kernel::PLAIN
};

/// Partial sums of all maps.
fn sums(params: &Params) -> usize {
    params.get::<usize>("maps") * params.get::<usize>("parts")
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

fn partial_cases() -> Vec<Case> {
    let case = |(name, maps, pixels, images)| {
        let shape = Shape::new(maps, pixels, images, false);
        let buffers = vec![(maps * pixels * images, Fill::Normal(1.0)), (maps * shape.parts, Fill::Output)];
        Case::new(name, shape.params(), buffers)
    };
    let mut cases: Vec<_> = SHAPES.map(case).into();
    // 18 vectors in 8 parts of 3: the last two parts are empty.
    let empty = Shape { maps: 2, pixels: 3, images: 24, parts: 8, accumulate: false };
    cases.push(Case::new("empty parts", empty.params(), vec![(144, Fill::Normal(1.0)), (16, Fill::Output)]));
    cases
}

fn sum_cases() -> Vec<Case> {
    let case = |((name, maps, pixels, images), accumulate)| {
        let shape = Shape::new(maps, pixels, images, accumulate);
        // What db held is NaN where it must not matter.
        let old = if accumulate { Fill::Normal(3.0) } else { Fill::Output };
        let name = format!("{name}{}", if accumulate { ", accumulated" } else { "" });
        Case::new(name, shape.params(), vec![(maps * shape.parts, Fill::Normal(1.0)), (maps, old)])
    };
    SHAPES.into_iter().flat_map(|shape| [(shape, false), (shape, true)]).map(case).collect()
}

/// Independent sums, so that the processor can use its vectors.
const LANES: usize = 16;

fn partial<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (dy, partial) = (args.read(), args.write());
    let elements = shape.pixels * shape.images;
    // Whole vectors of four, as on a device; an empty part is an empty slice.
    let part = 4 * (elements / 4).div_ceil(shape.parts);
    for_each_chunk(partial, shape.parts, |map, sums| {
        let map = &dy[map * elements..][..elements];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = total(&map[(i * part).min(elements)..((i + 1) * part).min(elements)]);
        }
    });
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

fn sum<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (partials, db) = (args.read(), args.write());
    for (db, parts) in db.iter_mut().zip(partials.chunks_exact(shape.parts)) {
        let sum = parts.iter().fold(T::zero(), |sum, &part| sum + part);
        *db = if shape.accumulate { sum + *db } else { sum };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;
    use proptest::prelude::*;

    fn gradient(shape: Shape, dy: &[f32], db: &mut [f32]) {
        let params = shape.params();
        let mut parts = vec![f32::NAN; shape.maps * shape.parts];
        partial(Args::new(&params, vec![Arg::Read(dy), Arg::Write(&mut parts)]));
        sum(Args::new(&params, vec![Arg::Read(&parts), Arg::Write(db)]));
    }

    proptest! {
        /// On small integers every order of summation gives the same bits.
        #[test]
        fn the_gradient_is_the_plain_sum(maps in 1..4_usize, pixels in 1..300_usize, eights in 1..5_usize) {
            let images = 8 * eights;
            let dy: Vec<f32> = (0..maps * pixels * images).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
            let naive: Vec<f32> = dy.chunks(pixels * images).map(|map| map.iter().sum()).collect();
            let mut db = vec![f32::NAN; maps];
            gradient(Shape::new(maps, pixels, images, false), &dy, &mut db);
            prop_assert_eq!(&db, &naive);
            gradient(Shape::new(maps, pixels, images, true), &dy, &mut db);
            prop_assert!(db.iter().zip(&naive).all(|(twice, once)| *twice == 2.0 * once));
        }
    }

    #[test]
    fn large_maps_are_cut_but_never_into_more_than_64_parts() {
        assert_eq!([8, 2048, 2049, 55 * 55 * 128, 1 << 30].map(parts), [1, 1, 2, 64, 64]);
    }
}
