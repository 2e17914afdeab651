//! Kernels that treat every number of a tensor by itself, whatever its shape, share variants, counts and twins.

use crate::kernel::{Fill, Needs, Params, Tile, Variant, for_each_chunk};

/// Numbers that one core handles at a time.
pub(super) const CHUNK: usize = 16 * 1024;

/// Counts on which kernels over whole vectors are compared with their twins.
pub(super) const COUNTS: [(&str, usize); 3] = [("one vector", 4), ("ragged", 1036), ("many", 100_000)];

/// Buffers of `count` numbers each: inputs filled so, and one that is written.
pub(super) fn buffers(count: usize, inputs: &[Fill]) -> Vec<(usize, Fill)> {
    inputs.iter().cloned().chain([Fill::Output]).map(|fill| (count, fill)).collect()
}

/// The parameter `count`, which says how many numbers there are.
pub(super) fn count(params: &Params) -> usize {
    params.get("count")
}

/// The variants of a kernel over a parameter `count` of numbers: four at a time where they are whole vectors, and
/// `plain`, one at a time.
pub(super) const fn any_count(entry: &'static str, sources: &'static [&'static str]) -> [Variant; 2] {
    [quads(entry, sources), Variant::linear(entry, sources, count)]
}

/// The variant that takes four numbers at a time.
const fn quads(entry: &'static str, sources: &'static [&'static str]) -> Variant {
    let needs = Needs { shapes: |p| count(p).is_multiple_of(4), ..Needs::NONE };
    Variant { name: "quads", tile: quads_tile, needs, ..Variant::linear(entry, sources, count).vectors(4) }
}

/// As many invocations as every adapter allows: each workgroup costs a software driver as much as some loads.
fn quads_tile(_: &Params) -> Tile {
    vec![("workgroup", 256)]
}

/// y = f(x), number by number, on all cores.
pub(super) fn map<T: Copy + Send + Sync>(y: &mut [T], x: &[T], f: impl Fn(T) -> T + Sync) {
    for_each_chunk(
        y,
        CHUNK,
        #[inline(always)]
        |i, y| y.iter_mut().zip(&x[i * CHUNK..]).for_each(|(y, &x)| *y = f(x)),
    );
}

/// y = f(a, b), number by number, on all cores.
pub(super) fn zip<T: Copy + Send + Sync>(y: &mut [T], a: &[T], b: &[T], f: impl Fn(T, T) -> T + Sync) {
    for_each_chunk(
        y,
        CHUNK,
        #[inline(always)]
        |i, y| {
            let terms = a[i * CHUNK..].iter().zip(&b[i * CHUNK..]);
            y.iter_mut().zip(terms).for_each(|(y, (&a, &b))| *y = f(a, b));
        },
    );
}
