//! Adapters and opened devices.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::binding_limit;
use super::cache::Compiled;
use super::choices::Choices;
use super::memory::memory;
use super::tune::Verdicts;
use crate::backend::{BackendError, Limits, Memory, Watch};

/// How long a device may take for what was submitted before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(300);

/// Every adapter of this machine, best first: discrete, integrated, virtual, other, software.
#[must_use]
pub fn adapters() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(descriptor);
    let mut found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    // Stable: adapters of one kind keep the driver's order, so their numbers do not change from run to run.
    found.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    found
}

fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// What this crate uses of what an adapter can do.
fn features(adapter: &wgpu::Adapter) -> wgpu::Features {
    let used = wgpu::Features::SUBGROUP
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SHADER_INT64
        | wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::PIPELINE_CACHE;
    adapter.features() & used
}

/// The leave to use what wgpu has and does not vouch for.
#[allow(unsafe_code, reason = "wgpu wants it said that experimental features may have undefined behaviour")]
fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: only cooperative matrices are asked for. Shaders that use them are this crate's own, every one of their
    // loads and stores lies in a workgroup array of its kernel, and a driver that gets them wrong is found out before
    // they are chosen (`tune`).
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

/// Sides of the squares of 16-bit floats that the matrix units of an adapter multiply and sum up in 32-bit ones.
pub(super) fn matrices(adapter: &wgpu::Adapter) -> Vec<u32> {
    use wgpu::wgt::CooperativeScalarType::{F16, F32};
    let fits = |it: &&wgpu::wgt::CooperativeMatrixProperties| {
        it.m_size == it.n_size && it.n_size == it.k_size && (it.ab_type, it.cr_type) == (F16, F32)
    };
    let mut sides: Vec<u32> = adapter.cooperative_matrix_properties().iter().filter(fits).map(|it| it.m_size).collect();
    sides.sort_unstable();
    sides.dedup();
    sides
}

/// An opened device with its one queue.
pub struct Device {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// Who it is.
    pub info: wgpu::AdapterInfo,
    /// What was granted.
    pub limits: wgpu::Limits,
    /// What was granted.
    pub features: wgpu::Features,
    memory: Option<Memory>,
    /// Sides of the squares that its matrix units multiply.
    matrices: Vec<u32>,
    trouble: Arc<Mutex<Option<Trouble>>>,
    /// Which variants are the fastest here.
    pub choices: Choices,
    /// What is known of variants here.
    pub(super) verdicts: RefCell<Verdicts>,
    /// Whether shaders are compiled with checks of every index and loop.
    pub(in crate::backend) checked: Cell<bool>,
    /// Told how far a program is set up.
    pub(in crate::backend) watch: RefCell<Option<Rc<Watch>>>,
    /// What the driver compiled in earlier runs.
    pub(super) compiled: Option<Compiled>,
    waited: Cell<Duration>,
}

/// What a device reported.
#[derive(Clone)]
struct Trouble {
    out_of_memory: bool,
    message: String,
}

