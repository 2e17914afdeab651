//! Staging buffers: memory of a device that the host sees. One for each slot that the host fills or reads in every
//! pass, allocated once.

use super::device::Device;
use crate::backend::BackendError;

fn create(device: &Device, label: &str, size: u64, usage: wgpu::BufferUsages, mapped: bool) -> wgpu::Buffer {
    let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: mapped };
    device.device.create_buffer(&descriptor)
}

/// What the host fills for the device.
pub(super) struct Incoming {
    pub(super) buffer: wgpu::Buffer,
    /// The submission that copies what was filled in last; `None` while there is none.
    copied: Option<wgpu::SubmissionIndex>,
}

impl Incoming {
    pub(super) fn new(device: &Device, size: u64) -> Self {
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        Self { buffer: create(device, "incoming", size, usage, true), copied: None }
    }

    /// Fills it, once the device has copied what was there before.
    pub(super) fn fill(&mut self, device: &Device, bytes: &[u8]) -> Result<(), BackendError> {
        if let Some(copied) = self.copied.take() {
            device.wait(Some(copied))?;
        }
        let view = self.buffer.get_mapped_range_mut(..bytes.len() as u64);
        view.map_err(|e| device.lost(e.to_string()))?.copy_from_slice(bytes);
        self.buffer.unmap();
        Ok(())
    }

    /// It was copied from in this submission; asks for it back.
    pub(super) fn submitted(&mut self, index: &wgpu::SubmissionIndex) {
        self.copied = Some(index.clone());
        self.buffer.map_async(wgpu::MapMode::Write, .., |_| ());
    }
}

/// What the device fills for the host.
pub(super) struct Outgoing {
    pub(super) buffer: wgpu::Buffer,
    /// The submission that fills it; `None` while the host has no use for it.
    filled: Option<wgpu::SubmissionIndex>,
}

impl Outgoing {
    pub(super) fn new(device: &Device, size: u64) -> Self {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Self { buffer: create(device, "outgoing", size, usage, false), filled: None }
    }

    /// Gives up what was fetched and never taken, so that it can be filled again.
    pub(super) fn release(&mut self) {
        if self.filled.take().is_some() {
            self.buffer.unmap();
        }
    }

    /// It is filled in this submission; asks for it.
    pub(super) fn submitted(&mut self, index: wgpu::SubmissionIndex) {
        self.filled = Some(index);
        self.buffer.map_async(wgpu::MapMode::Read, .., |_| ());
    }

    /// Hands the first `count` bytes to `sink`, once they are there.
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
