//! The folder of a run: `config.toml`, `metrics.jsonl`, `last.safetensors`, `best.safetensors`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::metrics::{METRICS, MetricsFile, Reached, from_rfc3339, rfc3339, unknown_time};
use super::{Config, FolderError, Metric, Movement, TrainError};
use crate::checkpoint::Checkpoint;
use crate::data::Measured;
use crate::files::{FileError, FolderLock, link_file, read_text, sweep, write_file};
use crate::session::DeviceTimes;

/// The last checkpoint, and the one before it, which is kept until the last one is validated.
const LAST: &str = "last";
const PREVIOUS: &str = "previous";
const BEST: &str = "best";

/// Statistics of the images of a run that has no checkpoint yet.
const STATISTICS: &str = "statistics.safetensors";

/// How a process took up a run: in a line of its own where it was resumed, in that of the first step where it began.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Resumption {
    /// `begin`, `resume`, or `config` if the configuration has changed.
    pub kind: String,
    /// Steps that the run had finished when it was taken up.
    pub from_step: u64,
    /// Time of day, in UTC.
    #[serde(serialize_with = "rfc3339", deserialize_with = "from_rfc3339", default = "unknown_time")]
    pub time: SystemTime,
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// Commit that the program was built from, where that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Steps of a whole epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_steps: Option<u64>,
    /// Towers with the name of their device and its driver: `a, b: name`.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Words of the command line, the program's own name first.
    #[serde(default)]
    pub command: Vec<String>,
    /// `key: old → new`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Configuration before the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Configuration after the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Work of the devices in one step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct DeviceRecord {
    /// Seconds of the step.
    pub seconds: f64,
    /// Seconds that the host spent on exchanges between devices.
    pub exchange: f64,
    /// Times and memory of each device.
    pub devices: Vec<DeviceTimes>,
}

/// What ranks exchanged in one step.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct ExchangeRecord {
    /// Seconds for which the first rank had nothing to do but to wait for gradients.
    pub waited: f64,
    /// Bytes that it sent to others.
    pub sent: u64,
}

/// The folder of a run in progress, which no other process can train in meanwhile.
#[derive(Debug)]
pub struct RunFolder {
    lock: FolderLock,
    metrics: MetricsFile,
    /// Whether the run begins in this process.
    new: bool,
    /// How it began, until that is written.
    begun: Option<Resumption>,
    /// How it goes on, until that is told.
    resumed: Option<String>,
}

impl RunFolder {
    /// Makes a new folder, which must not exist or be empty, and takes its lock. It stays empty until the run begins.
    pub fn reserve(path: &Path) -> Result<FolderLock, TrainError> {
        let is_free = || FolderLock::is_free(path).unwrap_or(false);
        let taken = || FolderError::Taken.about(path);
        if path.exists() && !is_free() {
            return Err(taken());
        }
        fs::create_dir_all(path).map_err(|error| FolderError::Make(error).about(path))?;
        let lock = FolderLock::acquire(path)?;
        // A run of another process may have come and gone in between.
        if is_free() { Ok(lock) } else { Err(taken()) }
    }

    /// Begins or goes on with the run that `config` describes in the folder of `lock`, and writes it there. The run has
    /// come as far as `reached`, and works on `devices`; an epoch has `epoch_steps` steps.
    pub(super) fn open(
        lock: FolderLock,
        config: &Config,
        reached: Reached,
        devices: Vec<String>,
        epoch_steps: u64,
    ) -> Result<Self, TrainError> {
        let path = lock.folder();
        let text = toml::to_string(config).map_err(|error| FolderError::from(error).about(path))?;
        sweep(path)?;
        let file = path.join("config.toml");
        let before = read_text(&file).ok();
        let new = before.is_none();
        write_file(&file, text.as_bytes())?;
        let metrics = MetricsFile::open(path, reached).map_err(|error| FolderError::Metrics(error).about(path))?;
        let mut folder = Self { lock, metrics, new, begun: None, resumed: None };
        if reached.validated {
            folder.remove(&folder.checkpoint(PREVIOUS))?;
        }
        let changed = before.as_ref().is_some_and(|before| *before != text);
        let kind = match (new, changed) {
            (true, _) => "begin",
            (false, true) => "config",
            (false, false) => "resume",
        };
        let resumption = Resumption {
            kind: kind.into(),
            from_step: reached.step,
            time: SystemTime::now(),
            version: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("ALEXNET_COMMIT").map(Into::into),
            epoch_steps: Some(epoch_steps),
            devices,
            command: std::env::args_os().map(|part| part.to_string_lossy().into_owned()).collect(),
            changes: before.as_deref().map(|before| changes(before, &text)).unwrap_or_default(),
            before: before.filter(|_| changed),
            after: changed.then_some(text),
        };
        if new {
            folder.begun = Some(resumption);
        } else {
            folder.append(&resumption)?;
            let changes = resumption.changes.join("; ");
            let changes = if changes.is_empty() { changes } else { format!("; changed: {changes}") };
            folder.resumed = Some(format!("goes on from step {}{changes}", resumption.from_step));
        }
        Ok(folder)
    }

