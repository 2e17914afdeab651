//! Adapters and opened devices.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::backend::BackendError;

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
    adapter.features() & wgpu::Features::SUBGROUP
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
    trouble: Arc<Mutex<Option<String>>>,
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
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let opened = pollster::block_on(adapter.request_device(&descriptor));
        let (device, queue) =
            opened.map_err(|e| BackendError::Open { device: info.name.clone(), reason: e.to_string() })?;
        let trouble = Arc::new(Mutex::new(None));
        let (on_error, on_loss) = (Arc::clone(&trouble), Arc::clone(&trouble));
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&on_error, error.to_string())));
        // Whatever the reason: our own drop of the device is heard by nobody.
        device.set_device_lost_callback(move |reason, message| note(&on_loss, format!("{reason:?}: {message}")));
        let (limits, features) = (device.limits(), device.features());
        Ok(Self { device, queue, info, limits, features, trouble })
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

    /// Fails when the device reported trouble since it was opened.
    ///
    /// # Errors
    /// What the driver said.
    pub fn check(&self) -> Result<(), BackendError> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        trouble.map_or(Ok(()), |reason| Err(self.lost(reason)))
    }

    /// Asks for a staging buffer whose copy was submitted to be mapped once it is filled.
    pub fn map(&self, staging: &wgpu::Buffer, bytes: u64) {
        staging.map_async(wgpu::MapMode::Read, ..bytes, |_| ());
    }

    /// Waits for the submission that fills `staging`, which [`Device::map`] was called for, and copies its content.
    ///
    /// # Errors
    /// When the device was lost or does not answer.
    pub fn fetch(
        &self,
        staging: &wgpu::Buffer,
        bytes: u64,
        filled: wgpu::SubmissionIndex,
    ) -> Result<Vec<f32>, BackendError> {
        let wait = wgpu::PollType::Wait { submission_index: Some(filled), timeout: Some(PATIENCE) };
        let poll = self.device.poll(wait);
        self.check()?;
        poll.map_err(|e| self.lost(format!("no answer for {} s: {e}", PATIENCE.as_secs())))?;
        let view = staging.get_mapped_range(..bytes).map_err(|e| self.lost(e.to_string()))?;
        let values = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        staging.unmap();
        Ok(values)
    }

    fn lost(&self, reason: String) -> BackendError {
        BackendError::Lost { device: self.info.name.clone(), reason }
    }
}

/// Name, kind and driver of an adapter on one line.
#[must_use]
pub fn describe(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({:?}, {} {})", info.name, info.backend, info.driver, info.driver_info)
}

/// Keeps the first trouble: what follows is its consequence.
fn note(slot: &Mutex<Option<String>>, message: String) {
    slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
}
