//! `alexnet reproduce`: a claim of the paper, measured.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::options::Placed;
use super::output::{Table, gap, line, quoted, say};
use super::signals::Signals;
use super::train::Watch;
use alexnet::commands::reproduce::{ArmOutcome, Campaign, Ours, Outcome, Progress, REPRODUCTIONS, Reproduction};
use alexnet::files::write_file;
use alexnet::report::{Chart, png_file, reproduced, svg_file};
use alexnet::train::Observer;

/// Width and height of the chart, in pixels.
const PICTURE: [f32; 2] = [760.0, 360.0];

#[derive(Debug, Args)]
pub(super) struct Reproduce {
    #[arg(help = format!("A claim of the paper: {}", names().join(", ")), value_parser = PossibleValuesParser::new(names()))]
    name: String,
    /// Folder of the runs, of the outcome as JSON and of pictures; runs that are done in it are not done again
    /// [default: reproductions/NAME]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Data to train on [default: the bundled sample]
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
    /// Share of the epochs of every run; rates fall as much earlier
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Number of seeds, with each of which every network is trained [default: as the claim asks for, 5 or 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Train the networks of the claim itself, for ImageNet, instead of small ones
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    placed: Placed,
}

fn names() -> Vec<&'static str> {
    REPRODUCTIONS.iter().map(|reproduction| reproduction.name).collect()
}

fn scale(text: &str) -> Result<f64, &'static str> {
    text.parse()
        .ok()
        .filter(|scale| (0.0..=1.0).contains(scale) && *scale > 0.0)
        .ok_or("expected a number above 0, to 1")
}

impl Reproduce {
    pub(super) fn run(self, signals: &Signals) -> Result<ExitCode> {
        let found = REPRODUCTIONS.iter().find(|reproduction| reproduction.name == self.name);
        // The parser lets no other name through.
        let reproduction: &Reproduction = found.context("unknown name")?;
        let out = self.out.unwrap_or_else(|| Path::new("reproductions").join(reproduction.name));
        let campaign = Campaign {
            reproduction,
            out: out.clone(),
            data: self.data,
            devices: self.placed.on.devices.clone(),
            options: self.placed.changes(),
            full: self.full,
            scale: self.scale,
            seeds: self.seeds.unwrap_or(reproduction.seeds),
            adjust: &|devices| self.placed.prepare(devices),
        };
        let Some(outcome) = campaign.run(signals.stop(), &mut Shown(signals))? else {
            say(format_args!("interrupted; the same command goes on from here, with what is in {}", quoted(&out)));
            return Ok(signals.exit_code());
        };
        let chart = reproduced(&outcome);
        write(&out, &outcome, &chart)?;
        print(&outcome)?;
        say("");
        say(format_args!("runs, outcome.json and curves are in {}", quoted(&out)));
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the outcome as JSON and its chart as SVG and PNG.
fn write(out: &Path, outcome: &Outcome, chart: &Chart) -> Result<()> {
    write_file(&out.join("outcome.json"), serde_json::to_string_pretty(outcome)?.as_bytes())?;
    let picture = chart.draw(PICTURE[0], PICTURE[1]);
    write_file(&out.join("curves.svg"), svg_file(&picture).as_bytes())?;
    if let Some(bytes) = png_file(&picture) {
        write_file(&out.join("curves.png"), &bytes)?;
    }
    Ok(())
}

fn print(outcome: &Outcome) -> Result<()> {
    line(format_args!("{}: {} ({})", outcome.name, outcome.claim, outcome.source))?;
    gap()?;
    let mut header = vec!["network", "model", "rate", "seeds", "training error", "validation error"];
    let by_views = outcome.arms.iter().any(|arm| arm.error_by_ten_views().is_some());
    header.extend(by_views.then_some("by ten views"));
    let epochs = outcome.target.map(|target| format!("epochs to {:.0} %", 100.0 * target));
    header.extend(epochs.as_deref());
    let mut rows = Table::new(&header, &[2, 3, 4, 5, 6, 7]);
    for arm in &outcome.arms {
        let needed = epochs.as_ref().map(|_| arm.epochs_to_error().map_or_else(String::new, |ours| ours.words()));
        let by_views = by_views.then(|| spread_percent(arm.error_by_ten_views()));
        rows.add_row(cells(arm).into_iter().chain(by_views).chain(needed));
    }
    rows.print()?;
    for arm in outcome.arms.iter().filter(|arm| !arm.grid.is_empty()) {
        let tried = arm.grid.iter().map(|(rate, error)| match error {
            Some(error) => format!("{rate}: {:.1} %", 100.0 * error),
            None => format!("{rate}: diverged"),
        });
        line(format_args!(
            "{}, training error after the trial of each rate: {}",
            arm.name,
            tried.collect::<Vec<_>>().join(", ")
        ))?;
    }
    gap()?;
    line(format_args!("{}:", outcome.measure))?;
    let published = |number: Option<f64>| number.map_or_else(|| "no number".into(), |number| number.to_string());
    for arm in &outcome.arms {
        if let Some(ours) = &arm.ours {
            let paper = published(arm.published.or(outcome.paper));
            let (words, above, all) = (ours.words(), ours.above_zero, ours.values.len());
            // A ratio is always above 0.
            let above = outcome.target.map_or_else(|| format!(" ({above} of {all} above 0)"), |_| String::new());
            line(format_args!("  {}: {words} {}{above}; published: {paper}", arm.name, outcome.unit))?;
        }
    }
    if outcome.arms.iter().all(|arm| arm.ours.is_none()) {
        line(format_args!("  no number, for what is said below; published: {}", published(outcome.paper)))?;
    }
    gap()?;
    line("not as in the claim:")?;
    outcome.shortened.iter().try_for_each(|words| line(format_args!("  {words}")))
}

/// An error with its deviation in percent, nothing where there is none.
fn spread_percent(error: Option<Ours>) -> String {
    error.map_or_else(String::new, |Ours { mean, deviation, .. }| {
        let spread = deviation.map_or_else(String::new, |deviation| format!(" ± {:.1}", 100.0 * deviation));
        format!("{:.1}{spread} %", 100.0 * mean)
    })
}

fn cells(arm: &ArmOutcome) -> [String; 6] {
    // A change of many lines is that of all rows.
    let changes = if arm.changes.len() > 60 { "rows of its own".into() } else { arm.changes.clone() };
    let model =
        [arm.model.clone(), changes].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(", ");
    [
        arm.name.clone(),
        model,
        arm.rate.map_or_else(String::new, |rate| rate.to_string()),
        arm.runs.len().to_string(),
        spread_percent(arm.training_error()),
        spread_percent(arm.error()),
    ]
}

/// Shows the runs, each as `train` does.
struct Shown<'a>(&'a Signals);

impl Progress for Shown<'_> {
    fn run(&mut self, name: &str, number: usize, all: usize) -> Box<dyn Observer + '_> {
        say(format_args!("run {number} of {all}: {name}"));
        Box::new(Watch::new(self.0))
    }

    fn found(&mut self, name: &str) {
        say(format_args!("{name} was done before"));
    }
}
