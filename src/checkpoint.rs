//! Checkpoints: a safetensors file with weights, momentum and the mean image by name, everything else as metadata.
//!
//! A file is written beside its destination, synced and renamed, so whatever happens there is always a whole one.
//! Files from strangers are only ever parsed as tensors and JSON; every length is checked before it is used.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::net::{LossScale, Stagnation};
use crate::tensor::{Stored, Tensor};

/// The one metadata entry; a second one would be written in random order.
const KEY: &str = "alexnet";

/// The name of the mean image among the tensors.
pub const MEAN: &str = "mean";

/// The names of the principal components of colour, as in a file of statistics.
pub const EIGENVECTORS: &str = "eigenvectors";
/// See [`EIGENVECTORS`].
pub const DEVIATIONS: &str = "deviations";

/// Why a checkpoint cannot be used.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("{path}: cannot be read ({reason})")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The file cannot be written; the one before is intact.
    #[error("{path}: cannot be written ({reason}); what was saved there before is intact")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The content is not a checkpoint.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What a checkpoint knows besides its tensors.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct State {
    /// The model file, as text.
    pub model: String,
    /// Class names, in the order of the outputs.
    pub classes: Vec<String>,
    /// Finished steps.
    pub step: u64,
    /// Finished epochs.
    pub epoch: usize,
    /// Images of the current epoch that were used up.
    pub position: usize,
    /// Best validation error so far.
    pub best: Option<f64>,
    /// What a plateau schedule remembers.
    #[serde(default)]
    pub stagnation: Stagnation,
    /// The seed of everything random.
    pub seed: u64,
    /// By run of a kernel, with its shapes: the variants that computed it, which round differently.
    #[serde(default)]
    pub variants: BTreeMap<String, BTreeSet<String>>,
    /// How the loss is scaled under mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
}

/// Weights, momentum and mean by name, and the state of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// By the names of the program's slots, and [`MEAN`].
    pub tensors: BTreeMap<String, Tensor>,
    /// The rest.
    pub state: State,
}

impl Checkpoint {
    /// Writes the checkpoint to `path`; a file that is there is replaced only by a whole one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let state = serde_json::to_string(&self.state);
        let state = state.map_err(|e| CheckpointError::Content { path: path.into(), reason: e.to_string() })?;
        write_tensors(path, &self.tensors, Some((KEY, state)))
    }

    /// Reads a checkpoint, or the best (else the last) one of a run folder.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::read(&Self::locate(path))
    }

    /// The checkpoint file that `path` stands for: itself, or the best (else the last) one of a run folder.
    #[must_use]
    pub fn locate(path: &Path) -> PathBuf {
        let best = path.join("best.safetensors");
        match (path.is_dir(), best.is_file()) {
            (false, _) => path.into(),
            (true, true) => best,
            (true, false) => path.join("last.safetensors"),
        }
    }

    /// Reads the checkpoint in one file.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = std::fs::read(path).map_err(|reason| CheckpointError::Read { path: path.into(), reason })?;
        Self::parse(&bytes).map_err(|reason| CheckpointError::Content { path: path.into(), reason })
    }

    /// The checkpoint in the bytes of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
        let state = header.metadata().as_ref().and_then(|entries| entries.get(KEY));
        let state = state.ok_or("is a safetensors file, but not a checkpoint of this program (no alexnet metadata)")?;
        let state = serde_json::from_str(state).map_err(|e| format!("has damaged metadata ({e})"))?;
        Ok(Self { tensors: tensors(bytes)?, state })
    }
}

/// The float tensors of any safetensors file, a checkpoint or not, with the metadata called `key`, if it has any.
///
/// # Errors
/// What is wrong with it.
pub fn parse_tensors(bytes: &[u8], key: &str) -> Result<(BTreeMap<String, Tensor>, Option<String>), String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
    let entry = header.metadata().as_ref().and_then(|entries| entries.get(key)).cloned();
    Ok((tensors(bytes)?, entry))
}

