//! Replays a recorded program on one device: buffers, pipelines and bind groups are made once, and each step only
//! submits them again.

use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use half::vec::HalfFloatVecExt as _;

use super::buffers::Buffers;
use super::clock::Clock;
use super::device::Device;
use super::pace::{LONGEST, Pace};
use super::pipeline::{Pipeline, Run};
use super::staging::Outgoing;
use crate::backend::memory::Footprint;
use crate::backend::{Backend, BackendError, ClockDetail, Data, SetupProgress, SetupWatch, Sink, Span, Variants};
use crate::kernel::Elem;
use crate::program::{Command, Pass, Program, Slot};

/// Bytes of a write after which wgpu's own copy of the data is freed at once.
const LARGE: usize = 1 << 20;

/// A run of a kernel, ready to be dispatched.
pub(super) struct Dispatch {
    pipeline: Rc<Pipeline>,
    /// One group for each stage of the pipeline.
    groups: Vec<wgpu::BindGroup>,
}

/// A pass, ready to run.
pub(super) struct Recording {
    pub(super) pass: Pass,
    /// One entry a command; `None` for a copy, which is an alias on one device and the cluster's work between devices.
    pub(super) dispatches: Vec<Option<Dispatch>>,
    pub(super) pace: Pace,
}

/// Copies from staging buffers to slots that wait for the next submission.
struct Pending {
    encoder: wgpu::CommandEncoder,
    /// The staging buffers copied from, as indices into [`Buffers::incoming`].
    incoming: Vec<usize>,
}

pub(super) type Select<'a> = dyn FnMut(&Buffers, &Run<'_>) -> Result<Rc<Pipeline>, BackendError> + 'a;

/// A program on one device.
pub struct Gpu {
    device: Rc<Device>,
    program: Program,
    buffers: Buffers,
    pending: Option<Pending>,
    pub(super) recordings: Vec<Recording>,
    pub(super) clock: Option<Clock>,
    /// Time in submissions to a software driver, which computes in them.
    computed: Duration,
}

impl Gpu {
    /// Allocates `program` on `device` and has `select` choose the pipelines of its runs; `watch` hears of each.
    pub(super) fn set_up(
        device: &Rc<Device>,
        program: Program,
        watch: Option<&SetupWatch>,
        select: &mut Select<'_>,
    ) -> Result<Self, BackendError> {
        let buffers = Buffers::allocate(device, &program)?;
        let total = program.passes().flat_map(|(_, commands)| commands).filter_map(Run::of).count();
        let mut done = 0;
        let mut tell = |kernel| {
            if let Some(watch) = watch {
                watch(SetupProgress { done, total, kernel });
            }
            done += 1;
        };
        let mut recordings = Vec::new();
        for (pass, commands) in program.passes() {
            let mut dispatches = Vec::with_capacity(commands.len());
            for command in commands {
                dispatches.push(match Run::of(command) {
                    None => None,
                    Some(run) => {
                        tell(run.kernel.name);
                        let pipeline = select(&buffers, &run)?;
                        let groups = buffers.bind(device, &pipeline, run.views)?;
                        Some(Dispatch { pipeline, groups })
                    }
                });
            }
            let pace = Pace::new(dispatches.iter().map(Option::is_some));
            recordings.push(Recording { pass, dispatches, pace });
        }
        tell("");
        device.check()?;
        if let Some(compiled) = &device.compiled {
            compiled.keep();
        }
        let device = Rc::clone(device);
        Ok(Self { device, program, buffers, pending: None, recordings, clock: None, computed: Duration::ZERO })
    }

    /// Submits what `record` records, behind the pending copies.
    fn submit(&mut self, record: impl FnOnce(&Self, &mut wgpu::CommandEncoder)) -> wgpu::SubmissionIndex {
        let Pending { mut encoder, incoming } = self.take_pending();
        record(self, &mut encoder);
        let commands = encoder.finish();
        let begin = Instant::now();
        let index = self.device.queue.submit([commands]);
        if self.device.info.device_type == wgpu::DeviceType::Cpu {
            // Software drivers finish a submission before they return from it.
            self.computed += begin.elapsed();
        }
        for staging in incoming {
            self.buffers.incoming[staging].submitted(&index);
        }
        index
    }

