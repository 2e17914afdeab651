//! When a device works, by its own clock.

use super::device::Device;
use crate::backend::{BackendError, Span};

/// Begin and end of so many submissions; what comes after them is not measured.
const MOST_SPANS: u32 = wgpu::QUERY_SET_MAX_QUERIES / 2;

/// Times of submissions since it was started.
pub(super) struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readable: wgpu::Buffer,
    /// For every measured submission whether it had to wait for another device.
    received: Vec<bool>,
}

impl Clock {
    /// `None` where the device has no clock.
    pub(super) fn new(device: &Device) -> Option<Self> {
        if !device.features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let descriptor =
            wgpu::QuerySetDescriptor { label: Some("clock"), ty: wgpu::QueryType::Timestamp, count: 2 * MOST_SPANS };
        let buffer = |usage| {
            let size = u64::from(2 * MOST_SPANS * wgpu::QUERY_SIZE);
            let descriptor = wgpu::BufferDescriptor { label: Some("clock"), size, usage, mapped_at_creation: false };
            device.device.create_buffer(&descriptor)
        };
        let queries = device.device.create_query_set(&descriptor);
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let readable = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        Some(Self { queries, resolved, readable, received: Vec::new() })
    }

    /// Where the next compute pass leaves its times.
    pub(super) fn next(&mut self, received: bool) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let index = 2 * self.received.len() as u32;
        if index + 1 >= 2 * MOST_SPANS {
            return None;
        }
        self.received.push(received);
        Some(wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(index),
            end_of_pass_write_index: Some(index + 1),
        })
    }

    /// All times so far.
    pub(super) fn spans(&self, device: &Device) -> Result<Vec<Span>, BackendError> {
        let count = 2 * self.received.len() as u32;
        if count == 0 {
            return Ok(Vec::new());
        }
        let bytes = u64::from(count * wgpu::QUERY_SIZE);
        let mut encoder = device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readable, 0, bytes);
        let done = device.queue.submit([encoder.finish()]);
        self.readable.map_async(wgpu::MapMode::Read, ..bytes, |_| ());
        device.wait(Some(done))?;
        let view = self.readable.get_mapped_range(..bytes).map_err(|e| device.lost(e.to_string()))?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        self.readable.unmap();
        // Counted from the first, so that no digits are lost.
        let seconds =
            |tick: u64| tick.saturating_sub(ticks[0]) as f64 * f64::from(device.queue.get_timestamp_period()) / 1e9;
        let span =
            |(pair, &received): (&[u64], &bool)| Span { begin: seconds(pair[0]), end: seconds(pair[1]), received };
        Ok(ticks.chunks_exact(2).zip(&self.received).map(span).collect())
    }
}
