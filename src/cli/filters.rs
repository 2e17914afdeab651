//! `alexnet filters`: the paper's Figure 3.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::options::named;
use super::picture::PictureFile;
use alexnet::checkpoint::Checkpoint;
use alexnet::report::{Contrast, Filters as Drawn, filters_over_training};
use alexnet::runs::Run;

#[derive(Debug, Args)]
pub(super) struct Filters {
    /// A run folder (its best checkpoint) or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    path: PathBuf,
    /// A convolution [default: the first]
    #[arg(long, value_name = "LAYER")]
    layer: Option<String>,
    /// Weights that are white and black: the largest of the layer or of each filter
    #[arg(long, default_value = "layer", value_parser = named::<Contrast>())]
    contrast: Contrast,
    /// Draw how far the filters moved between the checkpoints of a run that `train --keep` left
    #[arg(long)]
    over_training: bool,
    /// Picture to write, .png or .svg
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Filters {
    pub(super) fn run(self) -> Result<()> {
        let file = PictureFile::new(&self.out)?;
        let layer = self.layer.as_deref();
        if !self.over_training {
            let checkpoint = Checkpoint::open(&self.path)?;
            return file.finish(&Drawn::new(&checkpoint, layer)?.draw(self.contrast));
        }
        let mut all = Vec::new();
        for path in Run::open(&self.path)?.kept()? {
            let checkpoint = Checkpoint::read(&path)?;
            all.push((checkpoint.state.step, Drawn::new(&checkpoint, layer)?));
        }
        file.finish(&filters_over_training(&all, self.contrast)?)
    }
}
