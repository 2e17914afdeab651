//! What a kernel is: declared once, everything else is a loop over the declarations.
//!
//! A [`Kernel`] says *what* is computed: bindings, parameters, CPU twin, cases, tolerance, work. Its [`Variant`]s say
//! *how*: WGSL, tile, grid, and what the adapter must offer. Parameters become WGSL constants in front of the source,
//! so shapes are known to the shader compiler and nothing is written in two places: a field `pad` of the Rust
//! parameters is the constant `PAD` in WGSL, and a missing one is a compile error that the test suite finds.

use std::fmt::Write as _;

/// Scalar type of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit float; WGSL may view it as `vec4f`.
    F32,
    /// 32-bit word: labels, packed bytes, per-step numbers.
    U32,
}

/// How a kernel touches a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads only.
    Read,
    /// Writes every element, whatever was there before.
    Write,
    /// Reads and writes: accumulation, the SGD update.
    Update,
}

/// A storage buffer of a kernel, by its name in WGSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The `var<storage>` it is bound to.
    pub name: &'static str,
    /// Scalar type.
    pub elem: Elem,
    /// Direction.
    pub access: Access,
}

/// A float binding that is only read.
#[must_use]
pub const fn read(name: &'static str) -> Binding {
    Binding { name, elem: Elem::F32, access: Access::Read }
}

/// A binding of words that is only read.
#[must_use]
pub const fn words(name: &'static str) -> Binding {
    Binding { name, elem: Elem::U32, access: Access::Read }
}

/// A float binding that is written whole.
#[must_use]
pub const fn write(name: &'static str) -> Binding {
    Binding { name, elem: Elem::F32, access: Access::Write }
}

/// A binding of words that is written whole. Words that kernels write are pairs of f16, as `pack2x16float` makes them:
/// parity compares the values in them.
#[must_use]
pub const fn write_words(name: &'static str) -> Binding {
    Binding { name, elem: Elem::U32, access: Access::Write }
}

/// A float binding that is read and written.
#[must_use]
pub const fn update(name: &'static str) -> Binding {
    Binding { name, elem: Elem::F32, access: Access::Update }
}

/// A parameter's value; floats are kept as bits so that parameters can be compared and hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A count, extent or index: WGSL `u32`.
    U32(u32),
    /// A real number: the bits of a WGSL `f32`.
    F32(u32),
    /// A switch: WGSL `bool`.
    Bool(bool),
}

/// A Rust type that can be a kernel parameter.
pub trait Param: Copy {
    /// As a value.
    fn value(self) -> Value;
    /// Back from the value; `None` when it is of another type.
    fn from_value(value: Value) -> Option<Self>;
}

impl Param for usize {
    fn value(self) -> Value {
        Value::U32(u32::try_from(self).unwrap_or(u32::MAX))
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::U32(v) = value { Some(v as usize) } else { None }
    }
}

impl Param for f32 {
    fn value(self) -> Value {
        Value::F32(self.to_bits())
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::F32(bits) = value { Some(f32::from_bits(bits)) } else { None }
    }
}

impl Param for bool {
    fn value(self) -> Value {
        Value::Bool(self)
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Bool(v) = value { Some(v) } else { None }
    }
}

/// The parameters of one run of a kernel, in declaration order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Params(Vec<(&'static str, Value)>);

impl Params {
    /// From names and values.
    #[must_use]
    pub fn new(entries: Vec<(&'static str, Value)>) -> Self {
        Self(entries)
    }

    /// Names and values, in the order of their declaration.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Value)> {
        self.0.iter().copied()
    }

    /// The parameter `name`.
    ///
    /// # Panics
    /// When the kernel was not given it: a slip in an op, found by its first case.
    #[must_use]
    pub fn get<P: Param>(&self, name: &str) -> P {
        let found = self.0.iter().find(|(n, _)| *n == name).and_then(|&(_, v)| P::from_value(v));
        found.unwrap_or_else(|| panic!("kernel parameter {name} is missing or of another type"))
    }

