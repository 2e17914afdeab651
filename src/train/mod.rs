//! The training loop: epochs of steps, validation after each, checkpoints.

mod changes;
mod config;
mod error;
mod extent;
mod images;
mod launch;
mod logging;
mod measure;
mod metrics;
mod observer;
mod pending;
mod trace;
mod restore;
mod skipped;
mod folder;
mod saving;
mod sharing;
mod validation;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

pub use self::changes::Changes;
use self::changes::of_network;
pub use self::config::{Config, SaveEvery};
pub use self::error::{Advice, ConfigError, FolderError, InitError, Moment, TrainError};
pub use self::extent::Extent;
pub use self::folder::{DeviceRecord, ExchangeRecord, Resumption, RunFolder, free_folder, kept, settings};
use self::images::{draw, statistics_of};
pub use self::launch::{Launch, Ready, Resume};
use self::measure::statistics;
use self::metrics::Reached;
pub use self::metrics::{METRICS, Metric, MetricKind};
pub use self::observer::{Observer, Phase};
use self::pending::Pending;
use self::restore::restore;
use self::sharing::{Stop, share_statistics};
use self::skipped::{Images, Skipped};
pub use self::trace::TraceFile;
use self::watch::{Fall, Start};
pub use self::watch::{Movement, movements};
use crate::checkpoint::{Checkpoint, State};
use crate::data::{DataError, Dataset, Part, Statistics, Views};
use crate::files::FolderLock;
use crate::net::{Order, Position};
use crate::ranks::Ranks;
use crate::session::{Places, Session};

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

/// The ranks that train together, and what this one of them does besides.
struct Crew {
    ranks: Arc<Ranks>,
    /// Folder of the run, where this rank is the one that writes.
    folder: Option<FolderLock>,
    overlap: bool,
}

impl Crew {
    /// One rank, which writes in `folder`.
    fn alone(folder: FolderLock) -> Self {
        Self { ranks: Arc::default(), folder: Some(folder), overlap: true }
    }
}

