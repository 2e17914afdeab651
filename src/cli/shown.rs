//! Images that commands show a network: single files, or those of a data set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::Args;

use super::options::{On, Pictured};
use super::output::skipped;
use super::progress::{Lines, Progress};
use alexnet::checkpoint::Checkpoint;
use alexnet::data::{Dataset, Labelled, Split};
use alexnet::eval::{Survey, Surveyor, run_data};

/// A network, and the images that it is shown.
#[derive(Debug, Args)]
pub(super) struct Network {
    /// A run folder (its best checkpoint), a checkpoint, or with --model weights of another program
    #[arg(value_name = "RUN|CHECKPOINT|WEIGHTS")]
    pub(super) path: PathBuf,
    /// For weights of other programs (.pth, .safetensors, .caffemodel): their network, a model file or built-in one
    #[arg(long)]
    model: Option<String>,
    /// Take a damaged checkpoint as it is
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    on: On,
}

/// The images that a network is shown.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Images: JPEG, PNG, WebP, BMP, TIFF, GIF or PNM [default: validation images]
    #[arg(value_name = "IMAGE")]
    pub(super) images: Vec<PathBuf>,
    /// Data whose validation images are taken [default: the run's own, else the bundled sample]
    #[arg(long, value_name = "FOLDER", conflicts_with = "images")]
    pub(super) data: Option<PathBuf>,
}

/// Part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Training,
    Validation,
}

/// A network on its devices.
pub(super) struct Viewer {
    pub(super) surveyor: Surveyor,
    pub(super) classes: Vec<String>,
    /// Data of the run that it comes from.
    data: Option<PathBuf>,
}

impl Network {
    /// Sets the network up, to tell the outputs of `layer`, or of the last hidden one.
    pub(super) fn open(&self, layer: Option<&str>) -> Result<Viewer> {
        let pictured = Pictured::of_weights(self.model.clone(), self.no_verify);
        let checkpoint = match pictured.imported_one(&self.path)? {
            Some(imported) => imported,
            None => Checkpoint::open(&self.path)?,
        };
        let mut surveyor = Surveyor::new(&checkpoint, &self.on.watched_for(&self.path)?)?;
        if let Some(layer) = layer {
            surveyor = surveyor.with_layer(layer)?;
        }
        Ok(Viewer { surveyor, classes: checkpoint.state.classes, data: run_data(&self.path)? })
    }
}

impl Viewer {
    /// The images in `files`, or where there are none a part of the data at `data`, of the run's own or the bundled
    /// sample.
    pub(super) fn images(&self, files: &[PathBuf], data: Option<&Path>, part: Part) -> Result<Arc<Split>> {
        let (size, data) = (self.surveyor.stored(), data.or(self.data.as_deref()));
        if !files.is_empty() {
            return Ok(Split::of_files(files, size)?);
        }
        Ok(match part {
            Part::Validation => Labelled::open(data, size)?.arranged(&self.classes)?.images,
            Part::Training => {
                let Dataset { classes, train, .. } = Dataset::open(data, size)?;
                Labelled { classes, images: train }.arranged(&self.classes)?.images
            }
        })
    }

    /// Shows the network at most `most` images of `split`; those that cannot be decoded are told.
    pub(super) fn look(&mut self, split: &Arc<Split>, most: usize) -> Result<Survey> {
        let progress = Progress::new("looking", "images", Lines::Errors);
        let survey = self.surveyor.survey(split, most, false, &mut |done, all| {
            progress.length(all);
            progress.position(done);
        })?;
        drop(progress);
        skipped(&survey.skipped);
        ensure!(!survey.labels.is_empty(), "none of the images can be decoded");
        Ok(survey)
    }
}
