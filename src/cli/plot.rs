//! `alexnet plot`: curves of runs, in the terminal or as a picture.

use std::io;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::fold::{COLUMNS, columns, fold};
use super::metrics::open_runs;
use super::options::named;
use super::output::{gap, raw, shown};
use super::picture::PictureFile;
use super::terminal::{TextChart, has_colours};
use alexnet::report::{Chart, Curve, Over, chart, stacked};

/// Columns, at least, and lines of a chart in the terminal.
const LEAST_COLUMNS: usize = 24;
const LINES: u16 = 18;

/// Width and height of a chart in a file, in pixels.
const PICTURE: [f32; 2] = [760.0, 320.0];

#[derive(Debug, Args)]
pub(super) struct Plot {
    /// Run folders, of runs that have ended or not
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// What is drawn, one chart each
    #[arg(long, value_name = "CURVE,...", value_delimiter = ',', default_value = "loss,error", value_parser = named::<Curve>())]
    curves: Vec<Curve>,
    /// Axis from left to right
    #[arg(long, value_name = "AXIS", default_value = "step", value_parser = named::<Over>())]
    over: Over,
    /// Draw the logarithm of the values
    #[arg(long)]
    log: bool,
    /// Write an .svg or .png file instead of drawing in the terminal
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Plot {
    pub(super) fn run(self) -> Result<()> {
        let file = self.out.as_deref().map(PictureFile::new).transpose()?;
        let runs = open_runs(&self.runs)?;
        let of = |curve: &Curve| {
            let found = chart(&runs, *curve, self.over, self.log);
            if found.is_none() {
                log::warn!("{curve}: the metrics of these runs do not tell it");
            }
            found
        };
        let charts: Vec<Chart> = self.curves.iter().filter_map(of).collect();
        if charts.is_empty() {
            bail!("there is nothing to draw: the metrics of these runs hold none of what --curves asks for");
        }
        let Some(file) = file else { return charts.iter().try_for_each(draw) };
        let [width, height] = PICTURE;
        file.finish(&stacked(charts.iter().map(|chart| chart.draw(width, height)).collect()))
    }
}

/// Draws a chart in the terminal, and says where the learning rate fell.
fn draw(chart: &Chart) -> Result<()> {
    let width = columns(&io::stdout()).unwrap_or(COLUMNS).clamp(LEAST_COLUMNS, COLUMNS);
    TextChart { chart, colours: has_colours() }.lines(width as u16, LINES).iter().try_for_each(raw)?;
    let words = chart.marked.iter().map(|(_, word)| fold(&shown(format_args!("┆ {word}")), 2, width));
    words.into_iter().try_for_each(raw)?;
    gap()
}
