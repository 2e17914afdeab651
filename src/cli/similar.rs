//! `alexnet similar`: the right half of the paper's Figure 4.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::output::{Output, counted, line};
use super::picture::PictureFile;
use super::shown::{Network, Part};
use alexnet::files::expect_other;
use alexnet::report::Shown;

#[derive(Debug, Args)]
pub(super) struct Similar {
    #[command(flatten)]
    network: Network,
    /// Images: JPEG, PNG, WebP, BMP, TIFF, GIF or PNM [default: validation images]
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Data among whose training images those are sought that are most alike [default: the run's own, else the bundled
    /// sample]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Layer whose outputs are compared, by Euclidean distance [default: the last hidden layer]
    #[arg(long, value_name = "LAYER")]
    layer: Option<String>,
    /// Number of similar images to find
    #[arg(long, value_name = "COUNT", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    top: u32,
    /// Number of validation images to take where no image is named
    #[arg(long, value_name = "COUNT", default_value_t = 5, conflicts_with = "images", value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Most training images to seek among, spread over all
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    among: u32,
    /// Picture to write, .png or .svg
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// An image and those that are like it.
#[derive(Serialize)]
struct Neighbours {
    image: String,
    similar: Vec<Neighbour>,
}

#[derive(Serialize)]
struct Neighbour {
    image: String,
    class: String,
    distance: f64,
}

impl Similar {
    pub(super) fn run(self) -> Result<()> {
        let file = self.out.as_deref().map(PictureFile::new).transpose()?;
        self.out.iter().try_for_each(|out| expect_other(out, &self.images))?;
        let mut viewer = self.network.open(self.layer.as_deref())?;
        let queries = viewer.images(&self.images, self.data.as_deref(), Part::Validation)?;
        let others = viewer.images(&[], self.data.as_deref(), Part::Training)?;
        let count = if self.images.is_empty() { self.count as usize } else { self.images.len() };
        let asked = viewer.look(&queries, count)?;
        let seen = viewer.look(&others, self.among as usize)?;
        let classes = &viewer.classes;
        let [asked, seen] =
            [(&queries, &asked), (&others, &seen)].map(|(split, survey)| Shown { split, survey, classes });
        let (top, all) = (self.top as usize, seen.survey.labels.len());
        if all < top {
            log::warn!("--top {top}: there are only {}", counted(all as u64, "training image"));
        }
        let all: Vec<usize> = (0..asked.survey.labels.len()).collect();
        let neighbour = |(i, distance): (usize, f64)| Neighbour { image: seen.file(i), class: seen.title(i), distance };
        let of = |&i: &usize| {
            let near = seen.survey.nearest(asked.survey.features_of(i), top);
            Neighbours { image: asked.file(i), similar: near.into_iter().map(neighbour).collect() }
        };
        let found: Vec<Neighbours> = all.iter().map(of).collect();
        self.output.tell(&found, |found| found.iter().try_for_each(print))?;
        file.map_or(Ok(()), |file| file.write(&asked.alike(&all, &seen, top)))
    }
}

fn print(found: &Neighbours) -> Result<()> {
    line(&found.image)?;
    let near = found.similar.iter();
    near.map(|near| format!("  {:9.3}  {}  {}", near.distance, near.class, near.image)).try_for_each(line)
}
