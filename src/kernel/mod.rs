//! Kernels: each is declared once, and everything else is a loop over the declarations.
//!
//! A [`Kernel`] says *what* is computed: bindings, parameters, CPU twin, cases, tolerance, work. Its [`Variant`]s say
//! *how*: WGSL, tile, grid, and what the adapter must offer. Parameters become WGSL constants in front of the source,
//! so shapes are known to the shader compiler and nothing is written in two places: a field `pad` of the Rust
//! parameters is the constant `PAD` in WGSL, and a missing one is a compile error that the test suite finds.

mod params;
mod variant;

use std::sync::atomic::AtomicBool;

pub use self::params::{Param, Params, Value};
pub use self::variant::{Adding, Grid, Needs, PARTS, Tile, Variant, WORKGROUP_BYTES, linear_tile};

/// Scalar type of a slot, and of the binding it is bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit float; WGSL may view it as `vec4f`.
    #[default]
    F32,
    /// 16-bit float: maps of a network of mixed precision. Kernels compute with 32 bits and round what they write.
    F16,
    /// 32-bit word: labels, packed bytes, per-step numbers.
    U32,
}

impl Elem {
    /// Size of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 => 2,
        }
    }

    /// `f32`, `f16`, `u32`: its name in WGSL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::U32 => "u32",
        }
    }

    /// Whether it is a float, of whatever size.
    pub const fn is_float(self) -> bool {
        !matches!(self, Self::U32)
    }
}

/// Direction in which a kernel uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The kernel reads the buffer and leaves it as it is.
    Read,
    /// The kernel writes every element, whatever was there before.
    Write,
    /// The kernel reads and writes the buffer: accumulation, the update of weights.
    Update,
}

/// Contents of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Maps, gradients of maps, or weights on their way into a contraction: floats as the run's parameters say,
    /// `Params::storage`; `Map` in WGSL.
    Maps,
    /// 32-bit floats, `f32` in WGSL.
    Floats,
    /// 32-bit words, `u32` in WGSL.
    Words,
}

/// A storage buffer of a kernel, by its name in WGSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Name of the `var<storage>` in WGSL.
    pub name: &'static str,
    /// Kind of the elements.
    pub holds: Holds,
    /// Whether the kernel reads or writes the buffer.
    pub access: Access,
}

impl Binding {
    const fn new(name: &'static str, holds: Holds, access: Access) -> Self {
        Self { name, holds, access }
    }

    /// Scalar type in a run with these parameters.
    pub fn elem(&self, params: &Params) -> Elem {
        match self.holds {
            Holds::Maps => params.storage(),
            Holds::Floats => Elem::F32,
            Holds::Words => Elem::U32,
        }
    }
}

/// A binding of maps that is only read.
pub const fn read_map(name: &'static str) -> Binding {
    Binding::new(name, Holds::Maps, Access::Read)
}

/// A binding of maps that is written whole.
pub const fn write_map(name: &'static str) -> Binding {
    Binding::new(name, Holds::Maps, Access::Write)
}

/// A binding of maps that is read and written.
pub const fn update_map(name: &'static str) -> Binding {
    Binding::new(name, Holds::Maps, Access::Update)
}

/// A float binding that is only read.
pub const fn read(name: &'static str) -> Binding {
    Binding::new(name, Holds::Floats, Access::Read)
}

/// A float binding that is written whole.
pub const fn write(name: &'static str) -> Binding {
    Binding::new(name, Holds::Floats, Access::Write)
}

/// A float binding that is read and written.
pub const fn update(name: &'static str) -> Binding {
    Binding::new(name, Holds::Floats, Access::Update)
}

/// A binding of words that is only read.
pub const fn words(name: &'static str) -> Binding {
    Binding::new(name, Holds::Words, Access::Read)
}

/// A binding of words that is written whole. Words that kernels write are pairs of f16, as `pack2x16float` makes them:
/// parity compares the values in them.
pub const fn write_words(name: &'static str) -> Binding {
    Binding::new(name, Holds::Words, Access::Write)
}

