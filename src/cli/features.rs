//! `alexnet features`: what a layer makes of images, as numbers.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::output::{quoted, say, thousands};
use super::shown::{Asked, Network, Part};
use alexnet::commands::features::FeatureFile;
use alexnet::files::expect_other;

#[derive(Debug, Args)]
pub(super) struct Features {
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    asked: Asked,
    /// Take the training images of the data instead
    #[arg(long, conflicts_with = "images")]
    training: bool,
    /// Layer, or a stage of one, as conv5.pool [default: the last hidden layer]
    #[arg(long, value_name = "LAYER")]
    layer: Option<String>,
    /// File to write: an array of numpy (.npy), tensors with names and labels (.safetensors), or a table (.csv)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Features {
    pub(super) fn run(self) -> Result<()> {
        let file = FeatureFile::new(&self.out)?;
        expect_other(&self.out, self.asked.images.iter().chain([&self.network.path]))?;
        let mut viewer = self.network.open(self.layer.as_deref())?;
        let part = if self.training { Part::Training } else { Part::Validation };
        let split = viewer.images(&self.asked.images, self.asked.data.as_deref(), part)?;
        let survey = viewer.look(&split, split.len())?;
        let layer = viewer.surveyor.layer();
        file.write(&survey, &split, &viewer.classes, layer)?;
        let [images, units] = [survey.labels.len(), survey.units()].map(|count| thousands(count as u64));
        say(format_args!("{units} features of {layer} for each of {images} images are in {}", quoted(&self.out)));
        Ok(())
    }
}
