//! Runs a program on one wgpu device: the only place of the crate that knows wgpu.

mod cache;
pub mod choices;
mod clock;
pub mod device;
mod memory;
mod pace;
pub mod pipeline;
mod staging;
pub mod summary;
#[cfg(test)]
mod testing;
pub mod tune;

use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use half::vec::HalfFloatVecExt as _;

use self::clock::Clock;
use self::device::Device;
use self::pace::{LONGEST, Pace};
use self::pipeline::{Pipeline, Pipelines};
use self::staging::{Incoming, Outgoing};
use self::tune::Choice;
use super::limits::mib;
use super::plan::{Footprint, Plan};
use super::{Backend, BackendError, Data, Detail, Progress, Sink, Span, Variants};
use crate::kernel::Elem;
use crate::program::{Command, Pass, Program, Slot, View};

/// Bytes of a write whose copy is not left lying about.
const LARGE: usize = 1 << 20;

/// One command, ready to be dispatched; `None` for a copy, which on one device is an alias and between devices the
/// cluster's business.
type Dispatch = Option<(Rc<Pipeline>, wgpu::BindGroup)>;

/// A pass, ready to run.
struct Recording {
    pass: Pass,
    dispatches: Vec<Dispatch>,
    pace: Pace,
}

/// A program on one device.
pub struct Gpu {
    device: Rc<Device>,
    program: Program,
    plan: Plan,
    buffers: Vec<wgpu::Buffer>,
    incoming: Vec<Incoming>,
    outgoing: Vec<Outgoing>,
    /// Copies from staging buffers that go with the next submission, and from which.
    filled: Option<(wgpu::CommandEncoder, Vec<usize>)>,
    recordings: Vec<Recording>,
    clock: Option<Clock>,
    /// What submissions took of a driver that computes in them.
    computed: Duration,
}

impl Gpu {
    /// Plans, allocates and compiles `program` for `device`, with the variants of `choice`.
    ///
    /// # Errors
    /// When the program does not fit (said before anything is allocated) or a kernel does not compile.
    pub fn new(device: Rc<Device>, program: Program, choice: Choice) -> Result<Self, BackendError> {
        fits(&device, &program)?;
        // A loss is told when the device is waited for, and by nothing that allocates or compiles.
        device.wait(None)?;
        let plan = Plan::new(&program, device.limits.max_buffer_size);
        let Memory { buffers, incoming, outgoing } = allocate(&device, &plan)?;
        let (filled, recordings, clock, computed) = (None, Vec::new(), None, Duration::ZERO);
        let mut gpu = Self { device, program, plan, buffers, incoming, outgoing, filled, recordings, clock, computed };
        gpu.recordings = gpu.compile(choice)?;
        Ok(gpu)
    }

    fn compile(&self, choice: Choice) -> Result<Vec<Recording>, BackendError> {
        let mut pipelines = Pipelines::default();
        let mut recordings = Vec::new();
        let is_run = |command: &&Command| matches!(command, Command::Run { .. });
        let of = self.program.passes().map(|(_, commands)| commands.iter().filter(is_run).count()).sum();
        // A single kernel is set up in the midst of something else.
        let watch = self.device.watch.borrow().clone().filter(|_| matches!(choice, Choice::Fastest));
        let mut done = 0;
        let mut tell = |kernel| {
            if let Some(watch) = &watch {
                watch(Progress { done, of, kernel });
            }
            done += 1;
        };
        for (pass, commands) in self.program.passes() {
            let dispatches: Result<Vec<_>, _> = commands
                .iter()
                .map(|command| match command {
                    Command::Copy { .. } | Command::Send { .. } | Command::Receive { .. } => Ok(None),
                    Command::Run { kernel, params, views, .. } => {
                        tell(kernel.name);
                        let pipeline = self.choose(choice, &mut pipelines, kernel, params, views)?;
                        let group = self.bind(&pipeline, views);
                        Ok(Some((pipeline, group)))
                    }
                })
                .collect();
            let dispatches = dispatches?;
            let pace = Pace::new(dispatches.iter().map(Option::is_some));
            recordings.push(Recording { pass, dispatches, pace });
        }
        tell("");
        self.device.check()?;
        if let Some(compiled) = &self.device.compiled {
            compiled.keep();
        }
        Ok(recordings)
    }

