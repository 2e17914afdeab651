//! `alexnet eval`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::options::{DEVICES, open_evaluator};
use super::output::{json, line};

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub(super) struct Eval {
    /// A run folder (its best checkpoint) or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    checkpoint: PathBuf,
    /// Data whose validation images are scored; the bundled sample where absent
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[arg(long, value_name = "DEVICES", help = DEVICES)]
    devices: Option<String>,
    /// Images in a batch
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub(super) fn run(self) -> Result<()> {
        let (mut evaluator, steps) = open_evaluator(&self.checkpoint, self.batch as usize, self.devices.as_deref())?;
        let result = evaluator.evaluate(self.data.as_deref())?;
        if self.json {
            return json(&result);
        }
        line(format!("{} after {steps} steps, on {}", self.checkpoint.display(), evaluator.device()))?;
        line(format!("{} images: loss {:.4}", result.images, result.loss))?;
        line(format!(
            "top-1 error {:.2} %, top-5 error {:.2} %",
            100.0 * result.top1_error,
            100.0 * result.top5_error
        ))?;
        if !result.skipped.is_empty() {
            line(format!("{} images were skipped:", result.skipped.len()))?;
            for reason in &result.skipped {
                line(format!("  {reason}"))?;
            }
        }
        Ok(())
    }
}
