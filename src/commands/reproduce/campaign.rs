//! The runs of a reproduction: begun, resumed, or found done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::{Arm, ArmOutcome, Measure, Outcome, ReproduceError, Reproduction, RunOutcome, arm};
use crate::backend::Placement;
use crate::eval::{EnsembleWeights, EvalOptions, Evaluation, Preprocessing, TestViews, evaluate};
use crate::files::{FileError, read_file, write_file};
use crate::net::{OptionChanges, Options, Precision, WireFormat};
use crate::runs::{Run, RunError};
use crate::session::open_devices;
use crate::train::{Changes, Config, Launch, Observer, TrainError};

/// Name of the file that says what a folder of runs was begun for.
const SETTINGS: &str = "settings.json";

/// Images in a batch of an evaluation.
const BATCH: usize = 128;

/// How a claim is to be tested.
pub struct Campaign<'a> {
    /// The claim and its runs.
    pub reproduction: &'static Reproduction,
    /// Folder of the runs.
    pub out: PathBuf,
    /// Folder of the data; the bundled sample where absent.
    pub data: Option<String>,
    /// Devices of the towers.
    pub devices: Option<String>,
    /// Micro-batches, precision and so on.
    pub options: OptionChanges,
    /// Whether the networks are those of the claim, for ImageNet, instead of small ones.
    pub full: bool,
    /// Share of the networks' epochs.
    pub scale: f64,
    /// Number of seeds, from 1 on, that every arm is trained with.
    pub seeds: u64,
    /// Changes how the devices run kernels.
    pub adjust: &'a dyn Fn(Placement) -> Placement,
}

/// What a folder of runs was begun for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct Settings {
    name: String,
    data: Option<String>,
    full: bool,
    scale: f64,
    /// Those that change numbers.
    #[serde(default)]
    options: Options,
}

impl Settings {
    /// Whether `other` is the same, with the same data under whatever path.
    fn agree(&self, other: &Self) -> bool {
        let real = |data: &Option<String>| data.as_ref().and_then(|path| fs::canonicalize(path).ok());
        let same_data = self.data == other.data || real(&self.data).is_some_and(|path| real(&other.data) == Some(path));
        same_data && Self { data: other.data.clone(), ..self.clone() } == *other
    }

    /// For people: `norm on photos at a scale of 0.5, --precision mixed`.
    fn words(&self) -> String {
        let Self { name, data, full, scale, options } = self;
        let data = data.as_deref().unwrap_or("the bundled sample");
        format!(
            "{name}{} on {data} at a scale of {scale}{}",
            if *full { " in full" } else { "" },
            numeric_words(options)
        )
    }
}

/// The options that are not the default and change numbers, each with a comma before it.
fn numeric_words(&Options { micro_batch, exchange, precision, .. }: &Options) -> String {
    let micro_batch = micro_batch.map(|images| format!(", --micro-batch {images}"));
    let exchange = (exchange != WireFormat::default()).then(|| format!(", --exchange {exchange}"));
    let precision = (precision != Precision::default()).then(|| format!(", --precision {precision}"));
    [micro_batch, exchange, precision].into_iter().flatten().collect()
}

/// Receiver of the progress of a [`Campaign`].
pub trait Progress {
    /// Called before each run; the observer sees it. `number` of `all`, as far as it is known.
    fn run(&mut self, name: &str, number: usize, all: usize) -> Box<dyn Observer + '_>;
    /// Called for a run that was done before.
    fn found(&mut self, name: &str);
}

/// How far a run has come.
enum Trained {
    /// The run came to its end.
    Done(RunOutcome),
    /// Its loss was not finite.
    Diverged,
    /// A signal stopped it.
    Stopped,
}

/// One run of a reproduction.
struct Planned<'c> {
    arm: &'c Arm,
    seed: u64,
    rate: Option<f32>,
    epochs: usize,
}

impl Planned<'_> {
    /// Name of its folder.
    fn name(&self) -> String {
        let rate = self.rate.map_or_else(String::new, |rate| format!("-rate-{rate}"));
        format!("{}{rate}-seed-{}", self.arm.name.replace([' ', '/', ','], "-").replace("--", "-"), self.seed)
    }
}

