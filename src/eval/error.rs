//! Reasons why networks cannot be evaluated.

use std::fmt::Display;
use std::path::PathBuf;

use thiserror::Error;

use crate::checkpoint::{CheckpointError, ContentError};
use crate::data::{DataError, ImageError};
use crate::files::{FileError, TensorError};
use crate::interop::ReadError;
use crate::net::NetError;
use crate::ranks::RanksError;
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
    Ranks(#[from] RanksError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("{} has its own preprocessing: --mean, --scale, --stored, --size and --output are for ONNX files", .0.display())]
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
    #[error("found {0} inputs, expected one: images, N x 3 x H x W")]
    Inputs(usize),
    #[error("its input {0} is not declared as images in colour or grey, N x 3 x H x W, N x 1 x H x W or colours last")]
    Input(String),
    #[error("its input {0} is declared for images of any size: say --size HxW")]
    NoSize(String),
    #[error("its input {name} is declared as {height} x {width}, and --size says otherwise")]
    Size { name: String, height: String, width: String },
    #[error("its input is grey: mean and scale are one number each, not one for each colour")]
    Grey,
    #[error(
        "expected one output with the scores of classes for each of {images} images, found {found}; --output NAME chooses"
    )]
    Outputs { images: usize, found: String },
    #[error("it does not say how images become its input (metadata {key}): say {option} R,G,B")]
    Unknown { key: &'static str, option: &'static str },
    #[error("found {found:?} as metadata {key}, expected {expected}")]
    Metadata { key: &'static str, found: String, expected: String },
    #[error("images of {stored} pixels a side are smaller than its input of {} x {}", size[0], size[1])]
    Stored { stored: usize, size: [usize; 2] },
    #[error("its {0} classes have no names, by which those of the data could be found: say --classes, a name a line")]
    Nameless(usize),
    #[error("found no checkpoint to evaluate, expected at least one")]
    NoCheckpoint,
    #[error("--weights: {0} checkpoints need {0} weights of 0 or more")]
    Weights(usize),
    #[error("--weights: one of them has to be more than 0")]
    NoWeight,
    #[error("{} and {} were scored on different images: they were trained on different data, or the data have changed; say --data", first.display(), other.display())]
    Images { first: PathBuf, other: PathBuf },
    #[error("there is no layer {name}; there are {known}")]
    Layer { name: String, known: String },
    #[error("{}: has no line that begins as class {class} does; expected the WordNet id of every class, one a line", path.display())]
    Unnumbered { path: PathBuf, class: String },
    #[error("{}: predictions are written to .csv (the best labels) or .safetensors (all)", .0.display())]
    Format(PathBuf),
    #[error(transparent)]
    Table(#[from] csv::Error),
}

/// Text that is not three numbers, or one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected three numbers with commas between, or one for all colours")]
pub struct ColourError;

/// Text that is no size of images.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected height and width from 1 to {most}, such as 192x256, or one number for both", most = super::classifier::MOST_SIDE)]
pub struct SizeError;

impl EvalError {
    /// Adds the `name` of the file or data that the error is about.
    pub(super) fn within(self, name: &dyn Display) -> Self {
        Self::In { name: name.to_string(), source: Box::new(self) }
    }
}
