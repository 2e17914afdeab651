//! Staging buffers: memory of a device that the host can map. Each slot that the host writes or reads in every pass has
//! one, allocated once.

use super::device::Device;
use crate::backend::BackendError;

/// Creates a buffer of `size` bytes, mapped from the start where `mapped`.
fn create(device: &Device, label: &str, size: u64, usage: wgpu::BufferUsages, mapped: bool) -> wgpu::Buffer {
    let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: mapped };
    device.raw.create_buffer(&descriptor)
}

/// A staging buffer that the host writes and the device copies from.
pub(super) struct Incoming {
    pub(super) buffer: wgpu::Buffer,
    /// The last submission that copies from it; `None` where the host has waited for it.
    copied: Option<wgpu::SubmissionIndex>,
}

impl Incoming {
    pub(super) fn new(device: &Device, size: u64) -> Self {
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        Self { buffer: create(device, "incoming", size, usage, true), copied: None }
    }

    /// Writes `bytes` to the buffer, once the device has copied the previous contents.
    pub(super) fn fill(&mut self, device: &Device, bytes: &[u8]) -> Result<(), BackendError> {
        if let Some(copied) = self.copied.take() {
            device.wait(Some(copied))?;
        }
        let view = self.buffer.get_mapped_range_mut(..bytes.len() as u64);
        view.map_err(|e| device.lost(e.to_string()))?.copy_from_slice(bytes);
        self.buffer.unmap();
        Ok(())
    }

    /// Notes the submission that copies from the buffer, and asks to map it again afterwards.
    pub(super) fn submitted(&mut self, index: &wgpu::SubmissionIndex) {
        self.copied = Some(index.clone());
        self.buffer.map_async(wgpu::MapMode::Write, .., |_| ());
    }
}

/// A staging buffer that the device copies to and the host reads.
pub(super) struct Outgoing {
    pub(super) buffer: wgpu::Buffer,
    /// The submission that fills it; `None` while it is free.
    filled: Option<wgpu::SubmissionIndex>,
}

impl Outgoing {
    pub(super) fn new(device: &Device, size: u64) -> Self {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Self { buffer: create(device, "outgoing", size, usage, false), filled: None }
    }

    /// Frees the buffer, whether or not its contents were taken.
    pub(super) fn release(&mut self) {
        if self.filled.take().is_some() {
            self.buffer.unmap();
        }
    }

    /// Notes the submission that fills the buffer, and asks to map it afterwards.
    pub(super) fn submitted(&mut self, index: wgpu::SubmissionIndex) {
        self.filled = Some(index);
        self.buffer.map_async(wgpu::MapMode::Read, .., |_| ());
    }

    /// Passes the first `count` bytes to `sink` once they have arrived; frees the buffer unless `keep`.
    pub(super) fn take(
        &mut self,
        device: &Device,
        count: u64,
        keep: bool,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        device.wait(self.filled.clone())?;
        let view = self.buffer.get_mapped_range(..count).map_err(|e| device.lost(e.to_string()))?;
        let outcome = sink(&view);
        drop(view);
        if !keep {
            self.release();
        }
        outcome
    }
}
