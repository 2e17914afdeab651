//! An opened device: the limits it grants, the errors it reports, the time it is waited for.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::adapter::{binding_limit, describe, matrices};
use super::cache::Compiled;
use super::capacity::memory;
use super::choices::{Choices, Verdicts};
use crate::backend::{BackendError, Limits, MemoryPool, SetupWatch};
use crate::files::one_line;

/// Time without an answer after which a device counts as lost.
const PATIENCE: Duration = Duration::from_secs(300);

fn features(adapter: &wgpu::Adapter) -> wgpu::Features {
    let used = wgpu::Features::SUBGROUP
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SHADER_INT64
        | wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::PIPELINE_CACHE;
    adapter.features() & used
}

/// Consent to experimental features of wgpu, here cooperative matrices.
#[allow(unsafe_code, reason = "wgpu asks for consent: experimental features may have undefined behaviour")]
fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: only cooperative matrices are asked for. Shaders that use them are this crate's own, every one of their
    // loads and stores lies in a workgroup array of its kernel, and a driver that computes
    // them wrong is caught before they are chosen (`tune`).
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

/// An opened device with its one queue.
pub struct Device {
    /// The logical device of wgpu.
    pub raw: wgpu::Device,
    /// The queue that takes all submissions.
    pub(crate) queue: wgpu::Queue,
    /// Name, kind and driver of the adapter.
    pub info: wgpu::AdapterInfo,
    /// The limits granted: all of the adapter's.
    pub limits: wgpu::Limits,
    /// The features granted: those of the adapter that this crate uses.
    pub(crate) features: wgpu::Features,
    memory: Option<MemoryPool>,
    /// Sides of the square tiles that its matrix units multiply.
    matrices: Vec<u32>,
    /// The first error that the driver reported.
    trouble: Arc<Mutex<Option<Trouble>>>,
    /// The fastest variant of each run, measured or remembered.
    pub choices: Choices,
    /// Results of checks and measurements of variants, whatever the shapes.
    pub(super) verdicts: RefCell<Verdicts>,
    /// Whether shaders are compiled with checks of every index and loop.
    pub(in crate::backend) checked: Cell<bool>,
    pub(in crate::backend) watch: RefCell<Option<Rc<SetupWatch>>>,
    /// The driver's cache of pipelines compiled in earlier runs.
    pub(super) compiled: Option<Compiled>,
    /// Time spent in [`Device::wait`].
    waited: Cell<Duration>,
}

/// Kind of an error that came outside of any call.
#[derive(Clone, Copy)]
enum Kind {
    OutOfMemory,
    /// Something that wgpu or the driver does not take.
    Refused,
    Lost,
}

/// An error that came outside of any call.
#[derive(Clone)]
struct Trouble {
    kind: Kind,
    reason: String,
}

impl Device {
    /// Opens `adapter` with all of its limits.
    pub(crate) fn open(adapter: &wgpu::Adapter) -> Result<Self, BackendError> {
        let info = adapter.get_info();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("alexnet"),
            required_features: features(adapter),
            required_limits: adapter.limits(),
            experimental_features: experimental(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let opened = pollster::block_on(adapter.request_device(&descriptor));
        let (device, queue) =
            opened.map_err(|e| BackendError::Open { device: info.name.clone(), reason: one_line(&e) })?;
        let trouble = Arc::new(Mutex::new(None));
        let (on_error, on_loss) = (Arc::clone(&trouble), Arc::clone(&trouble));
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let kind = match error {
                wgpu::Error::OutOfMemory { .. } => Kind::OutOfMemory,
                wgpu::Error::Validation { .. } => Kind::Refused,
                wgpu::Error::Internal { .. } => Kind::Lost,
            };
            note(&on_error, kind, one_line(&error));
        }));
        // Every reason counts: when the device is dropped by us, nobody reads the note.
        device.set_device_lost_callback(move |reason, message| {
            note(&on_loss, Kind::Lost, format!("{reason:?}: {}", one_line(&message)));
        });
        let (limits, features) = (device.limits(), device.features());
        let (choices, compiled) = (Choices::of(&describe(&info)), Compiled::open(&device, &info));
        Ok(Self {
            raw: device,
            queue,
            info,
            limits,
            features,
            memory: memory(adapter),
            matrices: matrices(adapter),
            trouble,
            choices,
            verdicts: RefCell::default(),
            checked: Cell::new(false),
            watch: RefCell::default(),
            compiled,
            waited: Cell::default(),
        })
    }

    /// Opens a device of wgpu's noop backend with exactly `limits`. It takes programs and computes nothing: for tests
    /// of what happens before a kernel runs. Its buffers are host memory.
    pub fn noop(limits: &Limits) -> Result<Self, BackendError> {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::NOOP;
        descriptor.backend_options.noop = wgpu::NoopBackendOptions {
            limits: Some(wgpu::Limits {
                max_storage_buffer_binding_size: limits.binding,
                max_buffer_size: limits.buffer,
                ..wgpu::Limits::unlimited()
            }),
            ..wgpu::NoopBackendOptions::enabled()
        };
        let instance = wgpu::Instance::new(descriptor);
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
        let adapter =
            adapter.map_err(|e| BackendError::Open { device: limits.device.clone(), reason: one_line(&e) })?;
        let mut device = Self::open(&adapter)?;
        (device.info.name, device.memory) = (limits.device.clone(), limits.memory.clone());
        device.features.set(wgpu::Features::SHADER_F16, limits.halves);
        Ok(device)
    }

    /// The limits that bound a program on this device.
    pub fn bounds(&self) -> Limits {
        Limits {
            device: self.info.name.clone(),
            binding: binding_limit(&self.limits),
            buffer: self.limits.max_buffer_size,
            halves: self.features.contains(wgpu::Features::SHADER_F16),
            memory: self.memory.clone(),
        }
    }

    /// Whether the driver computes on the processor.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Name, API and driver on one line.
    pub fn describe(&self) -> String {
        describe(&self.info)
    }

    /// Whether subgroups have up to `most` lanes on this device, and never fewer than `least`.
    pub fn has_subgroups_of(&self, least: u32, most: u32) -> bool {
        let lanes = (self.info.subgroup_min_size, self.info.subgroup_max_size);
        self.features.contains(wgpu::Features::SUBGROUP) && lanes.0 >= least && lanes.1 == most
    }

    /// Whether matrix units multiply tiles of `side` × `side` 16-bit floats into 32-bit sums.
    pub fn has_matrices_of(&self, side: u32) -> bool {
        self.matrices.contains(&side)
    }

    /// Passes on the first error that the driver reported since the device was opened.
    pub fn check(&self) -> Result<(), BackendError> {
        let device = self.info.name.clone();
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Trouble { kind, reason }) = trouble else { return Ok(()) };
        Err(match kind {
            Kind::OutOfMemory => BackendError::OutOfMemory { device, reason },
            Kind::Refused => BackendError::Refused { device, reason },
            Kind::Lost => BackendError::Lost { device, reason },
        })
    }

    /// Waits for a submission; `None` waits for all.
    pub(crate) fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), BackendError> {
        let begin = Instant::now();
        let poll = |kind| answer(|| self.raw.poll(kind));
        let outcome = poll(wgpu::PollType::Wait { submission_index, timeout: Some(PATIENCE) });
        if outcome.is_err() {
            // After a failed wait the next poll reports the loss itself, whose message says more.
            let _ = poll(wgpu::PollType::Poll);
        }
        self.waited.set(self.waited.get() + begin.elapsed());
        self.check()?;
        outcome.map_err(|failure| self.lost(failure.to_string()))
    }

    /// Time that the host spent in [`Device::wait`] so far.
    pub fn waited(&self) -> Duration {
        self.waited.get()
    }

    /// Bytes that the driver's allocator has given to this device; `None` where it keeps no count.
    pub fn allocated(&self) -> Option<u64> {
        self.raw.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    /// The error of a device that stopped working for `reason`.
    pub fn lost(&self, reason: String) -> BackendError {
        BackendError::Lost { device: self.info.name.clone(), reason }
    }
}

