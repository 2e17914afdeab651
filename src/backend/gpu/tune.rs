//! Chooses the fastest variant of each run of a program, by measuring it on the device with the run's own shapes.
//!
//! Variants add up in different orders, so the choice shows in the last bits of what is computed: it is made once for
//! an adapter and its driver, and kept ([`super::choices`]).

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::buffers::Buffers;
use super::device::Device;
use super::measure::Sample;
use super::pipeline::{Pipeline, Pipelines, Run, eligible};
use super::replay::Gpu;
use crate::backend::BackendError;
use crate::backend::compare::{GUARD, compare, program};
use crate::kernel::{Case, Elem, Kernel, Variant};
use crate::program::Program;
use crate::wgsl;

/// Variants that run the kernels of a program.
#[derive(Clone, Copy)]
pub enum VariantChoice {
    /// The fastest that agree with their twins, where the device measures; else the first that the device can run.
    Fastest,
    /// This variant, for a program of one kernel.
    Fixed(&'static Variant),
}

/// Floating-point operations of a run from which on its variants are measured: below, the choice hardly matters.
const WORTH: u64 = 200_000_000;

/// Factor over the fastest variant beyond which another is hopeless: measured no further, and not for other runs.
const HOPELESS: u32 = 3;

/// Time that compiling a variant may take where there are others.
const PATIENCE: Duration = Duration::from_secs(10);

impl Gpu {
    /// Plans, allocates and compiles `program` for `device`, with the variants of `choice`.
    ///
    /// # Errors
    /// When the program does not fit (found before anything is allocated) or a kernel does not compile.
    pub fn new(device: &Rc<Device>, program: Program, choice: VariantChoice) -> Result<Self, BackendError> {
        let mut pipelines = Pipelines::default();
        let mut select = |buffers: &Buffers, run: &Run<'_>| match choice {
            VariantChoice::Fixed(variant) => pipelines.get(device, run.kernel, variant, run.params),
            VariantChoice::Fastest => Tuner { device, buffers, run, pipelines: &mut pipelines }.fastest(),
        };
        // The progress of a single kernel, checked amid other work, is of no interest.
        let watch = device.watch.borrow().clone().filter(|_| matches!(choice, VariantChoice::Fastest));
        Self::set_up(device, program, watch.as_deref(), &mut select)
    }
}

/// The choice of a variant for one run.
struct Tuner<'a> {
    device: &'a Rc<Device>,
    buffers: &'a Buffers,
    run: &'a Run<'a>,
    pipelines: &'a mut Pipelines,
}

