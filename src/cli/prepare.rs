//! `alexnet prepare`: a data set to shards of images of one size.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::options::percent;
use super::output::{self, quoted, say, thousands};
use super::progress::{Lines, Progress};
use alexnet::data::{PrepareObserver, Prepared, Recipe, prepare};

#[derive(Debug, Args)]
pub(super) struct Prepare {
    /// A folder with train/CLASS/* and val/CLASS/*, or one with ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar,
    /// synset_words.txt and val.txt (those of 2010 likewise), or with tars by synset, as fall11_whole.tar
    source: PathBuf,
    /// Folder of the shards, new or empty, or that of an interrupted run of the same command
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Names of the classes, one a line: in the order of the labels, or each behind the name of its folder
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Side of the stored images: the shorter side is scaled to it, the centre is cropped
    #[arg(long, default_value = "256", value_parser = RangedU64ValueParser::<usize>::new().range(2..=2048))]
    size: usize,
    /// Stores plain pixels: SIZE² · 3 bytes an image and nothing to decode
    #[arg(long)]
    raw: bool,
    /// Quality of the JPEG files, 1 to 100
    #[arg(long, default_value = "95", conflicts_with = "raw", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Images in a shard
    #[arg(long, default_value = "1000", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    shard_images: usize,
    /// Seed of the order of the training images
    #[arg(long, default_value = "0")]
    seed: u64,
    /// Largest share of images that may be broken; more of them stop the work [default: 1, and 5 images]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    max_broken: Option<f64>,
}

impl Prepare {
    pub(super) fn run(self) -> Result<()> {
        let Self { size, raw, quality, shard_images, seed, .. } = self;
        let recipe = Recipe { size, raw, quality, shard_images, seed };
        let shown = Shown(Progress::new("preparing", "images", Lines::Output));
        let result = prepare(&self.source, &self.out, &recipe, self.classes.as_deref(), self.max_broken, &shown);
        drop(shown);
        let Prepared { images: [training, validation], shards: [shards, found], skipped, deviations } = result?;
        output::skipped(&skipped);
        let found = if found > 0 { format!(", of which {found} were there before") } else { String::new() };
        let [training, validation] = [training, validation].map(|count| thousands(count as u64));
        let [a, b, c] = deviations;
        say(format!("colour varies by {a:.1}, {b:.1} and {c:.1} of 255 along its principal components"));
        say(format!("{training} training and {validation} validation images in {shards} shards{found}"));
        say(format!("train on them with: alexnet train --data {}", quoted(&self.out)));
        Ok(())
    }
}

/// Shows the images that are done.
struct Shown(Progress);

impl PrepareObserver for Shown {
    fn begin(&self, [training, validation]: [usize; 2], classes: usize, shards: usize) {
        self.0.length(training + validation);
        let [training, validation] = [training, validation].map(|count| thousands(count as u64));
        let images = format!("{training} training and {validation} validation images of {classes} classes");
        say(format!("{images} go into {shards} shards"));
    }

    fn found(&self, images: usize) {
        self.0.found(images);
    }

    fn image(&self) {
        self.0.step(1);
    }

    fn skipped(&self, reason: &str) {
        log::warn!("image skipped: {reason}");
    }
}
