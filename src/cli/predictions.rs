//! `alexnet predictions`: the left half of the paper's Figure 4.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::picture::PictureFile;
use super::shown::{Network, Part};
use alexnet::report::Shown;

/// Arguments of `predictions`.
#[derive(Debug, Args)]
pub(super) struct Predictions {
    #[command(flatten)]
    network: Network,
    /// Images: JPEG, PNG, WebP, BMP, TIFF, GIF or PNM [default: validation images]
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Data whose validation images are drawn [default: the run's own, else the bundled sample]
    #[arg(long, value_name = "FOLDER", conflicts_with = "images")]
    data: Option<PathBuf>,
    /// Draw the worst mistakes first: images whose own class is the least probable
    #[arg(long, conflicts_with = "images")]
    errors_first: bool,
    /// Number of images to draw of a data set
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Picture to write, .png or .svg
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Predictions {
    pub(super) fn run(self) -> Result<()> {
        let file = PictureFile::new(&self.out)?;
        let mut viewer = self.network.open(None)?;
        let split = viewer.images(&self.images, self.data.as_deref(), Part::Validation)?;
        let count = if self.images.is_empty() { self.count as usize } else { self.images.len() };
        let survey = viewer.look(&split, if self.errors_first { split.len() } else { count })?;
        let shown = Shown { split: &split, survey: &survey, classes: &viewer.classes };
        let drawn = if self.errors_first { shown.worst_first(count) } else { shown.some(count) };
        file.finish(&shown.predictions(&drawn, "Predictions"))
    }
}
