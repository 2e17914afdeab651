//! The folder of a run: `config.toml`, `metrics.jsonl`, `last.safetensors`, `best.safetensors`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::config::Config;
use super::{Movement, TrainError};
use crate::files::{FolderLock, sweep, write_file};

/// One line of `metrics.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metric {
    /// `step` or `validation`.
    pub kind: &'static str,
    /// Finished steps.
    pub step: u64,
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean loss in nats.
    pub loss: f64,
    /// Share of images whose best class is wrong.
    pub top1_error: f64,
    /// Share of images whose five best classes are wrong.
    pub top5_error: f64,
    /// Throughput.
    pub images_per_second: f64,
    /// Seconds that a step waited for its images.
    pub wait: f64,
}

/// A run that goes on in another way than it began.
#[derive(Serialize)]
struct Changed {
    kind: &'static str,
    before: String,
    after: String,
}

/// The folder of a run in progress, which no other process can train in meanwhile.
#[derive(Debug)]
pub struct RunFolder {
    lock: FolderLock,
    metrics: File,
}

impl RunFolder {
    /// Makes a new folder, which must not exist or be empty, and takes its lock. It stays empty until the run begins.
    pub fn reserve(path: &Path) -> Result<FolderLock, TrainError> {
        let refuse = |reason: String| TrainError::Folder { path: path.into(), reason };
        if path.exists() && !FolderLock::is_free(path).unwrap_or(false) {
            let fix = "choose another --out, or go on with this one by --resume";
            return Err(refuse(format!("exists and is not an empty folder; {fix}")));
        }
        std::fs::create_dir_all(path).map_err(|e| refuse(format!("cannot be made ({e}); choose another --out")))?;
        Ok(FolderLock::acquire(path)?)
    }

    /// Begins or goes on with the run that `config` describes in the folder of `lock`, and writes it there.
    pub fn open(lock: FolderLock, config: &Config) -> Result<Self, TrainError> {
        let path = lock.folder();
        let refuse = |reason: String| TrainError::Folder { path: path.into(), reason };
        let text = toml::to_string(config).map_err(|e| refuse(e.to_string()))?;
        sweep(path)?;
        let file = path.join("config.toml");
        let before = std::fs::read_to_string(&file).ok().filter(|before| *before != text);
        write_file(&file, text.as_bytes())?;
        let metrics = metrics(&path.join("metrics.jsonl"));
        let metrics = metrics.map_err(|e| refuse(format!("metrics.jsonl cannot be written ({e})")))?;
        let mut folder = Self { lock, metrics };
        if let Some(before) = before {
            folder.append(&Changed { kind: "config", before, after: text })?;
        }
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.lock.folder()
    }

    /// A checkpoint in the folder.
    pub fn checkpoint(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.safetensors"))
    }

    /// Keeps a copy of the checkpoint at `last` by its step, and so many of those in all.
    pub fn keep(&self, last: &Path, step: u64, count: usize) -> Result<(), TrainError> {
        let refuse = |e: io::Error| {
            let reason = format!("checkpoints cannot be kept ({e}); the last one is intact");
            TrainError::Folder { path: self.path().into(), reason }
        };
        let kept = self.path().join(format!("step-{step:08}.safetensors"));
        // One of the same step is from within the epoch that has ended since.
        if kept.exists() {
            std::fs::remove_file(&kept).map_err(refuse)?;
        }
        // A second name costs nothing; not every file system has them.
        if std::fs::hard_link(last, &kept).is_err() {
            std::fs::copy(last, &kept).map_err(refuse)?;
        }
        let mut all = self.kept().map_err(refuse)?;
        all.sort();
        let old = all.len().saturating_sub(count);
        all[..old].iter().try_for_each(|path| std::fs::remove_file(path).map_err(refuse))
    }

    /// Checkpoints kept by their steps.
    fn kept(&self) -> io::Result<Vec<PathBuf>> {
        let paths = std::fs::read_dir(self.path())?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let named = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.strip_prefix("step-")
                .and_then(|rest| rest.strip_suffix(".safetensors"))
                .is_some_and(|digits| digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        };
        Ok(paths.into_iter().filter(named).collect())
    }

    /// Appends a line of metrics.
    pub fn log(&mut self, metric: &Metric) -> Result<(), TrainError> {
        self.append(metric)
    }

    /// Appends how far every tensor moves.
    pub fn log_movements(
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

    fn append(&mut self, what: &impl Serialize) -> Result<(), TrainError> {
        let line = serde_json::to_string(what).map_err(std::io::Error::from);
        let written = line.and_then(|line| self.metrics.write_all(format!("{line}\n").as_bytes()));
        written.map_err(|e| {
            // Should this fail as well, the next run on this folder does it.
            let _ = end_at_a_line(&mut self.metrics);
            let reason = format!("metrics.jsonl cannot be written ({e}); the last checkpoint is intact");
            TrainError::Folder { path: self.path().into(), reason }
        })
    }
}

/// The file of metrics, ready to be gone on with.
fn metrics(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    end_at_a_line(&mut file)?;
    Ok(file)
}

/// Cuts off a last line that a full disk or a crash left unfinished, and goes to the end.
fn end_at_a_line(file: &mut File) -> io::Result<()> {
    const LONGEST: u64 = 1 << 20;
    let begin = file.metadata()?.len().saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(begin))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at as u64 + 1);
    file.set_len(begin + whole)?;
    file.seek(SeekFrom::End(0)).map(|_| ())
}

/// The first of `runs/MODEL-1`, `runs/MODEL-2`, … that does not exist.
pub fn free_folder(model: &str) -> PathBuf {
    let stem = Path::new(model).file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned());
    let mut paths = (1_u32..).map(|number| PathBuf::from(format!("runs/{stem}-{number}")));
    paths.find(|path| !path.exists()).unwrap_or_else(|| PathBuf::from("runs"))
}
