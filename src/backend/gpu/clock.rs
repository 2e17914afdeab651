//! Measures when a device works, by its own clock or by the host's.

use std::time::Instant;

use super::device::Device;
use crate::backend::{BackendError, ClockDetail, Span};
use crate::program::Pass;

/// The most compute passes that a clock measures, each with begin and end; later ones are not measured.
const MOST_SPANS: u32 = wgpu::QUERY_SET_MAX_QUERIES / 2;

/// Times of compute passes since the clock was started.
pub(super) struct Clock {
    /// The work that a compute pass holds.
    pub(super) detail: ClockDetail,
    origin: Instant,
    source: Source,
    /// Measured work; where the device keeps the times, they are filled in by [`Clock::spans`].
    spans: Vec<Span>,
}

/// The clock that times come from.
enum Source {
    /// The device's clock, which counts ticks; `first` is the host's time when it got its first work.
    Device { queries: Queries, first: Option<Instant> },
    /// The host's clock, for a device without one: the host waits for every command.
    Host,
}

/// Timestamps on the device, and the buffers through which the host reads them.
struct Queries {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readable: wgpu::Buffer,
}

impl Clock {
    /// Starts a clock; `None` where the device has none and the host's cannot take its place.
    pub(super) fn new(device: &Device, detail: ClockDetail, origin: Instant) -> Option<Self> {
        let source = if device.features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            Source::Device { queries: Queries::new(device), first: None }
        } else if detail == ClockDetail::Commands {
            Source::Host
        } else {
            return None;
        };
        Some(Self { detail, origin, source, spans: Vec::new() })
    }

    /// Whether the host has to wait for every command.
    pub(super) fn by_host(&self) -> bool {
        matches!(self.source, Source::Host)
    }

    /// The queries for the begin and end of the next compute pass, which runs `commands`.
    pub(super) fn next(
        &mut self,
        pass: Pass,
        commands: std::ops::Range<usize>,
        received: bool,
    ) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let index = 2 * self.spans.len() as u32;
        if index + 1 >= 2 * MOST_SPANS {
            return None;
        }
        self.spans.push(Span { begin: 0.0, end: 0.0, received, pass, commands });
        let Source::Device { queries, first } = &mut self.source else { return None };
        first.get_or_insert_with(Instant::now);
        Some(wgpu::ComputePassTimestampWrites {
            query_set: &queries.set,
            beginning_of_pass_write_index: Some(index),
            end_of_pass_write_index: Some(index + 1),
        })
    }

    pub(super) fn observed(&mut self, begin: Instant, end: Instant) {
        let seconds = |at: Instant| at.duration_since(self.origin).as_secs_f64();
        if let Some(span) = self.spans.last_mut() {
            (span.begin, span.end) = (seconds(begin), seconds(end));
        }
    }

    pub(super) fn spans(&self, device: &Device) -> Result<Vec<Span>, BackendError> {
        let mut spans = self.spans.clone();
        let Source::Device { queries, first: Some(first) } = &self.source else { return Ok(spans) };
        let ticks = queries.ticks(device, 2 * spans.len() as u32)?;
        let offset = first.duration_since(self.origin).as_secs_f64();
        // Ticks count from the first one, so that no digits are lost in the conversion.
        let period = f64::from(device.queue.get_timestamp_period()) / 1e9;
        let seconds = |tick: u64| offset + tick.saturating_sub(ticks[0]) as f64 * period;
        for (span, pair) in spans.iter_mut().zip(ticks.chunks_exact(2)) {
            (span.begin, span.end) = (seconds(pair[0]), seconds(pair[1]));
        }
        Ok(spans)
    }
}

