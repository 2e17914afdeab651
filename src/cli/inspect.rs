//! `alexnet inspect`: weights, responses and findings of a run or a checkpoint.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::options::On;
use super::output::{Output, Table, counted, gap, line, paragraph, percent, thousands};
use super::progress::{Lines, Progress};
use alexnet::commands::inspect::{Inspect as Request, Inspection};

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// A run folder (its last checkpoint, and its metrics) or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    path: PathBuf,
    /// Data whose validation images are shown to the network, to find units that never respond [default: the run's own]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Number of images to show, 0 for none
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=100_000))]
    images: u32,
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    output: Output,
}

impl Inspect {
    pub(super) fn run(self) -> Result<()> {
        let devices = if self.images > 0 { Some(self.on.watched_for(&self.path)?) } else { None };
        let request = Request { path: self.path, data: self.data, images: self.images as usize };
        let progress = Progress::new("inspecting", "images", Lines::Errors);
        let found = request.run(devices.as_ref(), &mut |done, all| {
            progress.length(all);
            progress.position(done);
        })?;
        drop(progress);
        self.output.tell(&found, print)
    }
}

fn print(found: &Inspection) -> Result<()> {
    line(format_args!("after {}", counted(found.step, "step")))?;
    gap()?;
    if !found.tensors.is_empty() {
        let mut rows = Table::new(&["tensor", "shape", "mean |w|", "norm", "largest", "change a step"], &[2, 3, 4, 5]);
        for state in &found.tensors {
            let shape = state.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
            let change = match state.ratio {
                _ if state.frozen => "frozen".into(),
                Some(ratio) => percent(ratio),
                None => String::new(),
            };
            let [mean, norm, largest] = [state.mean, state.norm, state.largest].map(|number| format!("{number:.3e}"));
            rows.add_row([state.name.clone(), shape, mean, norm, largest, change]);
        }
        rows.print()?;
        gap()?;
    }
    if !found.activity.is_empty() {
        let mut rows = Table::new(&["layer", "units", "never respond", "outputs above 0"], &[1, 2, 3]);
        for layer in &found.activity {
            let (units, dead) = (layer.units.to_string(), layer.dead.to_string());
            rows.add_row([layer.layer.clone(), units, dead, percent(layer.active)]);
        }
        line(format_args!("responses to {} images", thousands(found.images as u64)))?;
        rows.print()?;
        gap()?;
    }
    if found.findings.is_empty() {
        return line("nothing unusual");
    }
    line("unusual:")?;
    found.findings.iter().try_for_each(|found| paragraph(&format!("  {}: {}", found.subject, found.words), 4))
}
