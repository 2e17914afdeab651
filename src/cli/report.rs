//! `alexnet report`: a page about one run, or one that compares several.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::metrics::open_runs;
use super::options::{On, expect_there};
use super::output::{quoted, say};
use super::progress::{Lines, Progress};
use alexnet::files::{FileKind, check_target, write_file};
use alexnet::report::{Content, Depth, Page, about, compare, png_file, svg_file};

#[derive(Debug, Args)]
pub(super) struct Report {
    /// Run folders; several are compared
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Page to write, a single HTML file [default: report.html in the run's folder; of several runs, in this folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write every picture as .svg and .png too
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// Most validation images, and training images, that the network is shown, 0 for none
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    images: u32,
    /// Number of training steps to time layer by layer, 0 for none
    #[arg(long, value_name = "STEPS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=1000))]
    timed: u32,
    #[command(flatten)]
    on: On,
}

impl Report {
    pub(super) fn run(self) -> Result<()> {
        self.runs.iter().try_for_each(|run| expect_there(run))?;
        let out = match (&self.out, &self.runs[..]) {
            (Some(out), _) => out.clone(),
            (None, [run]) if run.is_dir() => run.join("report.html"),
            (None, _) => "report.html".into(),
        };
        check_target(&out, FileKind::Html, None).context("--out")?;
        let page = if let [run] = &self.runs[..] { self.about(run)? } else { compare(&open_runs(&self.runs)?) };
        write_file(&out, page.html().as_bytes())?;
        if let Some(folder) = &self.pictures {
            save(&page, folder)?;
        }
        say(format_args!("the report is in {}", quoted(&out)));
        Ok(())
    }

    fn about(&self, run: &Path) -> Result<Page> {
        let devices = self.on.watched_for(run)?;
        let progress = Progress::new("looking at the run", "images", Lines::Errors);
        let depth = Depth { images: self.images as usize, steps: self.timed as usize };
        let content = Content::gather(run, depth, &devices, &mut |done, all| {
            progress.length(all);
            progress.position(done);
        })?;
        Ok(about(&content))
    }
}

/// Writes every picture of `page` into `folder`.
fn save(page: &Page, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("--pictures {}", folder.display()))?;
    for (name, picture) in page.pictures() {
        let [svg, png] = ["svg", "png"].map(|extension| folder.join(name).with_extension(extension));
        check_target(&svg, FileKind::Svg, None)?;
        check_target(&png, FileKind::Png, None)?;
        write_file(&svg, svg_file(picture).as_bytes())?;
        let Some(bytes) = png_file(picture) else {
            bail!("{}: the picture is too large for a PNG file", png.display())
        };
        write_file(&png, &bytes)?;
    }
    Ok(())
}