    /// The pending copies, or none with a new encoder.
    fn take_pending(&mut self) -> Pending {
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        self.pending.take().unwrap_or_else(|| Pending {
            encoder: self.device.raw.create_command_encoder(&descriptor),
            incoming: Vec::new(),
        })
    }

    /// Submits the copy of `slot` to the beginning of `staging`.
    fn stage(&mut self, slot: Slot, staging: &wgpu::Buffer) -> wgpu::SubmissionIndex {
        self.submit(|gpu, encoder| {
            let (buffer, offset) = gpu.buffers.region(slot);
            encoder.copy_buffer_to_buffer(buffer, offset, staging, 0, gpu.program.slot(slot).bytes());
        })
    }

    /// The contents of a slot as elements of type `P`.
    fn read_as<P: bytemuck::Pod>(&mut self, slot: Slot) -> Result<Vec<P>, BackendError> {
        // Allocated for this read alone: checkpoints read the largest tensors, and seldom.
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

    /// Fills a staging buffer with the contents of `slot`; the copy to the slot waits for the next submission.
    fn fill(&mut self, slot: Slot, staging: usize, bytes: &[u8]) -> Result<(), BackendError> {
        if self.pending.as_ref().is_some_and(|pending| pending.incoming.contains(&staging)) {
            self.submit(|_, _| ());
        }
        self.buffers.incoming[staging].fill(&self.device, bytes)?;
        let mut pending = self.take_pending();
        let (buffer, offset) = self.buffers.region(slot);
        let from = &self.buffers.incoming[staging].buffer;
        pending.encoder.copy_buffer_to_buffer(from, 0, buffer, offset, bytes.len() as u64);
        pending.incoming.push(staging);
        self.pending = Some(pending);
        Ok(())
    }

    /// Submits some commands of a pass in one compute pass, or in one each where the clock measures each.
    fn dispatch(&mut self, recording: &Recording, commands: Range<usize>) -> Option<wgpu::SubmissionIndex> {
        let is_run = |command: &usize| recording.dispatches[*command].is_some();
        let first = commands.clone().find(is_run)?;
        let before = &self.program.commands(recording.pass)[commands.start..first];
        let received = before.iter().any(|command| matches!(command, Command::Receive { .. }));
        if self.pending.is_some() {
            // In a submission of their own, so that the host can fill the buffers again while the kernels run.
            self.submit(|_, _| ());
        }
        let mut clock = self.clock.take();
        let stretches: Vec<Range<usize>> = match &clock {
            Some(Clock { detail: ClockDetail::Commands, .. }) => commands.filter(is_run).map(|i| i..i + 1).collect(),
            _ => std::iter::once(first..commands.end).collect(),
        };
        let index = self.submit(|_, encoder| {
            for stretch in stretches {
                let received = received && stretch.start == first;
                let commands = stretch.clone();
                let timestamp_writes = clock.as_mut().and_then(|clock| clock.next(recording.pass, commands, received));
                let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                let mut compute = encoder.begin_compute_pass(&descriptor);
                for Dispatch { pipeline, groups } in recording.dispatches[stretch].iter().flatten() {
                    for (stage, group) in pipeline.stages.iter().zip(groups) {
                        let [x, y, z] = stage.workgroups;
                        compute.set_pipeline(&stage.compute);
                        compute.set_bind_group(0, group, &[]);
                        compute.dispatch_workgroups(x, y, z);
                    }
                }
            }
        });
        self.clock = clock;
        Some(index)
    }

    /// Submits commands in pieces of at most [`LONGEST`] until `stop` is raised, and measures commands whose time is
    /// still unknown; whether all are submitted.
    fn run(
        &mut self,
        recording: &mut Recording,
        commands: Range<usize>,
        stop: &AtomicBool,
    ) -> Result<bool, BackendError> {
        let by_host = self.clock.as_ref().is_some_and(Clock::by_host);
        let longest = if by_host { Duration::ZERO } else { LONGEST };
        for piece in recording.pace.pieces(commands, longest) {
            if stop.load(Ordering::Relaxed) {
                return self.device.check().map(|()| false);
            }
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
                clock.observed(begin, Instant::now());
            }
            if measured {
                recording.pace.measured(last, begin.elapsed());
                self.warn(recording, last);
            }
        }
        self.device.check().map(|()| true)
    }