/// A run in progress.
pub struct Trainer<'a> {
    config: Config,
    session: Session,
    dataset: Dataset,
    /// Statistics of the training images, once they are measured.
    statistics: Option<Statistics>,
    /// Folder of the run, where this rank is the one that writes.
    folder: Option<RunFolder>,
    ranks: Arc<Ranks>,
    /// Whether gradients leave for other ranks before all of them are there.
    overlap: bool,
    stop: Stop<'a>,
    /// Progress of the weights: steps whose update is submitted.
    state: State,
    /// The last of those steps, while its score is not looked at.
    pending: Option<Pending>,
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
    /// Images that ranks have found broken, for training and for validation.
    broken: [BTreeSet<u32>; 2],
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
        Self::open((config, session, dataset), Some(statistics), State::default(), Crew::alone(folder), stop)
    }

    /// The same, with statistics of the training images that are measured when it runs.
    pub fn unmeasured(
        config: Config,
        session: Session,
        dataset: Dataset,
        folder: FolderLock,
        stop: &'a AtomicBool,
    ) -> Result<Self, TrainError> {
        Self::open((config, session, dataset), None, State::default(), Crew::alone(folder), stop)
    }

    /// Goes on from a checkpoint of the same network and classes.
    ///
    /// # Errors
    /// When the checkpoint does not fit, and then nothing is written; or as [`Trainer::new`].
    pub fn resume(
        config: Config,
        session: Session,
        dataset: Dataset,
        checkpoint: &Checkpoint,
        folder: FolderLock,
        stop: &'a AtomicBool,
    ) -> Result<Self, TrainError> {
        Self::resume_among((config, session, dataset), checkpoint, Crew::alone(folder), stop)
    }

    /// The same among several ranks.
    fn resume_among(
        (config, mut session, dataset): (Config, Session, Dataset),
        checkpoint: &Checkpoint,
        crew: Crew,
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
        Self::open((config, session, dataset), Some(statistics), checkpoint.state.clone(), crew, stop)
    }

    /// A run that has come as far as `state`. The last to be done is what writes.
    fn open(
        (config, mut session, dataset): (Config, Session, Dataset),
        statistics: Option<Statistics>,
        mut state: State,
        Crew { ranks, folder, overlap }: Crew,
        stop: &'a AtomicBool,
    ) -> Result<Self, TrainError> {
        statistics.as_ref().map_or(Ok(()), |statistics| session.set_mean(&statistics.mean))?;
        state.model = toml::to_string(&config.network).map_err(ConfigError::from)?;
        (state.classes, state.seed) = (dataset.classes.clone(), config.seed);
        state.data = dataset.contents();
        state.variants = session.cluster().variants();
        let images = [&dataset.train, &dataset.validation].map(|split| split.len());
        let (saved, skipped) = ((Instant::now(), state.step), Skipped::new(images, config.max_broken));
        let start = Start::new(state.classes.len(), state.step);
        let reached = Reached { step: state.step, validated: !state.unvalidated };
        let devices = session.cluster().devices().into_iter().map(|(towers, device)| format!("{towers}: {device}"));
        let devices = devices.collect();
        ranks.at(state.step);
        let stop = Stop::new(stop, &ranks);
        let epoch = dataset.train.len().div_ceil(config.batch().max(1)) as u64;
        let folder = folder.map(|folder| RunFolder::open(folder, &config, reached, devices, epoch)).transpose()?;
        let fall = (state.step == 0).then(|| Fall::new(epoch));
        let (moved, rates, begun, profile) = (state.step, None, Instant::now(), None);
        Ok(Self {
            config,
            session,
            dataset,
            statistics,
            folder,
            ranks,
            overlap,
            stop,
            state,
            pending: None,
            moved,
            rates,
            begun,
            saved,
            start,
            fall,
            skipped,
            broken: Default::default(),
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

    /// Trains to the end of the configuration or until `stop`. Other ranks learn of a failure.
    pub fn run(self, observer: &mut dyn Observer) -> Result<RunSummary, TrainError> {
        let ranks = Arc::clone(&self.ranks);
        self.run_to_end(observer).inspect_err(|error| ranks.fail(&error.to_string()))
    }

    fn run_to_end(mut self, observer: &mut dyn Observer) -> Result<RunSummary, TrainError> {
        let measured = self.measure(observer).inspect_err(|_| drop(self.folder.as_ref().map(RunFolder::discard)))?;
        let mut validation = None;
        if measured {
            if let Some(profile) = &mut self.profile {
                profile.begin(&mut self.session);
            }
            let ended = self.epochs(observer);
            self.end_profile();
            let done = self.state.step - u64::from(self.pending.is_some());
            let ended = ended.map_err(|error| error.after(done, self.session.images()));
            // Ranks that share layers save together or not at all.
            if let Err(TrainError::Data(_) | TrainError::Ranks(_)) = ended
                && self.state.step > self.saved.1
                && !self.session.is_hybrid()
            {
                self.save(observer)?; // the network is well
            }
            validation = ended?;
        }
        let (steps, interrupted) = (self.state.step, self.stop.is_raised());
        Ok(RunSummary { validation, steps, interrupted, skipped: self.skipped.reasons })
    }

    /// Measures the images of a run that begins, and gives the session its mean image; whether it was not stopped
    /// meanwhile.
    fn measure(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        if self.statistics.is_none() {
            let measured = match &self.folder {
                Some(folder) => statistics(&self.config, &self.dataset, folder, self.stop.wish, observer)?,
                None => None,
            };
            let measured = share_statistics(&self.ranks, measured, &self.stop)?;
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
        if let Some(resumed) = self.folder.as_mut().and_then(RunFolder::take_resumed) {
            observer.note(&resumed);
        }
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
        if self.first_says(self.folder.as_ref().is_some_and(|folder| folder.last().is_none()))? {
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
        self.steps_done() || self.state.reached || self.stop.is_raised()
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
        let mut batches = self.batches(&self.dataset.train, order, self.state.position, views, Images::Training)?;
        let (begin, mut seen) = (Instant::now(), 0);
        loop {
            let asked = Instant::now();
            let Some(Part { batch, first, minibatch }) = batches.next(&self.stop)? else { break };
            let wait = asked.elapsed();
            self.skipped.add(&batch.skipped, Images::Training)?;
            if minibatch == 0 {
                return Err(no_image(&batch.skipped).into());
            }
            observer.batch(&batch);
            let measured = self.profile.is_none() && self.state.step % MEASURED == MEASURED_FIRST;
            if measured {
                self.finish_step(None, observer)?; // nothing of the step before is to be measured with this one
            }
            // Rates of 0 begin with an epoch, or in its midst where a phase says so.
            self.session.freeze(&self.config.frozen(&self.progress()))?;
            let rates = self.config.rates(&self.progress());
            let rates_now = [rates.weights, rates.biases];
            self.note_rates(&rates, observer);
            self.session.set_rates(rates)?;
            let (started, waited) = (Instant::now(), self.session.cluster().waited());
            if measured {
                self.session.start_measuring(started);
            }
            let mut exchanged = None;
            if self.ranks.size() > 1 {
                let (places, step) = (Places { first, images: minibatch }, self.state.step);
                let sent = self.ranks.sent();
                let waited = self.session.gradients_among(&batch, places, step, self.overlap)?;
                exchanged = Some(ExchangeRecord { waited: waited.as_secs_f64(), sent: self.ranks.sent() - sent });
            } else {
                let computed = self.session.gradients_unless(&batch, self.state.step, self.stop.flag())?;
                let before = self.session.score_before();
                self.finish_step(before, observer)?;
                if !computed || self.finished() {
                    return Ok(false); // nothing of this step has reached the weights
                }
            }
            self.session.update()?;
            let measured = measured.then(|| self.measured(started)).transpose()?;
            self.state.step += 1;
            self.state.position = batch.next;
            self.ranks.at(self.state.step);
            seen += minibatch;
            let whole = batch.next >= self.dataset.train.len();
            let device = self.session.cluster().waited().saturating_sub(waited).as_secs_f64();
            let ends =
                whole || measured.is_some() || self.profile.is_some() || self.ranks.size() > 1 || self.finished();
            self.pending = Some(Pending {
                batch,
                images: minibatch,
                rates: rates_now,
                wait: wait.as_secs_f64(),
                device,
                measured,
                exchanged,
                epoch: (begin, seen),
            });
            if ends {
                self.finish_step(None, observer)?;
            }
            if let Some(profile) = &mut self.profile
                && profile.step(&mut self.session, self.state.step, asked, wait)?
            {
                self.end_profile();
            }
            let due = observer.save() || self.due();
            if self.first_says(due)? {
                self.save(observer)?;
            }
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
        self.finish_step(None, observer)?;
        if self.stop.is_raised() && self.state.position < self.dataset.train.len() {
            return Ok(false); // stopped while it waited for images
        }
        self.ended(batches, Images::Training);
        self.state.epoch += 1;
        self.state.position = 0;
        Ok(true)
    }
}

fn no_image(skipped: &[String]) -> DataError {
    DataError::NoImage { count: skipped.len(), first: skipped.first().cloned().unwrap_or_default() }
}
