//! `alexnet train`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::options::{Placed, Replaced, positive};
use super::output::{bytes, quoted, say};
use super::progress::bars;
use super::signals::Signals;
use alexnet::net::schedule::PRESETS;
use alexnet::net::{AUGMENTS, Augment, Schedule};
use alexnet::session::layout::{Share, TrainingPlan};
use alexnet::train::{Extent, Launch, Metric, Observer, Phase, Ready, RunSummary, SaveEvery};

/// Arguments of `train`; what is not given comes from the model file.
#[derive(Debug, Args)]
pub(super) struct Train {
    /// A built-in network or a model file [default: mini]; with --resume only its training settings may differ
    #[arg(long)]
    model: Option<String>,
    #[command(flatten)]
    replaced: Replaced,
    /// A CIFAR-10 binary folder, a folder with train/CLASS/* and val/CLASS/*, or shards written by `prepare` [default:
    /// the bundled sample]
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
    /// Names of the classes, one a line: in the order of the labels, or each behind the name of its folder
    #[arg(long, value_name = "FILE")]
    classes: Option<String>,
    #[command(flatten)]
    placed: Placed,
    /// Images in a minibatch
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    batch: Option<usize>,
    /// Passes over the training set
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    epochs: Option<usize>,
    /// Number of steps after which the run ends
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Learning rate of weights; the rate of biases scales with it
    #[arg(long, value_name = "RATE", value_parser = positive)]
    lr: Option<f32>,
    #[arg(long, help = format!("Learning rate schedule: {} [default: the model's]", PRESETS.join(", ")), value_parser = PossibleValuesParser::new(PRESETS))]
    schedule: Option<String>,
    #[arg(long, value_name = "HOW", help = format!("Random augmentation of training images: {} [default: the model's]", AUGMENTS.join(", ")), value_parser = PossibleValuesParser::new(AUGMENTS))]
    augment: Option<String>,
    /// Start from the weights in a checkpoint, run folder or safetensors file: all that fit, or of the layers named
    #[arg(long, value_name = "FILE[:LAYER,...]", conflicts_with = "resume")]
    init: Option<String>,
    /// Layers whose weights are not trained: comma-separated names or FIRST..LAST; none to train all
    #[arg(long, value_name = "LAYERS")]
    freeze: Option<String>,
    /// Save a checkpoint every N steps or minutes, e.g. 500 or 10m, in addition to every epoch
    #[arg(long, value_name = "STEPS|MINUTESm")]
    save_every: Option<SaveEvery>,
    /// Number of recent checkpoints to keep, in addition to the best
    #[arg(long, value_name = "COUNT", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    keep: Option<usize>,
    /// Largest share of images that may be broken; a run that meets more of them stops [default: 1, and 5 images]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    max_broken: Option<f64>,
    /// Seed of all random numbers
    #[arg(long)]
    seed: Option<u64>,
    /// Folder of the run, new or empty [default: runs/MODEL-NUMBER]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Resume a run; other options override its settings
    #[arg(long, value_name = "RUN", conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// Resume from a damaged checkpoint as it is
    #[arg(long, requires = "resume")]
    no_verify: bool,
    /// Write a trace of the first steps, on the host and on every device, for chrome://tracing and Perfetto
    #[arg(long, value_name = "FILE.json")]
    profile: Option<PathBuf>,
    /// Number of steps to trace
    #[arg(long, value_name = "STEPS", default_value = "20", requires = "profile", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    profile_steps: u64,
}

impl Train {
    pub(super) fn run(self, signals: &Signals) -> Result<ExitCode> {
        let ready = self.launch()?.prepare(|devices| self.placed.prepare(devices))?;
        let Ready { config, dataset, .. } = &ready;
        let folder = ready.folder().to_owned();
        let [training, validation] = [&dataset.train, &dataset.validation].map(|split| split.len());
        let (model, classes) = (&config.model, dataset.classes.len());
        say(format!("{model}: {training} training and {validation} validation images of {classes} classes"));
        say(plan(&ready.plan));
        say(format!("run in {}", folder.display()));
        if let Some((names, file)) = &ready.begun {
            say(format!("begins with {} of {}", names.join(", "), file.display()));
        }
        let trainer = ready.trainer(signals.stop())?;
        let mut progress = Progress::new(signals);
        let go_on = format!("go on with: alexnet train --resume {}", quoted(&folder));
        let outcome = trainer.run(&mut progress).with_context(|| {
            let saved = folder.join("last.safetensors").is_file();
            let stopped = if saved { &go_on } else { "there is no checkpoint to go on with yet" };
            format!("training stopped ({stopped})")
        })?;
        progress.bar.finish_and_clear();
        report(&outcome, &go_on);
        say(format!("checkpoints and metrics are in {}", folder.display()));
        Ok(if outcome.interrupted { signals.exit_code() } else { ExitCode::SUCCESS })
    }

