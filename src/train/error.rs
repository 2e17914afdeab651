//! What ends a run early, and what helps.

use std::path::PathBuf;

use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::files::FileError;
use crate::net::NetError;
use crate::session::SessionError;

/// What ends a run early.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The network or its device.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file of the run folder, or its lock.
    #[error(transparent)]
    File(#[from] FileError),
    /// The model file.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A model that is not a network.
    #[error("model {model}: {error}")]
    Model {
        /// Its name or path.
        model: String,
        /// What is wrong with it.
        error: NetError,
    },
    /// Weights to begin with.
    #[error("--init {path}: {reason}")]
    Init {
        /// Their file.
        path: PathBuf,
        /// Why they cannot be used.
        reason: String,
    },
    /// The run folder.
    #[error("{path}: {reason}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The network or its device, in the midst of training.
    #[error("after step {step}: {error}; {advice}")]
    Stopped {
        /// Finished steps.
        step: u64,
        /// What happened.
        error: Box<SessionError>,
        /// What to try if it happens again.
        advice: String,
    },
    /// The loss is NaN or infinite.
    #[error("the loss is not finite {when}; it began in {place}; {kept}. Try a smaller --lr")]
    Diverged {
        /// The step, counted from 1.
        when: String,
        /// The slot where it began.
        place: String,
        /// Where the last good checkpoint is.
        kept: String,
    },
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

/// What takes less memory, and less time at a stretch, than `images` at once.
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
