//! The training loop: epochs of steps, validation after each, checkpoints.

mod changes;
mod config;
mod error;
mod extent;
mod images;
mod launch;
mod measure;
mod metrics;
mod observer;
mod trace;
mod restore;
mod skipped;
mod folder;
mod saving;
mod validation;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

pub use self::changes::Changes;
use self::changes::of_network;
pub use self::config::{Config, SaveEvery};
pub use self::error::{Advice, ConfigError, FolderError, InitError, Moment, TrainError};
pub use self::extent::Extent;
pub use self::folder::{DeviceRecord, Resumption, RunFolder, free_folder, kept, settings};
use self::images::{draw, statistics_of};
pub use self::launch::{Launch, Ready, Resume};
use self::measure::statistics;
use self::metrics::Reached;
pub use self::metrics::{METRICS, Metric, MetricKind};
pub use self::observer::{Observer, Phase};
use self::restore::restore;
use self::skipped::{Images, Skipped};
pub use self::trace::TraceFile;
use self::watch::{Fall, Start};
pub use self::watch::{Movement, movements};
use crate::checkpoint::{Checkpoint, State};
use crate::data::{self, DataError, Dataset, Loader, LoaderOptions, Split, Statistics, Views};
use crate::files::FolderLock;
use crate::net::{Order, Position, Score};
use crate::session::{Rates, Session};

/// Steps from one in which the devices are measured to the next: the host waits for the end of each.
const MEASURED: u64 = 100;

/// Steps before the first of them, in which drivers compile.
const MEASURED_FIRST: u64 = 10;

/// End of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// Result of the last validation in this process.
    pub validation: Option<Metric>,
    /// Finished steps of the whole run.
    pub steps: u64,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Images that could not be decoded, with the reason.
    pub skipped: Vec<String>,
}

/// A run in progress.
pub struct Trainer<'a> {
    config: Config,
    session: Session,
    dataset: Dataset,
    /// Statistics of the training images, once they are measured.
    statistics: Option<Statistics>,
    folder: RunFolder,
    stop: &'a AtomicBool,
    state: State,
    /// The last step whose movements were logged.
    moved: u64,
    /// Learning rates of weights and biases in the last step of this process.
    rates: Option<[f32; 2]>,
    /// When this process took the run up.
    begun: Instant,
    /// Time of the last checkpoint, and its number of steps.
    saved: (Instant, u64),
    start: Start,
    /// Watch over the first steps of a run that begins in this process.
    fall: Option<Fall>,
    skipped: Skipped,
    profile: Option<TraceFile>,
}

impl<'a> Trainer<'a> {
    /// A run from the beginning, with the weights that its session has, in `folder`; `stop` ends it after
    /// the step in progress, or before that if it takes long.
    pub fn new(
        config: Config,
        session: Session,
        dataset: Dataset,
        statistics: Statistics,
        folder: FolderLock,
        stop: &'a AtomicBool,
    ) -> Result<Self, TrainError> {
        Self::open(config, session, dataset, Some(statistics), State::default(), folder, stop)
    }

    /// The same, with statistics of the training images that are measured when it runs.
    pub fn unmeasured(
        config: Config,
        session: Session,
        dataset: Dataset,
        folder: FolderLock,
        stop: &'a AtomicBool,
    ) -> Result<Self, TrainError> {
        Self::open(config, session, dataset, None, State::default(), folder, stop)
    }

    /// Goes on from a checkpoint of the same network and classes.
    ///
    /// # Errors
    /// When the checkpoint does not fit, and then nothing is written; or as [`Trainer::new`].
    pub fn resume(
        config: Config,
        mut session: Session,
        dataset: Dataset,
        checkpoint: &Checkpoint,
        folder: FolderLock,
        stop: &'a AtomicBool,
    ) -> Result<Self, TrainError> {
        let dataset = dataset.arranged(&checkpoint.state.classes)?;
        if let Some(change) = dataset.changed(&checkpoint.state.data) {
            log::warn!("{change}");
        }
        let other = of_network(&checkpoint.state.model, &config.network);
        if !other.is_empty() {
            log::warn!("the network is not that of the checkpoint: {}", other.join("; "));
        }
        restore(&mut session, checkpoint)?;
        let statistics = statistics_of(checkpoint)?;
        Self::open(config, session, dataset, Some(statistics), checkpoint.state.clone(), folder, stop)
    }

