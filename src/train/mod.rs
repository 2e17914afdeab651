//! The training loop: epochs of steps, validation after each, checkpoints.

mod config;
mod error;
mod images;
mod launch;
mod trace;
mod restore;
mod skipped;
mod folder;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use self::config::{Config, SaveEvery};
pub use self::error::TrainError;
pub use self::folder::{Metric, RunFolder, free_folder};
use self::images::{draw, statistics, statistics_of, statistics_to};
pub use self::launch::{Launch, Ready};
use self::restore::restore;
use self::skipped::{Images, Skipped};
pub use self::trace::TraceFile;
pub use self::watch::Movement;
use self::watch::{Start, movements};
use crate::checkpoint::{Checkpoint, State};
use crate::data::{self, Batch, DataError, Dataset, Loader, LoaderOptions, Split, Statistics, Views};
use crate::files::FolderLock;
use crate::net::{Position, Schedule};
use crate::session::{Score, Session};
use crate::tensor::Tensor;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// Last validation.
    pub validation: Option<Metric>,
    /// Finished steps.
    pub steps: u64,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Images that could not be decoded, with the reason.
    pub skipped: Vec<String>,
}

/// Receiver of the events of a run.
pub trait Observer {
    /// An epoch of `images` images begins, `done` of them seen before.
    fn epoch(&mut self, epoch: usize, epochs: usize, images: usize, done: usize);
    /// A step is done.
    fn step(&mut self, metric: &Metric, images: usize);
    /// The validation after an epoch is done.
    fn validation(&mut self, metric: &Metric);
    /// Whether a checkpoint is wanted after the step that is done, besides those of the configuration.
    fn save(&mut self) -> bool {
        false
    }
}

/// Ignores all events.
impl Observer for () {
    fn epoch(&mut self, _: usize, _: usize, _: usize, _: usize) {}
    fn step(&mut self, _: &Metric, _: usize) {}
    fn validation(&mut self, _: &Metric) {}
}

/// A run in progress.
pub struct Trainer<'a> {
    config: Config,
    session: Session,
    dataset: Dataset,
    statistics: Statistics,
    folder: RunFolder,
    stop: &'a AtomicBool,
    state: State,
    /// When the last checkpoint was saved, and after how many steps.
    saved: (Instant, u64),
    start: Start,
    skipped: Skipped,
    profile: Option<TraceFile>,
}

impl<'a> Trainer<'a> {
    /// A run from the beginning, with the weights that its session has, in `folder`; `stop` ends it after
    /// the step in progress.
    pub fn new(
        config: Config,
        session: Session,
        dataset: Dataset,
        statistics: Statistics,
        folder: FolderLock,
        stop: &'a AtomicBool,
    ) -> Result<Self, TrainError> {
        Self::open(config, session, dataset, statistics, State::default(), folder, stop)
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
        restore(&mut session, checkpoint)?;
        let statistics = statistics_of(checkpoint)?;
        Self::open(config, session, dataset, statistics, checkpoint.state.clone(), folder, stop)
    }

    /// A run that has come as far as `state`. The last to be done is what writes.
    fn open(
        config: Config,
        mut session: Session,
        dataset: Dataset,
        statistics: Statistics,
        mut state: State,
        folder: FolderLock,
        stop: &'a AtomicBool,
    ) -> Result<Self, TrainError> {
        session.set_mean(&statistics.mean)?;
        let model = toml::to_string(&config.network);
        state.model = model.map_err(|e| TrainError::Folder { path: folder.folder().into(), reason: e.to_string() })?;
        (state.classes, state.seed) = (dataset.classes.clone(), config.seed);
        state.data = dataset.contents();
        state.variants = session.cluster().variants();
        let (saved, skipped) = ((Instant::now(), state.step), Skipped::new(config.max_broken));
        let start = Start::new(state.classes.len(), state.step);
        let folder = RunFolder::open(folder, &config)?;
        Ok(Self { config, session, dataset, statistics, folder, stop, state, saved, start, skipped, profile: None })
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
        Position { epoch, step, share, plateaus: stagnation.plateaus }
    }