    /// Submits what `record` records, behind the copies of what the host has filled in.
    fn submit(&mut self, record: impl FnOnce(&Self, &mut wgpu::CommandEncoder)) -> wgpu::SubmissionIndex {
        let (mut encoder, filled) = self.filled.take().unwrap_or_else(|| (self.encoder(), Vec::new()));
        record(self, &mut encoder);
        let commands = encoder.finish();
        let begin = Instant::now();
        let index = self.device.queue.submit([commands]);
        if self.device.info.device_type == wgpu::DeviceType::Cpu {
            // Software drivers end a submission before they take the next.
            self.computed += begin.elapsed();
        }
        for staging in filled {
            self.incoming[staging].submitted(&index);
        }
        index
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Submits the copy of `slot` to the beginning of `staging`.
    fn stage(&mut self, slot: Slot, staging: &wgpu::Buffer) -> wgpu::SubmissionIndex {
        let (place, bytes) = (self.plan.place(slot), self.program.slot(slot).bytes());
        self.submit(|gpu, encoder| {
            encoder.copy_buffer_to_buffer(&gpu.buffers[place.buffer], place.offset, staging, 0, bytes);
        })
    }

    /// The contents of a slot, whatever they are.
    fn read_as<P: bytemuck::Pod>(&mut self, slot: Slot) -> Result<Vec<P>, BackendError> {
        // Not kept: a checkpoint reads the largest tensors, once in a while.
        let mut staging = Outgoing::new(&self.device, self.program.slot(slot).bytes());
        let index = self.stage(slot, &staging.buffer);
        staging.submitted(index);
        let mut values = Vec::new();
        staging.take(&self.device, self.program.slot(slot).bytes(), false, &mut |bytes| {
            values = bytemuck::pod_collect_to_vec(bytes);
            Ok(())
        })?;
        Ok(values)
    }

    /// Fills the staging buffer of an often written slot; the copy goes with the next submission.
    fn fill(&mut self, slot: Slot, staging: usize, bytes: &[u8]) -> Result<(), BackendError> {
        if self.filled.as_ref().is_some_and(|(_, filled)| filled.contains(&staging)) {
            self.submit(|_, _| ());
        }
        self.incoming[staging].fill(&self.device, bytes)?;
        let place = self.plan.place(slot);
        let (mut encoder, mut filled) = self.filled.take().unwrap_or_else(|| (self.encoder(), Vec::new()));
        let (from, to) = (&self.incoming[staging].buffer, &self.buffers[place.buffer]);
        encoder.copy_buffer_to_buffer(from, 0, to, place.offset, bytes.len() as u64);
        filled.push(staging);
        self.filled = Some((encoder, filled));
        Ok(())
    }

    /// Submits some commands of a pass in one compute pass, or in one each where each is measured.
    fn dispatch(&mut self, recording: &Recording, commands: Range<usize>) -> Option<wgpu::SubmissionIndex> {
        let works = |command: &usize| recording.dispatches[*command].is_some();
        let first = commands.clone().find(works)?;
        let before = &self.program.commands(recording.pass)[commands.start..first];
        let received = before.iter().any(|command| matches!(command, Command::Receive { .. }));
        if self.filled.is_some() {
            // By themselves, so that the host can fill them again while the kernels run.
            self.submit(|_, _| ());
        }
        let mut clock = self.clock.take();
        let stretches: Vec<Range<usize>> = match &clock {
            Some(Clock { detail: Detail::Commands, .. }) => commands.filter(works).map(|i| i..i + 1).collect(),
            _ => std::iter::once(first..commands.end).collect(),
        };
        let index = self.submit(|_, encoder| {
            for stretch in stretches {
                let received = received && stretch.start == first;
                let commands = stretch.clone();
                let timestamp_writes = clock.as_mut().and_then(|clock| clock.next(recording.pass, commands, received));
                let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                let mut compute = encoder.begin_compute_pass(&descriptor);
                for (pipeline, group) in recording.dispatches[stretch].iter().flatten() {
                    let [x, y, z] = pipeline.workgroups;
                    compute.set_pipeline(&pipeline.pipeline);
                    compute.set_bind_group(0, group, &[]);
                    compute.dispatch_workgroups(x, y, z);
                }
            }
        });
        self.clock = clock;
        Some(index)
    }

    /// Submits commands in pieces that do not take too long, and measures those of which that is not known.
    fn run(&mut self, recording: &mut Recording, commands: Range<usize>) -> Result<(), BackendError> {
        let by_host = self.clock.as_ref().is_some_and(Clock::by_host);
        let longest = if by_host { Duration::ZERO } else { LONGEST };
        for piece in recording.pace.pieces(commands, longest) {
            let last = piece.end - 1;
            let measured = recording.pace.wants(last);
            if measured || by_host {
                self.device.wait(None)?;
            }
            let begin = Instant::now();
            let Some(done) = self.dispatch(recording, piece) else { continue };
            if measured || by_host {
                self.device.wait(Some(done))?;
            }
            if let Some(clock) = self.clock.as_mut().filter(|_| by_host) {
                clock.seen(begin, Instant::now());
            }
            if measured {
                recording.pace.measured(last, begin.elapsed());
                self.warn(recording, last);
            }
        }
        self.device.check()
    }

    /// Warns of a command that lasts too long by itself, which only fewer images shorten.
    fn warn(&self, recording: &Recording, command: usize) {
        let time = recording.pace.time(command);
        let patient = self.device.info.device_type == wgpu::DeviceType::Cpu;
        let Command::Run { kernel, .. } = &self.program.commands(recording.pass)[command] else { return };
        if time > 2 * LONGEST && !patient && !recording.pace.wants(command) {
            let (name, device, seconds) = (kernel.name, &self.device.info.name, time.as_secs_f64());
            log::warn!(
                "{name} takes {seconds:.1} s at a stretch on {device}, and some drivers stop there: \
                        a smaller --micro-batch shortens it"
            );
        }
    }

    /// The staging buffer of a slot that is fetched.
    fn staging_of(&self, slot: Slot) -> usize {
        let name = || &self.program.slot(slot).name;
        self.plan.outgoing.of(slot).unwrap_or_else(|| panic!("{} is neither an output nor sent", name()))
    }

    fn bind(&self, pipeline: &Pipeline, views: &[View]) -> wgpu::BindGroup {
        let entry = |(&binding, view): (&u32, &View)| {
            let place = self.plan.place(view.slot);
            let (offset, size) = (place.offset + view.offset(), std::num::NonZeroU64::new(view.bytes()));
            let resource = wgpu::BufferBinding { buffer: &self.buffers[place.buffer], offset, size };
            wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(resource) }
        };
        let entries: Vec<_> = pipeline.bindings.iter().zip(views).map(entry).collect();
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
        let mut halves: Vec<f16>;
        let bytes = match (self.program.slot(slot).elem, data) {
            (Elem::F16, Data::F32(values)) => {
                halves = Vec::from_f32_slice(values);
                // Copies are of whole words, as the slot is.
                halves.resize(values.len().next_multiple_of(2), f16::ZERO);
                bytemuck::cast_slice(&halves)
            }
            // Halves come from other devices' maps, whose images are a multiple of 8.
            _ => data.bytes(),
        };
        if let Some(staging) = self.plan.incoming.of(slot) {
            self.fill(slot, staging, bytes)?;
        } else {
            let place = self.plan.place(slot);
            self.device.queue.write_buffer(&self.buffers[place.buffer], place.offset, bytes);
            if bytes.len() >= LARGE {
                // Until then wgpu keeps a copy, and one large tensor follows another.
                let written = self.submit(|_, _| ());
                self.device.wait(Some(written))?;
            }
        }
        self.device.check()
    }

