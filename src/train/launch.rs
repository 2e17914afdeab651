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

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::folder::{RunFolder, free_folder, has_checkpoint};
use super::{Config, ConfigError, Crew, FolderError, InitError, TraceFile, TrainError, Trainer};
use crate::backend::Placement;
use crate::checkpoint::{Checkpoint, CheckpointError, State};
use crate::data::Dataset;
use crate::files::{FolderLock, read_file, read_text};
use crate::interop::{adopt, read_weights};
use crate::net::{Job, Kinds, LAYERS, Model, Net, Precision};
use crate::ranks::{Ranks, RanksError};
use crate::session::layout::{Layout, TrainingPlan};
use crate::session::{Session, SessionError, place};
use crate::tensor::Tensor;

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
    /// The ranks that train together, of which every one prepares the same launch.
    pub ranks: Arc<Ranks>,
    /// Whether gradients leave for other ranks before all of them are there.
    pub overlap: bool,
    resumed: Option<Resumed>,
}

/// A run that is resumed.
#[derive(Debug)]
struct Resumed {
    /// Right to write in its folder, where this rank is the one that does.
    lock: Option<FolderLock>,
    /// Last checkpoint; without one it begins anew.
    last: Option<Checkpoint>,
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
        let (folder, profile, dataset, ranks, resumed) = Default::default();
        Self { config, folder, profile, dataset, ranks, overlap: true, resumed }
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
    folder: PathBuf,
    crew: Crew,
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
        Ok(Self { resumed: Some(Resumed { lock: Some(lock), last }), ..config.into() })
    }

    /// The same on one of several ranks: the first reads the folder and tells the others.
    pub fn resume_among(ranks: &Arc<Ranks>, folder: &Path, how: &Resume) -> Result<Self, TrainError> {
        if ranks.size() == 1 {
            return Self::resume_with(folder, how);
        }
        let refuse = |error: ConfigError| FolderError::Config(error.into()).about(&folder.join("config.toml"));
        let mut launch = None;
        let (mut text, mut bytes) = (String::new(), Vec::new());
        if ranks.is_first() {
            let read = launch.insert(Self::resume_with(folder, how)?);
            text = toml::to_string(&read.config).map_err(|error| refuse(error.into()))?;
            if read.resumed.as_ref().is_some_and(|resumed| resumed.last.is_some()) {
                bytes = read_file(&folder.join("last.safetensors"))?;
            }
        }
        let (text, bytes) = (ranks.broadcast(text.into_bytes())?, ranks.broadcast(bytes)?);
        let mut launch = if let Some(launch) = launch {
            launch
        } else {
            let config = Config::parse_with(&String::from_utf8_lossy(&text), how.layers).map_err(refuse)?;
            let of = |error| CheckpointError::Content { path: folder.into(), error };
            let last = (!bytes.is_empty()).then(|| Checkpoint::parse_unverified(&bytes)).transpose().map_err(of)?;
            Self { resumed: Some(Resumed { lock: None, last }), ..config.into() }
        };
        launch.ranks = Arc::clone(ranks);
        Ok(launch)
    }

    /// Opens data and devices, lays the network out, sets it up and takes the folder; nothing of a resumed run is
    /// changed yet. `adjust` may change how the devices run kernels.
    pub fn prepare(self, adjust: impl FnOnce(Placement) -> Placement) -> Result<Ready, TrainError> {
        let Self { mut config, folder, profile, dataset, ranks, overlap, resumed } = self;
        config.check()?;
        let dataset = dataset.map_or_else(|| config.dataset(), Ok)?;
        let (found, expected) = (dataset.train.size(), config.network.input.stored());
        if found != expected {
            return Err(TrainError::Size { found, expected });
        }
        config.network.fit_classes(dataset.classes.len());
        let net = Net::new(config.network.clone())
            .map_err(|error| TrainError::Model { model: config.model.clone(), error: Box::new(error) })?;
        let (asked, images) = (config.batch(), dataset.train.len());
        let minibatch = asked.min(images);
        if minibatch < asked {
            log::warn!("a minibatch of {asked} images is more than the {images} to train on: they make one minibatch");
        }
        let mut job = Job { minibatch, ranks: ranks.size(), rank: ranks.rank(), ..config.job() };
        if ranks.size() > minibatch {
            return Err(TrainError::TooManyRanks { ranks: ranks.size(), images: minibatch });
        }
        if job.is_hybrid() {
            net.expect_hybrid(ranks.size())?;
            if job.options.precision == Precision::Mixed {
                return Err(TrainError::HybridMixed);
            }
        }
        expect_same(&ranks, &config, &dataset)?;
        let (devices, mut layout) = place(&net, &job, config.devices.as_deref(), ranks.local())?;
        let least = least(&ranks, layout.lowered.images)?;
        if least < layout.lowered.images {
            layout = Layout::new(&net, &job.at_once(least), &devices.limits(net.model.towers))
                .map_err(SessionError::from)?;
        }
        let plan = TrainingPlan::new(&layout, job.minibatch);
        if layout.micro_batches > 1 && resumed.is_none() {
            // What is free decides it, and it decides the last bits: a resumed run keeps it.
            config.options.micro_batch = Some(plan.micro_batch);
            job = job.with(config.options);
        }
        let mut session = Session::laid_out(net, &job, layout, &adjust(devices), config.seed)?;
        session.join(&ranks);
        let profile = profile.filter(|_| ranks.is_first());
        let profile =
            profile.map(|(path, steps)| TraceFile::create(&path, steps, &session, job.minibatch)).transpose()?;
        let reserve = || RunFolder::reserve(&folder.unwrap_or_else(|| free_folder(&config.model)));
        let (lock, resumed) = match resumed {
            Some(Resumed { lock, last }) => (lock, last),
            None => (ranks.is_first().then(reserve).transpose()?, None),
        };
        let folder = lock.as_ref().map_or_else(Vec::new, |lock| lock.folder().as_os_str().as_encoded_bytes().to_vec());
        let folder = PathBuf::from(String::from_utf8_lossy(&ranks.broadcast(folder)?).into_owned());
        let mut begun = None;
        if resumed.is_none() {
            session.initialise()?;
            let mut loaded = BTreeMap::new();
            if let Some(init) = config.init.as_deref().filter(|_| ranks.is_first()) {
                let (read, path) = begin_with(&mut session, init)?;
                (begun, loaded) = (Some((read.names, path)), read.tensors);
            }
            if ranks.size() > 1 {
                session.adopt_weights(&loaded)?;
            }
        }
        let crew = Crew { ranks, folder: lock, overlap };
        Ok(Ready { config, dataset, plan, begun, folder, crew, session, resumed, profile })
    }
}

