//! Readers of other programs' files; the format of a file of weights is recognised by its first bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::caffe::{self, CaffeError};
use super::npy::{self, Array, NpyError};
use super::onnx::{self, OnnxError};
use super::pth::{self, PthError};
use crate::files::{FileError, TensorError, TensorFile, read_file};
use crate::graph::Graph;
use crate::tensor::Tensor;

/// Metadata key of the class names, a JSON list.
pub const CLASSES: &str = "classes";

/// Reason why a file of another program cannot be read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ReadError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {error}", path.display())]
    Content { path: PathBuf, error: Box<FormatError> },
}

/// Reason why the content of such a file is refused.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum FormatError {
    #[error(transparent)]
    Tensors(#[from] TensorError),
    #[error(transparent)]
    Pth(#[from] PthError),
    #[error(transparent)]
    Caffe(#[from] CaffeError),
    #[error(transparent)]
    Npy(#[from] NpyError),
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    #[error("found a bare pickle, as PyTorch wrote it before 1.6: load it in PyTorch and torch.save it again")]
    OldPth,
    #[error("found integers, expected a mean image of floats")]
    IntegerMean,
    #[error("found text that is not UTF-8")]
    Text,
}

/// Content of a file with weights.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightsFile {
    /// Tensors by the file's names.
    pub tensors: BTreeMap<String, Tensor>,
    /// Class names, a JSON list.
    pub classes: Option<String>,
    /// Layers of a Caffe network.
    pub layers: Option<caffe::Network>,
}

/// Reads a safetensors file, a PyTorch state dict (`.pth`) or a Caffe network (extension `.caffemodel`); 16-bit and
/// 64-bit numbers are converted to 32-bit.
pub fn read_weights(path: &Path) -> Result<WeightsFile, ReadError> {
    read(path, if has_extension(path, "caffemodel") { parse_caffe } else { parse })
}

/// Reads a mean image `[3][height][width]`, or means by colour `[3]`, in red, green, blue, from a file in Caffe's order:
/// `.npy`, else a `.binaryproto`.
pub fn read_mean(path: &Path) -> Result<Tensor, ReadError> {
    read(path, |bytes| {
        if !has_extension(path, "npy") {
            return Ok(caffe::parse_mean(bytes)?);
        }
        match npy::parse(bytes)? {
            Array::Floats(mean) => Ok(caffe::mean_of(&mean)?),
            Array::Integers { .. } => Err(FormatError::IntegerMean),
        }
    })
}

/// Reads the layers of a `.prototxt`.
pub fn read_layers(path: &Path) -> Result<caffe::Network, ReadError> {
    read(path, |bytes| Ok(caffe::parse_text(std::str::from_utf8(bytes).map_err(|_| FormatError::Text)?)?))
}

/// Reads the graph of an ONNX file.
pub fn read_graph(path: &Path) -> Result<Graph, ReadError> {
    read(path, |bytes| Ok(onnx::read(bytes, path)?))
}

/// Reads the array of a `.npy` file.
pub fn read_array(path: &Path) -> Result<Array, ReadError> {
    read(path, |bytes| Ok(npy::parse(bytes)?))
}

fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, FormatError>) -> Result<T, ReadError> {
    parse(&read_file(path)?).map_err(|error| ReadError::Content { path: path.into(), error: error.into() })
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|other| other == extension)
}

fn parse_caffe(bytes: &[u8]) -> Result<WeightsFile, FormatError> {
    let layers = caffe::parse(bytes)?;
    Ok(WeightsFile { tensors: layers.tensors()?, classes: None, layers: Some(layers) })
}

fn parse(bytes: &[u8]) -> Result<WeightsFile, FormatError> {
    // The length at the start of a safetensors file can look like the magic of another format, so `{` decides first.
    if bytes.get(8) != Some(&b'{') {
        if bytes.starts_with(pth::MAGIC) {
            return Ok(WeightsFile { tensors: pth::parse(bytes)?, classes: None, layers: None });
        }
        if bytes.starts_with(pth::OLD_MAGIC) {
            return Err(FormatError::OldPth);
        }
    }
    let file = TensorFile::parse(bytes)?;
    Ok(WeightsFile { tensors: file.floats()?, classes: file.metadata(CLASSES).map(str::to_owned), layers: None })
}
