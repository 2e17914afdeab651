//! Work of commands beyond their arguments, apart from training ([`crate::train`]) and scoring ([`crate::eval`]).

pub mod bench;
pub mod convert;
pub mod describe;
pub mod features;
pub mod gradients;
pub mod inspect;
pub mod reproduce;
pub mod run;
pub mod scaling;
pub mod shaders;
pub mod step;

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::backend::BackendError;
use crate::checkpoint::{CheckpointError, ContentError};
use crate::eval::EvalError;
use crate::files::{FileError, TensorError};
use crate::interop::caffe::{CaffeError, ModelMismatch};
use crate::interop::{InteropError, ReadError};
use crate::net::{MOST_IMAGES, NetError};
use crate::runs::RunError;
use crate::session::SessionError;
use crate::wgsl::ShaderError;

/// Reason why `convert`, `run` or `step` ends early.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CommandError {
    #[error("{}: {error}", path.display())]
    In { path: PathBuf, error: Box<CommandError> },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Shader(#[from] ShaderError),
    #[error("kernel {kernel}: {wanted} workgroups wanted, at most {} fit along an axis", shaders::MOST_WORKGROUPS)]
    Workgroups { kernel: &'static str, wanted: usize },
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Tensors(#[from] TensorError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Interop(#[from] InteropError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Eval(#[from] EvalError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Saved(#[from] CheckpointError),
    #[error("the checkpoint's tensors are not those of its model: {0}")]
    Checkpoint(InteropError),
    #[error("the checkpoint's model cannot be written ({0})")]
    Model(#[from] toml::ser::Error),
    #[error("class names cannot be read or written as JSON ({0})")]
    ClassNames(#[from] serde_json::Error),
    #[error("found {names} class names for {outputs} outputs, expected one for each")]
    Classes { names: usize, outputs: usize },
    #[error("its SHA-256 is {found}, expected {expected}: it is another file, or damaged")]
    Sha256 { found: String, expected: String },
    #[error("the checkpoint has no mean image")]
    NoMean,
    #[error(
        "found no mean image (a tensor mean of [3, {0}, {0}]): say --mean-file FILE or --mean R,G,B, 0,0,0 for none"
    )]
    NoMeanInFile(usize),
    #[error("tensor {name} has shape {found:?}, expected {expected}")]
    Shape { name: &'static str, found: Vec<usize>, expected: String },
    #[error("found no tensor of this network; expected names like {expected}, found {found}")]
    NoTensor { expected: String, found: String },
    #[error("there is no tensor {0}, which this network needs")]
    Missing(String),
    #[error("there is no tensor {name}, expected {expected}")]
    NoBatch { name: &'static str, expected: &'static str },
    #[error("a batch has 1 to {MOST_IMAGES} images, not {0}")]
    Images(usize),
    #[error("image {image} has label {label}, but the classes of this network are 0 to {last}")]
    Label { image: usize, label: i64, last: usize },
    #[error("the loss of step {0} is not finite; a smaller --lr may help")]
    NotFinite(u64),
    #[error(transparent)]
    Differs(#[from] ModelMismatch),
    #[error(transparent)]
    Caffe(#[from] CaffeError),
    #[error("input {0} is given twice")]
    Twice(String),
    #[error("two outputs would be written to one file: {0}")]
    SameFile(String),
    #[error(transparent)]
    Table(#[from] csv::Error),
    #[error("{}: features are written to .npy, .safetensors or .csv", .0.display())]
    FeatureFormat(PathBuf),
    #[error("{}: cannot be created ({error})", path.display())]
    Folder { path: PathBuf, error: std::io::Error },
}

impl CommandError {
    /// Names the file that an error is about.
    fn within<E: Into<Self>>(path: &Path) -> impl Fn(E) -> Self {
        move |error| Self::In { path: path.into(), error: Box::new(error.into()) }
    }
}
