//! `alexnet train`: a run, begun or resumed, its progress shown.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::live::{Live, expect_terminal};
use super::observers::Several;
use super::options::{Placed, Replaced, named, percent, positive};
use super::output::{bytes, counted, quoted, say, skipped, thousands};
use super::progress::{Lines, Progress};
use super::ranks::among_ranks;
use super::signals::Signals;
use alexnet::net::schedule::PRESETS;
use alexnet::net::{AUGMENTS, OptionChanges, Order, Parallel, Schedule};
use alexnet::ranks::{Network, Ranks};
use alexnet::report::Board;
use alexnet::session::layout::{Share, TrainingPlan};
use alexnet::tensor::share_of;
use alexnet::train::{Changes, Extent, Launch, Metric, Observer, Phase, Ready, Resume, RunSummary, SaveEvery};

/// Arguments of `train`; what is not given comes from the model file.
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line are independent of each other")]
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
    /// End the run after the first epoch whose training error is this or less
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    until_error: Option<f64>,
    /// Learning rate of weights; the rate of biases scales with it
    #[arg(long, value_name = "RATE", value_parser = positive, allow_negative_numbers = true)]
    lr: Option<f32>,
    #[arg(long, help = format!("Learning rate schedule: {} [default: the model's]", PRESETS.join(", ")), value_parser = PossibleValuesParser::new(PRESETS))]
    schedule: Option<String>,
    /// Order in which an epoch visits the training images [default: the model's]
    #[arg(long, value_name = "ORDER", value_parser = named::<Order>())]
    order: Option<Order>,
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
    /// Validate every N steps (minibatches), in addition to every epoch
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    validate_every: Option<u64>,
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
    /// Write event files for TensorBoard into the run folder
    #[arg(long)]
    tensorboard: bool,
    /// Show curves, devices and validations live; keys stop the run, save, and show the log
    #[arg(long)]
    tui: bool,
    /// Write a trace of the first steps, on the host and on every device, for chrome://tracing and Perfetto
    #[arg(long, value_name = "FILE.json")]
    profile: Option<PathBuf>,
    /// Number of steps to trace
    #[arg(long, value_name = "STEPS", default_value = "20", requires = "profile", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    profile_steps: u64,
    /// Under MPI: how ranks share the work of a step [default: data]
    #[arg(long, value_name = "HOW", value_parser = named::<Parallel>())]
    parallel: Option<Parallel>,
    /// Under MPI: have all ranks log, each with its number, and not the first alone
    #[arg(long)]
    log_ranks: bool,
    /// Under MPI: exchange gradients when all of them are there, to measure what it costs not to hide it
    #[arg(long)]
    no_overlap: bool,
    /// Under MPI: slow messages down to this network's speed, to measure what it would cost
    #[arg(long, value_name = "BIT/S,TIME", hide = true)]
    slow_network: Option<Network>,
}

impl Train {
    pub(super) fn run(self, signals: &Signals) -> Result<ExitCode> {
        among_ranks(self.slow_network, self.log_ranks, signals, |ranks| self.train(signals, ranks))
    }

    fn train(&self, signals: &Signals, ranks: &Arc<Ranks>) -> Result<ExitCode> {
        if self.tui {
            expect_terminal().context("--tui")?;
        }
        let busy = Progress::busy("setting up");
        let ready = self.launch(ranks)?.prepare(|devices| self.placed.prepare(devices))?;
        let Ready { config, dataset, .. } = &ready;
        let folder = ready.folder().to_owned();
        let [training, validation] = [&dataset.train, &dataset.validation].map(|split| thousands(split.len() as u64));
        let (model, classes) = (&config.model, dataset.classes.len());
        say(format!("{model}: {training} training and {validation} validation images of {classes} classes"));
        let plan = plan(&ready.plan, ranks.size(), config.options.parallel);
        say(&plan);
        say(format!("run in {}", folder.display()));
        if let Some((names, file)) = &ready.begun {
            say(format!("begins with {} of {}", names.join(", "), file.display()));
        }
        let board = (self.tensorboard && ranks.is_first()).then(|| Board::new(&folder, config));
        let title = format!("{model}, {plan}");
        let trainer = ready.trainer(signals.stop())?;
        drop(busy);
        let mut observers = Several(board.into_iter().map(|board| Box::new(board) as Box<dyn Observer>).collect());
        observers.0.push(if self.tui && ranks.is_first() {
            Box::new(Live::new(&folder, title, signals)?)
        } else {
            Box::new(Watch::new(signals))
        });
        let go_on = format!("go on with: alexnet train --resume {}", quoted(&folder));
        ranks.advise(&go_on);
        let outcome = trainer.run(&mut observers).with_context(|| {
            let saved = folder.join("last.safetensors").is_file();
            let stopped = if saved { &go_on } else { "there is no checkpoint to go on with yet" };
            format!("training stopped ({stopped})")
        })?;
        drop(observers);
        report(&outcome, &go_on);
        say(format!("checkpoints and metrics are in {}", folder.display()));
        Ok(if outcome.interrupted && signals.stops() { signals.exit_code() } else { ExitCode::SUCCESS })
    }

