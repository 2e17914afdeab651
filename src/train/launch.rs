//! The beginning of a run, from its configuration to the first step.
//!
//! ```no_run
//! # fn main() -> Result<(), alexnet::train::TrainError> {
//! use std::sync::atomic::AtomicBool;
//!
//! use alexnet::train::Launch;
//!
//! let mut launch = Launch::new("mini")?; // or Launch::resume(folder)
//! launch.config.steps = Some(100);
//! let stop = AtomicBool::new(false);
//! let outcome = launch.prepare(|devices| devices)?.trainer(&stop)?.run(&mut ())?;
//! println!("{} steps", outcome.steps);
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::folder::{RunFolder, free_folder, has_checkpoint};
use super::{Config, FolderError, InitError, TraceFile, TrainError, Trainer};
use crate::backend::Placement;
use crate::checkpoint::Checkpoint;
use crate::data::Dataset;
use crate::files::{FolderLock, read_text};
use crate::interop::{adopt, read_weights};
use crate::net::{Job, Kinds, LAYERS, Model, Net};
use crate::session::layout::TrainingPlan;
use crate::session::{Session, place};

/// A run that is configured, and has not touched data, devices or disk.
#[derive(Debug)]
pub struct Launch {
    /// Configuration of the run, open to changes.
    pub config: Config,
    /// Folder of a new run, which must be new or empty; the first free one of `runs/MODEL-1`, … where absent.
    pub folder: Option<PathBuf>,
    /// File for a trace of the first steps, and their number.
    pub profile: Option<(PathBuf, u64)>,
    /// Images of the caller's own, in place of those at [`Config::data`]; brought to the side that the model stores.
    pub dataset: Option<Dataset>,
    /// Folder and last checkpoint of a resumed run; without one it begins anew.
    resumed: Option<(FolderLock, Option<Checkpoint>)>,
}

/// Ways to resume a run.
#[derive(Clone, Copy)]
pub struct Resume<'a> {
    /// Kinds of layers that its network may have: [`LAYERS`], and a program's own.
    pub layers: Kinds<'a>,
    /// Takes a damaged checkpoint as it is.
    pub unverified: bool,
}

impl Default for Resume<'_> {
    fn default() -> Self {
        Self { layers: LAYERS, unverified: false }
    }
}

impl From<Config> for Launch {
    /// A new run as `config` describes it.
    fn from(config: Config) -> Self {
        Self { config, folder: None, profile: None, dataset: None, resumed: None }
    }
}

/// A run on its devices, with weights and data, in a folder of its own.
pub struct Ready {
    /// Configuration, with as many outputs as the data have classes.
    pub config: Config,
    /// Training and validation images.
    pub dataset: Dataset,
    /// Devices, batches and memory of the network.
    pub plan: TrainingPlan,
    /// Names of the tensors that were loaded by `config.init`, and their file.
    pub begun: Option<(Vec<String>, PathBuf)>,
    folder: FolderLock,
    session: Session,
    resumed: Option<Checkpoint>,
    profile: Option<TraceFile>,
}

impl Launch {
    /// A new run of a built-in network or a model file, with the model's training defaults.
    pub fn new(model: &str) -> Result<Self, TrainError> {
        Ok(Config::new(model, Model::open(model)?, 0).into())
    }

    /// The run in `folder`, with its configuration and its last checkpoint; one that was stopped before its first
    /// checkpoint begins anew.
    pub fn resume(folder: &Path) -> Result<Self, TrainError> {
        Self::resume_with(folder, &Resume::default())
    }

    /// The same as `how` says.
    pub fn resume_with(folder: &Path, how: &Resume) -> Result<Self, TrainError> {
        if !folder.is_dir() {
            return Err(FolderError::NoFolder.about(folder));
        }
        // The lock comes before anything is read.
        let lock = FolderLock::acquire(folder)?;
        if FolderLock::is_free(folder).unwrap_or(false) {
            return Err(FolderError::NoRun(folder.into()).about(folder));
        }
        let path = folder.join("config.toml");
        let unread = |error| FolderError::Unread { folder: folder.into(), error }.about(&path);
        let text = read_text(&path).map_err(unread)?;
        let config = Config::parse_with(&text, how.layers);
        let config = config.map_err(|error| FolderError::Config(error.into()).about(&path))?;
        let read = if how.unverified { Checkpoint::read_unverified } else { Checkpoint::read };
        let last = has_checkpoint(folder).then(|| read(&folder.join("last.safetensors"))).transpose()?;
        Ok(Self { resumed: Some((lock, last)), ..config.into() })
    }

