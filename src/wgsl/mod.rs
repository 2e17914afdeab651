//! WGSL as data: a variant's source with its constants, validated and reflected by naga.
//!
//! What Rust declares about a kernel (binding names, scalar types, access) is checked here against what the shader
//! says; the workgroup size is read from the shader and written nowhere else.

mod constants;
mod operand;
mod unroll;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, ScalarKind, StorageAccess, TypeInner};
use thiserror::Error;

pub use self::constants::constants;
use self::constants::declarations;
use crate::kernel::{Access, Binding, Elem, Grid, Holds, Kernel, PARTS, Params, Variant};

/// A slip in a shader or its declaration, with the place.
#[derive(Debug, Error)]
#[error("kernel {kernel}, variant {variant}: {slip}")]
pub struct ShaderError {
    kernel: &'static str,
    variant: &'static str,
    slip: Slip,
}

/// What is wrong in a shader or its declaration.
#[derive(Debug, Error)]
enum Slip {
    #[error("{0}")]
    Wgsl(String),
    #[error("{problem}: {line}")]
    Loop { problem: &'static str, line: String },
    #[error("no entry point {0}")]
    Entry(&'static str),
    #[error("{0} {1}")]
    Binding(String, &'static str),
    #[error("{name} holds {found:?}, declared {declared:?}")]
    Element { name: &'static str, found: Elem, declared: Elem },
    #[error(transparent)]
    Layout(#[from] naga::proc::LayoutError),
}

/// A variant for given parameters, ready for a device.
#[derive(Debug)]
pub struct Shader {
    /// Entry points to dispatch one after the other: one, or two where parts of sums are added up.
    pub stages: Vec<Stage>,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// The module, for a device or for translation to other languages.
    pub module: Arc<Module>,
}

/// One entry point of a shader.
#[derive(Debug)]
pub struct Stage {
    /// Name of the entry point.
    pub entry: &'static str,
    /// Invocations of a workgroup along x, y, z, from `@workgroup_size`.
    pub workgroup: [u32; 3],
    /// Invocations of the run along x, y, z, at least.
    pub invocations: [usize; 3],
    /// Whether the entry point strides over what one dispatch along x cannot cover.
    pub strides: bool,
    /// The storage buffers that it binds.
    pub bindings: Vec<Bound>,
}

/// A storage buffer of an entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Index into the kernel's bindings; `None` for [`PARTS`].
    pub of_kernel: Option<usize>,
    /// Number of the binding in group 0.
    pub number: u32,
    /// Whether the shader declares it `read`.
    pub read_only: bool,
}

impl Stage {
    /// Workgroups along x, y, z, at most `most` along each axis.
    ///
    /// # Errors
    /// The number wanted where that is more and the kernel does not stride.
    pub fn workgroups(&self, most: u32) -> Result<[u32; 3], usize> {
        let mut counts = [0; 3];
        for ((count, invocations), size) in counts.iter_mut().zip(self.invocations).zip(self.workgroup) {
            let wanted = invocations.div_ceil(size as usize);
            let fitting = u32::try_from(wanted).ok().filter(|&wanted| wanted <= most);
            *count = if self.strides { fitting.unwrap_or(most).max(1) } else { fitting.ok_or(wanted)? };
        }
        Ok(counts)
    }
}

/// A validated module of WGSL.
#[derive(Debug)]
pub struct Module {
    /// Constants and sources as naga has them, loops with `@unroll` written out.
    pub naga: naga::Module,
    /// Findings of the validator.
    pub info: ModuleInfo,
}

/// Modules kept for the next device, program or measurement: more than one device's program has.
const KEPT: usize = 64;

/// The last modules, with their constants and sources.
static MODULES: Mutex<VecDeque<(String, Arc<Module>)>> = Mutex::new(VecDeque::new());

/// The module of constants and sources `source`, parsed and validated unless it was one of the last [`KEPT`].
fn module(source: String) -> Result<Arc<Module>, Slip> {
    // Held meanwhile: two devices that need one module do not both parse it.
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, module)) = modules.iter().find(|(known, _)| *known == source) {
        return Ok(Arc::clone(module));
    }
    let module = Arc::new(parse(&source)?);
    modules.truncate(KEPT - 1);
    modules.push_front((source, Arc::clone(&module)));
    Ok(module)
}

/// Parses and validates constants and sources `source`.
fn parse(source: &str) -> Result<Module, Slip> {
    let begin = Instant::now();
    let text = unroll::unroll(source)?;
    let naga = naga::front::wgsl::parse_str(&text).map_err(|e| Slip::Wgsl(e.emit_to_string(&text)))?;
    // SHADER_FLOAT16_IN_FLOAT32 is pack2x16float: on every adapter but llvmpipe on a processor that does not convert to
    // f16. Halves and matrix units are asked only of adapters that have them.
    let capabilities = Capabilities::SUBGROUP
        | Capabilities::SHADER_INT64
        | Capabilities::SHADER_FLOAT16
        | Capabilities::SHADER_FLOAT16_IN_FLOAT32
        | Capabilities::COOPERATIVE_MATRIX;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
    validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    let info = validator.validate(&naga).map_err(|e| Slip::Wgsl(e.emit_to_string(&text)))?;
    log::debug!("a module of {} bytes of WGSL: parsed in {:.2?}", text.len(), begin.elapsed());
    Ok(Module { naga, info })
}

/// The WGSL text of `variant` for `params`.
pub fn source(variant: &Variant, params: &Params) -> String {
    let mut text = declarations(variant, params);
    let words = variant.needs.words.then(|| words(params.storage()));
    for part in words.iter().chain(variant.sources) {
        text.push('\n');
        text.push_str(&operand::instance(part));
    }
    text
}

/// The text of `variant` for `params` as the standard has it, for other compilers than naga: loops written out, and
/// subgroups enabled where it uses them, which naga 30 neither needs nor takes.
pub fn standard(kernel: &Kernel, variant: &Variant, params: &Params) -> Result<String, ShaderError> {
    let text = unroll::unroll(&source(variant, params));
    let text = text.map_err(|slip| ShaderError { kernel: kernel.name, variant: variant.name, slip })?;
    let enable = if variant.needs.subgroup_size.is_some() { "enable subgroups;\n" } else { "" };
    Ok(format!("{enable}{text}"))
}

/// Declarations for maps that are loaded in words of 64 bits, in front of a variant that needs them.
pub const fn words(maps: Elem) -> &'static str {
    match maps {
        Elem::F16 => include_str!("../../shaders/common/words_f16.wgsl"),
        Elem::F32 | Elem::U32 => include_str!("../../shaders/common/words_f32.wgsl"),
    }
}

/// Parses, validates and reflects `variant` of `kernel` for `params`.
pub fn shader(kernel: &Kernel, variant: &Variant, params: &Params) -> Result<Shader, ShaderError> {
    let fail = |slip| ShaderError { kernel: kernel.name, variant: variant.name, slip };
    let module = module(source(variant, params)).map_err(fail)?;
    let (outputs, invocations) = (variant.adding.map(|adding| (adding.outputs)(params)), variant.invocations(params));
    let first = (variant.entry, invocations, matches!(variant.grid, Grid::Linear(_)));
    let adding = variant.adding.zip(outputs).map(|(adding, outputs)| (adding.entry, [outputs, 1, 1], true));
    let mut stages = Vec::new();
    let mut workgroup_bytes = 0;
    for (entry, invocations, strides) in [Some(first), adding].into_iter().flatten() {
        let index = module.naga.entry_points.iter().position(|e| e.name == entry);
        let index = index.ok_or_else(|| fail(Slip::Entry(entry)))?;
        let used = used(&module, index);
        let bindings = bindings(kernel, variant, params, &used, &module.naga).map_err(fail)?;
        workgroup_bytes = workgroup_bytes.max(shared_bytes(&used, &module.naga).map_err(|e| fail(e.into()))?);
        let workgroup = module.naga.entry_points[index].workgroup_size;
        stages.push(Stage { entry, workgroup, invocations, strides, bindings });
    }
    let bound = |index| stages.iter().flat_map(|stage| &stage.bindings).any(|bound| bound.of_kernel == Some(index));
    if let Some((_, unused)) = kernel.bindings.iter().enumerate().find(|(index, _)| !bound(*index)) {
        return Err(fail(Slip::Binding(unused.name.into(), "is declared but not used")));
    }
    Ok(Shader { stages, workgroup_bytes, module })
}

/// Global variables that an entry point uses, by name.
type Used<'a> = HashMap<&'a str, &'a naga::GlobalVariable>;

fn used(module: &Module, entry: usize) -> Used<'_> {
    let usage = module.info.get_entry_point(entry);
    let variables = module.naga.global_variables.iter().filter(|(handle, _)| !usage[*handle].is_empty());
    variables.filter_map(|(_, var)| Some((var.name.as_deref()?, var))).collect()
}

