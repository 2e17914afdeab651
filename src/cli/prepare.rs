//! `alexnet prepare`.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use indicatif::{ProgressBar, ProgressStyle};

use super::output::{quoted, say, thousands};
use super::progress::bars;
use alexnet::data::{PrepareObserver, Prepared, Recipe, prepare};

/// Arguments of `prepare`.
#[derive(Debug, Args)]
pub(super) struct Prepare {
    /// A folder with train/CLASS/* and val/CLASS/*, or one with ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar,
    /// synset_words.txt and val.txt
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
}

impl Prepare {
    pub(super) fn run(self) -> Result<()> {
        let Self { size, raw, quality, shard_images, seed, .. } = self;
        let recipe = Recipe { size, raw, quality, shard_images, seed };
        let progress = Progress::new();
        let result = prepare(&self.source, &self.out, &recipe, self.classes.as_deref(), &progress);
        progress.bar.finish_and_clear();
        let Prepared { images: [training, validation], shards: [shards, found], skipped, deviations } = result?;
        if !skipped.is_empty() {
            say(format!("{} images were skipped:", skipped.len()));
            for reason in &skipped {
                say(format!("  {reason}"));
            }
        }
        let found = if found > 0 { format!(", of which {found} were there before") } else { String::new() };
        let [training, validation] = [training, validation].map(|count| thousands(count as u64));
        let [a, b, c] = deviations;
        say(format!("colour varies by {a:.1}, {b:.1} and {c:.1} of 255 along its principal components"));
        say(format!("{training} training and {validation} validation images in {shards} shards{found}"));
        say(format!("train on them with: alexnet train --data {}", quoted(&self.out)));
        Ok(())
    }
}

/// A bar on a terminal, plain lines elsewhere.
struct Progress {
    bar: ProgressBar,
    terminal: bool,
    last_line: Mutex<Instant>,
}

/// Time between plain lines.
const QUIET: Duration = Duration::from_secs(10);

impl Progress {
    fn new() -> Self {
        let bar = bars().add(ProgressBar::no_length());
        // The template is a constant; a slip in it falls back to the default style.
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} images, {per_sec}, {eta} left") {
            bar.set_style(style);
        }
        Self { bar, terminal: io::stderr().is_terminal(), last_line: Mutex::new(Instant::now()) }
    }
}

impl PrepareObserver for Progress {
    fn begin(&self, [training, validation]: [usize; 2], classes: usize, shards: usize) {
        self.bar.set_length((training + validation) as u64);
        let [training, validation] = [training, validation].map(|count| thousands(count as u64));
        let images = format!("{training} training and {validation} validation images of {classes} classes");
        bars().suspend(|| say(format!("{images} go into {shards} shards")));
    }

    fn found(&self, images: usize) {
        self.bar.inc(images as u64);
        // What was there before says nothing of the speed.
        self.bar.reset_eta();
    }

    fn image(&self) {
        self.bar.inc(1);
        let mut last_line = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.terminal && last_line.elapsed() > QUIET {
            *last_line = Instant::now();
            let (done, speed) = (self.bar.position(), self.bar.per_sec());
            say(format!("{done} of {} images, {speed:.0} images/s", self.bar.length().unwrap_or(done)));
        }
    }

    fn skipped(&self, reason: &str) {
        log::warn!("image skipped: {reason}");
    }
}