    /// Opens data and devices, lays the network out, sets it up and takes the folder; nothing of a resumed run is changed
    /// yet. `adjust` may change how the devices run kernels.
    pub fn prepare(self, adjust: impl FnOnce(Placement) -> Placement) -> Result<Ready, TrainError> {
        let Self { mut config, folder, profile, dataset, resumed } = self;
        config.check()?;
        let dataset = dataset.map_or_else(|| config.dataset(), Ok)?;
        let (found, expected) = (dataset.train.size(), config.network.input.stored());
        if found != expected {
            return Err(TrainError::Size { found, expected });
        }
        config.network.fit_classes(dataset.classes.len());
        let net = Net::new(config.network.clone())
            .map_err(|error| TrainError::Model { model: config.model.clone(), error: Box::new(error) })?;
        // A minibatch larger than the data set takes what the data set does.
        let mut job = Job { minibatch: config.batch().min(dataset.train.len()), ..config.job() };
        let (devices, layout) = place(&net, &job, config.devices.as_deref())?;
        let plan = TrainingPlan::new(&layout, job.minibatch);
        if layout.micro_batches > 1 && resumed.is_none() {
            // What is free decides it, and it decides the last bits: a resumed run keeps it.
            config.options.micro_batch = Some(plan.micro_batch);
            job = job.with(config.options);
        }
        let mut session = Session::laid_out(net, &job, layout, &adjust(devices), config.seed)?;
        let profile =
            profile.map(|(path, steps)| TraceFile::create(&path, steps, &session, job.minibatch)).transpose()?;
        let (folder, resumed) = match resumed {
            Some((folder, last)) => (folder, last),
            None => (RunFolder::reserve(&folder.unwrap_or_else(|| free_folder(&config.model)))?, None),
        };
        let mut begun = None;
        if resumed.is_none() {
            session.initialise()?;
            begun = config.init.as_deref().map(|init| begin_with(&mut session, init)).transpose()?;
        }
        Ok(Ready { config, dataset, plan, begun, folder, session, resumed, profile })
    }
}

impl Ready {
    /// Folder of the run, locked by this process.
    pub fn folder(&self) -> &Path {
        self.folder.folder()
    }

    /// The loop over its epochs; `stop` ends it after the step in progress.
    pub fn trainer(self, stop: &AtomicBool) -> Result<Trainer<'_>, TrainError> {
        let Self { config, dataset, folder, session, resumed, profile, .. } = self;
        let trainer = if let Some(checkpoint) = resumed {
            let path = folder.folder().join("last.safetensors");
            let refuse = |error: TrainError| FolderError::Checkpoint(error.into()).about(&path);
            Trainer::resume(config, session, dataset, &checkpoint, folder, stop).map_err(refuse)?
        } else {
            Trainer::unmeasured(config, session, dataset, folder, stop)?
        };
        Ok(trainer.with_profile(profile))
    }
}

/// Loads the weights in `init`: a file of weights, a checkpoint or a run folder, perhaps with a list of rows, as
/// `FILE:conv1..conv5`. Gives the names of what was loaded, and the file.
fn begin_with(session: &mut Session, init: &str) -> Result<(Vec<String>, PathBuf), TrainError> {
    // A colon may be part of a path, of a drive for one.
    let (file, list) = match init.rsplit_once(':').filter(|_| !Path::new(init).exists()) {
        Some((file, list)) => (file, Some(list)),
        None => (init, None),
    };
    let path = Checkpoint::locate(Path::new(file));
    let names =
        load(session, &path, list).map_err(|reason| TrainError::Init { path: path.clone(), reason: reason.into() })?;
    Ok((names, path))
}

/// Loads the weights of the rows in `list`, or of all where absent, that are in a file.
fn load(session: &mut Session, path: &Path, list: Option<&str>) -> Result<Vec<String>, InitError> {
    let rows = list.map_or_else(|| Ok(BTreeSet::new()), |list| session.net().model.rows(list))?;
    let mut file = read_weights(path)?;
    file.recognise(&session.net().model)?;
    let tensors = adopt(session.net(), file.tensors, |row| rows.contains(row))?;
    Ok(session.load_rows(&tensors, &rows)?)
}
