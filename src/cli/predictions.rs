//! `alexnet predictions`: the left half of the paper's Figure 4.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::picture::PictureFile;
use super::shown::{Asked, Network, Part};
use alexnet::files::expect_other;
use alexnet::report::Shown;

#[derive(Debug, Args)]
pub(super) struct Predictions {
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    asked: Asked,
    /// Draw the worst mistakes first: images whose own class is the least probable
    #[arg(long, conflicts_with = "images")]
    errors_first: bool,
    /// Number of images to draw of a data set
    #[arg(long, value_name = "COUNT", default_value_t = 8, conflicts_with = "images", value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Picture to write, .png or .svg
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Predictions {
    pub(super) fn run(self) -> Result<()> {
        let file = PictureFile::new(&self.out)?;
        expect_other(&self.out, &self.asked.images)?;
        let mut viewer = self.network.open(None)?;
        let Asked { images, data } = &self.asked;
        let split = viewer.images(images, data.as_deref(), Part::Validation)?;
        let count = if images.is_empty() { self.count as usize } else { images.len() };
        let survey = viewer.look(&split, if self.errors_first { split.len() } else { count })?;
        let shown = Shown { split: &split, survey: &survey, classes: &viewer.classes };
        let drawn = if self.errors_first { shown.worst_first(count) } else { shown.some(count) };
        file.finish(&shown.predictions(&drawn, "Predictions"))
    }
}
