//! `alexnet classify`: the five best classes of images.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use super::options::{On, Pictured, named};
use super::output::{Output, line};
use super::progress::Progress;
use alexnet::data::ImageError;
use alexnet::eval::{Classification, Evaluator, TestViews};

/// Images in a batch: few, since people classify few.
const BATCH: usize = 8;

#[derive(Debug, Args)]
pub(super) struct Classify {
    /// A run folder (its best checkpoint), a checkpoint or an ONNX file, or with --model weights of another program
    #[arg(value_name = "RUN|CHECKPOINT|MODEL.onnx|WEIGHTS")]
    checkpoint: PathBuf,
    /// Images: JPEG, PNG, WebP, BMP, TIFF, GIF or PNM
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Views of each image, whose probabilities are averaged
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = named::<TestViews>())]
    views: TestViews,
    /// Names of the classes, one a line: in the order of the outputs, or each behind the name that the network has for
    /// it
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    #[command(flatten)]
    pictured: Pictured,
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    output: Output,
}

impl Classify {
    pub(super) fn run(self) -> Result<()> {
        let busy = Progress::busy("classifying");
        let devices = self.on.watched_for(&self.checkpoint)?;
        let batch = BATCH.min(self.images.len());
        let mut evaluator = match self.pictured.imported_one(&self.checkpoint)? {
            Some(imported) => Evaluator::new(&imported, batch, &devices)?,
            None => Evaluator::open(&self.checkpoint, &self.pictured.into(), batch, &devices)?,
        };
        let paths: Vec<&Path> = self.images.iter().map(PathBuf::as_path).collect();
        if let Some(file) = &self.classes {
            evaluator.name_classes(file)?;
        }
        let results = evaluator.classify(&paths, self.views)?;
        let mut failures = Vec::new();
        let answer = |(path, result): (&&Path, Result<Classification, ImageError>)| match result {
            Ok(labels) => Answer::Labels(labels),
            Err(error) => {
                failures.push(error.to_string());
                Answer::Refusal { image: path.display().to_string(), error: error.to_string() }
            }
        };
        let answers: Vec<Answer> = paths.iter().zip(results).map(answer).collect();
        drop(busy);
        self.output.tell(&answers, |answers| answers.iter().try_for_each(print))?;
        if !failures.is_empty() {
            bail!("{} of {} images cannot be classified: {}", failures.len(), paths.len(), failures.join("; "));
        }
        Ok(())
    }
}

/// What is printed of an image.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Labels(Classification),
    Refusal { image: String, error: String },
}

/// Prints the labels of an image; a refusal is told at the end.
fn print(answer: &Answer) -> Result<()> {
    let Answer::Labels(result) = answer else { return Ok(()) };
    line(&result.image)?;
    let share = |probability: &f32| 100.0 * probability;
    result.labels.iter().try_for_each(|(label, p)| line(format!("  {:5.1} %  {}", share(p), label)))
}