    /// Warns of a command that takes more than twice [`LONGEST`] by itself; only fewer images shorten it.
    fn warn(&self, recording: &Recording, command: usize) {
        let time = recording.pace.time(command);
        let software = self.device.info.device_type == wgpu::DeviceType::Cpu;
        let Command::Run { kernel, .. } = &self.program.commands(recording.pass)[command] else { return };
        if time > 2 * LONGEST && !software && !recording.pace.wants(command) {
            let (name, device, seconds) = (kernel.name, &self.device.info.name, time.as_secs_f64());
            log::warn!(
                "{name} takes {seconds:.1} s in one dispatch on {device}; drivers with a time limit may reset the device: \
                 take a smaller --micro-batch"
            );
        }
    }

    /// The staging buffer of a slot that is fetched, as an index into [`Buffers::outgoing`].
    fn staging_of(&self, slot: Slot) -> usize {
        let name = || &self.program.slot(slot).name;
        self.buffers.plan.outgoing.of(slot).unwrap_or_else(|| panic!("{} is neither an output nor sent", name()))
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
                // Copies are of whole 32-bit words, as is the size of the slot.
                halves.resize(values.len().next_multiple_of(2), f16::ZERO);
                bytemuck::cast_slice(&halves)
            }
            // Halves come from maps of other devices, whose images are a multiple of 8: whole words already.
            _ => data.bytes(),
        };
        if let Some(staging) = self.buffers.plan.incoming.of(slot) {
            self.fill(slot, staging, bytes)?;
        } else {
            let (buffer, offset) = self.buffers.region(slot);
            self.device.queue.write_buffer(buffer, offset, bytes);
            if bytes.len() >= LARGE {
                // wgpu keeps its copy until then; without the wait a checkpoint's tensors would pile up.
                let written = self.submit(|_, _| ());
                self.device.wait(Some(written))?;
            }
        }
        self.device.check()
    }

    fn run_commands_unless(
        &mut self,
        pass: Pass,
        commands: Range<usize>,
        stop: &AtomicBool,
    ) -> Result<bool, BackendError> {
        let Some(index) = self.recordings.iter().position(|recording| recording.pass == pass) else { return Ok(true) };
        let mut recording = self.recordings.swap_remove(index);
        let outcome = self.run(&mut recording, commands, stop);
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
        self.buffers.outgoing[staging].release();
        // Clones the handle, not the memory.
        let buffer = self.buffers.outgoing[staging].buffer.clone();
        let index = self.stage(slot, &buffer);
        self.buffers.outgoing[staging].submitted(index);
        self.device.check()
    }

    fn take(&mut self, slot: Slot, keep: bool, sink: &mut Sink<'_>) -> Result<(), BackendError> {
        let (staging, info) = (self.staging_of(slot), self.program.slot(slot));
        let (count, size, elem) = (info.count(), info.bytes(), info.elem);
        self.buffers.outgoing[staging].take(&self.device, size, keep, &mut |bytes| match elem {
            // Mapped memory is aligned to 8 bytes.
            Elem::F32 => sink(Data::F32(bytemuck::cast_slice(bytes))),
            Elem::F16 => sink(Data::F16(&bytemuck::cast_slice(bytes)[..count])),
            Elem::U32 => sink(Data::U32(bytemuck::cast_slice(bytes))),
        })
    }

    fn blocks(&self) -> bool {
        false
    }

    fn done_when_queued(&self) -> bool {
        self.device.info.device_type == wgpu::DeviceType::Cpu
    }

    fn footprint(&self) -> Footprint {
        self.buffers.footprint()
    }

    fn allocated(&self) -> Option<u64> {
        self.device.allocated()
    }

    fn variants(&self) -> Variants {
        let mut variants = Variants::new();
        for recording in &self.recordings {
            for (command, dispatch) in self.program.commands(recording.pass).iter().zip(&recording.dispatches) {
                if let (Some(run), Some(dispatch)) = (Run::of(command), dispatch)
                    && run.kernel.variants.len() > 1
                {
                    variants.entry(run.name()).or_default().insert(dispatch.pipeline.variant.to_owned());
                }
            }
        }
        variants
    }

    fn waited(&self) -> Duration {
        self.device.waited() + self.computed
    }

    fn start_clock(&mut self, detail: ClockDetail, origin: Instant) {
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
