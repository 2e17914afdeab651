//! Is a device to be trusted? Every kernel's cases on any backend against the f64 twin.
//!
//! Outputs start as NaN, so an element that a kernel forgets is found. On engine every written buffer has guard
//! words behind it, so one that a kernel writes beyond its share is found too.

use half::f16;
use serde::Serialize;

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, BackendError, Data, Engine};
use crate::kernel::{Access, Case, Elem, Fill, Kernel, Variant};
use crate::program::{Home, Pass, Program, Recorder, Role, Slot, SlotInfo};
use crate::random::{Purpose, Stream, unit};

/// The outcome of one case.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Largest error, relative to the value plus the output's root mean square.
    pub error: f64,
    /// The binding and element where it is.
    pub place: String,
    /// What the device gave there, and the twin.
    pub values: (f64, f64),
}

impl Finding {
    /// Whether the error is within the kernel's tolerance; NaN is not.
    #[must_use]
    pub fn within(&self, tolerance: f64) -> bool {
        self.error <= tolerance
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (got, want) = self.values;
        write!(f, "error {:.1e} at {}: {got:e} instead of {want:e}", self.error, self.place)
    }
}

/// One case of one kernel, computed in one way.
pub struct Check {
    /// What is checked.
    pub kernel: &'static Kernel,
    /// How it is computed; `None` for the CPU twin at working precision.
    pub variant: Option<&'static Variant>,
    /// On what.
    pub case: Case,
}

impl Check {
    /// The name of the variant, `twin` for the CPU's.
    #[must_use]
    pub fn variant_name(&self) -> &'static str {
        self.variant.map_or("twin", |variant| variant.name)
    }

    /// Compares what `engine` computes with the f64 twin.
    ///
    /// # Errors
    /// When the kernel does not compile there or the device fails.
    pub fn run(&self, engine: &Engine) -> Result<Finding, BackendError> {
        let guard = if self.variant.is_some() { GUARD } else { 0 };
        let program = program(self.kernel, &self.case, guard);
        let mut backend = engine.set_up_variant(program, self.variant)?;
        compare(backend.as_mut(), self.kernel, &self.case)
    }
}

/// Every kernel of `kernels` in every variant that runs on `engine`, on all of its cases.
#[must_use]
pub fn checks(kernels: &[&'static Kernel], engine: &Engine) -> Vec<Check> {
    let mut checks = Vec::new();
    for &kernel in kernels {
        let variants: Vec<Option<&'static Variant>> = match engine {
            Engine::Cpu => vec![None],
            Engine::Gpu(_) => engine.variants(kernel).into_iter().map(Some).collect(),
        };
        for variant in variants {
            checks.extend((kernel.cases)().into_iter().map(|case| Check { kernel, variant, case }));
        }
    }
    checks
}

/// What checks found on a device, summed up by kernel and variant.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where.
    pub device: String,
    /// In the order of the checks.
    pub verdicts: Vec<Verdict>,
}

/// What the cases of one variant of a kernel gave.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The kernel.
    pub kernel: &'static str,
    /// The variant.
    pub variant: &'static str,
    /// How many cases.
    pub cases: usize,
    /// Largest error allowed.
    pub tolerance: f64,
    /// Largest error of the cases that ran and gave numbers.
    pub worst: Option<f64>,
    /// Cases that were wrong or did not run.
    pub failures: Vec<Failure>,
}

/// A case that was wrong or did not run.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The case.
    pub case: String,
    /// Error, place and values, or why it did not run.
    pub what: String,
}

impl Report {
    /// Nothing checked yet.
    #[must_use]
    pub fn new(device: String) -> Self {
        Self { device, verdicts: Vec::new() }
    }