    /// These parameters with another value of `name`.
    #[must_use]
    pub fn replaced<P: Param>(&self, name: &str, value: P) -> Self {
        let replace = |&(n, old): &(&'static str, Value)| (n, if n == name { value.value() } else { old });
        Self(self.0.iter().map(replace).collect())
    }

    /// These parameters followed by a variant's tile.
    #[must_use]
    pub fn with(&self, tile: &[(&'static str, usize)]) -> Self {
        let extra = tile.iter().map(|&(name, extent)| (name, extent.value()));
        Self(self.0.iter().copied().chain(extra).collect())
    }

    /// The declarations that precede the WGSL source: one `const` a parameter, its name in upper case.
    #[must_use]
    pub fn wgsl(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            let name = name.to_uppercase();
            // Writing to a String cannot fail.
            let _ = match value {
                Value::U32(v) => writeln!(text, "const {name}: u32 = {v}u;"),
                Value::F32(bits) => writeln!(text, "const {name}: f32 = {:?}f;", f32::from_bits(*bits)),
                Value::Bool(v) => writeln!(text, "const {name}: bool = {v};"),
            };
        }
        text
    }
}

/// `c=3 h=224 stride_x=4`, and so on.
impl std::fmt::Display for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            match value {
                Value::U32(v) => write!(f, "{name}={v}"),
                Value::F32(bits) => write!(f, "{name}={}", f32::from_bits(*bits)),
                Value::Bool(v) => write!(f, "{name}={v}"),
            }?;
        }
        Ok(())
    }
}

