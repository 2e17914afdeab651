//! Files with weights, told apart by how they begin.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::checkpoint::parse_tensors;
use crate::interop::pth;
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
}

/// Reads a safetensors file or a state dict as PyTorch saves it (`.pth`); numbers of 16 and 64 bits become such of 32.
///
/// # Errors
/// When it cannot be read, is damaged, or holds something else.
pub fn read_weights(path: &Path) -> Result<WeightsFile> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    parse(&bytes).with_context(|| path.display().to_string())
}

fn parse(bytes: &[u8]) -> Result<WeightsFile> {
    let parsed = if bytes.starts_with(pth::MAGIC) {
        pth::parse(bytes).map(|tensors| (tensors, None))
    } else if bytes.starts_with(pth::OLD_MAGIC) {
        bail!("was saved by PyTorch before 1.6, or by pickle: load it in PyTorch and torch.save it again");
    } else {
        parse_tensors(bytes, CLASSES)
    };
    let (tensors, classes) = parsed.map_err(anyhow::Error::msg)?;
    Ok(WeightsFile { tensors, classes })
}