impl Ready {
    /// Folder of the run, locked by the first rank.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The loop over its epochs; `stop` ends it after the step in progress.
    pub fn trainer(self, stop: &AtomicBool) -> Result<Trainer<'_>, TrainError> {
        let Self { config, dataset, folder, crew, session, resumed, profile, .. } = self;
        let trainer = if let Some(checkpoint) = resumed {
            let path = folder.join("last.safetensors");
            let refuse = |error: TrainError| FolderError::Checkpoint(error.into()).about(&path);
            Trainer::resume_among((config, session, dataset), &checkpoint, crew, stop).map_err(refuse)?
        } else {
            Trainer::open((config, session, dataset), None, State::default(), crew, stop)?
        };
        Ok(trainer.with_profile(profile))
    }
}

/// Makes sure that all ranks train the same network in the same way on the same images.
fn expect_same(ranks: &Ranks, config: &Config, dataset: &Dataset) -> Result<(), TrainError> {
    // Each has its own files and devices.
    let (data, working_folder, classes, devices, init) = Default::default();
    let config = Config { data, working_folder, classes, devices, init, ..config.clone() };
    let network = toml::to_string(&config).map_err(ConfigError::from)?.into_bytes();
    let all = ranks.gather(network)?;
    if all.iter().any(|other| *other != all[0]) {
        return Err(RanksError::Different.into());
    }
    let all = ranks.gather(format!("{:?}{:?}", dataset.classes, dataset.contents()).into_bytes())?;
    let other = all.iter().position(|other| *other != all[0]);
    other.map_or(Ok(()), |rank| Err(TrainError::OtherData { rank }))
}

/// The least number that a rank has.
fn least(ranks: &Ranks, own: usize) -> Result<usize, TrainError> {
    let all = ranks.gather((own as u64).to_ne_bytes().to_vec())?;
    let number = |bytes: &Vec<u8>| bytes[..].try_into().map_or(own, |bytes| u64::from_ne_bytes(bytes) as usize);
    Ok(all.iter().map(number).min().unwrap_or(own))
}

/// Weights that were loaded.
struct Loaded {
    tensors: BTreeMap<String, Tensor>,
    /// Their names, in the order of the network.
    names: Vec<String>,
}

/// Loads the weights in `init`: a file of weights, a checkpoint or a run folder, perhaps with a list of rows, as
/// `FILE:conv1..conv5`. Gives what was loaded, and the file.
fn begin_with(session: &mut Session, init: &str) -> Result<(Loaded, PathBuf), TrainError> {
    // A colon may be part of a path, of a drive for one.
    let (file, list) = match init.rsplit_once(':').filter(|_| !Path::new(init).exists()) {
        Some((file, list)) => (file, Some(list)),
        None => (init, None),
    };
    let path = Checkpoint::locate(Path::new(file));
    let loaded =
        load(session, &path, list).map_err(|reason| TrainError::Init { path: path.clone(), reason: reason.into() })?;
    Ok((loaded, path))
}

/// Loads the weights of the rows in `list`, or of all where absent, that are in a file.
fn load(session: &mut Session, path: &Path, list: Option<&str>) -> Result<Loaded, InitError> {
    let rows = list.map_or_else(|| Ok(BTreeSet::new()), |list| session.net().model.rows(list))?;
    Checkpoint::verify(path)?;
    let mut file = read_weights(path)?;
    file.recognise(&session.net().model, None)?;
    let mut tensors = adopt(session.net(), file.tensors, |row| rows.contains(row))?;
    let names = session.load_rows(&tensors, &rows)?;
    tensors.retain(|name, _| names.contains(name));
    Ok(Loaded { tensors, names })
}