    /// A new or resumed run with the given arguments applied; absent ones keep its settings.
    fn launch(&self) -> Result<Launch> {
        let mut launch = match &self.resume {
            Some(folder) if self.no_verify => Launch::resume_unverified(folder)?,
            Some(folder) => Launch::resume(folder)?,
            None => Launch::new("mini")?,
        };
        launch.folder.clone_from(&self.out);
        launch.profile = self.profile.clone().map(|path| (path, self.profile_steps));
        let config = &mut launch.config;
        if let Some(model) = &self.model {
            config.set_model(model)?;
        }
        self.replaced.apply(&mut config.network)?;
        if self.data.is_some() || self.classes.is_some() {
            config.working_folder = std::env::current_dir().ok();
        }
        config.data = self.data.clone().or(config.data.take());
        config.classes = self.classes.clone().or(config.classes.take());
        config.devices = self.placed.devices.clone().or(config.devices.take());
        config.options = self.placed.over(config.options);
        config.init = self.init.clone().or(config.init.take());
        config.seed = self.seed.unwrap_or(config.seed);
        if let Some(name) = &self.schedule {
            config.network.train.schedule = Schedule::preset(name).unwrap_or_default();
        }
        if let Some(name) = &self.augment {
            Augment::preset(name, &mut config.network);
        }
        if let Some(layers) = &self.freeze {
            config.freeze = config.network.rows(layers)?;
        }
        config.save_every = self.save_every.or(config.save_every);
        config.max_broken = self.max_broken.or(config.max_broken);
        config.keep = self.keep.unwrap_or(config.keep);
        config.set_end(self.epochs, self.steps);
        let train = &mut config.network.train;
        train.batch = self.batch.unwrap_or(train.batch);
        if let Some(rate) = self.lr {
            train.set_rate(rate);
        }
        Ok(launch)
    }
}

/// Parses a share in percent.
fn percent(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..=100.0).contains(share));
    share.ok_or("expected a number of percent, 0 to 100")
}

/// One line about the devices, batches and memory of a run.
fn plan(plan: &TrainingPlan) -> String {
    let share = |share: &Share| {
        let tower = if plan.devices.len() > 1 { format!("tower {}: ", share.towers) } else { String::new() };
        format!("{tower}{}, {}", share.device, bytes(share.footprint.total))
    };
    let devices: Vec<_> = plan.devices.iter().map(share).collect();
    let TrainingPlan { minibatch, micro_batch, total, .. } = *plan;
    let at_once = if minibatch > micro_batch {
        format!(" in {} of {micro_batch}", minibatch.div_ceil(micro_batch))
    } else {
        String::new()
    };
    format!("{}; minibatch {minibatch}{at_once}; {} in all", devices.join("; "), bytes(total))
}

/// Prints how a run ended.
fn report(outcome: &RunSummary, go_on: &str) {
    if !outcome.skipped.is_empty() {
        say(format!("{} images were skipped:", outcome.skipped.len()));
        outcome.skipped.iter().for_each(|reason| say(format!("  {reason}")));
    }
    if outcome.interrupted {
        say(format!("interrupted after step {} and saved; {go_on}", outcome.steps));
    }
    match outcome.validation {
        Some(metric) => {
            say(format!("validation error {:.1} % after {} steps", 100.0 * metric.top1_error, metric.step));
        }
        None if !outcome.interrupted => {
            say(format!("nothing is left to do after {} steps; --epochs or --steps asks for more", outcome.steps));
        }
        None => (),
    }
}

