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
use super::{Config, TraceFile, TrainError, Trainer};
use crate::backend::Placement;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::data::Dataset;
use crate::files::FolderLock;
use crate::interop::{adopt, read_weights};
use crate::net::{Job, Model, Net};
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
    /// Folder and last checkpoint of a resumed run; without one it begins anew.
    resumed: Option<(FolderLock, Option<Checkpoint>)>,
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
        let config = Config::new(model, Model::open(model)?, 0);
        Ok(Self { config, folder: None, profile: None, resumed: None })
    }

    /// The run in `folder`, with its configuration and its last checkpoint; one that was stopped before its first
    /// checkpoint begins anew.
    pub fn resume(folder: &Path) -> Result<Self, TrainError> {
        Self::resume_by(folder, Checkpoint::read)
    }

    /// The same with a checkpoint that may be damaged.
    pub fn resume_unverified(folder: &Path) -> Result<Self, TrainError> {
        Self::resume_by(folder, Checkpoint::read_unverified)
    }

    fn resume_by(folder: &Path, read: fn(&Path) -> Result<Checkpoint, CheckpointError>) -> Result<Self, TrainError> {
        if !folder.is_dir() {
            let reason = "is no folder; give --resume the folder of a run".into();
            return Err(TrainError::Folder { path: folder.into(), reason });
        }
        // The lock comes before anything is read.
        let lock = FolderLock::acquire(folder)?;
        if FolderLock::is_free(folder).unwrap_or(false) {
            let reason = format!("no run was begun in this folder; begin one by --out {}", folder.display());
            return Err(TrainError::Folder { path: folder.into(), reason });
        }
        let path = folder.join("config.toml");
        let refuse = |reason: String| TrainError::Folder { path: path.clone(), reason };
        let text = std::fs::read_to_string(&path)
            .map_err(|e| refuse(format!("cannot be read ({e}): is {} a run folder?", folder.display())))?;
        let config = Config::parse(&text).map_err(|e| refuse(e.to_string()))?;
        let begun = has_checkpoint(folder);
        let last = begun.then(|| read(&folder.join("last.safetensors"))).transpose()?;
        Ok(Self { config, folder: None, profile: None, resumed: Some((lock, last)) })
    }

    /// Opens data and devices, lays the network out, sets it up and takes the folder; nothing of a resumed run is changed
    /// yet. `adjust` may change how the devices run kernels.
    pub fn prepare(self, adjust: impl FnOnce(Placement) -> Placement) -> Result<Ready, TrainError> {
        let Self { mut config, folder, profile, resumed } = self;
        config.check()?;
        let dataset = config.dataset()?;
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
    /// The run's folder.
    pub fn folder(&self) -> &Path {
        self.folder.folder()
    }

    /// The loop over its epochs; `stop` ends it after the step in progress.
    pub fn trainer(self, stop: &AtomicBool) -> Result<Trainer<'_>, TrainError> {
        let Self { config, dataset, folder, session, resumed, profile, .. } = self;
        let trainer = if let Some(checkpoint) = resumed {
            let path = folder.folder().join("last.safetensors");
            let refuse = |error: TrainError| TrainError::Folder { path, reason: error.to_string() };
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
    let refuse = |reason: String| TrainError::Init { path: path.clone(), reason };
    let rows = list.map_or_else(|| Ok(BTreeSet::new()), |list| session.net().model.rows(list));
    let rows = rows.map_err(|error| refuse(error.to_string()))?;
    let mut file =
        read_weights(&path).map_err(|error| TrainError::Init { path: path.clone(), reason: format!("{error:#}") })?;
    file.recognise(&session.net().model).map_err(|error| refuse(error.to_string()))?;
    let tensors =
        adopt(session.net(), file.tensors, |row| rows.contains(row)).map_err(|error| refuse(error.to_string()))?;
    let names = session.load_rows(&tensors, &rows).map_err(|error| refuse(error.to_string()))?;
    Ok((names, path))
}
