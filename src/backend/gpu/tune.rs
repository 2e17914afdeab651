//! Which variant of a kernel is the fastest on a device, found out by measuring.
//!
//! Only variants that need the same of a device are measured against each other. They differ in their tiles, and a tile
//! changes neither what an output sums up nor in which order: whatever is chosen, results have the same bits, and so
//! nothing of it needs to be kept.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Gpu;
use super::device::Device;
use super::pipeline::{Pipeline, Pipelines, eligible};
use crate::backend::BackendError;
use crate::kernel::{Kernel, Params, Variant};
use crate::program::View;

/// Which variants run the kernels of a program.
#[derive(Clone, Copy)]
pub enum Choice {
    /// The fastest of the best that the device can run.
    Fastest,
    /// This one; the program has one kernel.
    Fixed(&'static Variant),
}

/// Operations of a run that are worth the time to measure it: less is done before its tile matters.
const WORTH: u64 = 200_000_000;

/// Runs of each variant, of which the shortest counts.
const RUNS: usize = 2;

/// Share of a run's workgroups that is measured.
const SHARE: u32 = 8;

/// The variants that may be measured against each other, the default first: the first that the device can run, and those
/// that need the same.
fn candidates(device: &Device, kernel: &'static Kernel) -> Vec<&'static Variant> {
    let fallback = &kernel.variants[kernel.variants.len() - 1];
    let first = kernel.variants.iter().find(|variant| eligible(device, variant)).unwrap_or(fallback);
    kernel.variants.iter().filter(|variant| variant.needs == first.needs).collect()
}

impl Gpu {
    /// The pipeline of a run: of the variant that was asked for, or of the fastest.
    pub(super) fn choose(
        &self,
        choice: Choice,
        pipelines: &mut Pipelines,
        kernel: &'static Kernel,
        params: &Params,
        views: &[View],
    ) -> Result<Rc<Pipeline>, BackendError> {
        let candidates = match choice {
            Choice::Fixed(variant) => vec![variant],
            Choice::Fastest => candidates(&self.device, kernel),
        };
        let mut compile = |variant| pipelines.get(&self.device, kernel, variant, params);
        if candidates.len() == 1 || (kernel.flops)(params) < WORTH {
            return compile(candidates[0]);
        }
        if let Some(variant) = self.device.fastest(kernel.name, params) {
            return compile(variant);
        }
        let mut best: Option<(Duration, &'static Variant, Rc<Pipeline>)> = None;
        for variant in candidates {
            let pipeline = compile(variant)?;
            let time = self.measure(&pipeline, views)?;
            log::debug!("{} {}: {:.1} ms for a run", kernel.name, variant.name, 1e3 * time.as_secs_f64());
            if best.as_ref().is_none_or(|(least, ..)| time < *least) {
                best = Some((time, variant, pipeline));
            }
        }
        // There was one candidate at least.
        let Some((_, variant, pipeline)) = best else { return compile(&kernel.variants[0]) };
        self.device.found_fastest(kernel.name, params, variant);
        Ok(pipeline)
    }

    /// About how long a run takes, from a part of its workgroups. What it reads and writes is there, and not yet of use.
    fn measure(&self, pipeline: &Pipeline, views: &[View]) -> Result<Duration, BackendError> {
        let [x, y, z] = pipeline.workgroups;
        // Along the larger of the two; x may be the images, all of which go together.
        let (part, whole, groups) = match (y.div_ceil(SHARE), z.div_ceil(SHARE)) {
            (part, _) if y > z => (part, y, [x, part, z]),
            (_, part) => (part, z, [x, y, part]),
        };
        let group = self.bind(pipeline, views);
        let mut least = Duration::MAX;
        for _ in 0..RUNS {
            let mut encoder = self.encoder();
            {
                let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                compute.set_pipeline(&pipeline.pipeline);
                compute.set_bind_group(0, &group, &[]);
                compute.dispatch_workgroups(groups[0], groups[1], groups[2]);
            }
            let begin = Instant::now();
            let done = self.device.queue.submit([encoder.finish()]);
            self.device.wait(Some(done))?;
            least = least.min(begin.elapsed());
        }
        Ok(least.mul_f64(f64::from(whole) / f64::from(part)))
    }
}
