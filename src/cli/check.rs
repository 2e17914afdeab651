use anyhow::{Result, bail};
use clap::Args;

use super::options::On;
use super::output::{Output, folded, line, table, tolerance};
use super::progress::{Lines, Progress};
use alexnet::backend::Engine;
use alexnet::backend::parity::{self, ParityReport, VariantResult};
use alexnet::ops::KERNELS;

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    on: On,
    /// Compiles shaders with checks of every index and loop
    #[arg(long)]
    checked: bool,
    #[command(flatten)]
    output: Output,
}

impl Check {
    pub(super) fn run(self) -> Result<()> {
        let placement = self.on.open()?;
        let placement = if self.checked { placement.checked() } else { placement };
        let reports: Vec<ParityReport> = placement.engines().iter().map(report).collect();
        self.output.tell(&reports, |reports| reports.iter().try_for_each(print))?;
        match reports.iter().find(|report| report.failed() > 0) {
            None => Ok(()),
            Some(bad) => {
                let (failed, cases) = (bad.failed(), bad.cases());
                bail!("{failed} of {cases} cases disagree on {}: do not trust its results", bad.device)
            }
        }
    }
}

/// All kernels on one engine.
fn report(engine: &Engine) -> ParityReport {
    let checks = parity::checks(KERNELS, engine);
    let progress = Progress::new("checking", "variants", Lines::Errors);
    progress.length(checks.len());
    let mut report = ParityReport::new(engine.describe());
    for check in &checks {
        progress.message(format!("{} {}", check.kernel.name, check.variant_name()));
        report.add(check, check.run(engine));
        progress.step(1);
    }
    report
}

fn print(report: &ParityReport) -> Result<()> {
    let mut rows = table(&["kernel", "variant", "maps", "cases", "worst error", "tolerance", ""], &[3, 4, 5]);
    for verdict in &report.verdicts {
        let worst = verdict
            .worst
            .map_or_else(|| "-".into(), |error| if error == 0.0 { "0".into() } else { format!("{error:.1e}") });
        let (cases, tolerance) = (verdict.cases.to_string(), tolerance(verdict.tolerance));
        let ok = if verdict.failures.is_empty() { "ok" } else { "FAILED" };
        rows.add_row([verdict.kernel, verdict.variant, verdict.maps, &cases, &worst, &tolerance, ok]);
    }
    line(format_args!("{}\n", rows.trim_fmt()))?;
    report.verdicts.iter().try_for_each(print_failures)?;
    if report.failed() > 0 {
        return Ok(());
    }
    let agreed = format!("{} cases of {} kernels agree on {}", report.cases(), report.kernels(), report.device);
    line(folded(&agreed, 2))
}

fn print_failures(verdict: &VariantResult) -> Result<()> {
    for failure in &verdict.failures {
        let VariantResult { kernel, variant, maps, .. } = verdict;
        line(format_args!("{kernel} {variant}, maps of {maps}, {}: {}", failure.case, failure.what))?;
    }
    Ok(())
}
