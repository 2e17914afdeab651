//! Duration of a run of a pipeline.

use std::time::{Duration, Instant};

use super::buffers::Buffers;
use super::device::Device;
use super::pipeline::{Pipeline, Stage};
use crate::backend::BackendError;
use crate::program::SlotRange;

/// Floating-point operations of the first measurement; a faster device gets more.
const FIRST_FLOPS: u64 = 30_000_000;

/// Time of a measurement that submitting and waiting do not distort.
const LONG_ENOUGH: Duration = Duration::from_millis(3);

/// A pipeline to be measured, bound to buffers with whatever contents they have.
pub(super) struct Sample<'a> {
    device: &'a Device,
    pipeline: &'a Pipeline,
    groups: Vec<wgpu::BindGroup>,
}

impl<'a> Sample<'a> {
    pub(super) fn new(
        device: &'a Device,
        buffers: &Buffers,
        pipeline: &'a Pipeline,
        views: &[SlotRange],
    ) -> Result<Self, BackendError> {
        Ok(Self { device, pipeline, groups: buffers.bind(device, pipeline, views)? })
    }

    /// Estimates the time of a run of `flops` operations, from a part of its workgroups or from several runs; stage by
    /// stage. Ends early once the run is known to take longer than `limit`.
    pub(super) fn time(&self, flops: u64, limit: Option<Duration>) -> Result<Duration, BackendError> {
        let mut time = Duration::ZERO;
        for (stage, group) in self.pipeline.stages.iter().zip(&self.groups) {
            time += self.time_of(stage, group, flops, limit)?;
            if limit.is_some_and(|limit| time > limit) {
                break;
            }
        }
        Ok(time)
    }

    /// The same of one stage.
    fn time_of(
        &self,
        stage: &Stage,
        group: &wgpu::BindGroup,
        flops: u64,
        limit: Option<Duration>,
    ) -> Result<Duration, BackendError> {
        let [x, y, z] = stage.workgroups;
        // Part of the larger of y and z; x may be the images, which go together.
        let whole = y.max(z);
        let grid = |part| if y > z { [x, part, z] } else { [x, y, part] };
        let dispatch = |part, runs| self.dispatch(stage, group, grid(part), runs);
        let share = u64::from(whole) * FIRST_FLOPS / flops.max(1);
        let mut part = u32::try_from(share).unwrap_or(whole).clamp(1, whole);
        let mut runs = 1;
        // The first dispatch wakes the device and fills its caches.
        dispatch(part, 1)?;
        loop {
            let time = dispatch(part, runs)?;
            let one = time.mul_f64(f64::from(whole) / (f64::from(part) * f64::from(runs)));
            let slow = limit.is_some_and(|limit| one > limit);
            if time >= LONG_ENOUGH || slow {
                let again = if slow { time } else { dispatch(part, runs)? };
                return Ok(one.mul_f64(time.min(again).as_secs_f64() / time.as_secs_f64()));
            }
            if part < whole {
                part = part.saturating_mul(4).min(whole);
            } else {
                runs *= 2;
            }
        }
    }

    /// The time until `runs` dispatches of `grid` workgroups are done.
    fn dispatch(
        &self,
        stage: &Stage,
        group: &wgpu::BindGroup,
        [x, y, z]: [u32; 3],
        runs: u32,
    ) -> Result<Duration, BackendError> {
        let mut encoder = self.device.raw.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            compute.set_pipeline(&stage.compute);
            compute.set_bind_group(0, group, &[]);
            for _ in 0..runs {
                compute.dispatch_workgroups(x, y, z);
            }
        }
        let begin = Instant::now();
        let done = self.device.queue.submit([encoder.finish()]);
        self.device.wait(Some(done))?;
        Ok(begin.elapsed())
    }
}
