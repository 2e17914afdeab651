//! Files with weights, told apart by how they begin.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::files::{TensorFile, read_file};
use crate::interop::{caffe, npy, pth};
use crate::tensor::Tensor;

/// The metadata with the names of classes, a JSON list.
pub(super) const CLASSES: &str = "classes";

/// What a file with weights holds.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightsFile {
    /// By the file's names.
    pub tensors: BTreeMap<String, Tensor>,
    /// Names of classes, a JSON list.
    pub classes: Option<String>,
    /// What its layers are, in a file of Caffe.
    pub layers: Option<caffe::Network>,
}

/// Reads a safetensors file, a state dict as PyTorch saves it (`.pth`), or a network of Caffe, which its extension
/// `.caffemodel` tells; numbers of 16 and 64 bits become such of 32.
pub fn read_weights(path: &Path) -> Result<WeightsFile> {
    let parse = if has_extension(path, "caffemodel") { parse_caffe } else { parse };
    parse(&read_file(path)?).with_context(|| path.display().to_string())
}

/// Reads a mean image `[3][height][width]`, or means by colour `[3]`, in red, green, blue, from a file with those in the
/// order of Caffe: `.npy`, else a `.binaryproto`.
pub(super) fn read_mean(path: &Path) -> Result<Tensor> {
    let bytes = read_file(path)?;
    let parse = || {
        if !has_extension(path, "npy") {
            return Ok(caffe::parse_mean(&bytes)?);
        }
        match npy::parse(&bytes)? {
            npy::Array::Floats(mean) => Ok(caffe::mean_of(&mean)?),
            npy::Array::Integers { .. } => bail!("found integers, expected a mean image of floats"),
        }
    };
    parse().with_context(|| path.display().to_string())
}

/// Reads the layers of a `.prototxt`.
pub(super) fn read_layers(path: &Path) -> Result<caffe::Network> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    caffe::parse_text(&text).with_context(|| path.display().to_string())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|other| other == extension)
}

fn parse_caffe(bytes: &[u8]) -> Result<WeightsFile> {
    let layers = caffe::parse(bytes)?;
    let tensors = layers.tensors()?;
    Ok(WeightsFile { tensors, classes: None, layers: Some(layers) })
}

fn parse(bytes: &[u8]) -> Result<WeightsFile> {
    // The length of a safetensors header, which comes first, can look like the others' beginnings.
    if bytes.get(8) != Some(&b'{') {
        if bytes.starts_with(pth::MAGIC) {
            return Ok(WeightsFile { tensors: pth::parse(bytes)?, classes: None, layers: None });
        }
        if bytes.starts_with(pth::OLD_MAGIC) {
            bail!("was saved by PyTorch before 1.6, or by pickle: load it in PyTorch and torch.save it again");
        }
    }
    let file = TensorFile::parse(bytes)?;
    Ok(WeightsFile { tensors: file.floats()?, classes: file.metadata(CLASSES).map(str::to_owned), layers: None })
}
