//! `alexnet classify`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::options::{DEVICES, Views, open_devices};
use super::output::{json, line};
use super::progress::preparing;
use crate::checkpoint::Checkpoint;
use crate::eval::Evaluator;

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
    /// Views of each image, whose probabilities are averaged
    #[arg(long, value_name = "COUNT", default_value = "1")]
    views: Views,
    #[arg(long, value_name = "DEVICES", help = DEVICES)]
    devices: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Classify {
    pub(super) fn run(self) -> Result<()> {
        let path = Checkpoint::locate(&self.checkpoint);
        let checkpoint = Checkpoint::read(&path)?;
        let devices = open_devices(self.devices.as_deref())?.watched(preparing());
        let evaluator = Evaluator::new(&checkpoint, BATCH, &devices);
        let mut evaluator = evaluator.with_context(|| path.display().to_string())?;
        let paths: Vec<&Path> = self.images.iter().map(PathBuf::as_path).collect();
        let results = evaluator.classify(&paths, self.views.into())?;
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
