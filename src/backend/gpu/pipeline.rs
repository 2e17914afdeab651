//! Compiles a variant of a kernel for its parameters to a pipeline that a device can dispatch.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use super::device::Device;
use crate::backend::BackendError;
use crate::files::one_line;
use crate::kernel::{Elem, Kernel, Params, Variant};
use crate::program::{Command, SlotRange};
use crate::wgsl::{self, Bound};

/// A run of a kernel, as a program records it.
pub(super) struct Run<'a> {
    pub(super) kernel: &'static Kernel,
    pub(super) params: &'a Params,
    /// One view for each binding of the kernel.
    pub(super) views: &'a [SlotRange],
}

impl<'a> Run<'a> {
    /// The run that `command` is; `None` for copies.
    pub(super) fn of(command: &'a Command) -> Option<Self> {
        match command {
            Command::Run { kernel, params, views, .. } => Some(Self { kernel, params, views }),
            Command::Copy { .. } | Command::Across { .. } | Command::Send { .. } | Command::Receive { .. } => None,
        }
    }

    /// Kernel and parameters: what choices of variants are remembered by.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.kernel.name, self.params)
    }
}

/// A variant compiled for the shapes of a run, with what it dispatches.
pub struct Pipeline {
    /// Name of the variant.
    pub variant: &'static str,
    /// Dispatches of a run, one after the other.
    pub(super) stages: Vec<Stage>,
    /// Bytes of the buffer in which parts of sums lie between two stages.
    pub(super) parts_bytes: u64,
}

/// A compiled entry point with the workgroups it is dispatched in.
pub(super) struct Stage {
    /// The compiled pipeline of wgpu.
    pub(super) compute: wgpu::ComputePipeline,
    /// The layout of its only bind group.
    pub(super) layout: wgpu::BindGroupLayout,
    /// Buffers that it binds.
    pub(super) bindings: Vec<Bound>,
    /// Workgroups to dispatch, along x, y and z.
    pub(super) workgroups: [u32; 3],
}

/// Whether `device` has the features that `variant` needs, and `variant` fits the shapes of `params`.
pub fn eligible(device: &Device, variant: &Variant, params: &Params) -> bool {
    let maps = params.storage() != Elem::F16 || device.features.contains(wgpu::Features::SHADER_F16);
    let least = variant.needs.subgroup_least;
    let lanes = variant.needs.subgroup_size.is_none_or(|most| device.has_subgroups_of(least.unwrap_or(most), most));
    let matrix = variant.needs.matrix.is_none_or(|side| device.has_matrices_of(side));
    let words = !variant.needs.words || device.features.contains(wgpu::Features::SHADER_INT64);
    let shared = variant.needs.workgroup_bytes <= device.limits.max_compute_workgroup_storage_size;
    maps && lanes && matrix && words && shared && variant.needs.fit(params)
}

type Key = (&'static str, &'static str, Params);

/// Pipelines of a program, compiled once for each kernel and set of parameters.
#[derive(Default)]
pub struct Pipelines {
    compiled: HashMap<Key, Rc<Pipeline>>,
}

impl Pipelines {
    /// The pipeline of `variant` for `params`, compiled when it is new.
    pub fn get(
        &mut self,
        device: &Device,
        kernel: &'static Kernel,
        variant: &'static Variant,
        params: &Params,
    ) -> Result<Rc<Pipeline>, BackendError> {
        let key = (kernel.name, variant.name, params.clone());
        if let Some(found) = self.compiled.get(&key) {
            return Ok(Rc::clone(found));
        }
        let begin = Instant::now();
        let pipeline = Rc::new(compile(device, kernel, variant, params)?);
        log::debug!("{} {} {params}: compiled in {:.2?}", kernel.name, variant.name, begin.elapsed());
        self.compiled.insert(key, Rc::clone(&pipeline));
        Ok(pipeline)
    }
}

fn compile(device: &Device, kernel: &Kernel, variant: &Variant, params: &Params) -> Result<Pipeline, BackendError> {
    let refuse = |reason: String| BackendError::Kernel { device: device.info.name.clone(), reason };
    let shader = wgsl::shader(kernel, variant, params).map_err(|e| refuse(e.to_string()))?;
    let scope = device.raw.push_error_scope(wgpu::ErrorFilter::Validation);
    // wgpu validates it again, for this device.
    let source = wgpu::ShaderSource::Naga(Cow::Owned(shader.module.naga.clone()));
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source };
    let module = if device.checked.get() {
        device.raw.create_shader_module(descriptor)
    } else {
        // SAFETY: the shaders are this crate's own; their indices are guarded against every extent they are compiled
        // for and their loops are bounded, which the parity tests check with guard words around every buffer.
        #[allow(unsafe_code, reason = "the only way to compile without checks in every loop")]
        unsafe {
            device.raw.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    };
    let stages: Result<Vec<Stage>, BackendError> =
        shader.stages.into_iter().map(|stage| compile_stage(device, kernel, &module, stage)).collect();
    if let Some(error) = pollster::block_on(scope.pop()) {
        return Err(refuse(format!("kernel {}, variant {}: {}", kernel.name, variant.name, one_line(&error))));
    }
    device.check()?;
    Ok(Pipeline { variant: variant.name, stages: stages?, parts_bytes: variant.parts_bytes(params) })
}

/// Compiles one entry point of `module`; what the driver refuses shows in the caller's error scope.
fn compile_stage(
    device: &Device,
    kernel: &Kernel,
    module: &wgpu::ShaderModule,
    stage: wgsl::Stage,
) -> Result<Stage, BackendError> {
    let most = device.limits.max_compute_workgroups_per_dimension;
    let workgroups = stage.workgroups(most).map_err(|wanted| BackendError::Kernel {
        device: device.info.name.clone(),
        reason: format!("{}: {wanted} workgroups wanted, {most} allowed", kernel.name),
    })?;
    let label = Some(kernel.name);
    let entries: Vec<_> = stage.bindings.iter().map(entry).collect();
    let layout = device.raw.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
    let pipeline_layout = device.raw.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let compute = device.raw.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module,
        entry_point: Some(stage.entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: device.checked.get(),
            ..Default::default()
        },
        cache: device.compiled.as_ref().map(|compiled| &compiled.cache),
    });
    Ok(Stage { compute, layout, bindings: stage.bindings, workgroups })
}

/// The layout of a storage buffer.
fn entry(bound: &Bound) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: bound.number,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: bound.read_only },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}
