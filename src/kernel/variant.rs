//! The ways to compute a kernel: WGSL, tile, grid, and what an adapter must offer. Which of them runs is chosen where
//! they can be measured, in `backend/gpu/tune.rs`.

use super::{Elem, Params};

/// Constants of a variant beyond the parameters: names and extents.
pub type Tile = Vec<(&'static str, usize)>;

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
    /// Subgroup operations, with subgroups of exactly this many lanes: `SUBGROUP` in WGSL.
    pub subgroup_size: Option<u32>,
    /// Matrix units that multiply squares of 16-bit floats with sides of this length and sum up in 32-bit ones.
    pub matrix: Option<u32>,
    /// Words of 64 bits, in which `common/words_*.wgsl` loads maps.
    pub words: bool,
    /// Whether it can compute these shapes.
    pub shapes: fn(&Params) -> bool,
}

impl Needs {
    /// Runs on every adapter, with every shape.
    pub const NONE: Self = Self { subgroup_size: None, matrix: None, words: false, shapes: |_| true };

    /// Whether a variant with these needs can compute a run with these parameters, on an adapter that has all it needs.
    pub fn fit(&self, params: &Params) -> bool {
        (self.matrix.is_none() || params.storage() == Elem::F16) && (self.shapes)(params)
    }
}

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
    /// Requirements on adapter and shapes.
    pub needs: Needs,
}

impl Variant {
    /// The variant `plain` of a kernel over independent items, one an invocation, in the workgroups of [`linear_tile`].
    pub const fn linear(entry: &'static str, sources: &'static [&'static str], items: fn(&Params) -> usize) -> Self {
        let (grid, needs) = (Grid::Linear(items), Needs::NONE);
        Self { name: "plain", sources, entry, vector: 1, tile: linear_tile, grid, needs }
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

    /// Whether `other` is the same WGSL with as many numbers an invocation, so that only the tile tells them apart.
    pub fn is_tile_of(&self, other: &Self) -> bool {
        (self.sources, self.entry, self.vector) == (other.sources, other.entry, other.vector)
    }

    /// Invocations along x, y, z of a run with `params`.
    pub fn invocations(&self, params: &Params) -> [usize; 3] {
        match self.grid {
            Grid::Linear(items) => [items(params).div_ceil(self.vector), 1, 1],
            Grid::Tiles(extents) => extents(&params.with(&(self.tile)(params))),
        }
    }

    /// Workgroups along x, y, z of a run with `params`, each of `size` invocations, at most `most` along each axis.
    ///
    /// # Errors
    /// The number wanted where that is more and the kernel does not stride.
    pub fn workgroups(&self, params: &Params, size: [u32; 3], most: u32) -> Result<[u32; 3], usize> {
        let invocations = self.invocations(params);
        let mut counts = [0; 3];
        for axis in 0..3 {
            let wanted = invocations[axis].div_ceil(size[axis] as usize);
            let count = u32::try_from(wanted).ok().filter(|&count| count <= most);
            counts[axis] = match self.grid {
                // The kernel strides over what is left.
                Grid::Linear(_) => count.unwrap_or(most).max(1),
                Grid::Tiles(_) => count.ok_or(wanted)?,
            };
        }
        Ok(counts)
    }
}

/// The tile of a kernel over independent items: 64 invocations in a workgroup.
pub fn linear_tile(_: &Params) -> Tile {
    vec![("workgroup", 64)]
}