impl Tuner<'_> {
    /// The pipeline of the fastest variant that agrees with its twin.
    fn fastest(&mut self) -> Result<Rc<Pipeline>, BackendError> {
        let Run { kernel, params, .. } = *self.run;
        let fits = |variant: &&Variant| eligible(self.device, variant, params);
        let candidates: Vec<&'static Variant> = kernel.variants.iter().filter(fits).collect();
        let first = candidates.first().copied().unwrap_or(&kernel.variants[kernel.variants.len() - 1]);
        if candidates.len() < 2 || self.flops() < WORTH || !self.device.choices.measures() {
            return self.compile(first);
        }
        let name = self.run.name();
        let known = self.device.choices.get(&name);
        if let Some(variant) = candidates.iter().find(|variant| Some(variant.name) == known.as_deref())
            && self.device.is_right(kernel, variant, params.storage())?
        {
            return self.compile(variant);
        }
        let (hopeless, rivals): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|variant| self.is_hopeless(variant));
        // The fastest come first and the first that agrees is taken, so few are checked; one without rivals is not
        // measured.
        let ranked = if rivals.len() > 1 { self.rank(rivals)? } else { rivals };
        for variant in ranked.into_iter().chain(hopeless) {
            if !self.device.is_right(kernel, variant, params.storage())? {
                continue;
            }
            let compiled = self.compile(variant);
            if let Some(pipeline) = self.unless_refused(compiled, variant)? {
                log::debug!("{name}: {} is taken", variant.name);
                self.device.choices.set(&name, variant.name);
                return Ok(pipeline);
            }
        }
        // No variant agrees: none is remembered, and compiling the first reports what is wrong with it.
        self.compile(first)
    }

    /// Floating-point operations of the run.
    fn flops(&self) -> u64 {
        (self.run.kernel.flops)(self.run.params)
    }

    /// The pipeline of `variant` for the run.
    fn compile(&mut self, variant: &'static Variant) -> Result<Rc<Pipeline>, BackendError> {
        self.pipelines.get(self.device, self.run.kernel, variant, self.run.params)
    }

    /// Whether `variant` was so slow for another run that it is not measured for this one.
    fn is_hopeless(&self, variant: &Variant) -> bool {
        self.device.verdicts.borrow().hopeless.contains(variant.name)
    }

    /// The outcome of compiling `variant`; `None`, with a warning, where the driver refuses it.
    fn unless_refused<T>(
        &self,
        outcome: Result<T, BackendError>,
        variant: &Variant,
    ) -> Result<Option<T>, BackendError> {
        match outcome {
            Ok(compiled) => Ok(Some(compiled)),
            Err(BackendError::Kernel { reason, .. }) => {
                log::warn!("{}: {} is not used: {reason}", self.device.info.name, variant.name);
                Ok(None)
            }
            Err(lost) => Err(lost),
        }
    }

    /// The variants of `rivals` that compile in time, the fastest first.
    fn rank(&mut self, rivals: Vec<&'static Variant>) -> Result<Vec<&'static Variant>, BackendError> {
        let mut times: Vec<(Duration, &'static Variant)> = Vec::with_capacity(rivals.len());
        for variant in rivals {
            // A variant whose sources another tile has shown to be slow comes last, unmeasured.
            if self.is_hopeless(variant) {
                times.push((Duration::MAX, variant));
                continue;
            }
            let least = times.iter().map(|(time, _)| *time).min();
            let outcome = self.measure(variant, least);
            times.extend(self.unless_refused(outcome, variant)?.flatten().map(|time| (time, variant)));
        }
        times.sort_by_key(|(time, _)| *time);
        Ok(times.into_iter().map(|(_, variant)| variant).collect())
    }

    /// The time of a run of `variant`, where `least` is that of the fastest so far; `None` where it compiles too
    /// slowly.
    fn measure(
        &mut self,
        variant: &'static Variant,
        least: Option<Duration>,
    ) -> Result<Option<Duration>, BackendError> {
        let kernel = self.run.kernel;
        let begin = Instant::now();
        let pipeline = self.compile(variant)?;
        let compiling = begin.elapsed();
        if compiling > PATIENCE && least.is_some() {
            let (device, name, seconds) = (&self.device.info.name, kernel.name, compiling.as_secs());
            log::warn!("{device}: {name}, {} is not used: it takes {seconds} s to compile", variant.name);
            return Ok(None);
        }
        let limit = least.map(|least| HOPELESS * least);
        let time = Sample::new(self.device, self.buffers, &pipeline, self.run.views)?.time(self.flops(), limit)?;
        log::debug!("{} {}: {:.2} ms for a run", kernel.name, variant.name, 1e3 * time.as_secs_f64());
        self.device.judge(kernel, variant, time, limit);
        Ok(Some(time))
    }
}

impl Device {
    /// Has `variant`, and whatever is another tile of the same sources, not be measured any more if its `time` is
    /// beyond the limit.
    fn judge(&self, kernel: &Kernel, variant: &Variant, time: Duration, limit: Option<Duration>) {
        if limit.is_some_and(|limit| time > limit) {
            let alike = kernel.variants.iter().filter(|other| other.is_tile_of(variant));
            self.verdicts.borrow_mut().hopeless.extend(alike.map(|variant| variant.name));
        }
    }

    /// Whether `variant` agrees with its twin on this device, on the largest of the kernel's cases; checked once for
    /// its shader, whatever the process.
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
        let right = largest.is_none_or(|case| {
            let name = format!("{} {}, {}, agrees with its twin", kernel.name, variant.name, maps.name());
            let shader = format!("{:08x}", crc32fast::hash(wgsl::source(variant, &case.params).as_bytes()));
            if self.choices.get(&name).as_deref() == Some(&shader) {
                return true;
            }
            let right = self.agrees(kernel, variant, &case);
            if right {
                self.choices.set(&name, &shader);
            }
            right
        });
        self.check()?;
        self.verdicts.borrow_mut().right.insert(key, right);
        Ok(right)
    }

    /// Whether `variant` computes `case` as its twin does, within the kernel's tolerance; warns where not.
    fn agrees(self: &Rc<Self>, kernel: &'static Kernel, variant: &'static Variant, case: &Case) -> bool {
        let choice = VariantChoice::Fixed(variant);
        let finding =
            Gpu::new(self, program(kernel, case, GUARD), choice).and_then(|mut gpu| compare(&mut gpu, kernel, case));
        let wrong = match finding {
            Ok(finding) if finding.within(kernel.tolerance_of(&case.params)) => return true,
            Ok(finding) => finding.to_string(),
            Err(refused) => refused.to_string(),
        };
        let (device, name) = (&self.info.name, variant.name);
        log::warn!("{device}: {}, {name} is not used: on the case {}: {wrong}", kernel.name, case.name);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::backend::gpu::choices::Choices;
    use crate::backend::gpu::testing;
    use crate::backend::{Backend, Data};
    use crate::ops::{activation, round};
    use crate::program::{Pass, Slot};

    const WRONG: Variant = Variant {
        name: "wrong",
        tile: |_| Vec::new(),
        sources: &["@group(0) @binding(0) var<storage, read> x: array<f32>;
            @group(0) @binding(1) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(1)
            fn main(@builtin(global_invocation_id) id: vec3u) {
                y[id.x] = x[id.x] + f32(ACTIVATION) + f32(COUNT);
            }"],
        ..Variant::linear("main", &[], |p| p.get("count"))
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
        let variants = Box::leak(Box::new(variants));
        Box::leak(Box::new(Kernel { variants, flops: |_| WORTH, ..activation::FORWARD }))
    }

    /// Both come first, so only a check keeps them from being chosen.
    #[test]
    fn variants_that_are_wrong_or_do_not_compile_are_not_chosen() {
        let Some(device) = device().map(Rc::new) else { return };
        let kernel = kernel([BROKEN, WRONG, plain()]);
        let case = &(kernel.cases)()[0];
        let mut gpu = Gpu::new(&device, program(kernel, case, 0), VariantChoice::Fastest).unwrap();
        assert!(compare(&mut gpu, kernel, case).unwrap().within(kernel.tolerance_of(&case.params)));
        let run = format!("{} {}", kernel.name, case.params);
        assert_eq!(device.choices.get(&run).as_deref(), Some("plain"));
        assert!(gpu.variants()[&run].contains("plain"));
    }

    /// Chosen by an earlier version of the program, or of the file by chance.
    #[test]
    fn a_remembered_variant_is_compared_again_when_its_shader_has_changed() {
        let Some(device) = device().map(Rc::new) else { return };
        let kernel = kernel([WRONG, plain()]);
        let case = &(kernel.cases)()[0];
        let run = format!("{} {}", kernel.name, case.params);
        let agreement = |variant: &str| format!("{} {variant}, f32, agrees with its twin", kernel.name);
        device.choices.set(&run, "wrong");
        device.choices.set(&agreement("wrong"), "another shader's checksum");
        Gpu::new(&device, program(kernel, case, 0), VariantChoice::Fastest).unwrap();
        assert_eq!(device.choices.get(&run).as_deref(), Some("plain"));
        let checksum = device.choices.get(&agreement("plain")).unwrap();
        assert_eq!(checksum.len(), 8, "{checksum}");
        // With its own checksum beside it a choice is taken as it is.
        let again = self::device().unwrap();
        let compared = kernel.cases_with(Elem::F32).pop().unwrap(); // the largest: all count as equally so
        let wrong = crc32fast::hash(wgsl::source(&kernel.variants[0], &compared.params).as_bytes());
        again.choices.set(&run, "wrong");
        again.choices.set(&agreement("wrong"), &format!("{wrong:08x}"));
        let gpu = Gpu::new(&Rc::new(again), program(kernel, case, 0), VariantChoice::Fastest).unwrap();
        assert!(gpu.variants()[&run].contains("wrong"));
    }

    /// What is given up is neither measured nor compared where there is another.
    #[test]
    fn one_tile_that_is_slow_speaks_for_all_of_its_sources() {
        let Some(device) = device().map(Rc::new) else { return };
        let kernel = kernel([Variant { name: "small", ..WRONG }, WRONG, plain()]);
        let case = &(kernel.cases)()[0];
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(2));
        device.judge(kernel, &WRONG, long, None);
        device.judge(kernel, &WRONG, short, Some(long));
        assert_eq!(device.verdicts.borrow().hopeless, HashSet::new());
        device.judge(kernel, &WRONG, long, Some(short));
        assert_eq!(device.verdicts.borrow().hopeless, HashSet::from(["wrong", "small"]));
        let gpu = Gpu::new(&device, program(kernel, case, 0), VariantChoice::Fastest).unwrap();
        assert!(gpu.variants()[&format!("{} {}", kernel.name, case.params)].contains("plain"));
    }

    /// `quads` and `plain` of one kernel share their sources, and one may be much faster.
    #[test]
    fn a_variant_that_takes_more_numbers_at_once_is_no_tile_of_the_same() {
        let small = Variant { name: "small", tile: |_| vec![("edge", 8)], ..WRONG };
        assert!(WRONG.is_tile_of(&small) && !WRONG.is_tile_of(&BROKEN));
        let [quads, plain] = round::WEIGHTS.variants else { panic!("quads and plain") };
        assert_eq!(quads.sources, plain.sources);
        assert!(!quads.is_tile_of(plain) && !plain.is_tile_of(quads));
    }

    #[test]
    fn where_none_is_right_nothing_is_kept() {
        let Some(device) = device().map(Rc::new) else { return };
        let kernel = kernel([BROKEN, WRONG]);
        let case = &(kernel.cases)()[0];
        let refused = Gpu::new(&device, program(kernel, case, 0), VariantChoice::Fastest);
        assert!(refused.is_err(), "the first is no WGSL");
        assert_eq!(device.choices.get(&format!("{} {}", kernel.name, case.params)), None);
    }

    #[test]
    fn without_measuring_the_first_variant_runs() {
        let Some(device) = device() else { return };
        device.choices.do_not_measure();
        let kernel = kernel([WRONG, plain()]);
        let case = &(kernel.cases)()[0];
        let mut gpu = Gpu::new(&Rc::new(device), program(kernel, case, 0), VariantChoice::Fastest).unwrap();
        gpu.write(Slot(0), Data::F32(&vec![0.5; case.buffers[0].0])).unwrap();
        Backend::run(&mut gpu, Pass::Evaluate).unwrap();
        assert!(gpu.read(Slot(1)).unwrap()[0] >= 1.0, "what is wrong in it shows");
    }
}