/// A poll of a device that failed.
#[derive(Debug, Error, PartialEq)]
enum PollFailure {
    #[error("no answer for {} s", PATIENCE.as_secs())]
    Timeout,
    #[error("{0}")]
    Refused(String),
    /// wgpu panics when the driver reports a loss in the middle of a poll.
    #[error("{0}")]
    Panicked(String),
}

/// Runs `poll` and turns refusals and panics into failures.
fn answer(poll: impl FnOnce() -> Result<wgpu::PollStatus, wgpu::PollError>) -> Result<(), PollFailure> {
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(wgpu::PollError::Timeout)) => Err(PollFailure::Timeout),
        Ok(Err(refused)) => Err(PollFailure::Refused(refused.to_string())),
        Err(panic) => {
            let fixed = panic.downcast_ref::<&str>().map(|&reason| reason.to_owned());
            let reason = fixed.or(panic.downcast_ref().cloned()).unwrap_or_else(|| "no reason given".into());
            Err(PollFailure::Panicked(reason))
        }
    }
}

/// Keeps the first trouble: what follows is its consequence.
fn note(slot: &Mutex<Option<Trouble>>, kind: Kind, reason: String) {
    slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(Trouble { kind, reason });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::gpu::adapter::adapters;

    #[test]
    fn a_wait_that_fails_is_told_apart_from_one_that_takes_too_long() {
        use wgpu::{PollError, PollStatus};
        assert_eq!(answer(|| Ok(PollStatus::QueueEmpty)), Ok(()));
        let timeout = answer(|| Err(PollError::Timeout)).unwrap_err();
        assert_eq!((&timeout, timeout.to_string().as_str()), (&PollFailure::Timeout, "no answer for 300 s"));
        let refused = answer(|| Err(PollError::WrongSubmissionIndex(7, 5))).unwrap_err();
        assert!(refused.to_string().contains("submission index (7)"), "{refused}");
        let panic = || std::panic::panic_any(String::from("Error in Device::poll"));
        assert_eq!(answer(panic), Err(PollFailure::Panicked("Error in Device::poll".into())));
    }

    #[test]
    fn what_a_device_does_not_take_is_told_apart_from_a_loss() {
        let memory = Some(MemoryPool { pool: "tests".into(), bytes: 1 << 30 });
        let limits = Limits { device: "noop".into(), binding: 128 << 20, buffer: 256 << 20, halves: false, memory };
        let device = Device::noop(&limits).unwrap();
        let (size, usage) = (limits.buffer + 4, wgpu::BufferUsages::STORAGE);
        let _ =
            device.raw.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        let refused = device.check().unwrap_err();
        assert!(matches!(refused, BackendError::Refused { .. }), "{refused}");
        assert!(refused.to_string().contains("noop was asked for what it refuses"), "{refused}");
    }

    #[test]
    fn a_noop_device_has_the_limits_it_was_given_and_is_no_adapter() {
        let memory = Some(MemoryPool { pool: "tests".into(), bytes: 1 << 30 });
        let limits = Limits { device: "noop".into(), binding: 128 << 20, buffer: 256 << 20, halves: false, memory };
        assert_eq!(Device::noop(&limits).unwrap().bounds(), limits);
        assert!(adapters().iter().all(|adapter| adapter.get_info().backend != wgpu::Backend::Noop));
    }
}
