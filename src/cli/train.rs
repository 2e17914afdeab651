//! `alexnet train`.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};

use super::options::{Placed, Replaced, place};
use super::output::{bytes, say};
use super::progress::bars;
use crate::checkpoint::Checkpoint;
use crate::commands::convert::read_weights;
use crate::data::Dataset;
use crate::files::FolderLock;
use crate::interop::adopt;
use crate::net::schedule::PRESETS;
use crate::net::{AUGMENTS, Augment, Model, Net, Schedule};
use crate::session::Session;
use crate::session::layout::{Layout, Request, Share};
use crate::train::{
    Config, Metric, Observer, Outcome, Profile, RunFolder, SaveEvery, Trainer, free_folder, statistics,
};

/// Arguments of `train`; what is not given comes from the model file.
#[derive(Debug, Args)]
pub(super) struct Train {
    /// A built-in network (`mini` where absent) or a model file; with --resume only what it says on training may differ
    #[arg(long)]
    model: Option<String>,
    #[command(flatten)]
    replaced: Replaced,
    /// A CIFAR-10 binary folder, a folder with train/CLASS/* and val/CLASS/*, or one that `prepare` made; the bundled
    /// sample where absent
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
    #[command(flatten)]
    placed: Placed,
    /// Images in a minibatch
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    batch: Option<usize>,
    /// Passes over the training set
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    epochs: Option<usize>,
    /// Ends the run after so many steps
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Learning rate of weights; that of biases keeps its ratio to it
    #[arg(long, value_name = "RATE")]
    lr: Option<f32>,
    #[arg(long, help = format!("When rates change: {} [default: the model's]", PRESETS.join(", ")), value_parser = PossibleValuesParser::new(PRESETS))]
    schedule: Option<String>,
    #[arg(long, value_name = "HOW", help = format!("How training images are changed at random: {} [default: the model's]", AUGMENTS.join(", ")), value_parser = PossibleValuesParser::new(AUGMENTS))]
    augment: Option<String>,
    /// Begins with the weights in a checkpoint, run folder or safetensors file; of all layers that fit, or of those named
    #[arg(long, value_name = "FILE[:LAYER,...]", conflicts_with = "resume")]
    init: Option<String>,
    /// Layers whose weights stay as they are: names, or FIRST..LAST, with commas between; none: trains all again
    #[arg(long, value_name = "LAYERS")]
    freeze: Option<String>,
    /// Saves a checkpoint every so many steps (500) or minutes (10m), besides after every epoch
    #[arg(long, value_name = "STEPS|MINUTESm")]
    save_every: Option<SaveEvery>,
    /// Checkpoints to keep, the best not counted
    #[arg(long, value_name = "COUNT", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    keep: Option<usize>,
    /// Seed of everything random
    #[arg(long)]
    seed: Option<u64>,
    /// Folder of the run, new or empty; runs/MODEL-NUMBER where absent
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Goes on with the run in this folder, as it was begun or as other options say from now on
    #[arg(long, value_name = "RUN", conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// Writes what happens when in the first steps, on the host and on every device, for chrome://tracing and Perfetto
    #[arg(long, value_name = "FILE.json")]
    profile: Option<PathBuf>,
    /// Steps in the profile
    #[arg(long, value_name = "STEPS", default_value = "20", requires = "profile", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    profile_steps: u64,
}

impl Train {
    pub(super) fn run(self) -> Result<()> {
        let (mut config, resumed) = self.begin()?;
        self.change(&mut config)?;
        let dataset = Dataset::open(config.data.as_deref().map(Path::new), config.network.input.stored())?;
        config.network.fit_classes(dataset.classes.len());
        let net = Net::new(config.network.clone()).with_context(|| format!("model {}", config.model))?;
        let (devices, layout) = place(&net, &config.request(), config.devices.as_deref())?;
        let devices = self.placed.prepare(devices);
        let plan = plan(&layout, config.batch());
        let mut session = Session::laid_out(net, &config.request(), layout, &devices, config.seed)?;
        let (steps, images) = (self.profile_steps, config.batch());
        let profile = self.profile.map(|path| Profile::create(&path, steps, &session, images)).transpose()?;
        let (folder, resumed) = match resumed {
            Some((folder, checkpoint)) => (folder, Some(checkpoint)),
            None => (RunFolder::reserve(&self.out.unwrap_or_else(|| free_folder(&config.model)))?, None),
        };
        let path = folder.folder().to_owned();
        say(format!(
            "{}: {} training and {} validation images of {} classes",
            config.model,
            dataset.train.len(),
            dataset.validation.len(),
            dataset.classes.len()
        ));
        say(plan);
        say(format!("run in {}", path.display()));
        let stop = stop_on_signal()?;
        let last = path.join("last.safetensors");
        let trainer = if let Some(checkpoint) = &resumed {
            let trainer = Trainer::resume(config, session, dataset, checkpoint, folder, &stop);
            trainer.with_context(|| last.display().to_string())?
        } else {
            session.initialise()?;
            if let Some(spec) = &config.init {
                begin_with(&mut session, spec, &config.network)?;
            }
            let statistics = statistics(&config, &dataset)?;
            Trainer::new(config, session, dataset, statistics, folder, &stop)?
        };
        let mut progress = Progress::new();
        let go_on = format!("go on with: alexnet train --resume {}", path.display());
        let outcome = trainer.with_profile(profile).run(&mut progress).with_context(|| {
            let stopped = if last.is_file() { &go_on } else { "there is no checkpoint to go on with yet" };
            format!("training stopped ({stopped})")
        })?;
        progress.bar.finish_and_clear();
        report(&outcome, &go_on);
        say(format!("checkpoints and metrics are in {}", path.display()));
        Ok(())
    }