/// One bound buffer, as a CPU twin sees it.
#[derive(Debug)]
pub enum Arg<'a, T> {
    /// A buffer of floats that the twin reads.
    Read(&'a [T]),
    /// A buffer of words that the twin reads.
    Words(&'a [u32]),
    /// A buffer of floats that the twin writes or updates.
    Write(&'a mut [T]),
    /// A buffer of words that the twin writes.
    WriteWords(&'a mut [u32]),
}

/// The parameters and buffers of one run of a CPU twin; buffers are taken in the order of the bindings.
pub struct Args<'a, T> {
    /// Extents, switches and numbers of the run.
    pub params: &'a Params,
    /// Raised where the results are no longer wanted: a twin that takes long may leave them unfinished.
    pub stop: &'a AtomicBool,
    buffers: std::vec::IntoIter<Arg<'a, T>>,
}

/// What never stops a twin.
static NEVER: AtomicBool = AtomicBool::new(false);

impl<'a, T> Args<'a, T> {
    /// Arguments in binding order.
    pub fn new(params: &'a Params, buffers: Vec<Arg<'a, T>>) -> Self {
        Self { params, stop: &NEVER, buffers: buffers.into_iter() }
    }

    /// The same, which `stop` makes needless.
    #[must_use]
    pub fn unless(self, stop: &'a AtomicBool) -> Self {
        Self { stop, ..self }
    }

    /// The next binding, which is read.
    pub fn read(&mut self) -> &'a [T] {
        if let Some(Arg::Read(values)) = self.buffers.next() { values } else { unreachable!("{MISUSE}") }
    }

    /// The next binding, which holds words.
    pub fn words(&mut self) -> &'a [u32] {
        if let Some(Arg::Words(values)) = self.buffers.next() { values } else { unreachable!("{MISUSE}") }
    }

    /// The next binding, which is written.
    pub fn write(&mut self) -> &'a mut [T] {
        if let Some(Arg::Write(values)) = self.buffers.next() { values } else { unreachable!("{MISUSE}") }
    }

    /// The next binding, which holds words and is written.
    pub fn write_words(&mut self) -> &'a mut [u32] {
        if let Some(Arg::WriteWords(values)) = self.buffers.next() { values } else { unreachable!("{MISUSE}") }
    }
}

const MISUSE: &str = "a twin takes its buffers in the order and with the access of its kernel's bindings";

/// The CPU twin: f32 is the engine of `--devices cpu`, f64 the oracle of the tests. One generic function gives both,
/// but for contractions: theirs at f32 goes through a matrix product made for speed.
#[derive(Clone, Copy)]
pub struct Twin {
    /// The engine of `--devices cpu`, at the precision of the devices.
    pub f32: fn(Args<f32>),
    /// The oracle of the tests, at twice the precision.
    pub f64: fn(Args<f64>),
}

/// Both instances of a generic twin.
#[macro_export]
macro_rules! twin {
    ($function:path) => {
        $crate::kernel::Twin { f32: $function, f64: $function }
    };
}

/// A computation, apart from the ways to do it.
pub struct Kernel {
    /// `op.direction`, for example `conv.forward`.
    pub name: &'static str,
    /// One line: the formula and the shapes.
    pub doc: &'static str,
    /// Buffers, in the order of slots in a program and of buffers in [`Args`].
    pub bindings: &'static [Binding],
    /// Ways to compute it, best first; the last runs on every adapter.
    pub variants: &'static [Variant],
    /// The same computation on the CPU.
    pub twin: Twin,
    /// Shapes and contents for parity tests.
    pub cases: fn() -> Vec<Case>,
    /// Largest error against the f64 twin, relative to the value plus the output's root mean square, beside that of
    /// sums.
    pub tolerance: f64,
    /// Terms of the longest sum of a run: they round in f32 at every step, by steps that are independent of each other,
    /// so that the error grows with the root of their number.
    pub terms: fn(&Params) -> usize,
    /// Cut of a run whose buffers are too large for one binding; `None` where only fewer images help.
    pub split: Option<Split>,
    /// Floating-point operations of one run.
    pub flops: fn(&Params) -> u64,
}

/// A cut of one run into several, each with a piece of its largest buffers.
#[derive(Clone, Copy)]
pub struct Split {
    /// The extent that becomes smaller.
    pub along: &'static str,
    /// For every binding whether that extent is its outermost, so that a part needs one piece of it; else it needs all.
    pub outermost: &'static [bool],
    /// The parameters of a part: one that sums over the extent accumulates from the second on, and has its
    /// epilogue in the last.
    pub part: fn(Params, Piece) -> Params,
}