    /// A new or resumed run, changed by the arguments.
    fn launch(&self, ranks: &Arc<Ranks>) -> Result<Launch> {
        let how = Resume { unverified: self.no_verify, ..Resume::default() };
        let mut launch = match &self.resume {
            Some(folder) => Launch::resume_among(ranks, folder, &how)?,
            None => Launch::new("mini")?,
        };
        launch.ranks = Arc::clone(ranks);
        launch.overlap = !self.no_overlap;
        launch.folder.clone_from(&self.out);
        launch.profile = self.profile.clone().map(|path| (path, self.profile_steps));
        launch.config.change(Changes {
            model: self.model.clone(),
            replace: self.replaced.stages.clone(),
            data: self.data.clone(),
            classes: self.classes.clone(),
            devices: self.placed.on.devices.clone(),
            options: OptionChanges { parallel: self.parallel, ..self.placed.changes() },
            init: self.init.clone(),
            freeze: self.freeze.clone(),
            save_every: self.save_every,
            keep: self.keep,
            max_broken: self.max_broken,
            seed: self.seed,
            batch: self.batch,
            epochs: self.epochs,
            steps: self.steps,
            rate: self.lr,
            schedule: self.schedule.as_deref().and_then(Schedule::preset),
            order: self.order,
            until_error: self.until_error.map(|error| error / 100.0),
            validate_every: self.validate_every,
            augment: self.augment.clone(),
        })?;
        Ok(launch)
    }
}

/// One line about the devices, batches and memory of a run, of one rank where `ranks` share it.
fn plan(plan: &TrainingPlan, ranks: usize, parallel: Parallel) -> String {
    let share = |share: &Share| {
        let tower = if plan.devices.len() > 1 { format!("tower {}: ", share.towers) } else { String::new() };
        format!("{tower}{}, {}", share.device, bytes(share.footprint.total))
    };
    let devices: Vec<_> = plan.devices.iter().map(share).collect();
    let TrainingPlan { minibatch, micro_batch, total, .. } = *plan;
    let share = share_of(minibatch, ranks);
    let of_ranks =
        if ranks > 1 { format!(" on {ranks} ranks ({parallel}), {share} images each") } else { String::new() };
    let at_once = if share > micro_batch {
        format!("{of_ranks} in {} of {micro_batch}", share.div_ceil(micro_batch))
    } else {
        of_ranks
    };
    format!("{}; minibatch {minibatch}{at_once}; {} in all", devices.join("; "), bytes(total))
}

/// Prints how a run ended.
fn report(outcome: &RunSummary, go_on: &str) {
    skipped(&outcome.skipped);
    if outcome.interrupted {
        say(format!("interrupted after step {} and saved; {go_on}", outcome.steps));
    }
    match outcome.validation {
        Some(metric) => {
            say(format!("validation error {:.1} % after {}", 100.0 * metric.top1_error, counted(metric.step, "step")));
        }
        None if !outcome.interrupted => {
            say(format!(
                "nothing is left to do after {}; --epochs or --steps asks for more",
                counted(outcome.steps, "step")
            ));
        }
        None => (),
    }
}

/// Shows how far a run is, and asks for checkpoints on behalf of signals.
pub(super) struct Watch<'a> {
    signals: &'a Signals,
    run: Progress,
    /// What is done between steps.
    phase: Option<Progress>,
    label: String,
    /// Loss in nats and share of wrong images, smoothed over the last steps.
    recent: Option<[f64; 2]>,
    /// When the epoch began, and the seconds since then in which steps waited for their images.
    begin: Instant,
    waited: f64,
}

/// Share that one step has in smoothed numbers.
const NEWEST: f64 = 0.05;

impl<'a> Watch<'a> {
    pub(super) fn new(signals: &'a Signals) -> Self {
        let run = Progress::new("training", "images of the run", Lines::Output);
        Self { signals, run, phase: None, label: String::new(), recent: None, begin: Instant::now(), waited: 0.0 }
    }
}

impl Observer for Watch<'_> {
    fn save(&mut self) -> bool {
        self.signals.save()
    }

    fn begin(&mut self, extent: Extent) {
        self.run.length(extent.images as usize);
        self.run.found(extent.done as usize);
    }

    fn phase(&mut self, phase: Phase, images: usize) {
        let name = match phase {
            Phase::MeanImage => "mean image of the training images",
            Phase::Validation => "validation",
        };
        let progress = Progress::new(name, "images", Lines::Output);
        progress.length(images);
        self.phase = Some(progress);
    }

    fn seen(&mut self, images: usize) {
        self.phase.iter().for_each(|phase| phase.step(images));
    }

    fn note(&mut self, text: &str) {
        say(text);
    }

    fn epoch(&mut self, epoch: usize, epochs: usize, _images: usize, _done: usize) {
        self.label = format!("epoch {epoch}/{epochs}");
        self.run.name(&self.label);
        (self.begin, self.waited, self.phase) = (Instant::now(), 0.0, None);
    }

    fn step(&mut self, metric: &Metric, images: usize) {
        self.run.step(images);
        let newest = [metric.loss, metric.top1_error];
        let before = self.recent.unwrap_or(newest);
        let recent = [0, 1].map(|i| before[i] + NEWEST * (newest[i] - before[i]));
        self.recent = Some(recent);
        self.waited += metric.wait;
        let waits = 100.0 * self.waited / self.begin.elapsed().as_secs_f64();
        let ([loss, error], speed) = (recent, metric.images_per_second);
        let (step, error) = (metric.step, 100.0 * error);
        // Only what is worth mending.
        let waits = if waits < 1.0 { String::new() } else { format!(", {waits:.0} % of it waiting for data") };
        self.run.message(format!("loss {loss:.3}, error {error:.0} %, {speed:.1} images/s{waits}, step {step}"));
    }

    fn validation(&mut self, metric: &Metric) {
        let Metric { loss, top1_error, top5_error, .. } = *metric;
        let (top1, top5) = (100.0 * top1_error, 100.0 * top5_error);
        self.phase = None;
        // Of five classes or fewer the right one is always among the best five.
        let top5 = if top5 > 0.0 { format!(", top-5 error {top5:.1} %") } else { String::new() };
        say(format!("{}: validation loss {loss:.3}, top-1 error {top1:.1} %{top5}", self.label));
    }
}