    /// The configuration of a new run, or that of an old one with its folder and last checkpoint.
    fn begin(&self) -> Result<(Config, Option<(FolderLock, Checkpoint)>)> {
        let Some(folder) = &self.resume else {
            let model = self.model.clone().unwrap_or_else(|| "mini".into());
            return Ok((Config::new(&model, Model::open(&model)?, 0), None));
        };
        let (mut config, run) = resumed(folder)?;
        if let Some(model) = &self.model {
            (config.network, config.model) = (Model::open(model)?, model.clone());
        }
        Ok((config, Some(run)))
    }

    /// What the command line says over the model file, and over a run that is resumed.
    fn change(&self, config: &mut Config) -> Result<()> {
        self.replaced.apply(&mut config.network)?;
        config.data = self.data.clone().or(config.data.take());
        config.init = self.init.clone().or(config.init.take());
        config.seed = self.seed.unwrap_or(config.seed);
        let Request { micro_batch, recompute, exchange, precision, .. } = self.placed.request(config.request());
        (config.micro_batch, config.recompute) = (micro_batch, recompute);
        (config.exchange, config.precision) = (exchange, precision);
        if let Some(name) = &self.schedule {
            config.network.train.schedule = Schedule::preset(name).unwrap_or_default();
        }
        if let Some(name) = &self.augment {
            Augment::preset(name, &mut config.network);
        }
        if let Some(layers) = &self.freeze {
            config.freeze = rows(layers, &config.network)?;
        }
        config.save_every = self.save_every.or(config.save_every);
        config.keep = self.keep.unwrap_or(config.keep);
        let train = &mut config.network.train;
        if let Some(rate) = self.lr {
            train.set_rate(rate);
        }
        train.batch = self.batch.unwrap_or(train.batch);
        train.epochs = self.epochs.unwrap_or(train.epochs);
        // Of a run that is resumed with more epochs, the steps it was given before are no end.
        config.steps = self.steps.or(config.steps.filter(|_| self.epochs.is_none()));
        config.devices = self.placed.devices.clone().or(config.devices.take());
        if let Some(steps) = config.steps.filter(|_| self.epochs.is_none()) {
            // Steps alone decide when a run ends that was given steps.
            train.epochs = train.epochs.max(usize::try_from(steps).unwrap_or(usize::MAX));
        }
        if !(1..=65_536).contains(&train.batch) {
            bail!("batch {}: a minibatch has 1 to 65536 images", train.batch);
        }
        for rate in [Some(train.rate), train.bias_rate].into_iter().flatten() {
            if !(rate.is_finite() && rate >= 0.0) {
                bail!("--lr {rate}: a learning rate is a number of 0 or more");
            }
        }
        Ok(())
    }
}

/// Where a network runs, and what it takes there.
fn plan(layout: &Layout, minibatch: usize) -> String {
    let share = |share: &Share| {
        let tower = if layout.shares.len() > 1 { format!("tower {}: ", share.towers) } else { String::new() };
        format!("{tower}{}, {}", share.device, bytes(share.footprint.total))
    };
    let devices: Vec<_> = layout.shares.iter().map(share).collect();
    let images = layout.lowered.images;
    let at_once =
        if layout.micro_batches > 1 { format!(" in {} of {images}", layout.micro_batches) } else { String::new() };
    format!("{}; minibatch {minibatch}{at_once}; {} in all", devices.join("; "), bytes(layout.total()))
}

/// The rows that a list names: `conv1,fc6`, or `conv1..conv5` for all between; `none` for none.
fn rows(list: &str, model: &Model) -> Result<BTreeSet<String>> {
    let names: Vec<&str> = model.layers.iter().map(|row| row.name.as_str()).collect();
    let place = |name: &str| {
        let found = names.iter().position(|known| *known == name);
        found.with_context(|| format!("there is no layer {name:?}; there are {}", names.join(", ")))
    };
    let mut rows = BTreeSet::new();
    for entry in list.split(',').filter(|entry| *entry != "none") {
        let (first, last) = entry.split_once("..").unwrap_or((entry, entry));
        let (first, last) = (place(first)?, place(last)?);
        rows.extend(names[first.min(last)..=first.max(last)].iter().map(|&name| name.to_owned()));
    }
    Ok(rows)
}

