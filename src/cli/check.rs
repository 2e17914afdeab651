use anyhow::{Result, bail, ensure};
use clap::Args;

use super::options::{On, Replaced, open_net};
use super::output::{Output, Table, gap, line, paragraph, percent, tolerance};
use super::progress::{Lines, Progress};
use alexnet::backend::parity::{self, Check as KernelCheck, ParityReport, VariantResult};
use alexnet::backend::{Engine, Placement};
use alexnet::commands::gradients::{GradientReport, TOLERANCE, check_gradients};
use alexnet::ops::KERNELS;

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    on: On,
    /// Compiles shaders with checks of every index and loop
    #[arg(long)]
    checked: bool,
    /// Check the gradients of a network instead, a built-in one or a model file: against those at f64, and against
    /// differences of the loss
    #[arg(long, value_name = "MODEL")]
    gradients: Option<String>,
    /// Images of the minibatch whose gradients are checked
    #[arg(long, value_name = "COUNT", default_value_t = 8, requires = "gradients", conflicts_with = "only", value_parser = clap::value_parser!(u32).range(1..=1024))]
    images: u32,
    /// Compare only variants whose name, after that of their kernel, holds this: "conv.forward tile", matrix16
    #[arg(long, value_name = "WORDS", conflicts_with = "gradients")]
    only: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Check {
    pub(super) fn run(self) -> Result<()> {
        let placement = self.on.open()?;
        let placement = if self.checked { placement.checked() } else { placement };
        if let Some(model) = &self.gradients {
            return self.gradients(model, &placement);
        }
        let report = |engine| report(engine, self.only.as_deref());
        let reports: Vec<ParityReport> = placement.engines().iter().map(report).collect::<Result<_>>()?;
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

impl Check {
    fn gradients(&self, model: &str, placement: &Placement) -> Result<()> {
        let net = open_net(model, &Replaced::default())?;
        let progress = Progress::new("checking gradients", "tensors", Lines::Errors);
        let report = check_gradients(&net.model, self.images as usize, placement, &mut |done, all| {
            progress.length(all);
            progress.position(done);
        })?;
        drop(progress);
        self.output.tell(&report, print_gradients)?;
        match report.failed() {
            0 => Ok(()),
            failed => bail!(
                "{failed} of {} gradients of {model} are wrong on {}: do not train there",
                report.tensors.len(),
                report.device
            ),
        }
    }
}

fn print_gradients(report: &GradientReport) -> Result<()> {
    let GradientReport { images, loss, exact_loss, .. } = report;
    let head = format!(
        "loss of {images} random images {loss:.6}, at f64 {exact_loss:.6}; gradients are to be within {} of those at f64, and \
         the slopes of the loss along them within {0} of their norms",
        percent(TOLERANCE)
    );
    paragraph(&head, 2)?;
    let mut rows = Table::new(&["tensor", "norm", "error", "slope", "error", ""], &[1, 2, 3, 4]);
    for check in &report.tensors {
        let ok = if check.is_right() { "ok" } else { "FAILED" };
        let share = |error: f64| format!("{:.4} %", 100.0 * error);
        let [norm, slope] = [check.norm, check.slope].map(|number| format!("{number:.5e}"));
        rows.add_row([check.name.clone(), norm, share(check.error), slope, share(check.slope_error), ok.into()]);
    }
    rows.print()?;
    gap()?;
    if report.failed() > 0 {
        return Ok(());
    }
    paragraph(&format!("{} gradients are right on {}", report.tensors.len(), report.device), 2)
}

/// All kernels on one engine, or those whose name and variant hold `only`.
fn report(engine: &Engine, only: Option<&str>) -> Result<ParityReport> {
    let name = |check: &KernelCheck| format!("{} {}", check.kernel.name, check.variant_name());
    let mut checks = parity::checks(KERNELS, engine);
    if let Some(words) = only {
        checks.retain(|check| name(check).contains(words));
        ensure!(!checks.is_empty(), "{}: no kernel and variant is called \"{words}\"", engine.describe());
    }
    let progress = Progress::new("checking", "variants", Lines::Errors);
    progress.length(checks.len());
    let mut report = ParityReport::new(engine.describe());
    for check in &checks {
        progress.message(name(check));
        report.add(check, check.run(engine));
        progress.step(1);
    }
    Ok(report)
}

fn print(report: &ParityReport) -> Result<()> {
    let mut rows = Table::new(&["kernel", "variant", "maps", "cases", "worst error", "tolerance", ""], &[3, 4, 5]);
    for verdict in &report.verdicts {
        let worst = verdict
            .worst
            .map_or_else(|| "-".into(), |error| if error == 0.0 { "0".into() } else { format!("{error:.1e}") });
        let (cases, tolerance) = (verdict.cases.to_string(), tolerance(verdict.tolerance));
        let ok = if verdict.failures.is_empty() { "ok" } else { "FAILED" };
        rows.add_row([verdict.kernel, verdict.variant, verdict.maps, &cases, &worst, &tolerance, ok]);
    }
    rows.print()?;
    gap()?;
    report.verdicts.iter().try_for_each(print_failures)?;
    if report.failed() > 0 {
        return Ok(());
    }
    let agreed = format!("{} cases of {} kernels agree on {}", report.cases(), report.kernels(), report.device);
    paragraph(&agreed, 2)
}

fn print_failures(verdict: &VariantResult) -> Result<()> {
    for failure in &verdict.failures {
        let VariantResult { kernel, variant, maps, .. } = verdict;
        line(format_args!("{kernel} {variant}, maps of {maps}, {}: {}", failure.case, failure.what))?;
    }
    Ok(())
}
