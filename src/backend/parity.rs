//! Checks of a device: every case of every kernel, compared with the f64 twin.

use serde::Serialize;

use super::compare::{Finding, GUARD, compare, program};
use super::{BackendError, Engine};
use crate::kernel::{Case, Elem, Kernel, Variant};

/// The check of one case of one kernel in one variant.
pub struct Check {
    /// Kernel whose variants were compared with its twin.
    pub kernel: &'static Kernel,
    /// The variant; `None` for the CPU twin at f32.
    pub variant: Option<&'static Variant>,
    /// Shapes and contents of the buffers.
    pub case: Case,
}

impl Check {
    /// The name of the variant, `twin` for the CPU's.
    pub fn variant_name(&self) -> &'static str {
        self.variant.map_or("twin", |variant| variant.name)
    }

    /// Compares the outputs on `engine` with those of the f64 twin.
    pub fn run(&self, engine: &Engine) -> Result<Finding, BackendError> {
        let guard = if self.variant.is_some() { GUARD } else { 0 };
        let program = program(self.kernel, &self.case, guard);
        let mut backend = engine.set_up_variant(program, self.variant)?;
        compare(backend.as_mut(), self.kernel, &self.case)
    }
}

/// Every kernel of `kernels` in every variant that runs on `engine`, on all of its cases, and once more with maps of
/// halves where both have them.
pub fn checks(kernels: &[&'static Kernel], engine: &Engine) -> Vec<Check> {
    let mut checks = Vec::new();
    for &kernel in kernels {
        let variants: Vec<Option<&'static Variant>> = match engine {
            Engine::Cpu => vec![None],
            Engine::Gpu(_) => kernel.variants.iter().map(Some).collect(),
        };
        for variant in variants {
            let runs = |case: &Case| variant.is_none_or(|variant| engine.runs(variant, &case.params));
            let stored = if engine.halves() { [Elem::F32, Elem::F16].as_slice() } else { &[Elem::F32] };
            let cases = stored.iter().flat_map(|&maps| kernel.cases_with(maps)).filter(runs);
            checks.extend(cases.map(|case| Check { kernel, variant, case }));
        }
    }
    checks
}

/// Results of the checks of a device, summed up by kernel, variant and element type of maps.
#[derive(Clone, Debug, Serialize)]
pub struct ParityReport {
    /// Name of the device.
    pub device: String,
    /// Verdicts in the order of the checks.
    pub verdicts: Vec<VariantResult>,
}

/// Result of all cases of one variant of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct VariantResult {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Name of the variant, `twin` for the CPU's.
    pub variant: &'static str,
    /// Element type of maps.
    pub maps: &'static str,
    /// Cases of the kernel that it was compared on.
    pub cases: usize,
    /// Largest error allowed in any of the cases, relative to the output's root mean square.
    pub tolerance: f64,
    /// Largest error of the cases that ran and gave numbers.
    pub worst: Option<f64>,
    /// Cases that were wrong or did not run.
    pub failures: Vec<Failure>,
}

/// A case that was wrong or did not run.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Name of the case.
    pub case: String,
    /// Error, place and values, or why it did not run.
    pub what: String,
}

impl ParityReport {
    /// A report without verdicts.
    pub fn new(device: String) -> Self {
        Self { device, verdicts: Vec::new() }
    }

    /// Adds the outcome of a check; checks come in the order of [`checks`].
    pub fn add(&mut self, check: &Check, outcome: Result<Finding, BackendError>) {
        let (kernel, variant) = (check.kernel.name, check.variant_name());
        let tolerance = check.kernel.tolerance_of(&check.case.params);
        let maps = check.case.params.storage().name();
        if self.verdicts.last().is_none_or(|last| (last.kernel, last.variant, last.maps) != (kernel, variant, maps)) {
            self.verdicts.push(VariantResult {
                kernel,
                variant,
                maps,
                cases: 0,
                tolerance,
                worst: None,
                failures: Vec::new(),
            });
        }
        let Some(verdict) = self.verdicts.last_mut() else { return };
        verdict.cases += 1;
        verdict.tolerance = verdict.tolerance.max(tolerance);
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

    /// Cases of the kernel that it was compared on.
    pub fn cases(&self) -> usize {
        self.verdicts.iter().map(|verdict| verdict.cases).sum()
    }

    /// Number of cases that were wrong or did not run.
    pub fn failed(&self) -> usize {
        self.verdicts.iter().map(|verdict| verdict.failures.len()).sum()
    }

    /// Number of kernels, whose variants follow one another.
    pub fn kernels(&self) -> usize {
        self.verdicts.chunk_by(|a, b| a.kernel == b.kernel).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::activation;

    #[test]
    fn report_keeps_the_worst_and_every_failure() {
        let mut report = ParityReport::new("nowhere".into());
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
}
