//! Every kernel as files for other compilers and machines: WGSL as the standard has it, what to bind, and what has to
//! come out.
//!
//! [`write()`] writes cases, small ones; [`write_step`] the shaders of a network's training step, at its own size.
//!
//! A folder of cases holds one `.wgsl` file for each variant and case, one `.bin` file for each case, and `index.json`,
//! an [`Index`]. A `.bin` file holds the buffers of a case one after the other, in little-endian order.

mod step;

use std::path::Path;

use half::f16;
use serde::Serialize;

pub use self::step::{RunEntry, StepIndex, StepShader, write_step};

use super::CommandError;
use crate::backend::compare::{Contents, sample};
use crate::files::{FileError, write_file};
use crate::kernel::{Access, Case, Elem, Kernel, Params, Variant};
use crate::wgsl::{self, Shader, Stage};

/// Workgroups along each axis that every implementation of WebGPU allows.
pub(super) const MOST_WORKGROUPS: u32 = 65_535;

/// What a folder of shaders holds.
#[derive(Debug, Default, Serialize)]
pub struct Index {
    /// Shaders, by kernel, case and variant.
    pub shaders: Vec<Entry>,
}

/// A variant of a kernel on one of its cases.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Name of the variant.
    pub variant: &'static str,
    /// Name of the case.
    pub case: String,
    /// Name of the shader's file in the folder.
    pub file: String,
    /// Name of the file with the contents of the case's buffers.
    pub data: String,
    /// Entry points to dispatch one after the other.
    pub stages: Vec<StageEntry>,
    /// Lanes that a subgroup must have.
    pub subgroup_size: Option<u32>,
    /// Whether the shader uses 64-bit integers, which WGSL does not have.
    pub words: bool,
    /// Whether the shader uses cooperative matrices, which WGSL does not have.
    pub matrix: bool,
    /// Largest error of an output, relative to the value plus the output's root mean square.
    pub tolerance: f64,
    /// Storage buffers of group 0.
    pub bindings: Vec<BufferEntry>,
    /// A buffer of zeros, which one stage fills and the next reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<ScratchEntry>,
}

/// An entry point of a shader.
#[derive(Clone, Debug, Serialize)]
pub struct StageEntry {
    /// Name of the entry point.
    pub entry: &'static str,
    /// Workgroups along x, y, z.
    pub workgroups: [u32; 3],
    /// Threads of a workgroup along x, y, z.
    pub threads: [u32; 3],
    /// Numbers of the bindings that it uses.
    pub bindings: Vec<u32>,
}

/// A buffer that is neither given nor expected.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ScratchEntry {
    /// Number of the binding.
    pub binding: u32,
    /// Size of the buffer in bytes.
    pub bytes: u64,
}

impl StageEntry {
    /// The stages of a shader of `kernel`.
    fn all(kernel: &Kernel, shader: &Shader) -> Result<Vec<Self>, CommandError> {
        let stage = |stage: &Stage| {
            let workgroups = stage.workgroups(MOST_WORKGROUPS);
            let workgroups = workgroups.map_err(|wanted| CommandError::Workgroups { kernel: kernel.name, wanted })?;
            let bindings = stage.bindings.iter().map(|bound| bound.number).collect();
            Ok(Self { entry: stage.entry, workgroups, threads: stage.workgroup, bindings })
        };
        shader.stages.iter().map(stage).collect()
    }
}

impl ScratchEntry {
    /// The buffer for parts of sums, where `variant` has them.
    fn of(variant: &Variant, shader: &Shader, params: &Params) -> Option<Self> {
        let parts = shader.stages.iter().flat_map(|stage| &stage.bindings).find(|bound| bound.of_kernel.is_none());
        parts.map(|bound| Self { binding: bound.number, bytes: variant.parts_bytes(params) })
    }
}

/// A buffer, as [`Entry::data`] holds it.
#[derive(Clone, Debug, Serialize)]
pub struct BufferEntry {
    /// Name of the variable.
    pub name: &'static str,
    /// Number of the binding.
    pub binding: u32,
    /// Type of the elements: `f32`, `f16` or `u32`; words that a kernel writes are pairs of `f16`.
    pub element: &'static str,
    /// Number of elements in the buffer.
    pub count: usize,
    /// Byte at which the contents before the run begin.
    pub given: usize,
    /// Byte at which the contents after the run begin, as `f64`, or `u32` for words; absent where it is only read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<usize>,
}