/// Bytes of workgroup memory.
fn shared_bytes(used: &Used, module: &naga::Module) -> Result<u32, naga::proc::LayoutError> {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx())?;
    Ok(used.values().filter(|var| var.space == AddressSpace::WorkGroup).map(|var| layouter[var.ty].size).sum())
}

/// The storage buffers among `used`, those of the kernel in its order.
fn bindings(
    kernel: &Kernel,
    variant: &Variant,
    params: &Params,
    used: &Used,
    module: &naga::Module,
) -> Result<Vec<Bound>, Slip> {
    let known =
        |name: &str| kernel.bindings.iter().any(|b| b.name == name) || (variant.adding.is_some() && name == PARTS);
    let storage = |var: &naga::GlobalVariable| matches!(var.space, AddressSpace::Storage { .. });
    if let Some((name, _)) = used.iter().find(|(name, var)| storage(var) && !known(name)) {
        return Err(Slip::Binding((*name).into(), "is used but not declared in Rust"));
    }
    let mut bound = Vec::new();
    for (index, binding) in kernel.bindings.iter().enumerate() {
        if let Some(var) = used.get(binding.name) {
            let (number, read_only) = reflect(binding, variant, params, var, module)?;
            bound.push(Bound { of_kernel: Some(index), number, read_only });
        }
    }
    if let Some(var) = used.get(PARTS).filter(|_| variant.adding.is_some()) {
        let place = var.binding.as_ref().ok_or_else(|| Slip::Binding(PARTS.into(), "is not a storage buffer"))?;
        bound.push(Bound { of_kernel: None, number: place.binding, read_only: false });
    }
    Ok(bound)
}