impl Queries {
    fn new(device: &Device) -> Self {
        let descriptor =
            wgpu::QuerySetDescriptor { label: Some("clock"), ty: wgpu::QueryType::Timestamp, count: 2 * MOST_SPANS };
        let buffer = |usage| {
            let size = u64::from(2 * MOST_SPANS * wgpu::QUERY_SIZE);
            let descriptor = wgpu::BufferDescriptor { label: Some("clock"), size, usage, mapped_at_creation: false };
            device.raw.create_buffer(&descriptor)
        };
        let set = device.raw.create_query_set(&descriptor);
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let readable = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        Self { set, resolved, readable }
    }

    /// The first `count` ticks, at least one.
    fn ticks(&self, device: &Device, count: u32) -> Result<Vec<u64>, BackendError> {
        let bytes = u64::from(count * wgpu::QUERY_SIZE);
        let mut encoder = device.raw.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.resolve_query_set(&self.set, 0..count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readable, 0, bytes);
        let done = device.queue.submit([encoder.finish()]);
        self.readable.map_async(wgpu::MapMode::Read, ..bytes, |_| ());
        device.wait(Some(done))?;
        let view = self.readable.get_mapped_range(..bytes).map_err(|e| device.lost(e.to_string()))?;
        let ticks = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        self.readable.unmap();
        Ok(ticks)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::backend::gpu::testing::device;
    use crate::backend::gpu::{Gpu, tune::VariantChoice};
    use crate::backend::{Backend, Data};
    use crate::kernel::Elem;
    use crate::ops::binary;
    use crate::program::{Home, Recorder, Role, Slot, SlotInfo};

    const COUNT: usize = 1 << 20;

    fn program() -> crate::program::Program {
        let mut recorder = Recorder::new();
        let mut slot = |name: &str, role| {
            let (name, home) = (name.into(), Home::Tower(0));
            recorder.slot(SlotInfo { name, shape: vec![COUNT], elem: Elem::F32, home, role })
        };
        let (x, y, z) = (slot("x", Role::Weight), slot("y", Role::Map), slot("z", Role::Output));
        recorder.begin(Pass::Evaluate);
        let params = binary::Shape::sum(COUNT);
        recorder.run(&binary::FORWARD, params.clone(), &[x, x, y]);
        recorder.run(&binary::FORWARD, params, &[y, y, z]);
        recorder.finish()
    }

    #[test]
    fn host_and_device_tell_one_kernel_from_the_next() {
        let Some(device) = device().map(Rc::new) else { return };
        for by_host in [false, true] {
            let mut gpu = Gpu::new(&device, program(), VariantChoice::Fastest).unwrap();
            gpu.write(Slot(0), Data::F32(&vec![1.5; COUNT])).unwrap();
            let origin = Instant::now();
            gpu.start_clock(ClockDetail::Commands, origin);
            if by_host {
                let clock = Clock { detail: ClockDetail::Commands, origin, source: Source::Host, spans: Vec::new() };
                gpu.clock = Some(clock);
            } else if gpu.clock.as_ref().is_some_and(Clock::by_host) {
                println!("NOT RUN: {} has no clock", gpu.device());
                continue;
            }
            // The first two are measured for the pace of submissions, one command at a time; the third goes in one.
            (0..3).for_each(|_| Backend::run(&mut gpu, Pass::Evaluate).unwrap());
            let (spans, end) = (Backend::spans(&mut gpu).unwrap().unwrap(), origin.elapsed().as_secs_f64());
            let commands: Vec<_> = spans.iter().map(|span| span.commands.clone()).collect();
            assert_eq!(commands, [0..1, 1..2, 0..1, 1..2, 0..1, 1..2], "by host: {by_host}");
            assert!(spans.iter().all(|span| 0.0 <= span.begin && span.begin <= span.end && !span.received));
            assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].begin), "{spans:?}");
            // The device's clock is set when its first work is handed over, a moment before that begins.
            assert!(spans[5].end < end, "{spans:?} in {end} s");
            assert!(gpu.read(Slot(2)).unwrap().iter().all(|&z| z == 6.0));
        }
    }
}