impl Campaign<'_> {
    /// Trains what is not trained yet, and measures; `None` if `stop` was raised meanwhile.
    ///
    /// # Errors
    /// When a run fails; the next call goes on with it.
    pub fn run(&self, stop: &AtomicBool, progress: &mut dyn Progress) -> Result<Option<Outcome>, ReproduceError> {
        // Looks at the data before there is a folder that was begun with them.
        let shortened = self.shortened()?;
        self.claim_folder()?;
        let mut outcome = Outcome::new(self.reproduction, shortened);
        let Some(arms) = self.arms(stop, progress, &mut outcome.shortened)? else { return Ok(None) };
        outcome.arms = arms;
        if !self.evaluate(&mut outcome, stop)? {
            return Ok(None);
        }
        outcome.compare(&self.reproduction.measure);
        Ok(Some(outcome))
    }

    /// Runs of all arms; `None` if they were stopped.
    fn arms(
        &self,
        stop: &AtomicBool,
        progress: &mut dyn Progress,
        shortened: &mut Vec<String>,
    ) -> Result<Option<Vec<ArmOutcome>>, ReproduceError> {
        let arms = self.reproduction.arms;
        let mut outcomes: Vec<ArmOutcome> = arms.iter().map(|arm| ArmOutcome::new(arm, self.full)).collect();
        let mut rates = vec![None; arms.len()];
        if let Measure::EpochsTo { rates: grid, trial, .. } = self.reproduction.measure {
            for ((arm, outcome), best) in arms.iter().zip(&mut outcomes).zip(&mut rates) {
                for (number, &rate) in (1..).zip(grid) {
                    let planned = Planned { arm, seed: 1, rate: Some(rate), epochs: trial };
                    let error = match self.trained(&planned, [number, grid.len()], stop, progress)? {
                        Trained::Done(run) => run.training_error_after(trial),
                        Trained::Diverged => None,
                        Trained::Stopped => return Ok(None),
                    };
                    outcome.grid.push((rate, error));
                }
                let errors = outcome.grid.iter().filter_map(|(rate, error)| Some((*rate, (*error)?)));
                *best = errors.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(rate, _)| rate);
                let Some(rate) = *best else {
                    let rates = grid.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
                    return Err(ReproduceError::NoRate { run: arm.name.into(), rates });
                };
                outcome.rate = Some(rate);
                if grid.len() > 1 && [grid[0], grid[grid.len() - 1]].contains(&rate) {
                    shortened.push(format!("{}: the best rate, {rate}, lies at an end of the grid", arm.name));
                }
            }
        }
        // Seed by seed, so that what is done so far is as far in all arms.
        let all = self.seeds as usize * arms.len();
        let mut number = 0;
        for seed in 1..=self.seeds {
            for ((arm, outcome), rate) in arms.iter().zip(&mut outcomes).zip(&rates) {
                number += 1;
                let planned = Planned { arm, seed, rate: *rate, epochs: self.epochs(arm)? };
                match self.trained(&planned, [number, all], stop, progress)? {
                    Trained::Done(run) => outcome.runs.push(run),
                    Trained::Diverged => shortened.push(format!("{} diverged, and is left out", planned.name())),
                    Trained::Stopped => return Ok(None),
                }
            }
        }
        Ok(Some(outcomes))
    }

    /// Epochs of an arm's runs.
    fn epochs(&self, arm: &Arm) -> Result<usize, ReproduceError> {
        Ok(match self.reproduction.measure {
            Measure::EpochsTo { most, trial, .. } => arm::scaled(most, self.scale).max(trial),
            _ => arm.network(self.full, self.scale)?.train.epochs,
        })
    }

    /// The outcome of a run, trained to its end if it is not yet.
    fn trained(
        &self,
        planned: &Planned,
        [number, all]: [usize; 2],
        stop: &AtomicBool,
        progress: &mut dyn Progress,
    ) -> Result<Trained, ReproduceError> {
        let name = planned.name();
        let folder = self.out.join(&name);
        let config = self.config(planned)?;
        if let Some(run) = self.done(planned, &folder)? {
            progress.found(&name);
            return Ok(Trained::Done(run));
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Trained::Stopped);
        }
        let refuse = |error: TrainError| ReproduceError::Train { run: name.clone(), error: Box::new(error) };
        let mut launch = if folder.join("config.toml").is_file() {
            Launch::resume(&folder).map_err(refuse)?
        } else if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(ReproduceError::NoConfig { path: folder });
        } else {
            let mut launch = Launch::from(config);
            launch.folder = Some(folder.clone());
            launch
        };
        let (epochs, devices, options) = (Some(planned.epochs), self.devices.clone(), self.options);
        launch.config.change(Changes { devices, options, epochs, ..Changes::default() })?;
        let ready = launch.prepare(self.adjust).map_err(refuse)?;
        let mut observer = progress.run(&name, number, all);
        match ready.trainer(stop).map_err(refuse)?.run(observer.as_mut()) {
            Ok(summary) if summary.interrupted => return Ok(Trained::Stopped),
            Ok(_) => (),
            Err(TrainError::Diverged { .. }) => return Ok(Trained::Diverged),
            Err(error) => return Err(refuse(error)),
        }
        drop(observer);
        Ok(self.done(planned, &folder)?.map_or(Trained::Stopped, Trained::Done))
    }

    fn config(&self, planned: &Planned) -> Result<Config, ReproduceError> {
        let recipe = planned.arm.recipe(self.full);
        let mut network = planned.arm.network(self.full, self.scale)?;
        planned.rate.into_iter().for_each(|rate| network.train.set_rate(rate));
        let mut config = Config::new(recipe.model, network, planned.seed);
        config.until_error = self.reproduction.measure.until();
        config.change(Changes { data: self.data.clone(), ..Changes::default() })?;
        Ok(config)
    }

    /// The outcome of the run in `folder`, if it has come to its end.
    fn done(&self, planned: &Planned, folder: &Path) -> Result<Option<RunOutcome>, ReproduceError> {
        let run = match Run::open(folder) {
            Ok(run) => run,
            Err(RunError::NoRun { .. } | RunError::Empty { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let until = self.reproduction.measure.until();
        let reached = |error: Option<f64>| until.zip(error).is_some_and(|(until, error)| error <= until);
        let ended = run
            .validations
            .iter()
            .any(|validation| validation.epoch >= planned.epochs || reached(validation.training_top1_error));
        Ok(ended.then(|| RunOutcome::of(&run, planned.seed, until)))
    }

    /// Takes the folder of the runs, or checks that it was begun for the same.
    fn claim_folder(&self) -> Result<(), ReproduceError> {
        let path = self.out.join(SETTINGS);
        let Self { data, full, scale, .. } = self;
        let options = Options { recompute: false, ..Options::DEFAULT.changed(self.options) };
        let now =
            Settings { name: self.reproduction.name.into(), data: data.clone(), full: *full, scale: *scale, options };
        if path.is_file() {
            let damaged = |reason: serde_json::Error| ReproduceError::Settings { path: path.clone(), reason };
            let before: Settings = serde_json::from_slice(&read_file(&path)?).map_err(damaged)?;
            if !before.agree(&now) {
                let (before, now) = (before.words(), now.words());
                return Err(ReproduceError::Begun { path: self.out.clone(), before, now });
            }
            return Ok(());
        }
        let taken = self.out.is_file() || fs::read_dir(&self.out).is_ok_and(|mut entries| entries.next().is_some());
        if taken {
            return Err(ReproduceError::Foreign { path: self.out.clone() });
        }
        fs::create_dir_all(&self.out).map_err(FileError::write(&self.out))?;
        // What was read can be written.
        let text = serde_json::to_string_pretty(&now).unwrap_or_default();
        Ok(write_file(&path, text.as_bytes())?)
    }

    /// What is shorter or smaller than in the claim.
    fn shortened(&self) -> Result<Vec<String>, ReproduceError> {
        let mut words = Vec::new();
        let first = &self.reproduction.arms[0];
        let config = Config { data: self.data.clone(), ..Config::new("", first.network(self.full, 1.0)?, 0) };
        let dataset = config.dataset().map_err(|error| ReproduceError::Train {
            run: self.reproduction.name.into(),
            error: Box::new(error.into()),
        })?;
        let [training, validation] = [&dataset.train, &dataset.validation].map(|split| split.len());
        let from = self.data.as_deref().map_or("of the bundled sample", |_| "of the data given");
        words.push(format!("trained on {training} images {from}, validated on {validation}"));
        if let (false, Some(full)) = (self.full, first.full) {
            let small = first.small.model;
            words.push(format!("{small} on small images stands for {} on ImageNet (--full takes that)", full.model));
        }
        if self.scale != 1.0 {
            for arm in self.reproduction.arms {
                let whole = match self.reproduction.measure {
                    Measure::EpochsTo { most, .. } => most,
                    _ => arm.network(self.full, 1.0)?.train.epochs,
                };
                words.push(format!("{}: at most {} of {whole} epochs", arm.name, self.epochs(arm)?));
            }
        }
        let options = numeric_words(&Options::DEFAULT.changed(self.options));
        if !options.is_empty() {
            words.push(format!("computed with {}", options.trim_start_matches(", ")));
        }
        if self.seeds < self.reproduction.seeds {
            words.push(format!("{} of {} seeds", self.seeds, self.reproduction.seeds));
        }
        Ok(words)
    }

    /// Measures that need the images once more; whether `stop` let them come to their end.
    fn evaluate(&self, outcome: &mut Outcome, stop: &AtomicBool) -> Result<bool, ReproduceError> {
        let measure = self.reproduction.measure;
        let by_views = |number: usize| match measure {
            Measure::Views => true,
            Measure::Published { views, .. } => views[number] > 1,
            _ => false,
        };
        for (number, arm) in outcome.arms.iter_mut().enumerate() {
            for run in arm.runs.iter_mut().filter(|_| by_views(number)) {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                run.error_by_ten_views = Some(self.scores(std::slice::from_ref(run), TestViews::Ten)?.top1_error);
            }
            if matches!(measure, Measure::Ensemble) && !arm.runs.is_empty() {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                arm.together = Some(self.scores(&arm.runs, TestViews::Centre)?.top1_error);
            }
            arm.published = if let Measure::Published { errors, .. } = measure { Some(errors[number]) } else { None };
        }
        Ok(true)
    }

    fn scores(&self, runs: &[RunOutcome], viewing: TestViews) -> Result<Evaluation, ReproduceError> {
        let request = EvalOptions {
            checkpoints: runs.iter().map(|run| run.folder.join("last.safetensors")).collect(),
            imported: BTreeMap::new(),
            preprocessing: Preprocessing::default(),
            data: self.data.as_ref().map(PathBuf::from),
            classes: None,
            viewing,
            weights: EnsembleWeights::Equal,
            batch: BATCH,
            confusions: 0,
            predictions: None,
        };
        let devices = (self.adjust)(open_devices(self.devices.as_deref())?);
        Ok(evaluate(&request, &devices, &mut |_, _| ())?)
    }
}
