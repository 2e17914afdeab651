//! `alexnet classify`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::options::{DEVICES, Pictured, named};
use super::output::{json, line};
use super::progress::preparing;
use alexnet::eval::{Evaluator, TestViews};
use alexnet::session::open_devices;

/// Images in a batch: few, since people classify few.
const BATCH: usize = 8;

/// Arguments of `classify`.
#[derive(Debug, Args)]
pub(super) struct Classify {
    /// A run folder (its best checkpoint), a checkpoint or an ONNX file
    #[arg(value_name = "RUN|CHECKPOINT|MODEL.onnx")]
    checkpoint: PathBuf,
    /// Images, JPEG or PNG
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Views of each image, whose probabilities are averaged
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = named::<TestViews>())]
    views: TestViews,
    #[command(flatten)]
    pictured: Pictured,
    #[arg(long, value_name = "DEVICES", help = DEVICES)]
    devices: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Classify {
    pub(super) fn run(self) -> Result<()> {
        let devices = open_devices(self.devices.as_deref())?.watched(preparing());
        let mut evaluator = Evaluator::open(&self.checkpoint, &self.pictured.into(), BATCH, &devices)?;
        let paths: Vec<&Path> = self.images.iter().map(PathBuf::as_path).collect();
        let results = evaluator.classify(&paths, self.views)?;
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