impl Device {
    /// Opens `adapter` with all of its limits.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn open(adapter: &wgpu::Adapter) -> Result<Self, BackendError> {
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
            opened.map_err(|e| BackendError::Open { device: info.name.clone(), reason: e.to_string() })?;
        let trouble = Arc::new(Mutex::new(None));
        let (on_error, on_loss) = (Arc::clone(&trouble), Arc::clone(&trouble));
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            note(&on_error, matches!(error, wgpu::Error::OutOfMemory { .. }), error.to_string());
        }));
        // Whatever the reason: our own drop of the device is heard by nobody.
        device.set_device_lost_callback(move |reason, message| note(&on_loss, false, format!("{reason:?}: {message}")));
        let (limits, features) = (device.limits(), device.features());
        let (choices, compiled) = (Choices::of(&info), Compiled::open(&device, &info));
        Ok(Self {
            device,
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

    /// A device of wgpu's noop backend with `limits`, and no others: it computes nothing, but takes programs, for tests
    /// of what happens before a kernel runs. Its buffers are host memory.
    ///
    /// # Errors
    /// When wgpu refuses the limits.
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
            adapter.map_err(|e| BackendError::Open { device: limits.device.clone(), reason: e.to_string() })?;
        let mut device = Self::open(&adapter)?;
        (device.info.name, device.memory) = (limits.device.clone(), limits.memory.clone());
        device.features.set(wgpu::Features::SHADER_F16, limits.halves);
        Ok(device)
    }

    /// What bounds a program on this device.
    #[must_use]
    pub fn bounds(&self) -> Limits {
        Limits {
            device: self.info.name.clone(),
            binding: binding_limit(&self.limits),
            buffer: self.limits.max_buffer_size,
            halves: self.features.contains(wgpu::Features::SHADER_F16),
            memory: self.memory.clone(),
        }
    }

    /// Name and driver, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        describe(&self.info)
    }

    /// Whether subgroups have exactly `lanes` lanes on this device.
    #[must_use]
    pub fn has_subgroups_of(&self, lanes: u32) -> bool {
        let (least, most) = (self.info.subgroup_min_size, self.info.subgroup_max_size);
        self.features.contains(wgpu::Features::SUBGROUP) && least == lanes && most == lanes
    }

    /// Whether there are matrix units for squares of 16-bit floats with sides of this length, and 32-bit sums.
    #[must_use]
    pub fn has_matrices_of(&self, side: u32) -> bool {
        self.matrices.contains(&side)
    }

    /// Fails when the device reported trouble since it was opened.
    ///
    /// # Errors
    /// What the driver said.
    pub fn check(&self) -> Result<(), BackendError> {
        let device = self.info.name.clone();
        match self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            None => Ok(()),
            Some(Trouble { out_of_memory: true, message: reason }) => Err(BackendError::OutOfMemory { device, reason }),
            Some(Trouble { message: reason, .. }) => Err(BackendError::Lost { device, reason }),
        }
    }

    /// Waits for a submission, or for all there are.
    ///
    /// # Errors
    /// When the device was lost or does not answer.
    pub fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), BackendError> {
        let begin = Instant::now();
        let poll = |kind| answer(|| self.device.poll(kind));
        let outcome = poll(wgpu::PollType::Wait { submission_index, timeout: Some(PATIENCE) });
        if outcome.is_err() {
            // A wait that fails leaves it to the next poll to tell of a loss, which says more.
            let _ = poll(wgpu::PollType::Poll);
        }
        self.waited.set(self.waited.get() + begin.elapsed());
        self.check()?;
        outcome.map_err(|reason| self.lost(reason))
    }

    /// What all waits took so far.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited.get()
    }

    /// Bytes that the driver's allocator has given to this device; `None` where it does not say.
    #[must_use]
    pub fn allocated(&self) -> Option<u64> {
        self.device.generate_allocator_report().map(|report| report.total_allocated_bytes)
    }

    /// The error of a device that does not do what it should.
    #[must_use]
    pub fn lost(&self, reason: String) -> BackendError {
        BackendError::Lost { device: self.info.name.clone(), reason }
    }
}

/// What is wrong where a poll fails. wgpu panics where the driver reports a loss in the midst of it.
fn answer(poll: impl FnOnce() -> Result<wgpu::PollStatus, wgpu::PollError>) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(wgpu::PollError::Timeout)) => Err(format!("no answer for {} s", PATIENCE.as_secs())),
        Ok(Err(refused)) => Err(refused.to_string()),
        Err(panic) => {
            let fixed = panic.downcast_ref::<&str>().map(|&reason| reason.to_owned());
            Err(fixed.or(panic.downcast_ref().cloned()).unwrap_or_else(|| "no reason given".into()))
        }
    }
}

/// Name, kind and driver of an adapter on one line.
#[must_use]
pub fn describe(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({:?}, {} {})", info.name, info.backend, info.driver, info.driver_info)
}

/// Keeps the first trouble: what follows is its consequence.
fn note(slot: &Mutex<Option<Trouble>>, out_of_memory: bool, message: String) {
    slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(Trouble { out_of_memory, message });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_fails_is_told_apart_from_one_that_takes_too_long() {
        use wgpu::{PollError, PollStatus};
        assert_eq!(answer(|| Ok(PollStatus::QueueEmpty)), Ok(()));
        assert_eq!(answer(|| Err(PollError::Timeout)), Err("no answer for 300 s".into()));
        assert!(answer(|| Err(PollError::WrongSubmissionIndex(7, 5))).unwrap_err().contains("submission index (7)"));
        let panic = || std::panic::panic_any(String::from("Error in Device::poll"));
        assert_eq!(answer(panic), Err("Error in Device::poll".into()));
    }

    #[test]
    fn a_noop_device_has_the_limits_it_was_given_and_is_no_adapter() {
        let memory = Some(Memory { pool: "tests".into(), bytes: 1 << 30 });
        let limits = Limits { device: "noop".into(), binding: 128 << 20, buffer: 256 << 20, halves: false, memory };
        assert_eq!(Device::noop(&limits).unwrap().bounds(), limits);
        assert!(adapters().iter().all(|adapter| adapter.get_info().backend != wgpu::Backend::Noop));
    }
}
