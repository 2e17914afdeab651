//! The ways to compute a kernel: WGSL, tile, grid, and what an adapter must offer. Which of them runs is chosen where
//! they can be measured, in `backend/gpu/tune.rs`.

use super::{Elem, Params};

/// Constants of a variant beyond the parameters: names and extents.
pub type Tile = Vec<(&'static str, usize)>;

/// Bytes of workgroup memory that every adapter has.
pub const WORKGROUP_BYTES: u32 = 16_384;

/// The invocations of a variant; the backend divides them by the workgroup size found in the WGSL.
#[derive(Clone, Copy)]
pub enum Grid {
    /// The number of independent items, from the parameters. An invocation takes [`Variant::vector`] of them, and the
    /// kernel strides over what one dispatch cannot cover.
    Linear(fn(&Params) -> usize),
    /// Invocations along x, y, z, from the parameters followed by the tile, rounded up to whole workgroups.
    Tiles(fn(&Params) -> [usize; 3]),
}

/// Requirements of a variant on the adapter, and on the shapes it is to compute.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Subgroup operations, with subgroups of exactly this many lanes unless `subgroup_least` says otherwise:
    /// `SUBGROUP` in WGSL.
    pub subgroup_size: Option<u32>,
    /// The fewest lanes of a subgroup, where a driver may make some smaller; WGSL then asks for their size.
    pub subgroup_least: Option<u32>,
    /// Matrix units that multiply squares of 16-bit floats with sides of this length and sum up in 32-bit ones.
    pub matrix: Option<u32>,
    /// Words of 64 bits, in which `common/words_*.wgsl` loads maps.
    pub words: bool,
    /// Bytes of workgroup memory that it may take; [`WORKGROUP_BYTES`] are on every adapter.
    pub workgroup_bytes: u32,
    /// Whether it can compute these shapes.
    pub shapes: fn(&Params) -> bool,
}

impl Needs {
    /// Runs on every adapter, with every shape.
    pub const NONE: Self = Self {
        subgroup_size: None,
        subgroup_least: None,
        matrix: None,
        words: false,
        workgroup_bytes: WORKGROUP_BYTES,
        shapes: |_| true,
    };

    /// Whether a variant with these needs can compute a run with these parameters, on an adapter that has all it needs.
    pub fn fit(&self, params: &Params) -> bool {
        (self.matrix.is_none() || params.storage() == Elem::F16) && (self.shapes)(params)
    }
}

/// The end of a variant whose workgroups sum up a part of their sums each: a second entry point of its module, which
/// adds the parts up in their order. Between the two they lie in [`PARTS`], a buffer of the device's own.
#[derive(Clone, Copy)]
pub struct Adding {
    /// Name of the entry point in WGSL.
    pub entry: &'static str,
    /// Number of outputs, in vectors of four, from the parameters; each is the sum of as many as the tile's `parts`.
    pub outputs: fn(&Params) -> usize,
}

/// Name in WGSL of the buffer that parts of sums wait in, `vec4f`.
pub const PARTS: &str = "parts";

/// One way to compute a kernel.
pub struct Variant {
    /// Name within the kernel; `plain` for the one that every adapter runs.
    pub name: &'static str,
    /// WGSL sources, concatenated after the constants.
    pub sources: &'static [&'static str],
    /// Name of the entry point in WGSL.
    pub entry: &'static str,
    /// Neighbouring numbers that an invocation takes at once: 1, 2 or 4. WGSL sees it as `VECTOR`, with `Numbers` for
    /// as many floats and `MapNumbers` for as many elements of maps.
    pub vector: usize,
    /// Extents of the tile for given parameters, as further constants.
    pub tile: fn(&Params) -> Tile,
    /// Number of invocations of a run.
    pub grid: Grid,
    /// The second entry point of a variant that sums up in parts.
    pub adding: Option<Adding>,
    /// Requirements on adapter and shapes.
    pub needs: Needs,
}

impl Variant {
    /// The variant `plain` of a kernel over independent items, one an invocation, in the workgroups of [`linear_tile`].
    pub const fn linear(entry: &'static str, sources: &'static [&'static str], items: fn(&Params) -> usize) -> Self {
        let (grid, needs) = (Grid::Linear(items), Needs::NONE);
        Self { name: "plain", sources, entry, vector: 1, tile: linear_tile, grid, adding: None, needs }
    }

    /// The variant `plain` of a kernel that one invocation computes from beginning to end.
    pub const fn single(entry: &'static str, sources: &'static [&'static str]) -> Self {
        Self { tile: |_| Vec::new(), ..Self::linear(entry, sources, |_| 1) }
    }

    /// The same with `vector` numbers an invocation.
    #[must_use]
    pub const fn vectors(self, vector: usize) -> Self {
        Self { vector, ..self }
    }

    /// Whether `other` has the same innermost loop, its first source, with as many numbers an invocation, so that only
    /// tile and parts tell them apart.
    pub fn is_tile_of(&self, other: &Self) -> bool {
        (self.sources.first(), self.vector) == (other.sources.first(), other.vector)
    }

    /// Invocations along x, y, z of a run with `params`.
    pub fn invocations(&self, params: &Params) -> [usize; 3] {
        match self.grid {
            Grid::Linear(items) => [items(params).div_ceil(self.vector), 1, 1],
            Grid::Tiles(extents) => extents(&params.with(&(self.tile)(params))),
        }
    }

    /// Bytes of [`PARTS`] that a run with `params` needs.
    pub fn parts_bytes(&self, params: &Params) -> u64 {
        let parts = || (self.tile)(params).iter().find(|(name, _)| *name == "parts").map_or(0, |&(_, parts)| parts);
        self.adding.map_or(0, |adding| 16 * (parts() * (adding.outputs)(params)) as u64)
    }
}

/// The tile of a kernel over independent items: 64 invocations in a workgroup.
pub fn linear_tile(_: &Params) -> Tile {
    vec![("workgroup", 64)]
}
