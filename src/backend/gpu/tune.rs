//! Which variant of a kernel is the fastest on a device, found out by measuring, on the shapes that a program has.
//!
//! Variants add up in different orders, so the choice shows in the last bits of what is computed: it is made once for an
//! adapter and its driver, and kept ([`super::choices`]).

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Gpu;
use super::device::Device;
use super::pipeline::{Pipeline, Pipelines, eligible};
use crate::backend::BackendError;
use crate::backend::compare::{GUARD, compare, program};
use crate::kernel::{Case, Elem, Kernel, Params, Variant};
use crate::program::View;

/// Which variants run the kernels of a program.
#[derive(Clone, Copy)]
pub enum Choice {
    /// The fastest that are right, where the device measures; else the first that the device can run.
    Fastest,
    /// This one; the program has one kernel.
    Fixed(&'static Variant),
}

/// Operations of a run that are worth the time to measure it: less is done before its variant matters.
const WORTH: u64 = 200_000_000;

/// Operations after which a measurement is long enough to begin with; a device that is faster gets more.
const FIRST: u64 = 30_000_000;

/// Time of a measurement that is not disturbed by the way to the device and back.
const LONG_ENOUGH: Duration = Duration::from_millis(3);

/// How much slower than the best a variant may be and still be measured with care, and for other runs.
const HOPELESS: u32 = 3;

/// Time a compiler may take for a variant that has rivals.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of variants on a device, whatever the shapes.
#[derive(Default)]
pub(super) struct Verdicts {
    /// By kernel, variant and what maps are stored as: whether it agrees with its twin.
    right: HashMap<(&'static str, &'static str, Elem), bool>,
    /// Variants that were so slow for one kernel that they need not be looked at for another: those of one name, and
    /// other tiles of the same sources, go about it in the same way.
    hopeless: HashSet<&'static str>,
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
        let candidates: Vec<&'static Variant> = match choice {
            Choice::Fixed(variant) => vec![variant],
            Choice::Fastest => kernel.variants.iter().filter(|v| eligible(&self.device, v, params)).collect(),
        };
        let first = candidates.first().copied().unwrap_or(&kernel.variants[kernel.variants.len() - 1]);
        if candidates.len() < 2 || (kernel.flops)(params) < WORTH || !self.device.choices.measures() {
            return pipelines.get(&self.device, kernel, first, params);
        }
        let run = format!("{} {params}", kernel.name);
        let known = self.device.choices.get(&run);
        if let Some(variant) = candidates.iter().find(|variant| Some(variant.name) == known.as_deref()) {
            return pipelines.get(&self.device, kernel, variant, params);
        }
        let (hopeless, rivals): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|variant| self.is_hopeless(variant));
        // The fastest come first, and the first that is right is taken: few are checked, and one without rivals is not
        // measured.
        let ranked = if rivals.len() > 1 { self.rank(rivals, pipelines, kernel, params, views)? } else { rivals };
        for variant in ranked.into_iter().chain(hopeless) {
            if !self.device.is_right(kernel, variant, params.maps())? {
                continue;
            }
            if let Some(pipeline) = self.compiled(pipelines.get(&self.device, kernel, variant, params), variant)? {
                log::debug!("{run}: {} is taken", variant.name);
                self.device.choices.set(&run, variant.name);
                return Ok(pipeline);
            }
        }
        // Where none is left, nothing is kept, and whatever is wrong is said again.
        pipelines.get(&self.device, kernel, first, params)
    }

    /// Whether it was so slow for another run that it is not measured for this one.
    fn is_hopeless(&self, variant: &Variant) -> bool {
        self.device.verdicts.borrow().hopeless.contains(variant.name)
    }

    /// What compiled; `None`, said aloud, of a variant that this driver does not take.
    fn compiled<T>(
        &self,
        outcome: Result<T, BackendError>,
        variant: &'static Variant,
    ) -> Result<Option<T>, BackendError> {
        match outcome {
            Ok(pipeline) => Ok(Some(pipeline)),
            Err(BackendError::Kernel { reason, .. }) => {
                log::warn!("{}: {} is not used: {reason}", self.device.info.name, variant.name);
                Ok(None)
            }
            Err(lost) => Err(lost),
        }
    }

    /// Those of `rivals` that compile in time, the fastest first.
    fn rank(
        &self,
        rivals: Vec<&'static Variant>,
        pipelines: &mut Pipelines,
        kernel: &'static Kernel,
        params: &Params,
        views: &[View],
    ) -> Result<Vec<&'static Variant>, BackendError> {
        let mut times: Vec<(Duration, &'static Variant)> = Vec::with_capacity(rivals.len());
        for variant in rivals {
            // One that another tile of the same has shown to be slow comes last, unmeasured.
            if self.is_hopeless(variant) {
                times.push((Duration::MAX, variant));
                continue;
            }
            let least = times.iter().map(|(time, _)| *time).min();
            let outcome = self.attempt(pipelines, kernel, variant, params, views, least);
            times.extend(self.compiled(outcome, variant)?.flatten().map(|time| (time, variant)));
        }
        times.sort_by_key(|(time, _)| *time);
        Ok(times.into_iter().map(|(_, variant)| variant).collect())
    }

    /// Compiles and measures a variant; `None` where it is slow to compile.
    fn attempt(
        &self,
        pipelines: &mut Pipelines,
        kernel: &'static Kernel,
        variant: &'static Variant,
        params: &Params,
        views: &[View],
        least: Option<Duration>,
    ) -> Result<Option<Duration>, BackendError> {
        let begin = Instant::now();
        let pipeline = pipelines.get(&self.device, kernel, variant, params)?;
        let compiling = begin.elapsed();
        if compiling > PATIENCE && least.is_some() {
            let (name, seconds) = (kernel.name, compiling.as_secs());
            log::warn!("{}: {name}, {} is not used: it compiles for {seconds} s", self.device.info.name, variant.name);
            return Ok(None);
        }
        let time = self.measure(&pipeline, views, (kernel.flops)(params), least)?;
        log::debug!("{} {}: {:.2} ms for a run", kernel.name, variant.name, 1e3 * time.as_secs_f64());
        if least.is_some_and(|least| time > HOPELESS * least) {
            let alike = kernel.variants.iter().filter(|other| other.sources == variant.sources);
            self.device.verdicts.borrow_mut().hopeless.extend(alike.map(|variant| variant.name));
        }
        Ok(Some(time))
    }

    /// About how long a run takes, from a part of its workgroups or from several runs. What it reads and writes is
    /// there, and not yet of use.
    fn measure(
        &self,
        pipeline: &Pipeline,
        views: &[View],
        flops: u64,
        least: Option<Duration>,
    ) -> Result<Duration, BackendError> {
        let [x, y, z] = pipeline.workgroups;
        // Along the larger of the two; x may be the images, all of which go together.
        let whole = y.max(z);
        let groups = |part| if y > z { [x, part, z] } else { [x, y, part] };
        let bound = self.bind(pipeline, views);
        let share = u64::from(whole) * FIRST / flops.max(1);
        let mut part = u32::try_from(share).unwrap_or(whole).clamp(1, whole);
        let mut runs = 1;
        // The first of all wakes the device and fills its caches.
        self.time(pipeline, &bound, groups(part), 1)?;
        loop {
            let time = self.time(pipeline, &bound, groups(part), runs)?;
            let one = time.mul_f64(f64::from(whole) / (f64::from(part) * f64::from(runs)));
            let hopeless = least.is_some_and(|least| one > HOPELESS * least);
            if time >= LONG_ENOUGH || hopeless {
                let again = if hopeless { time } else { self.time(pipeline, &bound, groups(part), runs)? };
                return Ok(one.mul_f64(time.min(again).as_secs_f64() / time.as_secs_f64()));
            }
            if part < whole {
                part = part.saturating_mul(4).min(whole);
            } else {
                runs *= 2;
            }
        }
    }

    /// How long it takes until `runs` dispatches of `groups` workgroups are done.
    fn time(
        &self,
        pipeline: &Pipeline,
        bound: &wgpu::BindGroup,
        groups: [u32; 3],
        runs: u32,
    ) -> Result<Duration, BackendError> {
        let mut encoder = self.encoder();
        {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            compute.set_pipeline(&pipeline.pipeline);
            compute.set_bind_group(0, bound, &[]);
            for _ in 0..runs {
                compute.dispatch_workgroups(groups[0], groups[1], groups[2]);
            }
        }
        let begin = Instant::now();
        let done = self.device.queue.submit([encoder.finish()]);
        self.device.wait(Some(done))?;
        Ok(begin.elapsed())
    }
}