    /// A run that has come as far as `state`. The last to be done is what writes.
    fn open(
        config: Config,
        mut session: Session,
        dataset: Dataset,
        statistics: Option<Statistics>,
        mut state: State,
        folder: FolderLock,
        stop: &'a AtomicBool,
    ) -> Result<Self, TrainError> {
        statistics.as_ref().map_or(Ok(()), |statistics| session.set_mean(&statistics.mean))?;
        let model = toml::to_string(&config.network);
        state.model = model.map_err(|error| FolderError::from(error).about(folder.folder()))?;
        (state.classes, state.seed) = (dataset.classes.clone(), config.seed);
        state.data = dataset.contents();
        state.variants = session.cluster().variants();
        let images = [&dataset.train, &dataset.validation].map(|split| split.len());
        let (saved, skipped) = ((Instant::now(), state.step), Skipped::new(images, config.max_broken));
        let start = Start::new(state.classes.len(), state.step);
        let reached = Reached { step: state.step, validated: !state.unvalidated };
        let devices = session.cluster().devices().into_iter().map(|(towers, device)| format!("{towers}: {device}"));
        let epoch = dataset.train.len().div_ceil(config.batch().max(1)) as u64;
        let folder = RunFolder::open(folder, &config, reached, devices.collect(), epoch)?;
        let fall = (state.step == 0).then(|| Fall::new(epoch));
        let (moved, rates, begun, profile) = (state.step, None, Instant::now(), None);
        Ok(Self {
            config,
            session,
            dataset,
            statistics,
            folder,
            stop,
            state,
            moved,
            rates,
            begun,
            saved,
            start,
            fall,
            skipped,
            profile,
        })
    }

    /// The same with a trace taken of its first steps.
    #[must_use]
    pub fn with_profile(mut self, profile: Option<TraceFile>) -> Self {
        self.profile = profile;
        self
    }

    /// Progress of the run.
    fn progress(&self) -> Position {
        let State { epoch, step, position, stagnation, .. } = self.state;
        let epochs = self.config.network.train.epochs.max(1) as f64;
        let whole = epoch as f64 + position as f64 / self.dataset.train.len().max(1) as f64;
        let share = self.config.steps.map_or(whole / epochs, |steps| step as f64 / steps.max(1) as f64);
        let within = whole - epoch as f64;
        Position { epoch, within, step, share, plateaus: stagnation.plateaus }
    }

