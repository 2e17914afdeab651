//! What ends a run early, and what helps.

use std::path::PathBuf;

use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::files::FileError;
use crate::net::NetError;
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
    Config(#[from] ConfigError),
    #[error("model {model}: {error}")]
    Model { model: String, error: Box<NetError> },
    #[error("--init {path}: {reason}")]
    Init { path: PathBuf, reason: String },
    #[error(
        "{count} of {images} {split} images cannot be decoded, more than {share} %; the last of them: {last}. Mend or \
         remove them, or allow more by --max-broken PERCENT"
    )]
    Broken { count: usize, images: usize, split: &'static str, share: f64, last: String },
    #[error("{path}: {reason}")]
    Folder { path: PathBuf, reason: String },
    #[error("after step {step}: {error}; {advice}")]
    Stopped { step: u64, error: Box<SessionError>, advice: String },
    #[error("the loss is not finite {when}; it began in {place}; {kept}. Try a smaller --lr")]
    Diverged { when: String, place: String, kept: String },
}

/// What is wrong with the configuration of a run.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConfigError {
    #[error("is damaged ({0})")]
    Text(#[from] toml::de::Error),
    #[error("line {line}: unknown key `{key}`, expected one of {known}")]
    Key { key: String, line: usize, known: String },
    #[error("{key} = {found}: {wanted}")]
    Value { key: &'static str, found: String, wanted: &'static str },
    #[error("freeze: {0}")]
    Freeze(NetError),
    #[error(transparent)]
    Net(#[from] NetError),
}

impl TrainError {
    /// Says after how many steps a device failed that computed `images` at once.
    pub(super) fn after(self, step: u64, images: usize) -> Self {
        match self {
            Self::Session(error) => Self::Stopped { step, error: Box::new(error), advice: advice(images) },
            other => other,
        }
    }
}

/// Advice for less memory, and less time at a stretch, than `images` at once take.
fn advice(images: usize) -> String {
    match images / 2 / 8 * 8 {
        0 => "if it happens again, try other --devices".into(),
        fewer => format!("if it happens again, try --micro-batch {fewer}: the same steps with less memory"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_batch_is_advised_as_long_as_there_is_one() {
        for (images, wanted) in [(8, "--devices"), (16, "--micro-batch 8:"), (24, "--micro-batch 8:"), (104, "48:")] {
            assert!(advice(images).contains(wanted), "{images}: {}", advice(images));
        }
    }
}