    /// Trains to the end of the configuration or until `stop`.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<RunSummary, TrainError> {
        if let Some(profile) = &mut self.profile {
            profile.begin(&mut self.session);
        }
        let ended = self.epochs(observer);
        self.end_profile();
        if let Err(TrainError::Data(_) | TrainError::Broken { .. }) = ended
            && self.state.step > self.saved.1
        {
            self.save("last")?; // the network is well
        }
        let validation = ended.map_err(|error| error.after(self.state.step, self.session.images()))?;
        let (steps, interrupted) = (self.state.step, self.stop.load(Ordering::Relaxed));
        Ok(RunSummary { validation, steps, interrupted, skipped: self.skipped.reasons })
    }

    fn end_profile(&mut self) {
        if let Some(profile) = self.profile.take() {
            profile.finish(&mut self.session);
        }
    }

    /// All epochs that are left; the last validation.
    fn epochs(&mut self, observer: &mut dyn Observer) -> Result<Option<Metric>, TrainError> {
        let mut validation = None;
        let epochs = self.config.network.train.epochs;
        while self.state.epoch < epochs && !self.finished() {
            observer.epoch(self.state.epoch + 1, epochs, self.dataset.train.len(), self.state.position);
            self.epoch(observer)?;
            let whole = self.state.position == 0;
            if whole || self.steps_done() {
                let metric = self.validate()?;
                observer.validation(&metric);
                validation = Some(metric);
            }
            self.save("last")?;
        }
        if !self.folder.checkpoint("last").is_file() {
            self.save("last")?; // interrupted before the first step
        }
        Ok(validation)
    }

    /// Whether it is time for a checkpoint within an epoch.
    fn due(&self) -> bool {
        let (when, step) = self.saved;
        match self.config.save_every {
            None => false,
            Some(SaveEvery::Steps(steps)) => self.state.step >= step + steps,
            Some(SaveEvery::Minutes(minutes)) => when.elapsed() >= Duration::from_secs(60 * minutes),
        }
    }

    fn steps_done(&self) -> bool {
        self.config.steps.is_some_and(|steps| self.state.step >= steps)
    }

    fn finished(&self) -> bool {
        self.steps_done() || self.stop.load(Ordering::Relaxed)
    }

    /// The rest of the current epoch; `state.position` is 0 when all of it was done.
    fn epoch(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let order = self.dataset.train.training_order(self.config.seed, self.state.epoch as u64);
        let views = Views::Random(draw(&self.config, &self.progress(), &self.statistics.colours));
        let mut loader = self.loader(&self.dataset.train, order, self.state.position, views)?;
        self.session.freeze(&self.config.frozen(&self.progress()))?;
        let (begin, mut seen) = (Instant::now(), 0);
        loop {
            let asked = Instant::now();
            let Some(batch) = loader.next_unless(self.stop) else { break };
            let batch = batch?;
            let wait = asked.elapsed();
            self.skipped.add(&batch.skipped, Images::Training(self.dataset.train.len()))?;
            if batch.count == 0 {
                return Err(no_image(&batch.skipped).into());
            }
            self.session.set_rates(self.config.rates(&self.progress()))?;
            self.session.gradients(&batch, self.state.step)?;
            self.session.update()?;
            let score = self.session.score()?;
            if !score.loss.is_finite() {
                let step = 1 + self.session.trouble()?.unwrap_or(self.state.step);
                return Err(self.diverged(format!("at step {step}"), Some(&batch))?);
            }
            seen += batch.count;
            self.state.step += 1;
            if let Some(profile) = &mut self.profile
                && profile.step(&mut self.session, self.state.step, asked, wait)?
            {
                self.end_profile();
            }
            self.state.position = batch.next;
            let wait = wait.as_secs_f64();
            let metric = Metric { wait, ..self.metric("step", score, seen as f64 / begin.elapsed().as_secs_f64()) };
            self.folder.log(&metric)?;
            observer.step(&metric, batch.count);
            if let Some(stalled) = self.start.step(metric.loss) {
                log::warn!("{stalled}");
            }
            if observer.save() || self.due() {
                self.save("last")?;
            }
            if self.finished() && batch.next < self.dataset.train.len() {
                return Ok(());
            }
        }
        if self.stop.load(Ordering::Relaxed) && self.state.position < self.dataset.train.len() {
            return Ok(()); // stopped while it waited for images
        }
        self.state.epoch += 1;
        self.state.position = 0;
        Ok(())
    }

    /// Scores the validation set, logs it, and keeps the checkpoint if it is the best so far.
    fn validate(&mut self) -> Result<Metric, TrainError> {
        let begin = Instant::now();
        let order = (0..self.dataset.validation.len() as u32).collect();
        let loader = self.loader(
            &self.dataset.validation,
            order,
            0,
            Views::Centre { border2: self.config.network.input.border2() },
        )?;
        let (score, skipped) = score(&mut self.session, loader)?;
        self.skipped.add(&skipped, Images::Validation(self.dataset.validation.len()))?;
        if !score.loss.is_finite() {
            return Err(self.diverged(format!("in the validation after step {}", self.state.step), None)?);
        }
        let mut metric = self.metric("validation", score, score.images as f64 / begin.elapsed().as_secs_f64());
        if self.state.position == 0 {
            metric.epoch = self.state.epoch;
        }
        self.folder.log(&metric)?;
        if let Schedule::Plateau(rule) = &self.config.network.train.schedule
            && self.state.position == 0
            && self.state.stagnation.epoch(rule, metric.top1_error)
        {
            log::info!("the validation error no longer improves: rates are divided by {}", rule.divide_by);
        }
        if self.state.best.is_none_or(|best| metric.top1_error < best) {
            self.state.best = Some(metric.top1_error);
            self.save("best")?;
        }
        Ok(metric)
    }

    fn metric(&self, kind: &'static str, score: Score, images_per_second: f64) -> Metric {
        let (loss, top1_error, top5_error) = score.means();
        let (step, epoch) = (self.state.step, self.state.epoch + 1);
        Metric { kind, step, epoch, loss, top1_error, top5_error, images_per_second, wait: 0.0 }
    }

    fn loader(&self, split: &Arc<Split>, order: Vec<u32>, start: usize, views: Views) -> Result<Loader, TrainError> {
        let plan =
            LoaderOptions { order, start, capacity: self.config.batch(), views, threads: data::decoding_threads() };
        Ok(Loader::new(split, plan)?)
    }

    /// The refusal of a loss that is not finite, with the place of the first bad number: a tensor of weights, or a layer on
    /// the way from the images of `batch` to the loss.
    fn diverged(&mut self, when: String, batch: Option<&Batch>) -> Result<TrainError, TrainError> {
        let place = self.session.diagnose(batch, self.state.step)?.unwrap_or_else(|| "the loss itself".into());
        let last = self.folder.checkpoint("last");
        let kept = if last.is_file() {
            format!("the last good checkpoint is kept in {}", last.display())
        } else {
            "no checkpoint was saved before".into()
        };
        Ok(TrainError::Diverged { when, place, kept })
    }

    fn save(&mut self, name: &str) -> Result<(), TrainError> {
        let mut tensors: BTreeMap<String, Tensor> = self.session.tensors()?;
        if !tensors.values().flat_map(Tensor::values).all(|value| value.is_finite()) {
            // The update of the last step overflowed; its loss did not show it yet.
            return Err(self.diverged(format!("after step {}", self.state.step), None)?);
        }
        if name == "last" {
            let increment = self.config.network.train.optimizer.kind.increment;
            self.folder.log_movements(self.state.step, self.state.epoch, &movements(&tensors, increment))?;
            self.saved = (Instant::now(), self.state.step);
        }
        tensors.extend(statistics_to(&self.statistics, self.config.network.input.stored()));
        self.state.loss_scale = self.session.loss_scale()?;
        let checkpoint = Checkpoint { tensors, state: self.state.clone() };
        let path = self.folder.checkpoint(name);
        checkpoint.save(&path)?;
        if name == "last" && self.config.keep > 1 {
            self.folder.keep(&path, self.state.step, self.config.keep)?;
        }
        Ok(())
    }
}

/// Scores a session, without dropout masks, on all batches of a loader.
pub fn score(session: &mut Session, loader: Loader) -> Result<(Score, Vec<String>), TrainError> {
    let (mut total, mut skipped) = (Score::default(), Vec::new());
    for batch in loader {
        let batch = batch?;
        skipped.extend(batch.skipped.iter().cloned());
        if batch.count > 0 {
            session.evaluate(&batch)?;
            total.add(session.score()?);
        }
    }
    if total.images == 0 {
        return Err(no_image(&skipped).into());
    }
    Ok((total, skipped))
}

fn no_image(skipped: &[String]) -> DataError {
    DataError::NoImage { count: skipped.len(), first: skipped.first().cloned().unwrap_or_default() }
}
