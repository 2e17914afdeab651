//! Reasons why networks cannot be evaluated.

use std::fmt::Display;
use std::path::PathBuf;

use thiserror::Error;

use crate::checkpoint::{CheckpointError, ContentError};
use crate::data::{DataError, ImageError};
use crate::files::{FileError, TensorError};
use crate::interop::ReadError;
use crate::net::NetError;
use crate::session::SessionError;

/// Reason why networks cannot be evaluated.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum EvalError {
    #[error("{name}")]
    In { name: String, source: Box<EvalError> },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Tensors(#[from] TensorError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("{} has its own preprocessing: --mean, --scale and --stored are for ONNX files", .0.display())]
    Preprocessed(PathBuf),
    #[error("found {names} class names for {outputs} outputs, expected one for each")]
    Classes { names: usize, outputs: usize },
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(
        "{image}: the network gives {value} as the probability of class {class}; its weights or this input are broken"
    )]
    NotFinite { image: String, class: String, value: f32 },
    #[error("the checkpoint has no mean image: it is not one of training")]
    NoMean,
    #[error("found {0} inputs, expected one: images, N x 3 x S x S")]
    Inputs(usize),
    #[error("its input {0} is not declared as images, N x 3 x S x S")]
    Input(String),
    #[error("expected one output with the scores of classes for each of {0} images, found others")]
    Outputs(usize),
    #[error("it does not say how images become its input (metadata {key}): say {option} R,G,B")]
    Unknown { key: &'static str, option: &'static str },
    #[error("found {found:?} as metadata {key}, expected {expected}")]
    Metadata { key: &'static str, found: String, expected: String },
    #[error("images of {stored} pixels a side are smaller than its input of {size}")]
    Stored { stored: usize, size: usize },
    #[error("found no checkpoint to evaluate, expected at least one")]
    NoCheckpoint,
    #[error("--weights: {0} checkpoints need {0} weights of 0 or more")]
    Weights(usize),
    #[error("--weights: one of them has to be more than 0")]
    NoWeight,
    #[error("{} and {} were scored on different images: the data has changed in between", first.display(), other.display())]
    Images { first: PathBuf, other: PathBuf },
    #[error("{}: predictions are written to .csv (the best labels) or .safetensors (all)", .0.display())]
    Format(PathBuf),
    #[error("{} cannot be written: its folder does not exist; make it first", .0.display())]
    Folder(PathBuf),
    #[error(transparent)]
    Table(#[from] csv::Error),
}

/// Text that is not three numbers.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected three numbers with commas between")]
pub struct ColourError;

impl EvalError {
    /// Adds the `name` of the file or data that the error is about.
    pub(super) fn within(self, name: &dyn Display) -> Self {
        Self::In { name: name.to_string(), source: Box::new(self) }
    }
}