    /// Adds the outcome of a check; checks come in the order of [`checks`].
    pub fn add(&mut self, check: &Check, outcome: Result<Finding, BackendError>) {
        let (kernel, variant, tolerance) = (check.kernel.name, check.variant_name(), check.kernel.tolerance);
        if self.verdicts.last().is_none_or(|last| (last.kernel, last.variant) != (kernel, variant)) {
            self.verdicts.push(Verdict { kernel, variant, cases: 0, tolerance, worst: None, failures: Vec::new() });
        }
        let Some(verdict) = self.verdicts.last_mut() else { return };
        verdict.cases += 1;
        let what = match outcome {
            Ok(finding) => {
                if !finding.error.is_nan() {
                    verdict.worst = Some(verdict.worst.map_or(finding.error, |worst| worst.max(finding.error)));
                }
                (!finding.within(tolerance)).then(|| finding.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        verdict.failures.extend(what.map(|what| Failure { case: check.case.name.clone(), what }));
    }

    /// Cases in all.
    #[must_use]
    pub fn cases(&self) -> usize {
        self.verdicts.iter().map(|verdict| verdict.cases).sum()
    }

    /// Cases that were wrong or did not run.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.verdicts.iter().map(|verdict| verdict.failures.len()).sum()
    }

    /// Kernels in all; their variants follow one another.
    #[must_use]
    pub fn kernels(&self) -> usize {
        self.verdicts.chunk_by(|a, b| a.kernel == b.kernel).count()
    }
}

/// Elements behind every written buffer of a device, which no kernel may touch.
pub const GUARD: usize = 64;

/// What guards hold, as floats or as their bits.
const UNTOUCHED: f32 = -12_345.0;

/// A program of one command that runs `kernel` on the buffers of `case`, with `guard` elements behind what it writes.
#[must_use]
pub fn program(kernel: &'static Kernel, case: &Case, guard: usize) -> Program {
    let mut recorder = Recorder::new();
    recorder.begin(Pass::Evaluate);
    let slots: Vec<Slot> = kernel
        .bindings
        .iter()
        .zip(&case.buffers)
        .map(|(binding, (count, _))| {
            recorder.slot(SlotInfo {
                name: binding.name.into(),
                shape: vec![count + if binding.access == Access::Read { 0 } else { guard }],
                elem: binding.elem,
                home: Home::Tower(0),
                role: Role::Output,
            })
        })
        .collect();
    recorder.run(kernel, case.params.clone(), &slots);
    recorder.finish()
}

/// Compares what `backend`, set up with [`program`], makes of `case` with the f64 twin.
///
/// # Errors
/// When the device fails.
pub fn compare(backend: &mut dyn Backend, kernel: &'static Kernel, case: &Case) -> Result<Finding, BackendError> {
    let mut oracle = Cpu::<f64>::new(program(kernel, case, 0));
    for (index, (binding, (count, fill))) in kernel.bindings.iter().zip(&case.buffers).enumerate() {
        let slot = Slot(index);
        if binding.elem == Elem::U32 {
            let mut words = words(fill, *count, index);
            oracle.write(slot, Data::U32(&words))?;
            words.resize(backend.program().slot(slot).count(), UNTOUCHED.to_bits());
            backend.write(slot, Data::U32(&words))?;
        } else {
            let mut floats = floats(fill, *count, index);
            oracle.write(slot, Data::F32(&floats))?;
            floats.resize(backend.program().slot(slot).count(), UNTOUCHED);
            backend.write(slot, Data::F32(&floats))?;
        }
    }
    backend.run(Pass::Evaluate)?;
    oracle.run(Pass::Evaluate)?;
    let mut worst = Finding { error: 0.0, place: "nowhere".into(), values: (0.0, 0.0) };
    for (index, binding) in kernel.bindings.iter().enumerate().filter(|(_, b)| b.access != Access::Read) {
        let (slot, count) = (Slot(index), case.buffers[index].0);
        let (got, want, guard) = if binding.elem == Elem::U32 {
            let mut got = backend.read_words(slot)?;
            let guard = got.split_off(count).into_iter().map(f32::from_bits).collect();
            (halves(&got).collect(), halves(&oracle.read_words(slot)?).map(f64::from).collect(), guard)
        } else {
            let mut got = backend.read(slot)?;
            let guard = got.split_off(count);
            (got, oracle.read_exact(slot), guard)
        };
        if let Some(i) = guard.iter().position(|&v| v != UNTOUCHED) {
            let place = format!("{}, {} elements past its end", binding.name, i + 1);
            return Ok(Finding { error: f64::NAN, place, values: (f64::from(guard[i]), 0.0) });
        }
        // Without what a twin wants not to be finite.
        let squares = want.iter().filter(|w| w.is_finite()).map(|w| w * w);
        let rms = (squares.sum::<f64>() / want.len().max(1) as f64).sqrt();
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let error = relative(f64::from(got), want, rms);
            // The first NaN becomes the worst and stays it.
            if !worst.error.is_nan() && (error.is_nan() || error > worst.error) {
                let place = format!("{}[{i}]", binding.name);
                worst = Finding { error, place, values: (f64::from(got), want) };
            }
        }
    }
    Ok(worst)
}

fn relative(got: f64, want: f64, rms: f64) -> f64 {
    if got == want || (got.is_nan() && want.is_nan()) { 0.0 } else { (got - want).abs() / (want.abs() + rms) }
}

fn floats(fill: &Fill, count: usize, tag: usize) -> Vec<f32> {
    let stream = Stream::new(2012, Purpose::Test, tag as u32);
    let uniform = || (0..count).map(|i| unit(stream.words(i as u64, 0)[0]));
    match fill {
        Fill::Normal(sd) => stream.normal_vec(count, f64::from(*sd)),
        Fill::Uniform(low, high) => uniform().map(|u| low + (high - low) * u).collect(),
        Fill::Integers(most) => uniform().map(|u| (u * (*most as f32 + 1.0)).floor()).collect(),
        Fill::Floats(values) => values.clone(),
        Fill::Output | Fill::Random | Fill::Words(_) => vec![f32::NAN; count],
    }
}

/// The values of pairs of f16, which is what kernels write as words.
fn halves(words: &[u32]) -> impl Iterator<Item = f32> {
    words.iter().flat_map(|&word| [word as u16, (word >> 16) as u16]).map(|bits| f16::from_bits(bits).to_f32())
}

fn words(fill: &Fill, count: usize, tag: usize) -> Vec<u32> {
    let stream = Stream::new(2012, Purpose::Test, tag as u32);
    match fill {
        Fill::Words(values) => values.clone(),
        Fill::Output => vec![u32::MAX; count], // two NaN
        _ => (0..count).map(|i| stream.words(i as u64, 0)[0]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Args, Twin};
    use crate::ops::{activation, half};

    #[test]
    fn report_keeps_the_worst_and_every_failure() {
        let mut report = Report::new("nowhere".into());
        let checks = checks(&[&activation::FORWARD], &Engine::Cpu);
        let finding = |error| Finding { error, place: "y[3]".into(), values: (1.0, 2.0) };
        let refused = BackendError::Kernel { device: "nowhere".into(), reason: "syntax".into() };
        let outcomes = [Ok(finding(0.0)), Ok(finding(f64::NAN)), Err(refused), Ok(finding(0.5))];
        for outcome in outcomes {
            report.add(&checks[0], outcome);
        }
        let verdict = &report.verdicts[0];
        assert_eq!((report.cases(), report.failed(), report.kernels()), (4, 3, 1));
        assert_eq!((verdict.variant, verdict.worst), ("twin", Some(0.5)));
        let what: Vec<_> = verdict.failures.iter().map(|failure| failure.what.as_str()).collect();
        let want =
            ["error NaN at y[3]: 1e0 instead of 2e0", "nowhere: syntax", "error 5.0e-1 at y[3]: 1e0 instead of 2e0"];
        assert_eq!(what, want);
    }

    #[test]
    fn words_that_a_kernel_forgets_or_writes_beyond_its_share_are_found() {
        let spoiled = |f32: fn(Args<f32>)| {
            let Kernel { name, doc, bindings, variants, twin, cases, tolerance, flops, .. } = half::PACK;
            let twin = Twin { f32, ..twin };
            let kernel = Kernel { name, doc, bindings, variants, twin, cases, tolerance, split: None, flops };
            let kernel = Box::leak(Box::new(kernel));
            let case = &cases()[0];
            compare(&mut Cpu::<f32>::new(program(kernel, case, GUARD)), kernel, case).unwrap()
        };
        assert_eq!(spoiled(half::PACK.twin.f32).error, 0.0);
        let forgets = spoiled(|_| ());
        assert!(forgets.error.is_nan() && forgets.place == "packed[0]", "{forgets}");
        let goes_on = spoiled(|mut args| {
            args.read();
            args.write_words().fill(0);
        });
        assert!(goes_on.error.is_nan() && goes_on.place == "packed, 1 elements past its end", "{goes_on}");
    }
}
