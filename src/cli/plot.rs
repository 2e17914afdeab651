//! `alexnet plot`: curves of runs, in the terminal or as a picture.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::metrics::open_runs;
use super::options::named;
use super::output::{coloured, line, quoted, say};
use super::terminal::{TextChart, has_colours};
use alexnet::files::{FileKind, check_target, write_file};
use alexnet::report::{Chart, Curve, Over, chart, png_file, stacked, svg_file};

/// Columns and lines of a chart in the terminal.
const TEXT: [u16; 2] = [80, 18];

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
        let svg =
            self.out.as_ref().is_some_and(|path| path.extension().is_some_and(|it| it.eq_ignore_ascii_case("svg")));
        if let Some(path) = &self.out {
            check_target(path, if svg { FileKind::Svg } else { FileKind::Png }, None)?;
        }
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
        let Some(path) = &self.out else { return charts.iter().try_for_each(draw) };
        let [width, height] = PICTURE;
        let picture = stacked(charts.iter().map(|chart| chart.draw(width, height)).collect());
        let bytes = if svg { Some(svg_file(&picture).into_bytes()) } else { png_file(&picture) };
        let Some(bytes) = bytes else { bail!("{}: the picture is too large for a PNG file", path.display()) };
        write_file(path, &bytes)?;
        say(format_args!("the picture is in {}", quoted(path)));
        Ok(())
    }
}

/// Draws a chart in the terminal, and says where the learning rate fell.
fn draw(chart: &Chart) -> Result<()> {
    let [width, height] = TEXT;
    TextChart { chart, colours: has_colours() }.lines(width, height).iter().try_for_each(coloured)?;
    chart.marked.iter().try_for_each(|(_, word)| line(format_args!("┆ {word}")))?;
    line("")
}
