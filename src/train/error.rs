//! Reasons for which a run ends early, and what helps.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::files::FileError;
use crate::interop::{InteropError, ReadError};
use crate::net::{NetError, toml_words};
use crate::ranks::RanksError;
use crate::session::SessionError;

/// Why a run cannot start or ends early.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TrainError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Ranks(#[from] RanksError),
    #[error("{ranks} ranks are more than the {images} images of a minibatch; start fewer, or take a larger --batch")]
    TooManyRanks { ranks: usize, images: usize },
    #[error(
        "--parallel hybrid goes with --precision f32 alone: each rank would scale the loss by its own part of the \
         gradients; leave one of them out"
    )]
    HybridMixed,
    #[error("the data of rank {rank} are not those of rank 0: give all ranks the same images and classes")]
    OtherData { rank: usize },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("model {model}: {error}")]
    Model { model: String, error: Box<NetError> },
    #[error("--init {path}: {reason}")]
    Init { path: PathBuf, reason: Box<InitError> },
    #[error("{path}: {reason}")]
    Folder { path: PathBuf, reason: Box<FolderError> },
    #[error(
        "the images of the data set have {found} pixels a side, the model stores {expected}; make it with {expected}"
    )]
    Size { found: usize, expected: usize },
    #[error("after step {step}: {error}; {advice}")]
    Stopped { step: u64, error: Box<SessionError>, advice: Advice },
    #[error(
        "the loss is not finite {when}; it began in {}{}. Try a smaller --lr",
        place.as_deref().unwrap_or("the loss itself"),
        kept.as_ref().map_or_else(String::new, |kept| format!(
            "; the last good checkpoint is kept in {}", kept.display()
        ))
    )]
    Diverged { when: Moment, place: Option<String>, kept: Option<PathBuf> },
}

/// The moment at which a loss was found not to be finite.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Moment {
    #[error("at step {0}")]
    Step(u64),
    #[error("after step {0}")]
    Saving(u64),
    #[error("in the validation after step {0}")]
    Validation(u64),
}

/// Advice for less memory, and less time at a stretch, than a run took on a device that failed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Advice {
    #[error("if it happens again, try other --devices")]
    OtherDevices,
    #[error("if it happens again, try --micro-batch {0}: the same steps with less memory")]
    MicroBatch(usize),
}

/// Why a file or a folder cannot be that of a run.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum FolderError {
    #[error("is no folder; give --resume the folder of a run")]
    NoFolder,
    #[error("no run was begun in this folder; begin one by --out {}", .0.display())]
    NoRun(PathBuf),
    #[error("exists and is not an empty folder; choose another --out, or go on with this one by --resume")]
    Taken,
    #[error("cannot be made ({0}); choose another --out")]
    Make(io::Error),
    #[error("cannot be read ({error}): is {} a run folder?", folder.display())]
    Unread { folder: PathBuf, error: io::Error },
    #[error(transparent)]
    Config(Box<ConfigError>),
    #[error("the configuration cannot be written ({0})")]
    Unwritable(#[from] toml::ser::Error),
    #[error(transparent)]
    Checkpoint(Box<TrainError>),
    #[error("metrics.jsonl cannot be written ({0}); the last checkpoint is intact")]
    Metrics(io::Error),
    #[error("{} cannot be removed ({error}); the last checkpoint is intact", path.display())]
    Remove { path: PathBuf, error: io::Error },
    #[error("the profile cannot be written ({0}); choose another --profile, or fewer --profile-steps")]
    Profile(io::Error),
}

impl FolderError {
    /// This reason about `path`.
    pub(super) fn about(self, path: &Path) -> TrainError {
        TrainError::Folder { path: path.into(), reason: self.into() }
    }
}

/// Why a run cannot begin with the weights in a file.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InitError {
    #[error(transparent)]
    Rows(#[from] NetError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Names(#[from] InteropError),
    #[error(transparent)]
    Load(#[from] SessionError),
}

/// What is wrong with the configuration of a run.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConfigError {
    #[error("is damaged ({})", toml_words(.0))]
    Text(#[from] toml::de::Error),
    #[error("cannot be written ({0})")]
    Unwritable(#[from] toml::ser::Error),
    #[error("line {line}: unknown key `{key}`, expected one of {known}")]
    Key { key: String, line: usize, known: String },
    #[error("{key} = {found}: {wanted}")]
    Value { key: &'static str, found: String, wanted: &'static str },
    #[error("freeze: {0}")]
    Freeze(NetError),
    #[error("--replace: {0}")]
    Replace(NetError),
    #[error("augment = {found:?}, expected one of {}", known.join(", "))]
    Augment { found: String, known: &'static [&'static str] },
    #[error(transparent)]
    Net(#[from] NetError),
}

impl TrainError {
    /// Says after how many steps a device failed that computed `images` at once.
    pub(super) fn after(self, step: u64, images: usize) -> Self {
        match self {
            Self::Session(SessionError::Ranks(error)) => Self::Ranks(error),
            Self::Session(error) => Self::Stopped { step, error: Box::new(error), advice: Advice::after(images) },
            other => other,
        }
    }
}

impl Advice {
    /// Advice where `images` were computed at once.
    fn after(images: usize) -> Self {
        match images / 2 / 8 * 8 {
            0 => Self::OtherDevices,
            fewer => Self::MicroBatch(fewer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_batch_is_advised_as_long_as_there_is_one() {
        for (images, wanted) in [(8, "--devices"), (16, "--micro-batch 8:"), (24, "--micro-batch 8:"), (104, "48:")] {
            let advice = Advice::after(images).to_string();
            assert!(advice.contains(wanted), "{images}: {advice}");
        }
    }
}
