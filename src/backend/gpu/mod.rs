//! Runs a program on one wgpu device: the only place of the crate that knows wgpu.

pub mod device;
pub mod pipeline;
pub mod summary;

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use self::device::Device;
use self::pipeline::{Choice, Pipeline, Pipelines};
use super::plan::Plan;
use super::{Backend, BackendError, Data};
use crate::program::{Command, Pass, Program, Slot};

/// One command, ready to be dispatched; `None` for a copy, which on one device is an alias and between devices the
/// cluster's business.
type Dispatch = Option<(Rc<Pipeline>, wgpu::BindGroup)>;

/// A program on one device.
pub struct Gpu {
    device: Rc<Device>,
    program: Program,
    plan: Plan,
    buffers: Vec<wgpu::Buffer>,
    staging: wgpu::Buffer,
    /// For each slot that is fetched again and again a staging buffer of its own, and the submission that fills it.
    fetches: HashMap<Slot, (wgpu::Buffer, wgpu::SubmissionIndex)>,
    passes: Vec<(Pass, Vec<Dispatch>)>,
}

impl Gpu {
    /// Plans, allocates and compiles `program` for `device`, with the variants that `choice` picks.
    ///
    /// # Errors
    /// When the program does not fit (said before anything is allocated) or a kernel does not compile.
    pub fn new(device: Rc<Device>, program: Program, choice: Choice) -> Result<Self, BackendError> {
        fits(&device, &program)?;
        let plan = Plan::new(&program, device.limits.max_buffer_size);
        let buffers = allocate(&device, &plan)?;
        let staging = staging(&device, 4);
        let (fetches, passes) = (HashMap::new(), Vec::new());
        let mut gpu = Self { device, program, plan, buffers, staging, fetches, passes };
        gpu.passes = gpu.compile(choice)?;
        Ok(gpu)
    }

    fn compile(&self, choice: Choice) -> Result<Vec<(Pass, Vec<Dispatch>)>, BackendError> {
        let mut pipelines = Pipelines::default();
        let mut passes = Vec::new();
        for (pass, commands) in self.program.passes() {
            let dispatches: Result<Vec<_>, _> = commands
                .iter()
                .map(|command| match command {
                    Command::Copy { .. } | Command::Send { .. } | Command::Receive { .. } => Ok(None),
                    Command::Run { kernel, params, slots, .. } => {
                        let variant = choice(&self.device, kernel, params);
                        let pipeline = pipelines.get(&self.device, kernel, variant, params)?;
                        let group = self.bind(&pipeline, slots);
                        Ok(Some((pipeline, group)))
                    }
                })
                .collect();
            passes.push((pass, dispatches?));
        }
        self.device.check()?;
        Ok(passes)
    }

    /// Submits the copy of `slot` to the beginning of `buffer`.
    fn stage(&self, slot: Slot, buffer: &wgpu::Buffer) -> wgpu::SubmissionIndex {
        let (place, bytes) = (self.plan.place(slot), self.program.slot(slot).bytes());
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&self.buffers[place.buffer], place.offset, buffer, 0, bytes);
        self.device.queue.submit([encoder.finish()])
    }

    fn bind(&self, pipeline: &Pipeline, slots: &[Slot]) -> wgpu::BindGroup {
        let entry = |(&binding, &slot): (&u32, &Slot)| {
            let place = self.plan.place(slot);
            let size = std::num::NonZeroU64::new(self.program.slot(slot).bytes());
            let resource = wgpu::BufferBinding { buffer: &self.buffers[place.buffer], offset: place.offset, size };
            wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(resource) }
        };
        let entries: Vec<_> = pipeline.bindings.iter().zip(slots).map(entry).collect();
        self.device.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        })
    }
}

impl Backend for Gpu {
    fn program(&self) -> &Program {
        &self.program
    }

    fn device(&self) -> String {
        self.device.describe()
    }

    fn write(&mut self, slot: Slot, data: Data<'_>) -> Result<(), BackendError> {
        let place = self.plan.place(slot);
        let bytes = match data {
            Data::F32(values) => bytemuck::cast_slice(values),
            Data::U32(values) => bytemuck::cast_slice(values),
        };
        self.device.queue.write_buffer(&self.buffers[place.buffer], place.offset, bytes);
        self.device.check()
    }

    fn run_commands(&mut self, pass: Pass, commands: Range<usize>) -> Result<(), BackendError> {
        let Some((_, dispatches)) = self.passes.iter().find(|(p, _)| *p == pass) else { return Ok(()) };
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (pipeline, group) in dispatches[commands].iter().flatten() {
            let [x, y, z] = pipeline.workgroups;
            compute.set_pipeline(&pipeline.pipeline);
            compute.set_bind_group(0, group, &[]);
            compute.dispatch_workgroups(x, y, z);
        }
        drop(compute);
        self.device.queue.submit([encoder.finish()]);
        self.device.check()
    }

    fn read(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError> {
        let bytes = self.program.slot(slot).bytes();
        if self.staging.size() < bytes {
            self.staging = staging(&self.device, bytes);
        }
        let filled = self.stage(slot, &self.staging);
        self.device.map(&self.staging, bytes);
        self.device.fetch(&self.staging, bytes, filled)
    }

    fn fetch(&mut self, slot: Slot) -> Result<(), BackendError> {
        let bytes = self.program.slot(slot).bytes();
        let buffer = self.fetches.remove(&slot).map_or_else(|| staging(&self.device, bytes), |(buffer, _)| buffer);
        let filled = self.stage(slot, &buffer);
        self.device.map(&buffer, bytes);
        self.fetches.insert(slot, (buffer, filled));
        self.device.check()
    }

    fn take(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError> {
        match self.fetches.get(&slot) {
            Some((buffer, filled)) => self.device.fetch(buffer, self.program.slot(slot).bytes(), filled.clone()),
            None => self.read(slot),
        }
    }

    fn blocks(&self) -> bool {
        false
    }

    fn allocated(&self) -> u64 {
        self.buffers.iter().map(wgpu::Buffer::size).sum()
    }
}

/// Refuses what a limit of the device forbids, naming the slot, before anything is allocated.
fn fits(device: &Device, program: &Program) -> Result<(), BackendError> {
    let limit = binding_limit(&device.limits);
    let largest = program.largest_binding().map(|slot| program.slot(slot));
    let Some(worst) = largest.filter(|info| info.bytes() > limit) else { return Ok(()) };
    Err(BackendError::TooLarge {
        what: worst.name.clone(),
        needed: mib(worst.bytes()),
        device: device.info.name.clone(),
        allowed: format!("{} in one binding", mib(limit)),
        fix: "take a smaller --batch, or a network with more towers".into(),
    })
}

/// Bytes that one binding may have.
fn binding_limit(limits: &wgpu::Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

fn allocate(device: &Device, plan: &Plan) -> Result<Vec<wgpu::Buffer>, BackendError> {
    let scope = device.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let create = |&(size, _): &(u64, _)| {
        device.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let buffers = plan.buffers.iter().map(create).collect();
    match pollster::block_on(scope.pop()) {
        None => Ok(buffers),
        Some(_) => Err(BackendError::TooLarge {
            what: "the plan (weights, momentum, gradients, maps)".into(),
            needed: mib(plan.bytes()),
            device: device.info.name.clone(),
            allowed: "less memory than that".into(),
            fix: "take a smaller --batch".into(),
        }),
    }
}

fn staging(device: &Device, size: u64) -> wgpu::Buffer {
    device.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("read-back"),
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}
