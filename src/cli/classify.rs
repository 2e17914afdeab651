//! `alexnet classify`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::options::{DEVICES, open_evaluator};
use super::output::{json, line};

/// Images in a batch: few, since people classify few.
const BATCH: usize = 8;

/// Arguments of `classify`.
#[derive(Debug, Args)]
pub(super) struct Classify {
    /// A run folder (its best checkpoint) or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    checkpoint: PathBuf,
    /// Images, JPEG or PNG
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[arg(long, value_name = "DEVICES", help = DEVICES)]
    devices: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Classify {
    pub(super) fn run(self) -> Result<()> {
        let (mut evaluator, _) = open_evaluator(&self.checkpoint, BATCH, self.devices.as_deref())?;
        let paths: Vec<&Path> = self.images.iter().map(PathBuf::as_path).collect();
        let results = evaluator.classify(&paths)?;
        if self.json {
            return json(&results);
        }
        for result in results {
            line(&result.image)?;
            for (label, probability) in result.labels {
                line(format!("  {:5.1} %  {label}", 100.0 * probability))?;
            }
        }
        Ok(())
    }
}