fn reflect(
    binding: &Binding,
    variant: &Variant,
    params: &Params,
    var: &naga::GlobalVariable,
    module: &naga::Module,
) -> Result<(u32, bool), Slip> {
    let wrong = |problem| Slip::Binding(binding.name.into(), problem);
    let place = var.binding.as_ref().filter(|place| place.group == 0);
    let place = place.ok_or_else(|| wrong("is not in group 0"))?;
    let AddressSpace::Storage { access } = var.space else {
        return Err(wrong("is not a storage buffer"));
    };
    let writable = access.contains(StorageAccess::STORE);
    if binding.access != Access::Read && !writable {
        return Err(wrong("is written but declared read"));
    }
    let TypeInner::Array { base, .. } = module.types[var.ty].inner else {
        return Err(wrong("is not an array"));
    };
    let (TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. }) = module.types[base].inner else {
        return Err(wrong("is not an array of numbers"));
    };
    if variant.needs.words && scalar.kind == ScalarKind::Uint && !writable && binding.holds != Holds::Words {
        return Ok((place.binding, true));
    }
    let elem = match scalar.kind {
        ScalarKind::Float if scalar.width == 2 => Elem::F16,
        ScalarKind::Float => Elem::F32,
        ScalarKind::Uint => Elem::U32,
        _ => return Err(wrong("holds neither floats nor u32")),
    };
    let declared = binding.elem(params);
    if elem != declared {
        return Err(Slip::Element { name: binding.name, found: elem, declared });
    }
    Ok((place.binding, !writable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_parsed_once_and_a_wrong_one_is_refused() {
        let source = |value: u32| format!("const VALUE = {value}u;\n@compute @workgroup_size(1) fn main() {{}}\n");
        let first = module(source(1)).unwrap();
        assert!(Arc::ptr_eq(&first, &module(source(1)).unwrap()));
        assert!(!Arc::ptr_eq(&first, &module(source(2)).unwrap()));
        assert!(module("no WGSL".to_owned()).is_err() && module("no WGSL".to_owned()).is_err());
    }
}