    /// What is worth a line of how the run goes on, once.
    pub(super) fn take_resumed(&mut self) -> Option<String> {
        self.resumed.take()
    }

    /// Path of the folder, which is locked by this process.
    pub fn path(&self) -> &Path {
        self.lock.folder()
    }

    /// A checkpoint in the folder.
    pub fn checkpoint(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.safetensors"))
    }

    /// The last checkpoint, if there is one.
    pub(super) fn last(&self) -> Option<PathBuf> {
        Some(self.checkpoint(LAST)).filter(|path| path.is_file())
    }

    /// Replaces the last checkpoint, and keeps `count` of them in all.
    pub(super) fn save(&self, checkpoint: &Checkpoint, count: usize) -> Result<(), TrainError> {
        self.write(checkpoint, LAST)?;
        self.settle(checkpoint.state.step, count)
    }

    /// Replaces the last checkpoint by one that is to be validated; the one before is kept until then.
    pub(super) fn save_unvalidated(&self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        let previous = self.checkpoint(PREVIOUS);
        if let Some(last) = self.last() {
            link_file(&last, &previous)?;
        }
        self.write(checkpoint, LAST).inspect_err(|_| drop(self.remove(&previous)))
    }

    /// Replaces the best and the last checkpoint, which are the same, and keeps `count` of the last in all.
    pub(super) fn save_best(&self, checkpoint: &Checkpoint, count: usize) -> Result<(), TrainError> {
        self.write(checkpoint, BEST)?;
        link_file(&self.checkpoint(BEST), &self.checkpoint(LAST))?;
        self.settle(checkpoint.state.step, count)
    }

    /// Takes back what [`RunFolder::save_unvalidated`] saved: its validation was not finite.
    pub(super) fn take_back(&self) -> Result<(), TrainError> {
        let (last, previous) = (self.checkpoint(LAST), self.checkpoint(PREVIOUS));
        if !previous.is_file() {
            return self.remove(&last);
        }
        link_file(&previous, &last)?;
        self.remove(&previous)
    }

    /// Writes a checkpoint, after the lines of metrics that it knows of.
    fn write(&self, checkpoint: &Checkpoint, name: &str) -> Result<(), TrainError> {
        self.metrics.sync().map_err(|error| FolderError::Metrics(error).about(self.path()))?;
        Ok(checkpoint.save(&self.checkpoint(name))?)
    }

    /// Keeps the last checkpoint by its step, and so many of those in all; removes what it makes needless.
    fn settle(&self, step: u64, count: usize) -> Result<(), TrainError> {
        self.remove(&self.checkpoint(PREVIOUS))?;
        self.remove(&self.path().join(STATISTICS))?;
        if count <= 1 {
            return Ok(());
        }
        link_file(&self.checkpoint(LAST), &self.checkpoint(&format!("step-{step:08}")))?;
        let mut all = kept(self.path()).map_err(FileError::read(self.path()))?;
        all.sort_unstable();
        let old = all.len().saturating_sub(count);
        all[..old].iter().try_for_each(|(_, path)| self.remove(path))
    }

    /// Statistics of the images that were measured for this run before it had a checkpoint, if they are still those.
    pub(super) fn statistics(&self, key: u64) -> Option<Measured> {
        Measured::read(&self.path().join(STATISTICS)).ok().filter(|measured| measured.about.key == Some(key))
    }

    /// Keeps the statistics of the images until there is a checkpoint.
    pub(super) fn keep_statistics(&self, measured: &Measured) -> Result<(), TrainError> {
        Ok(measured.save(&self.path().join(STATISTICS))?)
    }

    /// Removes what a run wrote that cannot begin.
    pub(super) fn discard(&self) -> Result<(), TrainError> {
        if !self.new {
            return Ok(());
        }
        [METRICS, "config.toml"].iter().try_for_each(|name| self.remove(&self.path().join(name)))
    }