/// Loads what `--init` names: `FILE` or `FILE:conv1..conv5`.
fn begin_with(session: &mut Session, spec: &str, model: &Model) -> Result<()> {
    // A colon may be part of a path, of a drive for one.
    let split = spec.rsplit_once(':').filter(|_| !Path::new(spec).exists());
    let (file, wanted) = match split {
        Some((file, list)) => (file, rows(list, model).context("--init")?),
        None => (spec, BTreeSet::new()),
    };
    let path = Checkpoint::locate(Path::new(file));
    let tensors = read_weights(&path).context("--init")?.tensors;
    let net = Net::new(model.clone())?;
    let tensors =
        adopt(&net, tensors, |row| wanted.contains(row)).with_context(|| format!("--init {}", path.display()))?;
    let names = session.load_rows(&tensors, &wanted).with_context(|| format!("--init {}", path.display()))?;
    say(format!("begins with {} of {}", names.join(", "), path.display()));
    Ok(())
}

/// What is to be said of a run that ended.
fn report(outcome: &Outcome, go_on: &str) {
    if !outcome.skipped.is_empty() {
        say(format!("{} images were skipped:", outcome.skipped.len()));
        outcome.skipped.iter().for_each(|reason| say(format!("  {reason}")));
    }
    if outcome.interrupted {
        say(format!("interrupted after step {} and saved; {go_on}", outcome.steps));
    }
    match outcome.validation {
        Some(metric) => {
            say(format!("validation error {:.1} % after {} steps", 100.0 * metric.top1_error, outcome.steps));
        }
        None if !outcome.interrupted => {
            say(format!("nothing is left to do after {} steps; --epochs or --steps asks for more", outcome.steps));
        }
        None => (),
    }
}

/// The configuration of a run, its folder, whose lock is taken before anything is read, and its last checkpoint.
fn resumed(folder: &Path) -> Result<(Config, (FolderLock, Checkpoint))> {
    if !folder.is_dir() {
        bail!("{}: is no folder; give --resume the folder of a run", folder.display());
    }
    let lock = FolderLock::acquire(folder)?;
    let path = folder.join("config.toml");
    let text = std::fs::read_to_string(&path);
    let text =
        text.with_context(|| format!("{} cannot be read: is {} a run folder?", path.display(), folder.display()))?;
    let config: Config = toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let checkpoint = Checkpoint::read(&folder.join("last.safetensors"))?;
    Ok((config, (lock, checkpoint)))
}

/// A flag that Ctrl-C (or SIGTERM) raises; a second one ends the program at once.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        let _ = writeln!(io::stderr(), "stopping after this step; once more to stop at once");
    })
    .context("signals cannot be handled")?;
    Ok(stop)
}

/// A bar on a terminal, plain lines elsewhere.
struct Progress {
    bar: ProgressBar,
    terminal: bool,
    label: String,
    last_line: Instant,
    /// When the epoch began, and the seconds since then in which steps waited for their images.
    begin: Instant,
    waited: f64,
}

/// Seconds between plain lines.
const QUIET: Duration = Duration::from_secs(10);

impl Progress {
    fn new() -> Self {
        let bar = bars().add(ProgressBar::no_length());
        // The template is a constant; a slip in it falls back to the default style.
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg}, {eta} left") {
            bar.set_style(style);
        }
        let (terminal, now) = (io::stderr().is_terminal(), Instant::now());
        Self { bar, terminal, label: String::new(), last_line: now, begin: now, waited: 0.0 }
    }
}

impl Observer for Progress {
    fn epoch(&mut self, epoch: usize, epochs: usize, images: usize, done: usize) {
        self.label = format!("epoch {epoch}/{epochs}");
        (self.begin, self.waited) = (Instant::now(), 0.0);
        self.bar.set_prefix(self.label.clone());
        self.bar.set_length(images as u64);
        self.bar.reset();
        self.bar.set_position(done as u64);
    }

    fn step(&mut self, metric: &Metric, images: usize) {
        self.bar.inc(images as u64);
        let (loss, error, speed) = (metric.loss, 100.0 * metric.top1_error, metric.images_per_second);
        self.waited += metric.wait;
        let waits = 100.0 * self.waited / self.begin.elapsed().as_secs_f64();
        let text =
            format!("loss {loss:.3}, error {error:.0} %, {speed:.1} images/s, {waits:.0} % of it waiting for data");
        if self.terminal {
            self.bar.set_message(text);
        } else if self.last_line.elapsed() > QUIET {
            say(format!("{} step {}: {text}", self.label, metric.step));
            self.last_line = Instant::now();
        }
    }

    fn validation(&mut self, metric: &Metric) {
        let Metric { loss, top1_error, top5_error, .. } = *metric;
        let (top1, top5) = (100.0 * top1_error, 100.0 * top5_error);
        let text =
            format!("{}: validation loss {loss:.3}, top-1 error {top1:.1} %, top-5 error {top5:.1} %", self.label);
        bars().suspend(|| say(text));
        self.last_line = Instant::now();
    }
}