impl Kernel {
    /// What declarations leave unsaid: exact, not cut, without arithmetic. The other fields are for each kernel to
    /// fill, on which the tests of the registry insist.
    pub const PLAIN: Self = Self {
        name: "",
        doc: "",
        bindings: &[],
        variants: &[],
        twin: Twin { f32: |_| (), f64: |_| () },
        cases: Vec::new,
        tolerance: 0.0,
        terms: |_| 0,
        split: None,
        flops: |_| 0,
    };

    /// Whether any of its bindings holds maps.
    pub fn has_maps(&self) -> bool {
        self.bindings.iter().any(|binding| binding.holds == Holds::Maps)
    }

    /// Its cases with maps stored as `maps`; no halves where there are no maps.
    pub fn cases_with(&self, maps: Elem) -> Vec<Case> {
        if maps == Elem::F16 && !self.has_maps() {
            return Vec::new();
        }
        let stored = |case: Case| Case { params: case.params.with_storage(maps), ..case };
        (self.cases)().into_iter().map(stored).collect()
    }

    /// Largest error of a run with these parameters. A sum of n terms rounds n times, independently, each time by up to
    /// ε/2 of the sum so far, which grows as √i: the error deviates by ε/2 · 1/√3 · √(Σ i) = 0.2 ε n of a term, which
    /// is 0.2 ε √n of the sum's own deviation, or 0.3 ε √n of the root mean square that a ReLU leaves of it. Among a
    /// million outputs the largest is six deviations off: 2 ε √n. Where maps are halves, device and twin may round what
    /// they agree on to neighbours, which lie 2^-10 of the value apart at most.
    pub fn tolerance_of(&self, params: &Params) -> f64 {
        let halves = if self.has_maps() && params.storage() == Elem::F16 { 1.0 / 1024.0 } else { 0.0 };
        self.tolerance + 2.0 * f64::from(f32::EPSILON) * ((self.terms)(params) as f64).sqrt() + halves
    }
}

/// Place of a part among the parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins along the extent that is cut.
    pub start: usize,
    /// Nothing was computed before it.
    pub first: bool,
    /// Nothing comes after it.
    pub last: bool,
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Content of a buffer in a test.
#[derive(Clone, Debug)]
pub enum Fill {
    /// Normal numbers with this standard deviation.
    Normal(f32),
    /// Uniform numbers in a range.
    Uniform(f32, f32),
    /// Small integers as floats: ties are certain.
    Integers(u32),
    /// These floats, as many as the buffer has.
    Floats(Vec<f32>),
    /// Random words, all 32 bits of them.
    Random,
    /// These words, as many as the buffer has.
    Words(Vec<u32>),
    /// Nothing: the kernel writes it (the test fills NaN).
    Output,
}

/// One set of shapes and contents on which a kernel is compared with its twin.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name that says what is special about the case.
    pub name: String,
    /// Parameters of the run.
    pub params: Params,
    /// Length (elements) and content of every binding.
    pub buffers: Vec<(usize, Fill)>,
}

impl Case {
    /// A case with its buffers in binding order.
    pub fn new(name: impl Into<String>, params: Params, buffers: Vec<(usize, Fill)>) -> Self {
        Self { name: name.into(), params, buffers }
    }
}

/// Runs `body(index, chunk)` over consecutive chunks of `out` on all cores, with the widest vectors of this processor.
/// A large body is marked `#[inline(always)]`, or it is compiled for the narrowest ones.
pub fn for_each_chunk<T: Send>(out: &mut [T], chunk: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    let arch = pulp::Arch::new();
    on_all_cores(out, chunk, &|index, part| arch.dispatch(Chunk { index, part, body: &body }));
}

/// Runs `body(index, chunk)` on all cores; one copy in the machine code serves every kernel.
fn on_all_cores<T: Send>(out: &mut [T], chunk: usize, body: &(dyn Fn(usize, &mut [T]) + Sync)) {
    use rayon::prelude::*;
    out.par_chunks_mut(chunk.max(1)).enumerate().for_each(|(index, part)| body(index, part));
}

/// The work on one chunk. A type of its own because a closure here would not be inlined into the vector code.
struct Chunk<'a, T, F> {
    index: usize,
    part: &'a mut [T],
    body: &'a F,
}

impl<T, F: Fn(usize, &mut [T])> pulp::NullaryFnOnce for Chunk<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        (self.body)(self.index, self.part);
    }
}
