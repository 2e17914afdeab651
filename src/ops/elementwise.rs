//! Kernels that treat every number of a tensor by itself, whatever its shape: four at a time where it is whole vectors.

use crate::kernel::{Grid, Needs, Params, Variant, linear_tile};

/// What the sources of [`quads`] begin with.
pub(super) const QUADS: &str = include_str!("../../shaders/common/quads.wgsl");
/// What the sources of [`singles`] begin with.
pub(super) const SINGLES: &str = include_str!("../../shaders/common/singles.wgsl");

/// Four numbers at a time, of a parameter `count` that says how many there are.
pub(super) const fn quads(entry: &'static str, sources: &'static [&'static str]) -> Variant {
    let needs = Needs { shapes: |p| p.get::<usize>("count").is_multiple_of(4), ..Needs::NONE };
    let grid = |p: &Params| Grid::Linear(p.get::<usize>("count") / 4);
    Variant { name: "quads", sources, entry, tile: quads_tile, grid, needs }
}

/// As many invocations as every adapter allows: each workgroup costs a software driver as much as some loads.
pub(super) fn quads_tile(_: &Params) -> Vec<(&'static str, usize)> {
    vec![("workgroup", 256)]
}

/// One number at a time.
pub(super) const fn singles(entry: &'static str, sources: &'static [&'static str]) -> Variant {
    Variant {
        name: "plain",
        sources,
        entry,
        tile: linear_tile,
        grid: |p| Grid::Linear(p.get("count")),
        needs: Needs::NONE,
    }
}
