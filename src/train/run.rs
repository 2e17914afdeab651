//! The folder of a run: `config.toml`, `metrics.jsonl`, `last.safetensors`, `best.safetensors`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::TrainError;
use super::config::Config;
use crate::checkpoint::write_whole;

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
}

/// An open run folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
}

impl RunFolder {
    /// Makes a new folder, which must not exist or be empty. It stays empty until the run begins.
    ///
    /// # Errors
    /// When there is something in it already, or the disk refuses.
    pub fn reserve(path: &Path) -> Result<(), TrainError> {
        let refuse = |reason: String| TrainError::Folder { path: path.into(), reason };
        let taken = path.exists() && std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_some());
        if taken {
            let fix = "choose another --out, or go on with this one by --resume";
            return Err(refuse(format!("exists and is not an empty folder; {fix}")));
        }
        std::fs::create_dir_all(path).map_err(|e| refuse(format!("cannot be made ({e}); choose another --out")))
    }

    /// Opens a folder to begin or to go on with the run that `config` describes, and writes it there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(path: &Path, config: &Config) -> Result<Self, TrainError> {
        let refuse = |reason: String| TrainError::Folder { path: path.into(), reason };
        let text = toml::to_string(config).map_err(|e| refuse(e.to_string()))?;
        write_whole(&path.join("config.toml"), text.as_bytes())
            .map_err(|e| refuse(format!("config.toml cannot be written ({e})")))?;
        let metrics = metrics(&path.join("metrics.jsonl"));
        let metrics = metrics.map_err(|e| refuse(format!("metrics.jsonl cannot be written ({e})")))?;
        Ok(Self { path: path.into(), metrics })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A checkpoint in the folder.
    #[must_use]
    pub fn checkpoint(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.safetensors"))
    }

    /// Appends a line of metrics.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn log(&mut self, metric: &Metric) -> Result<(), TrainError> {
        let line = serde_json::to_string(metric).map_err(std::io::Error::from);
        let written = line.and_then(|line| self.metrics.write_all(format!("{line}\n").as_bytes()));
        written.map_err(|e| {
            // Should this fail as well, the next run on this folder does it.
            let _ = end_at_a_line(&mut self.metrics);
            let reason = format!("metrics.jsonl cannot be written ({e}); the last checkpoint is intact");
            TrainError::Folder { path: self.path.clone(), reason }
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
    const LONGEST: u64 = 4096;
    let begin = file.metadata()?.len().saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(begin))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at as u64 + 1);
    file.set_len(begin + whole)?;
    file.seek(SeekFrom::End(0)).map(|_| ())
}

/// The first of `runs/MODEL-1`, `runs/MODEL-2`, … that does not exist.
#[must_use]
pub fn free_folder(model: &str) -> PathBuf {
    let stem = Path::new(model).file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned());
    let mut paths = (1_u32..).map(|number| PathBuf::from(format!("runs/{stem}-{number}")));
    paths.find(|path| !path.exists()).unwrap_or_else(|| PathBuf::from("runs"))
}