    fn run_commands(&mut self, pass: Pass, commands: Range<usize>) -> Result<(), BackendError> {
        let Some(index) = self.recordings.iter().position(|recording| recording.pass == pass) else { return Ok(()) };
        let mut recording = self.recordings.swap_remove(index);
        let outcome = self.run(&mut recording, commands);
        self.recordings.push(recording);
        outcome
    }

    fn read(&mut self, slot: Slot) -> Result<Vec<f32>, BackendError> {
        let info = self.program.slot(slot);
        let (elem, count) = (info.elem, info.count());
        match elem {
            Elem::F16 => Ok(self.read_as::<f16>(slot)?[..count].to_f32_vec()),
            Elem::F32 | Elem::U32 => self.read_as(slot),
        }
    }

    fn read_words(&mut self, slot: Slot) -> Result<Vec<u32>, BackendError> {
        self.read_as(slot)
    }

    fn fetch(&mut self, slot: Slot) -> Result<(), BackendError> {
        let staging = self.staging_of(slot);
        self.outgoing[staging].release();
        // A handle, not the memory.
        let buffer = self.outgoing[staging].buffer.clone();
        let index = self.stage(slot, &buffer);
        self.outgoing[staging].submitted(index);
        self.device.check()
    }

    fn take(&mut self, slot: Slot, keep: bool, sink: &mut Sink<'_>) -> Result<(), BackendError> {
        let (staging, info) = (self.staging_of(slot), self.program.slot(slot));
        let (count, size, elem) = (info.count(), info.bytes(), info.elem);
        self.outgoing[staging].take(&self.device, size, keep, &mut |bytes| match elem {
            // Mapped memory is aligned to 8 bytes.
            Elem::F32 => sink(Data::F32(bytemuck::cast_slice(bytes))),
            Elem::F16 => sink(Data::F16(&bytemuck::cast_slice(bytes)[..count])),
            Elem::U32 => sink(Data::U32(bytemuck::cast_slice(bytes))),
        })
    }

