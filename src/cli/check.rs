use anyhow::{Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::options::DEVICES;
use super::output::{json, line, table, tolerance};
use super::progress::bars;
use alexnet::backend::Engine;
use alexnet::backend::parity::{self, ParityReport, VariantResult};
use alexnet::ops::KERNELS;
use alexnet::session::open_devices;

#[derive(Debug, Args)]
pub(super) struct Check {
    #[arg(long, value_name = "DEVICES", help = DEVICES)]
    devices: Option<String>,
    /// Compiles shaders with checks of every index and loop
    #[arg(long)]
    checked: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<()> {
        let placement = open_devices(self.devices.as_deref())?;
        let placement = if self.checked { placement.checked() } else { placement };
        let reports: Vec<ParityReport> = placement.engines().iter().map(report).collect();
        if self.json {
            json(&reports)?;
        } else {
            reports.iter().try_for_each(print)?;
        }
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
    let bar = bar(checks.len());
    let mut report = ParityReport::new(engine.describe());
    for check in &checks {
        bar.set_message(format!("{} {}", check.kernel.name, check.variant_name()));
        report.add(check, check.run(engine));
        bar.inc(1);
    }
    bar.finish_and_clear();
    report
}

/// Hidden by itself where stderr is not a terminal.
fn bar(length: usize) -> ProgressBar {
    let bar = bars().add(ProgressBar::new(length as u64));
    // The template is fixed and valid; the bar's own style would do as well.
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn print(report: &ParityReport) -> Result<()> {
    let mut rows = table(&["kernel", "variant", "maps", "cases", "worst error", "tolerance", ""], &[3, 4, 5]);
    for it in &report.verdicts {
        let worst =
            it.worst.map_or_else(|| "-".into(), |error| if error == 0.0 { "0".into() } else { format!("{error:.1e}") });
        let (cases, tolerance) = (it.cases.to_string(), tolerance(it.tolerance));
        let ok = if it.failures.is_empty() { "ok" } else { "FAILED" };
        rows.add_row([it.kernel, it.variant, it.maps, &cases, &worst, &tolerance, ok]);
    }
    line(format_args!("{}\n", rows.trim_fmt()))?;
    report.verdicts.iter().try_for_each(print_failures)?;
    if report.failed() > 0 {
        return Ok(());
    }
    line(format_args!("{} cases of {} kernels agree on {}", report.cases(), report.kernels(), report.device))
}

fn print_failures(verdict: &VariantResult) -> Result<()> {
    for failure in &verdict.failures {
        let VariantResult { kernel, variant, maps, .. } = verdict;
        line(format_args!("{kernel} {variant}, maps of {maps}, {}: {}", failure.case, failure.what))?;
    }
    Ok(())
}
