//! Readers of other programs' files; the format of a file of weights is recognised by its first bytes.

use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::caffe::{self, CaffeError};
use super::npy::{self, Array, NpyError};
use super::onnx::{self, OnnxError};
use super::pth::{self, PthError, StateDict, StorageError};
use crate::files::{FileError, TensorError, TensorFile, read_file};
use crate::graph::Graph;
use crate::tensor::Tensor;

/// Metadata key of the class names, a JSON list.
pub const CLASSES: &str = "classes";

/// Name of the mean image beside weights.
pub const MEAN: &str = "mean";

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
    #[error("found a pickle of Python's own; load it and torch.save it again, as torch.save(model.state_dict(), FILE)")]
    Pickle,
    #[error("found {0}, expected an ONNX file, a safetensors file, a state dict of PyTorch (.pth), or a Caffe network")]
    Unknown(&'static str),
    #[error("found integers, expected a mean image of floats")]
    IntegerMean,
    #[error("found text that is not UTF-8")]
    Text,
}

/// Reason why one tensor of a file cannot be read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Unreadable {
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Content of a file with weights.
#[derive(Default)]
pub struct WeightsFile {
    /// Tensors by the file's names.
    pub tensors: BTreeMap<String, Tensor>,
    /// Further tensors, which [`WeightsFile::recognise`] reads where the network has them.
    pub unread: Option<StateDict<'static>>,
    /// Names of all tensors in the order of the file, where it has one.
    pub order: Vec<String>,
    /// Why further tensors cannot be read, by their names: integers, quantised numbers, what no network here needs.
    pub unreadable: BTreeMap<String, Unreadable>,
    /// Objects of other programs' classes beside the tensors, which were passed over, with their classes.
    pub foreign: Vec<String>,
    /// Names of the classes, in the order of outputs.
    pub classes: Option<Vec<String>>,
    /// Means of red, green and blue of 0 to 255, beside a network.
    pub means: Option<[f32; 3]>,
    /// Factors of red, green and blue after that.
    pub scale: Option<[f32; 3]>,
    /// Layers of a Caffe network.
    pub layers: Option<caffe::Network>,
}

/// Reads a safetensors file, a PyTorch state dict (`.pth`), an ONNX file or a Caffe network (extensions `.onnx`,
/// `.caffemodel`); 16-bit and 64-bit numbers are converted to 32-bit.
pub fn read_weights(path: &Path) -> Result<WeightsFile, ReadError> {
    if has_extension(path, "onnx") {
        return read_graph(path).map(|graph| onnx::weights(&graph));
    }
    if has_extension(path, "caffemodel") {
        return read(path, parse_caffe);
    }
    parse(read_file(path)?).map_err(content(path))
}

/// Reads a mean image `[3][height][width]`, or means by colour `[3]`, in red, green, blue, from a file in Caffe's
/// order: `.npy`, else a `.binaryproto`.
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
    read(path, |bytes| {
        known(bytes)?;
        Ok(onnx::read(bytes, path)?)
    })
}

/// Reads the array of a `.npy` file.
pub fn read_array(path: &Path) -> Result<Array, ReadError> {
    read(path, |bytes| Ok(npy::parse(bytes)?))
}

fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, FormatError>) -> Result<T, ReadError> {
    parse(&read_file(path)?).map_err(content(path))
}

fn content(path: &Path) -> impl FnOnce(FormatError) -> ReadError {
    |error| ReadError::Content { path: path.into(), error: error.into() }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|other| other == extension)
}

fn parse_caffe(bytes: &[u8]) -> Result<WeightsFile, FormatError> {
    known(bytes)?;
    let layers = caffe::parse(bytes)?;
    Ok(WeightsFile { tensors: layers.tensors()?, layers: Some(layers), ..WeightsFile::default() })
}

fn parse(bytes: Vec<u8>) -> Result<WeightsFile, FormatError> {
    // The length at the start of a safetensors file can look like the magic of another format, so `{` decides first.
    if bytes.get(8) != Some(&b'{') {
        if bytes.starts_with(pth::MAGIC) || bytes.starts_with(pth::OLD_MAGIC) {
            let mut dict = pth::parse(bytes)?;
            let (order, foreign) = (dict.order.clone(), mem::take(&mut dict.foreign));
            return Ok(WeightsFile { unread: Some(dict), order, foreign, ..WeightsFile::default() });
        }
        known(&bytes)?;
    }
    let file = TensorFile::parse(&bytes)?;
    let mut weights = WeightsFile {
        order: natural(file.names()),
        // The key is a common word: what is no list of names is another program's.
        classes: file.metadata(CLASSES).and_then(|text| serde_json::from_str(text).ok()),
        ..WeightsFile::default()
    };
    if weights.classes.is_none() && file.metadata(CLASSES).is_some() {
        weights.foreign.push(format!("metadata {CLASSES}"));
    }
    for name in &weights.order {
        match file.float(name) {
            Ok(tensor) => drop(weights.tensors.insert(name.clone(), tensor)),
            Err(reason) => drop(weights.unreadable.insert(name.clone(), reason.into())),
        }
    }
    Ok(weights)
}

/// Sorts names by their words and numbers: the file has them in the order of their letters at best.
fn natural(mut names: Vec<String>) -> Vec<String> {
    let key = |name: &String| {
        let parts = name.split_inclusive(|c: char| !c.is_ascii_digit());
        parts.map(|part| format!("{part:0>24}")).collect::<Vec<_>>()
    };
    names.sort_by_cached_key(key);
    names
}

/// Refuses files of formats that have weights, but are not read, by their first bytes.
fn known(bytes: &[u8]) -> Result<(), FormatError> {
    const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";
    if pth::PICKLE.iter().any(|magic| bytes.starts_with(magic)) {
        return Err(FormatError::Pickle);
    }
    let magics: [(&[u8], &str); 6] = [
        (
            HDF5,
            "an HDF5 file, as Keras and Caffe's snapshot_format: HDF5 write it (not read here; save weights as BINARYPROTO)",
        ),
        (b"\x1f\x8b", "a file compressed by gzip (gunzip it)"),
        (b"\x93NUMPY", "an array of numpy"),
        (b"version https://git-lfs", "a pointer of Git LFS in the file's place (git lfs pull brings the file)"),
        (b"<!DOCTYPE", "a web page (download the file itself)"),
        (b"<html", "a web page (download the file itself)"),
    ];
    match magics.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        Some(&(_, what)) => Err(FormatError::Unknown(what)),
        None if bytes.get(257..262) == Some(b"ustar") => {
            Err(FormatError::Unknown("a tar archive (unpack it, or save the weights again with PyTorch 1.6 or later)"))
        }
        None => Ok(()),
    }
}