    /// Trains to the end of the configuration or until `stop`.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<RunSummary, TrainError> {
        let measured = self.measure(observer).inspect_err(|_| drop(self.folder.discard()))?;
        let mut validation = None;
        if measured {
            if let Some(profile) = &mut self.profile {
                profile.begin(&mut self.session);
            }
            let ended = self.epochs(observer);
            self.end_profile();
            if let Err(TrainError::Data(_)) = ended
                && self.state.step > self.saved.1
            {
                self.save(observer)?; // the network is well
            }
            validation = ended.map_err(|error| error.after(self.state.step, self.session.images()))?;
        }
        let (steps, interrupted) = (self.state.step, self.stop.load(Ordering::Relaxed));
        Ok(RunSummary { validation, steps, interrupted, skipped: self.skipped.reasons })
    }

    /// Measures the images of a run that begins, and gives the session its mean image; whether it was not stopped
    /// meanwhile.
    fn measure(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        if self.statistics.is_none() {
            let measured = statistics(&self.config, &self.dataset, &self.folder, self.stop, observer)?;
            let Some(measured) = measured else { return Ok(false) };
            self.session.set_mean(&measured.mean)?;
            self.statistics = Some(measured);
        }
        Ok(true)
    }

    fn end_profile(&mut self) {
        if let Some(profile) = self.profile.take() {
            profile.finish(&mut self.session);
        }
    }

    /// All epochs that are left; the last validation.
    fn epochs(&mut self, observer: &mut dyn Observer) -> Result<Option<Metric>, TrainError> {
        let mut validation = None;
        let extent = Extent::of(&self.config, self.dataset.train.len(), &self.state);
        observer.begin(extent);
        loop {
            // The first thing to do for a run that was stopped in it.
            if self.state.unvalidated {
                validation = self.validate(observer)?.or(validation);
            }
            if self.finished() || self.state.epoch >= self.config.network.train.epochs {
                break;
            }
            observer.epoch(self.state.epoch + 1, extent.epochs, self.dataset.train.len(), self.state.position);
            let whole = self.epoch(observer)?;
            self.state.unvalidated |= whole || self.steps_done();
            self.save(observer)?;
        }
        if self.folder.last().is_none() {
            self.save(observer)?; // interrupted before the first step
        }
        Ok(validation)
    }

    /// Whether it is time for a checkpoint within an epoch.
    fn due(&self) -> bool {
        let (when, step) = self.saved;
        match self.config.save_every {
            None => false,
            Some(SaveEvery::Steps(steps)) => self.state.step >= step.saturating_add(steps),
            Some(SaveEvery::Minutes(minutes)) => when.elapsed() >= Duration::from_secs(minutes.saturating_mul(60)),
        }
    }

    fn steps_done(&self) -> bool {
        self.config.steps.is_some_and(|steps| self.state.step >= steps)
    }

    fn finished(&self) -> bool {
        self.steps_done() || self.state.reached || self.stop.load(Ordering::Relaxed)
    }

    /// The rest of the current epoch; whether all of it was done, and `state.position` is 0 then.
    fn epoch(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        let (train, seed) = (&self.dataset.train, self.config.seed);
        let order = match self.config.network.train.order.unwrap_or_default() {
            Order::Shuffled => train.training_order(seed, self.state.epoch as u64),
            Order::File => train.stored_order(seed),
        };
        let colours = self.statistics.as_ref().map(|statistics| statistics.colours).unwrap_or_default();
        let views = Views::Random(draw(&self.config, &self.progress(), &colours));
        let mut loader = self.loader(&self.dataset.train, order, self.state.position, views)?;
        let (begin, mut seen) = (Instant::now(), 0);
        loop {
            let asked = Instant::now();
            let Some(batch) = loader.next_unless(self.stop) else { break };
            let batch = batch?;
            let wait = asked.elapsed();
            self.skipped.add(&batch.skipped, Images::Training)?;
            if batch.count == 0 {
                return Err(no_image(&batch.skipped).into());
            }
            observer.batch(&batch);
            // Rates of 0 begin with an epoch, or in its midst where a phase says so.
            self.session.freeze(&self.config.frozen(&self.progress()))?;
            let rates = self.config.rates(&self.progress());
            self.note_rates(&rates, observer);
            self.session.set_rates(rates)?;
            let (started, waited) = (Instant::now(), self.session.cluster().waited());
            let measured = self.profile.is_none() && self.state.step % MEASURED == MEASURED_FIRST;
            if measured {
                self.session.start_measuring(started);
            }
            if !self.session.gradients_unless(&batch, self.state.step, self.stop)? {
                return Ok(false); // nothing of this step has reached the weights
            }
            self.session.update()?;
            let score = self.session.score()?;
            let device = self.session.cluster().waited().saturating_sub(waited).as_secs_f64();
            let measured = measured.then(|| self.measured(started)).transpose()?;
            if !score.loss.is_finite() {
                let step = 1 + self.session.trouble()?.unwrap_or(self.state.step);
                return Err(self.diverged(Moment::Step(step), Some(&batch))?);
            }
            seen += batch.count;
            self.state.training.add(score);
            self.state.step += 1;
            if let Some(profile) = &mut self.profile
                && profile.step(&mut self.session, self.state.step, asked, wait)?
            {
                self.end_profile();
            }
            self.state.position = batch.next;
            let wait = wait.as_secs_f64();
            let speed = seen as f64 / begin.elapsed().as_secs_f64();
            let metric = Metric { wait, device, ..self.metric(MetricKind::Step, score, speed) };
            self.folder.log(&metric, measured.as_ref())?;
            if let Some(record) = &measured {
                observer.devices(record);
            }
            observer.step(&metric, batch.count);
            let stalled = self.start.step(metric.loss);
            let flat = self.fall.as_mut().and_then(|fall| fall.step(metric.loss));
            // One word is enough about a loss that stays at chance.
            if let Some(stalled) = stalled.or(flat) {
                log::warn!("{stalled}");
                self.fall = None;
            }
            if observer.save() || self.due() {
                self.save(observer)?;
            }
            let whole = batch.next >= self.dataset.train.len();
            if self.finished() && !whole {
                return Ok(false);
            }
            let due = self.config.validate_every.is_some_and(|steps| self.state.step.is_multiple_of(steps.max(1)));
            if due && !whole {
                self.state.unvalidated = true;
                self.save(observer)?;
                self.validate(observer)?;
            }
        }
        if self.stop.load(Ordering::Relaxed) && self.state.position < self.dataset.train.len() {
            return Ok(false); // stopped while it waited for images
        }
        self.state.epoch += 1;
        self.state.position = 0;
        Ok(true)
    }

    /// The work of the devices in the step that began at `started`.
    fn measured(&mut self, started: Instant) -> Result<DeviceRecord, TrainError> {
        let (seconds, devices) = self.session.device_times(started)?;
        let exchange = self.session.exchanging().as_secs_f64();
        self.session.stop_profile();
        Ok(DeviceRecord { seconds, exchange, devices })
    }

    fn metric(&self, kind: MetricKind, score: Score, images_per_second: f64) -> Metric {
        let (loss, top1_error, top5_error) = score.means();
        let (step, epoch) = (self.state.step, self.state.epoch + 1);
        let [rate, bias_rate] = self.rates.unwrap_or_else(|| {
            let rates = self.config.rates(&self.progress());
            [rates.weights, rates.biases]
        });
        let training = Some(self.state.training).filter(|training| !training.is_empty()).map(|sums| sums.means());
        let seconds = self.folder.seconds() + self.begun.elapsed().as_secs_f64();
        let (wait, device, time) = (0.0, 0.0, SystemTime::now());
        Metric {
            kind,
            step,
            epoch,
            loss,
            top1_error,
            top5_error,
            images_per_second,
            images: score.images,
            wait,
            device,
            rate,
            bias_rate,
            training_loss: training.map(|(loss, ..)| loss),
            training_top1_error: training.map(|(_, error, _)| error),
            seconds,
            time,
        }
    }

    /// Tells of learning rates that are not those of the step before.
    fn note_rates(&mut self, rates: &Rates, observer: &mut dyn Observer) {
        let now = [rates.weights, rates.biases];
        if let Some(before) = self.rates.replace(now).filter(|before| *before != now) {
            let State { step, epoch, .. } = self.state;
            // As many digits as people give.
            let short = |rate: f32| format!("{rate:.3e}").parse::<f64>().unwrap_or_default();
            let [weights, biases] = [0, 1].map(|i| format!("{} → {}", short(before[i]), short(now[i])));
            let epoch = epoch + 1;
            observer.note(&format!("epoch {epoch}, step {}: learning rate {weights}, of biases {biases}", step + 1));
        }
    }

    fn loader(&self, split: &Arc<Split>, order: Vec<u32>, start: usize, views: Views) -> Result<Loader, TrainError> {
        let plan =
            LoaderOptions { order, start, capacity: self.config.batch(), views, threads: data::decoding_threads() };
        Ok(Loader::new(split, plan)?)
    }
}

fn no_image(skipped: &[String]) -> DataError {
    DataError::NoImage { count: skipped.len(), first: skipped.first().cloned().unwrap_or_default() }
}
