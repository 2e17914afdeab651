//! `alexnet metrics`: the curves of runs as tables, CSV or JSON.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::output::{Table, counted, gap, json, paragraph, percent, thousands};
use alexnet::runs::{MetricRow, Movements, Run, csv_table};
use alexnet::train::{DeviceRecord, Metric, Resumption};

#[derive(Debug, Args)]
pub(super) struct Metrics {
    /// Run folders, of runs that have ended or not
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Print every step and validation as comma-separated values or JSON [default: a table of the validations]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A row for each step and each validation
    Csv,
    /// All of it, movements of the weights and times of the devices too
    Json,
}

#[derive(Serialize)]
struct Everything<'a> {
    run: &'a str,
    metrics: Vec<MetricRow<'a>>,
    movements: &'a [Movements],
    devices: &'a [(u64, DeviceRecord)],
    resumptions: &'a [Resumption],
    damaged: usize,
}

impl Metrics {
    pub(super) fn run(self) -> Result<()> {
        let runs = open_runs(&self.runs)?;
        match self.format {
            Some(Format::Csv) => io::stdout().lock().write_all(&csv_table(&runs)?).context("standard output"),
            Some(Format::Json) => {
                let names: Vec<String> = runs.iter().map(Run::name).collect();
                let all: Vec<_> = runs.iter().zip(&names).map(|(run, name)| everything(run, name)).collect();
                json(&all)
            }
            None => runs.iter().try_for_each(print),
        }
    }
}

/// Reads the metrics of every run folder; the first unreadable one is the error.
pub(super) fn open_runs(paths: &[impl AsRef<Path>]) -> Result<Vec<Run>> {
    paths.iter().map(|path| Ok(Run::open(path.as_ref())?)).collect()
}

fn everything<'a>(run: &'a Run, name: &'a str) -> Everything<'a> {
    let metrics = MetricRow::of(run, name).collect();
    let Run { movements, devices, resumptions, damaged, .. } = run;
    Everything { run: name, metrics, movements, devices, resumptions, damaged: *damaged }
}

fn print(run: &Run) -> Result<()> {
    let last = run.steps.last().or(run.validations.last());
    let (steps, seconds) = last.map_or((0, 0.0), |last| (last.step, last.seconds));
    let steps = counted(steps, "step");
    paragraph(&format!("{}: {steps} in {seconds:.0} s; images/s are those of training", run.name()), 2)?;
    let header = ["epoch", "step", "rate", "training", "error", "validated", "top-1", "top-5", "images/s"];
    let mut rows = Table::new(&header, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    run.validations.iter().for_each(|metric| rows.add_row(cells(run, metric)));
    rows.print()?;
    gap()
}

/// A validation, and the training before it.
fn cells(run: &Run, metric: &Metric) -> [String; 9] {
    let trained = run.steps[..run.steps.partition_point(|step| step.step <= metric.step)].last();
    let mean = |number: Option<f64>| number.map_or_else(String::new, |number| format!("{number:.3}"));
    [
        metric.epoch.to_string(),
        thousands(metric.step),
        format!("{:.1e}", metric.rate),
        mean(metric.training_loss),
        metric.training_top1_error.map_or_else(String::new, percent),
        format!("{:.3}", metric.loss),
        percent(metric.top1_error),
        percent(metric.top5_error),
        trained.map_or_else(String::new, |step| format!("{:.0}", step.images_per_second)),
    ]
}