/// A bar on a terminal, plain lines elsewhere.
struct Progress<'a> {
    signals: &'a Signals,
    bar: ProgressBar,
    terminal: bool,
    label: String,
    last_line: Instant,
    /// When the epoch began, and the seconds since then in which steps waited for their images.
    begin: Instant,
    waited: f64,
    /// Training images that are left in the run.
    left: u64,
    /// The bar of the phase between steps, its name, and the images it visits and has visited.
    phase: ProgressBar,
    phase_name: &'static str,
    phase_images: [usize; 2],
}

/// Seconds between plain lines.
const QUIET: Duration = Duration::from_secs(10);

impl<'a> Progress<'a> {
    fn new(signals: &'a Signals) -> Self {
        let bar = bars().add(ProgressBar::no_length());
        // The template is a constant; a slip in it falls back to the default style.
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg}, {eta} left") {
            bar.set_style(style);
        }
        let (terminal, now) = (io::stderr().is_terminal(), Instant::now());
        Self {
            signals,
            bar,
            terminal,
            label: String::new(),
            last_line: now,
            begin: now,
            waited: 0.0,
            left: 0,
            phase: ProgressBar::hidden(),
            phase_name: "",
            phase_images: [0; 2],
        }
    }
}

impl Observer for Progress<'_> {
    fn save(&mut self) -> bool {
        self.signals.save()
    }

    fn begin(&mut self, extent: Extent) {
        self.left = extent.images - extent.done;
        self.bar.set_length(extent.images);
        self.bar.set_position(extent.done);
        self.bar.reset_eta();
    }

    fn phase(&mut self, phase: Phase, images: usize) {
        self.phase_name = match phase {
            Phase::MeanImage => "mean image of the training images",
            Phase::Validation => "validation",
        };
        self.phase_images = [images, 0];
        self.last_line = Instant::now();
        self.phase.finish_and_clear();
        self.phase = bars().add(ProgressBar::new(images as u64)).with_prefix(self.phase_name);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}, {eta} left") {
            self.phase.set_style(style);
        }
    }

    fn seen(&mut self, images: usize) {
        self.phase.inc(images as u64);
        self.phase_images[1] += images;
        let [all, done] = self.phase_images;
        if done >= all {
            self.phase.finish_and_clear();
        } else if !self.terminal && self.last_line.elapsed() > QUIET {
            say(format!("{}: {done} of {all} images", self.phase_name));
            self.last_line = Instant::now();
        }
    }

    fn note(&mut self, text: &str) {
        bars().suspend(|| say(text));
    }

    fn epoch(&mut self, epoch: usize, epochs: usize, _images: usize, _done: usize) {
        self.label = format!("epoch {epoch}/{epochs}");
        (self.begin, self.waited) = (Instant::now(), 0.0);
        self.bar.set_prefix(self.label.clone());
    }

    fn step(&mut self, metric: &Metric, images: usize) {
        self.bar.inc(images as u64);
        self.left = self.left.saturating_sub(images as u64);
        let (loss, error, speed) = (metric.loss, 100.0 * metric.top1_error, metric.images_per_second);
        self.waited += metric.wait;
        let waits = 100.0 * self.waited / self.begin.elapsed().as_secs_f64();
        let text =
            format!("loss {loss:.3}, error {error:.0} %, {speed:.1} images/s, {waits:.0} % of it waiting for data");
        if self.terminal {
            self.bar.set_message(text);
        } else if self.last_line.elapsed() > QUIET {
            let left = HumanDuration(Duration::try_from_secs_f64(self.left as f64 / speed).unwrap_or(Duration::MAX));
            say(format!("{} step {}: {text}, {left} left", self.label, metric.step));
            self.last_line = Instant::now();
        }
    }

    fn validation(&mut self, metric: &Metric) {
        let Metric { loss, top1_error, top5_error, .. } = *metric;
        let (top1, top5) = (100.0 * top1_error, 100.0 * top5_error);
        let text =
            format!("{}: validation loss {loss:.3}, top-1 error {top1:.1} %, top-5 error {top5:.1} %", self.label);
        self.phase.finish_and_clear();
        bars().suspend(|| say(text));
        self.last_line = Instant::now();
    }
}