/// Writes tensors to a safetensors file, with one entry of metadata where there is one; a file that is there is
/// replaced only by a whole one.
///
/// # Errors
/// When the disk refuses.
pub fn write_tensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    entry: Option<(&str, String)>,
) -> Result<(), CheckpointError> {
    let content =
        |e: safetensors::SafeTensorError| CheckpointError::Content { path: path.into(), reason: e.to_string() };
    let views: Result<Vec<_>, _> = tensors.iter().map(|(name, tensor)| Ok((name, view(tensor)?))).collect();
    let metadata = entry.map(|(key, text)| HashMap::from([(key.to_owned(), text)]));
    let bytes = safetensors::serialize(views.map_err(content)?, metadata).map_err(content)?;
    write_whole(path, &bytes).map_err(|reason| CheckpointError::Write { path: path.into(), reason })
}

fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
    file.tensors().into_iter().map(|(name, view)| Ok((name.clone(), tensor(&name, &view)?))).collect()
}

fn damaged(error: &safetensors::SafeTensorError) -> String {
    format!("is truncated or not a safetensors file ({error})")
}

fn view(tensor: &Tensor) -> Result<TensorView<'_>, safetensors::SafeTensorError> {
    TensorView::new(Dtype::F32, tensor.shape().to_vec(), bytemuck::cast_slice(tensor.values()))
}

fn tensor(name: &str, view: &TensorView) -> Result<Tensor, String> {
    let stored = match view.dtype() {
        Dtype::F16 => Stored::F16,
        Dtype::BF16 => Stored::BF16,
        Dtype::F32 => Stored::F32,
        Dtype::F64 => Stored::F64,
        other => return Err(format!("tensor {name} holds {other:?}, not floats of 16, 32 or 64 bits")),
    };
    // The library has checked that the bytes are as many as the shape says.
    let values = stored.read(view.data());
    let values = values.ok_or_else(|| format!("tensor {name} holds a number beyond the range of 32-bit floats"))?;
    Ok(Tensor::new(view.shape(), values))
}

/// How the names of files begin that are being written.
pub const UNFINISHED: &str = ".unfinished-";

/// Writes `bytes` to `path` by way of a temporary file in the same folder.
///
/// # Errors
/// When the disk refuses; then `path` is as it was.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    {
        // The umask decides, as for any other file; a temporary one would be readable by its owner alone.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Checkpoint {
        let tensors = ["a.weights", "b.weights", MEAN].into_iter().enumerate();
        let tensors = tensors.map(|(i, name)| (name.to_owned(), Tensor::new([2, 3], vec![i as f32; 6]))).collect();
        let state = State {
            model: "text".into(),
            classes: vec!["cat".into()],
            step: 7,
            epoch: 1,
            position: 3,
            best: Some(0.5),
            stagnation: Stagnation::default(),
            seed: 9,
            variants: BTreeMap::from([("conv.forward n=32".into(), BTreeSet::from(["wide".into()]))]),
            loss_scale: Some(LossScale { scale: 1024.0, good: 17.0 }),
        };
        Checkpoint { tensors, state }
    }

    #[test]
    fn what_is_saved_is_read_and_the_bytes_do_not_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        example().save(&path).unwrap();
        let first = std::fs::read(&path).unwrap();
        assert_eq!(Checkpoint::open(folder.path()).unwrap(), example());
        example().save(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        example().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let message = Checkpoint::read(&path).unwrap_err().to_string();
            assert!(message.contains("x.safetensors") && message.contains("truncated"), "{message}");
        }
    }

    #[test]
    fn other_safetensors_files_are_refused() {
        let tensor = Tensor::new([1], vec![1.0]);
        let bytes = safetensors::serialize([("x", view(&tensor).unwrap())], None).unwrap();
        assert!(Checkpoint::parse(&bytes).unwrap_err().contains("not a checkpoint of this program"));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("taken");
        std::fs::create_dir(&target).unwrap(); // a folder cannot be replaced by a file
        assert!(write_whole(&target, b"new").is_err());
        assert!(target.is_dir());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