impl Device {
    /// Whether `variant` agrees with its twin here, on the largest of the kernel's cases; found out once.
    fn is_right(
        self: &Rc<Self>,
        kernel: &'static Kernel,
        variant: &'static Variant,
        maps: Elem,
    ) -> Result<bool, BackendError> {
        let key = (kernel.name, variant.name, maps);
        if let Some(&known) = self.verdicts.borrow().right.get(&key) {
            return Ok(known);
        }
        let cases = kernel.cases_with(maps).into_iter().filter(|case| eligible(self, variant, &case.params));
        let largest = cases.max_by_key(|case| (kernel.flops)(&case.params));
        let right = largest.is_none_or(|case| self.agrees(kernel, variant, &case));
        self.check()?;
        self.verdicts.borrow_mut().right.insert(key, right);
        Ok(right)
    }

    fn agrees(self: &Rc<Self>, kernel: &'static Kernel, variant: &'static Variant, case: &Case) -> bool {
        let choice = Choice::Fixed(variant);
        let finding = Gpu::new(Rc::clone(self), program(kernel, case, GUARD), choice)
            .and_then(|mut gpu| compare(&mut gpu, kernel, case))
            .map_err(|e| e.to_string());
        let wrong = match finding {
            Ok(finding) if finding.within(kernel.tolerance_of(&case.params)) => return true,
            Ok(finding) => finding.to_string(),
            Err(refused) => refused,
        };
        let (device, name) = (&self.info.name, variant.name);
        log::warn!("{device}: {}, {name} is not used: on the case {}: {wrong}", kernel.name, case.name);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::gpu::choices::Choices;
    use crate::backend::gpu::testing;
    use crate::backend::{Backend, Data};
    use crate::kernel::Needs;
    use crate::ops::activation;
    use crate::program::{Pass, Slot};

    const WRONG: Variant = Variant {
        name: "wrong",
        sources: &["@group(0) @binding(0) var<storage, read> x: array<f32>;
            @group(0) @binding(1) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(1)
            fn main(@builtin(global_invocation_id) id: vec3u) {
                y[id.x] = x[id.x] + f32(ACTIVATION) + f32(COUNT);
            }"],
        entry: "main",
        tile: |_| Vec::new(),
        grid: activation::FORWARD.variants[0].grid,
        needs: Needs::NONE,
    };

    const BROKEN: Variant = Variant { name: "broken", sources: &["no WGSL"], ..WRONG };

    /// A device that has chosen nothing yet and keeps nothing.
    fn device() -> Option<Device> {
        let mut device = testing::device()?;
        device.choices = Choices::at(None, "tests".into());
        Some(device)
    }

    /// The variant of [`activation::FORWARD`], which is right.
    fn plain() -> Variant {
        Variant { ..activation::FORWARD.variants[0] }
    }

    /// [`activation::FORWARD`] in these variants, worth measuring.
    fn kernel<const COUNT: usize>(variants: [Variant; COUNT]) -> &'static Kernel {
        let Kernel { name, doc, bindings, twin, cases, tolerance, .. } = activation::FORWARD;
        let variants = Box::leak(Box::new(variants));
        let flops = |_: &Params| WORTH;
        Box::leak(Box::new(Kernel { name, doc, bindings, variants, twin, cases, tolerance, split: None, flops }))
    }

    /// Both come first, so only a check keeps them from being chosen.
    #[test]
    fn variants_that_are_wrong_or_do_not_compile_are_not_chosen() {
        let Some(device) = device().map(Rc::new) else { return };
        let kernel = kernel([BROKEN, WRONG, plain()]);
        let case = &(kernel.cases)()[0];
        let mut gpu = Gpu::new(Rc::clone(&device), program(kernel, case, 0), Choice::Fastest).unwrap();
        assert!(compare(&mut gpu, kernel, case).unwrap().within(kernel.tolerance));
        let run = format!("{} {}", kernel.name, case.params);
        assert_eq!(device.choices.get(&run).as_deref(), Some("plain"));
        assert!(gpu.variants()[&run].contains("plain"));
    }

    const SLOW: Variant = Variant {
        name: "slow",
        sources: &["@group(0) @binding(0) var<storage, read> x: array<f32>;
            @group(0) @binding(1) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(1)
            fn main(@builtin(global_invocation_id) id: vec3u) {
                var sum = f32(ACTIVATION) + f32(COUNT);
                for (var i = 0u; i < 100000; i++) {
                    sum = sum * 0.5 + x[id.x];
                }
                y[id.x] = sum;
            }"],
        ..WRONG
    };

    #[test]
    fn one_tile_that_is_slow_speaks_for_all_of_its_sources() {
        let Some(device) = device().map(Rc::new) else { return };
        let kernel = kernel([plain(), SLOW, Variant { name: "small", ..SLOW }]);
        let case = &(kernel.cases)()[0];
        Gpu::new(Rc::clone(&device), program(kernel, case, 0), Choice::Fastest).unwrap();
        let hopeless = device.verdicts.borrow().hopeless.clone();
        assert_eq!(hopeless, HashSet::from(["slow", "small"]));
    }

    #[test]
    fn where_none_is_right_nothing_is_kept() {
        let Some(device) = device().map(Rc::new) else { return };
        let kernel = kernel([BROKEN, WRONG]);
        let case = &(kernel.cases)()[0];
        let refused = Gpu::new(Rc::clone(&device), program(kernel, case, 0), Choice::Fastest);
        assert!(refused.is_err(), "the first is no WGSL");
        assert_eq!(device.choices.get(&format!("{} {}", kernel.name, case.params)), None);
    }

    #[test]
    fn without_measuring_the_first_variant_runs() {
        let Some(device) = device() else { return };
        device.choices.do_not_measure();
        let kernel = kernel([WRONG, plain()]);
        let case = &(kernel.cases)()[0];
        let mut gpu = Gpu::new(Rc::new(device), program(kernel, case, 0), Choice::Fastest).unwrap();
        gpu.write(Slot(0), Data::F32(&vec![0.5; case.buffers[0].0])).unwrap();
        Backend::run(&mut gpu, Pass::Evaluate).unwrap();
        assert!(gpu.read(Slot(1)).unwrap()[0] >= 1.0, "what is wrong in it shows");
    }
}
