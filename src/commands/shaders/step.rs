//! The shaders of a network's training step as files: what a driver would be given, for compilers to be looked at.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use super::{CommandError, ScratchEntry, StageEntry, create, write_index};
use crate::backend::Limits;
use crate::files::write_file;
use crate::kernel::{Access, Kernel, Params};
use crate::net::{Job, Net};
use crate::program::{Command, Pass, Phase};
use crate::session::layout::Layout;
use crate::wgsl;

/// Largest binding of the device that the step is laid out for: NVIDIA's and AMD's drivers allow it.
const BINDING: u64 = 2 << 30;

/// The training step of a network on one device.
#[derive(Debug, Serialize)]
pub struct StepIndex {
    /// Images computed at once.
    pub images: usize,
    /// Runs of kernels, in the order of the step.
    pub runs: Vec<RunEntry>,
    /// Variants that compute them, each with the parameters of a run.
    pub shaders: Vec<StepShader>,
}

/// A run of a kernel.
#[derive(Debug, Serialize)]
pub struct RunEntry {
    /// Pass of the step: `gradients` or `update`.
    pub pass: &'static str,
    /// `forward`, `backward` or `update`.
    pub phase: &'static str,
    /// Name of the row of the network.
    pub layer: String,
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Parameters on one line.
    pub params: String,
    /// Count of floating-point operations.
    pub flops: u64,
    /// Bytes of what is bound, each view once for each direction.
    pub bytes: u64,
}

/// A variant with the parameters of a run.
#[derive(Debug, Serialize)]
pub struct StepShader {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Parameters on one line, as [`RunEntry::params`].
    pub params: String,
    /// The same by name, with the variant's tile.
    pub values: Params,
    /// Name of the variant.
    pub variant: &'static str,
    /// Name of the shader's file in the folder of the index.
    pub file: String,
    /// Entry points to dispatch one after the other.
    pub stages: Vec<StageEntry>,
    /// The buffer between two stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<ScratchEntry>,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Lanes that a subgroup must have.
    pub subgroup_size: Option<u32>,
    /// Whether the shader uses 64-bit integers, which WGSL does not have.
    pub words: bool,
    /// Whether the shader uses cooperative matrices, which WGSL does not have.
    pub matrix: bool,
}

/// Writes every shader of a training step of `net` into `folder`, which is created.
pub fn write_step(folder: &Path, net: &Net, job: &Job) -> Result<StepIndex, CommandError> {
    create(folder)?;
    let limits = Limits { device: "any".into(), binding: BINDING, buffer: BINDING, halves: true, memory: None };
    let layout = Layout::new(net, job, &[limits])?;
    let mut index = StepIndex { images: job.images(), runs: Vec::new(), shaders: Vec::new() };
    let mut written = HashSet::new();
    for (pass, name) in [(Pass::Gradients, "gradients"), (Pass::Update, "update")] {
        for command in layout.lowered.program.commands(pass) {
            let Command::Run { kernel, params, views, label, .. } = command else { continue };
            let directions = |access| if access == Access::Update { 2 } else { 1 };
            let bytes = kernel.bindings.iter().zip(views).map(|(b, view)| directions(b.access) * view.bytes()).sum();
            index.runs.push(RunEntry {
                pass: name,
                phase: match label.phase {
                    Phase::Forward => "forward",
                    Phase::Backward => "backward",
                    Phase::Update => "update",
                },
                layer: label.layer.to_string(),
                kernel: kernel.name,
                params: params.to_string(),
                flops: (kernel.flops)(params),
                bytes,
            });
            if written.insert((kernel.name, params.clone())) {
                write_shaders(folder, written.len(), kernel, params, &mut index.shaders)?;
            }
        }
    }
    write_index(folder, &index)?;
    Ok(index)
}

/// Writes every variant of `kernel` that can compute a run with `params`.
fn write_shaders(
    folder: &Path,
    number: usize,
    kernel: &'static Kernel,
    params: &Params,
    shaders: &mut Vec<StepShader>,
) -> Result<(), CommandError> {
    for variant in kernel.variants.iter().filter(|variant| variant.needs.fit(params)) {
        let shader = wgsl::shader(kernel, variant, params)?;
        let file = format!("{}.{number}.{}.wgsl", kernel.name, variant.name);
        write_file(&folder.join(&file), wgsl::standard(kernel, variant, params)?.as_bytes())?;
        shaders.push(StepShader {
            kernel: kernel.name,
            params: params.to_string(),
            values: params.with(&(variant.tile)(params)),
            variant: variant.name,
            file,
            stages: StageEntry::all(kernel, &shader)?,
            scratch: ScratchEntry::of(variant, &shader, params),
            workgroup_bytes: shader.workgroup_bytes,
            subgroup_size: variant.needs.subgroup_size,
            words: variant.needs.words,
            matrix: variant.needs.matrix.is_some(),
        });
    }
    Ok(())
}
