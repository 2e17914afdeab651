//! Reasons why networks cannot be evaluated.

use std::fmt::Display;
use std::path::PathBuf;

use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::data::{DataError, ImageError};
use crate::files::{FileError, TensorError};
use crate::interop::onnx::OnnxError;
use crate::net::NetError;
use crate::session::SessionError;

/// Reason why networks cannot be evaluated.
#[derive(Debug, Error)]
pub enum EvalError {
    /// A network or data that another error is about.
    #[error("{name}")]
    In {
        /// Path, or name of the data.
        name: String,
        /// What is wrong with it.
        source: Box<EvalError>,
    },
    /// A file that cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Predictions that a safetensors file cannot hold.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// A checkpoint that cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A model that is no network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// An ONNX file that cannot be read.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A network that does not fit its devices, or a device that fails.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Data that cannot be read, or of other classes.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An image that cannot be decoded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Preprocessing of a checkpoint, which has its own.
    #[error("{} has its own preprocessing: --mean, --scale and --stored are for ONNX files", .0.display())]
    Preprocessed(PathBuf),
    /// A network with another count of outputs than class names.
    #[error("found {names} class names for {outputs} outputs, expected one for each")]
    Classes {
        /// Names of classes.
        names: usize,
        /// Outputs for each image.
        outputs: usize,
    },
    /// A checkpoint without a mean image.
    #[error("the checkpoint has no mean image: it is not one of training")]
    NoMean,
    /// A graph with other inputs than images.
    #[error("found {0} inputs, expected one: images, N x 3 x S x S")]
    Inputs(usize),
    /// A graph whose input has no extents of images.
    #[error("its input {0} is not declared as images, N x 3 x S x S")]
    Input(String),
    /// A graph that gives no scores for each image.
    #[error("expected one output with the scores of classes for each of {0} images, found others")]
    Outputs(usize),
    /// Preprocessing that neither the file nor an option tells.
    #[error("it does not say how images become its input (metadata {key}): say {option} R,G,B")]
    Unknown {
        /// Key of the metadata.
        key: &'static str,
        /// Option that replaces the metadata.
        option: &'static str,
    },
    /// Metadata that cannot be read.
    #[error("found {found:?} as metadata {key}, expected {expected}")]
    Metadata {
        /// Key of the metadata.
        key: &'static str,
        /// Text in the file.
        found: String,
        /// Sort of text that belongs there.
        expected: String,
    },
    /// Images that are smaller than the network's input.
    #[error("images of {stored} pixels a side are smaller than its input of {size}")]
    Stored {
        /// Side of the images in pixels.
        stored: usize,
        /// Side of the input in pixels.
        size: usize,
    },
    /// Nothing to evaluate.
    #[error("found no checkpoint to evaluate, expected at least one")]
    NoCheckpoint,
    /// Weights that are not as many as networks, or below 0.
    #[error("--weights: {0} checkpoints need {0} weights of 0 or more")]
    Weights(usize),
    /// Weights that are all 0.
    #[error("--weights: one of them has to be more than 0")]
    NoWeight,
    /// Networks whose images are not the same.
    #[error("{} and {} were scored on different images: the data has changed in between", first.display(), other.display())]
    Images {
        /// Path of the first network.
        first: PathBuf,
        /// Path of the network with other images.
        other: PathBuf,
    },
    /// A file of predictions of an unknown format.
    #[error("{}: predictions are written to .csv (the best labels) or .safetensors (all)", .0.display())]
    Format(PathBuf),
    /// A file of predictions in a folder that does not exist.
    #[error("{} cannot be written: its folder does not exist; make it first", .0.display())]
    Folder(PathBuf),
    /// Predictions that a table cannot hold.
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