/// Declares the parameters of an op's kernels: a struct that turns into [`Params`] and back.
#[macro_export]
macro_rules! params {
    ($(#[$meta:meta])* $vis:vis struct $Name:ident { $($(#[$doc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        $vis struct $Name { $($(#[$doc])* pub $field: $ty,)* }

        impl $Name {
            /// As kernel parameters.
            #[must_use]
            pub fn params(&self) -> $crate::kernel::Params {
                $crate::kernel::Params::new(vec![$((stringify!($field), $crate::kernel::Param::value(self.$field)),)*])
            }

            /// Back from kernel parameters.
            #[must_use]
            pub fn of(params: &$crate::kernel::Params) -> Self {
                Self { $($field: params.get(stringify!($field)),)* }
            }
        }
    };
}

/// One bound buffer, as a CPU twin sees it.
#[derive(Debug)]
pub enum Arg<'a, T> {
    /// Floats, read.
    Read(&'a [T]),
    /// Words, read.
    Words(&'a [u32]),
    /// Floats, written or updated.
    Write(&'a mut [T]),
    /// Words, written.
    WriteWords(&'a mut [u32]),
}

/// The parameters and buffers of one run of a CPU twin; buffers are taken in the order of the bindings.
pub struct Args<'a, T> {
    /// The run's parameters.
    pub params: &'a Params,
    buffers: std::vec::IntoIter<Arg<'a, T>>,
}

impl<'a, T> Args<'a, T> {
    /// Arguments in binding order.
    #[must_use]
    pub fn new(params: &'a Params, buffers: Vec<Arg<'a, T>>) -> Self {
        Self { params, buffers: buffers.into_iter() }
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
    /// At working precision.
    pub f32: fn(Args<f32>),
    /// At twice the precision.
    pub f64: fn(Args<f64>),
}

/// Both instances of a generic twin.
#[macro_export]
macro_rules! twin {
    ($function:path) => {
        $crate::kernel::Twin { f32: $function, f64: $function }
    };
}

/// The invocations a variant wants; the backend divides by the workgroup size found in the WGSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// So many independent items; the kernel strides over what one dispatch cannot cover.
    Linear(usize),
    /// Exactly these invocations along x, y, z, rounded up to whole workgroups.
    Tiles([usize; 3]),
}

/// What a variant asks of an adapter, and of the shapes it is to run.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Subgroup operations, with subgroups of exactly this many lanes.
    pub subgroup_size: Option<u32>,
    /// Whether it can compute these shapes.
    pub shapes: fn(&Params) -> bool,
}

impl Needs {
    /// Runs on every adapter, with every shape.
    pub const NONE: Self = Self { subgroup_size: None, shapes: |_| true };
}

/// One way to compute a kernel.
pub struct Variant {
    /// `plain` for the one that every adapter runs.
    pub name: &'static str,
    /// WGSL sources, concatenated after the constants.
    pub sources: &'static [&'static str],
    /// The entry point.
    pub entry: &'static str,
    /// Extents of the tile for given parameters, as further constants.
    pub tile: fn(&Params) -> Vec<(&'static str, usize)>,
    /// Invocations, from the parameters followed by the tile.
    pub grid: fn(&Params) -> Grid,
    /// Requirements.
    pub needs: Needs,
}

/// What a kernel computes.
pub struct Kernel {
    /// `op.direction`, for example `conv.forward`.
    pub name: &'static str,
    /// One line: the formula and the shapes.
    pub doc: &'static str,
    /// Buffers, in the order of slots in a program and of buffers in [`Args`].
    pub bindings: &'static [Binding],
    /// Ways to compute it, best first; the last runs on every adapter.
    pub variants: &'static [Variant],
    /// The CPU twin.
    pub twin: Twin,
    /// Shapes and contents for parity tests.
    pub cases: fn() -> Vec<Case>,
    /// Largest error against the f64 twin, relative to the value plus the output's root mean square.
    pub tolerance: f64,
    /// How a run is cut whose buffers are too large for one binding; `None` where only fewer images help.
    pub split: Option<Split>,
    /// Floating-point operations of one run.
    pub flops: fn(&Params) -> u64,
}

/// How one run becomes several, each with a piece of its largest buffers.
pub struct Split {
    /// The extent that becomes smaller.
    pub along: &'static str,
    /// For every binding whether that extent is its outermost, so that a part needs one piece of it; else it needs all.
    pub outermost: &'static [bool],
    /// What else changes in a part: one that sums over the extent accumulates from the second on, and has its
    /// epilogue in the last.
    pub part: fn(Params, Part) -> Params,
}

/// Where a part stands among the parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
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

/// How a test fills a buffer.
#[derive(Clone, Debug)]
pub enum Fill {
    /// Normal numbers with this standard deviation.
    Normal(f32),
    /// Uniform numbers in a range.
    Uniform(f32, f32),
    /// Small integers as floats: ties are certain.
    Integers(u32),
    /// Exactly these floats.
    Floats(Vec<f32>),
    /// Random words.
    Random,
    /// Exactly these words.
    Words(Vec<u32>),
    /// Nothing: the kernel writes it (the test fills NaN).
    Output,
}

/// One set of shapes and contents on which a kernel is compared with its twin.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// Parameters.
    pub params: Params,
    /// Length (elements) and content of every binding.
    pub buffers: Vec<(usize, Fill)>,
}

impl Case {
    /// A case with its buffers in binding order.
    #[must_use]
    pub fn new(name: impl Into<String>, params: Params, buffers: Vec<(usize, Fill)>) -> Self {
        Self { name: name.into(), params, buffers }
    }
}

/// The tile of elementwise variants, which stride over their items: invocations in a workgroup.
#[must_use]
pub fn linear_tile(_: &Params) -> Vec<(&'static str, usize)> {
    vec![("workgroup", 64)]
}

/// Runs `body(index, chunk)` over consecutive chunks of `out` on all cores, with the widest vectors of this processor.
/// A large body is marked `#[inline(always)]`, or it is compiled for the narrowest ones.
pub fn for_each_chunk<T: Send>(out: &mut [T], chunk: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    use rayon::prelude::*;
    let arch = pulp::Arch::new();
    let chunks = out.par_chunks_mut(chunk.max(1)).enumerate();
    chunks.for_each(|(index, part)| arch.dispatch(Chunk { index, part, body: &body }));
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