    fn blocks(&self) -> bool {
        false
    }

    fn footprint(&self) -> Footprint {
        self.plan.footprint()
    }

    fn allocated(&self) -> Option<u64> {
        self.device.allocated()
    }

    fn variants(&self) -> Variants {
        let mut variants = Variants::new();
        for recording in &self.recordings {
            for (command, dispatch) in self.program.commands(recording.pass).iter().zip(&recording.dispatches) {
                if let (Command::Run { kernel, params, .. }, Some((pipeline, _))) = (command, dispatch)
                    && kernel.variants.len() > 1
                {
                    let run = format!("{} {params}", kernel.name);
                    variants.entry(run).or_default().insert(pipeline.variant.to_owned());
                }
            }
        }
        variants
    }

    fn waited(&self) -> Duration {
        self.device.waited() + self.computed
    }

    fn start_clock(&mut self, detail: Detail, origin: Instant) {
        self.clock = Clock::new(&self.device, detail, origin);
    }

    fn stop_clock(&mut self) {
        self.clock = None;
    }

    fn spans(&mut self) -> Result<Option<Vec<Span>>, BackendError> {
        self.device.wait(None)?;
        self.clock.as_ref().map(|clock| clock.spans(&self.device)).transpose()
    }
}

/// Refuses what a limit of the device forbids, naming the slot, before anything is allocated.
fn fits(device: &Device, program: &Program) -> Result<(), BackendError> {
    let limits = device.bounds();
    match program.largest_binding() {
        Some((slot, needed)) if needed > limits.binding => Err(limits.refuse_binding(&program.slot(slot).name, needed)),
        _ => Ok(()),
    }
}

/// Bytes that one binding may have.
fn binding_limit(limits: &wgpu::Limits) -> u64 {
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
}

/// What a plan asks for.
struct Memory {
    buffers: Vec<wgpu::Buffer>,
    incoming: Vec<Incoming>,
    outgoing: Vec<Outgoing>,
}

fn allocate(device: &Device, plan: &Plan) -> Result<Memory, BackendError> {
    let scope = device.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let create = |&(size, _): &(u64, _)| {
        device.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let memory = Memory {
        buffers: plan.buffers.iter().map(create).collect(),
        incoming: plan.incoming.buffers.iter().map(|&size| Incoming::new(device, size)).collect(),
        outgoing: plan.outgoing.buffers.iter().map(|&size| Outgoing::new(device, size)).collect(),
    };
    match pollster::block_on(scope.pop()) {
        None => Ok(memory),
        Some(_) => Err(BackendError::TooLarge {
            what: "the plan (weights, states of the optimiser, gradients, maps, staging)".into(),
            needed: mib(plan.bytes()),
            device: device.info.name.clone(),
            allowed: "less memory than that".into(),
            fix: "take a smaller --micro-batch, or --recompute".into(),
        }),
    }
}