/// Writes every variant and case of `kernels` into `folder`, which is created; maps once as f32 and once as f16.
pub fn write(folder: &Path, kernels: &[&'static Kernel]) -> Result<Index, CommandError> {
    create(folder)?;
    let mut index = Index::default();
    for &kernel in kernels {
        for maps in [Elem::F32, Elem::F16] {
            for (number, case) in kernel.cases_with(maps).iter().enumerate() {
                let stem = format!("{}.{}.{number}", kernel.name, maps.name());
                write_case(folder, &stem, kernel, case, &mut index)?;
            }
        }
    }
    write_index(folder, &index)?;
    Ok(index)
}

fn create(folder: &Path) -> Result<(), CommandError> {
    std::fs::create_dir_all(folder).map_err(|error| CommandError::Folder { path: folder.into(), error })
}

/// Writes `index` as `index.json`.
fn write_index(folder: &Path, index: &impl Serialize) -> Result<(), CommandError> {
    let path = folder.join("index.json");
    let json = serde_json::to_vec_pretty(index).map_err(|error| FileError::write(&path)(error.into()))?;
    Ok(write_file(&path, &json)?)
}

/// Writes the buffers of `case` and the shaders that compute it, to files whose names begin with `stem`.
fn write_case(
    folder: &Path,
    stem: &str,
    kernel: &'static Kernel,
    case: &Case,
    index: &mut Index,
) -> Result<(), CommandError> {
    let (bytes, buffers) = lay_out(kernel, case)?;
    let data = format!("{stem}.bin");
    write_file(&folder.join(&data), &bytes)?;
    for variant in kernel.variants.iter().filter(|variant| variant.needs.fit(&case.params)) {
        let shader = wgsl::shader(kernel, variant, &case.params)?;
        let file = format!("{stem}.{}.wgsl", variant.name);
        write_file(&folder.join(&file), wgsl::standard(kernel, variant, &case.params)?.as_bytes())?;
        let bound = || shader.stages.iter().flat_map(|stage| &stage.bindings);
        let number = |index| bound().find(|bound| bound.of_kernel == Some(index)).map_or(0, |bound| bound.number);
        let numbered =
            |(index, buffer): (usize, &BufferEntry)| BufferEntry { binding: number(index), ..buffer.clone() };
        index.shaders.push(Entry {
            kernel: kernel.name,
            variant: variant.name,
            case: case.name.clone(),
            file,
            data: data.clone(),
            stages: StageEntry::all(kernel, &shader)?,
            subgroup_size: variant.needs.subgroup_size,
            words: variant.needs.words,
            matrix: variant.needs.matrix.is_some(),
            tolerance: kernel.tolerance_of(&case.params),
            bindings: buffers.iter().enumerate().map(numbered).collect(),
            scratch: ScratchEntry::of(variant, &shader, &case.params),
        });
    }
    Ok(())
}

/// The bytes of a case's buffers, and where each begins; bindings are not yet numbered.
fn lay_out(kernel: &'static Kernel, case: &Case) -> Result<(Vec<u8>, Vec<BufferEntry>), CommandError> {
    let contents = sample(kernel, case)?;
    let (mut bytes, mut buffers) = (Vec::new(), Vec::new());
    for (index, binding) in kernel.bindings.iter().enumerate() {
        let element = binding.elem(&case.params);
        let given = aligned(&mut bytes);
        match element {
            Elem::F16 => append(&mut bytes, &contents.given[index], |value| f16::from_f32(value).to_le_bytes()),
            _ => append(&mut bytes, &contents.given[index], f32::to_le_bytes),
        }
        let expected = contents.expected[index].as_ref().map(|contents| {
            let begin = aligned(&mut bytes);
            append(&mut bytes, contents, f64::to_le_bytes);
            begin
        });
        debug_assert_eq!(expected.is_some(), binding.access != Access::Read);
        let (name, count) = (binding.name, case.buffers[index].0);
        buffers.push(BufferEntry { name, binding: 0, element: element.name(), count, given, expected });
    }
    Ok((bytes, buffers))
}

/// Appends the words or floats of a buffer, little-endian; `float` is the form of a float.
fn append<T: Copy, const N: usize>(bytes: &mut Vec<u8>, contents: &Contents<T>, float: impl Fn(T) -> [u8; N]) {
    match contents {
        Contents::Words(words) => bytes.extend(words.iter().flat_map(|word| word.to_le_bytes())),
        Contents::Floats(floats) => bytes.extend(floats.iter().flat_map(|&value| float(value))),
    }
}

/// The length of `bytes`, padded with zeros to a multiple of eight: views of f64 begin nowhere else.
fn aligned(bytes: &mut Vec<u8>) -> usize {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.len()
}