    fn remove(&self, path: &Path) -> Result<(), TrainError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FolderError::Remove { path: path.into(), error }.about(self.path()))
            }
            _ => Ok(()),
        }
    }

    /// Appends a line of metrics, with the work of the devices where it was measured, and what ranks exchanged.
    pub(super) fn log(
        &mut self,
        metric: &Metric,
        measured: Option<&DeviceRecord>,
        ranks: Option<ExchangeRecord>,
    ) -> Result<(), TrainError> {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(flatten)]
            metric: &'a Metric,
            #[serde(skip_serializing_if = "Option::is_none")]
            measured: Option<&'a DeviceRecord>,
            #[serde(skip_serializing_if = "Option::is_none")]
            ranks: Option<ExchangeRecord>,
            #[serde(skip_serializing_if = "Option::is_none")]
            begun: Option<Resumption>,
        }
        let begun = self.begun.take();
        self.append(&Line { metric, measured, ranks, begun })
    }

    /// Appends how far every tensor moves.
    pub(super) fn log_movements(
        &mut self,
        step: u64,
        epoch: usize,
        tensors: &BTreeMap<String, Movement>,
    ) -> Result<(), TrainError> {
        #[derive(Serialize)]
        struct Movements<'a> {
            kind: &'static str,
            step: u64,
            epoch: usize,
            tensors: &'a BTreeMap<String, Movement>,
        }
        self.append(&Movements { kind: "weights", step, epoch, tensors })
    }

    /// Seconds of training that the metrics told of when the run was resumed.
    pub(super) fn seconds(&self) -> f64 {
        self.metrics.seconds
    }

    fn append(&mut self, what: &impl Serialize) -> Result<(), TrainError> {
        self.metrics.append(what).map_err(|error| FolderError::Metrics(error).about(self.path()))
    }
}

/// Checkpoints in `folder` that are kept by their steps.
pub fn kept(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let digits = name.strip_prefix("step-").and_then(|rest| rest.strip_suffix(".safetensors"));
        let digits = digits.filter(|digits| digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(step) = digits.and_then(|digits| digits.parse().ok()) {
            kept.push((step, path));
        }
    }
    Ok(kept)
}

/// Whether `folder` holds a checkpoint of a run.
pub(super) fn has_checkpoint(folder: &Path) -> bool {
    [LAST, PREVIOUS, BEST].iter().any(|name| folder.join(format!("{name}.safetensors")).exists())
}

/// Settings in the text of a configuration, by their dotted keys; none where it cannot be read.
pub fn settings(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    flatten("", &toml::Value::Table(text.parse().unwrap_or_default()), &mut found);
    found
}

/// The settings that differ between two configurations, as `key: old → new`.
pub(super) fn changes(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (settings(before), settings(after));
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let value =
        |settings: &BTreeMap<String, String>, key| settings.get(key).map_or_else(|| "none".into(), Clone::clone);
    let pairs = keys.into_iter().map(|key| (key, value(&before, key), value(&after, key)));
    pairs.filter(|(_, old, new)| old != new).map(|(key, old, new)| format!("{key}: {old} → {new}")).collect()
}

/// Adds the values in `value` by their dotted keys.
fn flatten(key: &str, value: &toml::Value, found: &mut BTreeMap<String, String>) {
    if let toml::Value::Table(table) = value {
        let dot = if key.is_empty() { "" } else { "." };
        table.iter().for_each(|(name, value)| flatten(&format!("{key}{dot}{name}"), value, found));
    } else {
        found.insert(key.into(), value.to_string());
    }
}

/// The first of `runs/MODEL-1`, `runs/MODEL-2`, … that does not exist.
pub fn free_folder(model: &str) -> PathBuf {
    let stem = Path::new(model).file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned());
    let mut paths = (1_u32..).map(|number| PathBuf::from(format!("runs/{stem}-{number}")));
    paths.find(|path| !path.exists()).unwrap_or_else(|| PathBuf::from("runs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_checkpoints_are_kept_by_number() {
        let place = tempfile::tempdir().unwrap();
        let config = Config::new("mini", crate::net::Model::open("mini").unwrap(), 0);
        let lock = FolderLock::acquire(place.path()).unwrap();
        let reached = Reached { step: 0, validated: true };
        let folder = RunFolder::open(lock, &config, reached, Vec::new(), 1).unwrap();
        for name in ["last", "step-99999998", "step-99999999", "step-100000000"] {
            write_file(&folder.checkpoint(name), name.as_bytes()).unwrap();
        }
        folder.settle(100_000_001, 2).unwrap();
        let mut kept: Vec<u64> = super::kept(folder.path()).unwrap().into_iter().map(|(step, _)| step).collect();
        kept.sort_unstable();
        assert_eq!(kept, [100_000_000, 100_000_001]);
    }

    #[test]
    fn changed_settings_are_named() {
        let before = "seed = 1\nsteps = 9\n[network.train]\nrate = 0.1\nbatch = 8\n";
        let after = "seed = 1\ndata = \"here\"\n[network.train]\nrate = 0.01\nbatch = 8\n";
        let wanted = ["data: none → \"here\"", "network.train.rate: 0.1 → 0.01", "steps: 9 → none"];
        assert_eq!(changes(before, after), wanted);
        assert!(changes(after, after).is_empty());
    }
}
