//! Checkpoints: a safetensors file with weights, states of the optimiser and the mean image by name, everything else as
//! metadata.
//!
//! Whatever happens, a file is either the checkpoint before or the whole new one ([`crate::files`]). Checksums of every
//! tensor and of the state tell whether its bits are still those that were saved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::files::{FileError, METADATA, TensorError, TensorFile, read_file, write_tensors};
use crate::net::{Kinds, LossScale, Model, NetError, Score, Stagnation};
use crate::tensor::Tensor;

/// The name of the mean image among the tensors.
pub const MEAN: &str = "mean";

/// The name of the principal components of colour among the tensors, `[3][3]`, as in a file of statistics.
pub const EIGENVECTORS: &str = "eigenvectors";

/// The name of the standard deviations along [`EIGENVECTORS`], `[3]`, likewise.
pub const DEVIATIONS: &str = "deviations";

/// Why a checkpoint cannot be used.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CheckpointError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {error}", path.display())]
    Content { path: PathBuf, error: ContentError },
}

/// What is wrong with the content of a checkpoint.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ContentError {
    #[error(transparent)]
    Tensors(#[from] TensorError),
    #[error(
        "is a safetensors file, but not a checkpoint of this program (no alexnet metadata): make one of it by `alexnet import`"
    )]
    Foreign,
    #[error("has damaged metadata ({0})")]
    State(#[from] serde_json::Error),
    #[error("tensor {name} holds {value}, not a finite number: training diverged, or the file is damaged")]
    NotFinite { name: String, value: f32 },
    #[error(
        "is damaged: the checksum of {0} is not that of what was saved; take another checkpoint or a copy, or take it as \
         it is by a command that has --no-verify"
    )]
    Checksum(String),
}

/// The key of the checksums, the last one in the metadata; what precedes it is the state.
const CHECKSUMS: &str = ",\"crc32\":";

/// CRC-32 of the state's text, and of every tensor's shape and values.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Checksums {
    state: u32,
    tensors: BTreeMap<String, u32>,
}

impl Checksums {
    fn of(state: &str, tensors: &BTreeMap<String, Tensor>) -> Self {
        let tensor = |tensor: &Tensor| {
            let mut hasher = crc32fast::Hasher::new();
            tensor.shape().iter().for_each(|&extent| hasher.update(&(extent as u64).to_le_bytes()));
            hasher.update(bytemuck::cast_slice(tensor.values()));
            hasher.finalize()
        };
        let tensors = tensors.par_iter().map(|(name, values)| (name.clone(), tensor(values))).collect();
        Self { state: crc32fast::hash(state.as_bytes()), tensors }
    }

    /// Name of something whose checksum is not as in `saved`.
    fn differs(&self, saved: &Self) -> Option<String> {
        if self.state != saved.state {
            return Some("the state".into());
        }
        let mut names = self.tensors.keys().chain(saved.tensors.keys());
        let name = names.find(|name| self.tensors.get(*name) != saved.tensors.get(*name))?;
        Some(format!("tensor {name}"))
    }
}

/// State of a run besides its tensors.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct State {
    /// The model file, as text.
    pub model: String,
    /// Class names, in the order of the outputs.
    pub classes: Vec<String>,
    /// Number of finished steps.
    pub step: u64,
    /// Number of finished epochs.
    pub epoch: usize,
    /// Images of the current epoch that were used up.
    pub position: usize,
    /// Best validation error so far.
    pub best: Option<f64>,
    /// Memory of a plateau schedule.
    #[serde(default)]
    pub stagnation: Stagnation,
    /// The seed of everything random.
    pub seed: u64,
    /// Variants that computed each run of a kernel, by name and shapes; they round differently.
    #[serde(default)]
    pub variants: BTreeMap<String, BTreeSet<String>>,
    /// By class: the number of images and a hash of their names, by which changed data are noticed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<(usize, u64)>,
    /// Scale of the loss under mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// Whether the validation that is due after this step is still to be done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unvalidated: bool,
    /// Whether the training error at which the run ends is reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reached: bool,
    /// Sums over the training images since the last validation.
    #[serde(default, skip_serializing_if = "Score::is_empty")]
    pub training: Score,
}

impl State {
    /// The network, of layers of `kinds`: [`crate::net::LAYERS`], and others that it was trained with.
    pub fn model(&self, kinds: Kinds) -> Result<Model, NetError> {
        Model::parse_with("the checkpoint's model", &self.model, kinds)
    }
}

/// Weights, states of the optimiser and mean by name, and the state of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Tensors by the names of the program's slots, and [`MEAN`].
    pub tensors: BTreeMap<String, Tensor>,
    /// State of the run.
    pub state: State,
}

impl Checkpoint {
    /// Writes the checkpoint to `path`; a file that is there is replaced only by a whole one.
    ///
    /// # Errors
    /// When the disk refuses; then the file is as it was.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let refuse = |error: serde_json::Error| CheckpointError::Content { path: path.into(), error: error.into() };
        let state = serde_json::to_string(&self.state).map_err(refuse)?;
        let state = state.strip_suffix('}').unwrap_or(&state);
        let checksums = serde_json::to_string(&Checksums::of(state, &self.tensors)).map_err(refuse)?;
        Ok(write_tensors(path, &self.tensors, Some((METADATA, format!("{state}{CHECKSUMS}{checksums}}}"))))?)
    }

    /// Refuses a tensor with a number that is not finite, by its name: such a network gives no answers.
    pub fn expect_finite(&self) -> Result<(), ContentError> {
        let ill = |tensor: &Tensor| tensor.values().iter().copied().find(|value| !value.is_finite());
        match self.tensors.iter().find_map(|(name, tensor)| Some((name.clone(), ill(tensor)?))) {
            None => Ok(()),
            Some((name, value)) => Err(ContentError::NotFinite { name, value }),
        }
    }

    /// Reads a checkpoint, or the best (else the last) one of a run folder.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::read(&Self::locate(path))
    }

    /// The checkpoint file that `path` stands for: itself, or the best (else the last) one of a run folder.
    pub fn locate(path: &Path) -> PathBuf {
        let best = path.join("best.safetensors");
        match (path.is_dir(), best.try_exists()) {
            (false, _) => path.into(),
            (true, Ok(false)) => path.join("last.safetensors"),
            (true, _) => best, // one that cannot be looked at is refused by its name when it is read
        }
    }

    /// Reads the checkpoint in one file.
    ///
    /// # Errors
    /// When it is damaged; the message names the tensor. One of an older release, without checksums, is read with a
    /// word.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let refuse = |error| CheckpointError::Content { path: path.into(), error };
        let (checkpoint, checksums) = Self::verified(&read_file(path)?).map_err(refuse)?;
        if !checksums {
            log::warn!("{}: an older release saved it without checksums; damage would go unnoticed", path.display());
        }
        Ok(checkpoint)
    }

    /// Compares the checksums of a file that may be a checkpoint, or one of another program, which has none.
    ///
    /// # Errors
    /// When a checkpoint is damaged, or the file cannot be read.
    pub fn verify(path: &Path) -> Result<(), CheckpointError> {
        match Self::verified(&read_file(path)?) {
            Ok(_) | Err(ContentError::Foreign | ContentError::Tensors(_)) => Ok(()),
            Err(error) => Err(CheckpointError::Content { path: path.into(), error }),
        }
    }

    /// Reads the checkpoint in one file without comparing checksums.
    pub fn read_unverified(path: &Path) -> Result<Self, CheckpointError> {
        let refuse = |error| CheckpointError::Content { path: path.into(), error };
        Ok(Self::content(&read_file(path)?).map_err(refuse)?.0)
    }

    /// The checkpoint in the bytes of a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContentError> {
        Ok(Self::verified(bytes)?.0)
    }

    /// The checkpoint in the bytes of a file, without comparing checksums.
    pub fn parse_unverified(bytes: &[u8]) -> Result<Self, ContentError> {
        Ok(Self::content(bytes)?.0)
    }

    /// The checkpoint in the bytes of a file, and whether it has checksums, which are those of its content then.
    fn verified(bytes: &[u8]) -> Result<(Self, bool), ContentError> {
        let (checkpoint, text) = Self::content(bytes)?;
        let Some(at) = text.rfind(CHECKSUMS) else { return Ok((checkpoint, false)) };
        let (state, rest) = text.split_at(at);
        let rest = &rest[CHECKSUMS.len()..];
        let saved: Checksums = serde_json::from_str(rest.strip_suffix('}').unwrap_or(rest))?;
        match Checksums::of(state, &checkpoint.tensors).differs(&saved) {
            Some(what) => Err(ContentError::Checksum(what)),
            None => Ok((checkpoint, true)),
        }
    }

    /// The checkpoint in the bytes of a file, and the text of its metadata.
    fn content(bytes: &[u8]) -> Result<(Self, String), ContentError> {
        let file = TensorFile::parse(bytes)?;
        let text = file.metadata(METADATA).ok_or(ContentError::Foreign)?;
        let state = serde_json::from_str(text)?;
        Ok((Self { tensors: file.floats()?, state }, text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_best_checkpoint_that_cannot_be_looked_at_is_not_missing() {
        let folder = tempfile::tempdir().unwrap();
        let [best, last] = ["best", "last"].map(|name| folder.path().join(format!("{name}.safetensors")));
        assert_eq!(Checkpoint::locate(folder.path()), last);
        std::os::unix::fs::symlink(&best, &best).unwrap(); // leads to itself
        assert_eq!(Checkpoint::locate(folder.path()), best);
    }

    /// A resumed run has the sums of one that was never stopped.
    #[test]
    fn sums_are_read_to_the_last_bit() {
        for i in 1..2000 {
            let mut state = example().state;
            state.training.loss = f64::from(i).ln() * 1000.0 + 1.0 / f64::from(i);
            let read: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            assert_eq!(read.training.loss.to_bits(), state.training.loss.to_bits(), "{}", state.training.loss);
        }
    }

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
            data: vec![(3, u64::MAX)],
            variants: BTreeMap::from([("conv.forward n=32".into(), BTreeSet::from(["wide".into()]))]),
            loss_scale: Some(LossScale { scale: 1024.0, good: 17.0 }),
            unvalidated: true,
            reached: true,
            training: Score { images: 8, loss: 0.5, top1: 3.0, top5: 1.0 },
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
    fn a_tensor_that_is_not_finite_is_named() {
        let mut checkpoint = example();
        checkpoint.expect_finite().unwrap();
        for value in [f32::NAN, f32::NEG_INFINITY] {
            checkpoint.tensors.insert("b.weights".into(), Tensor::new([2], vec![0.0, value]));
            let message = checkpoint.expect_finite().unwrap_err().to_string();
            assert!(message.starts_with(&format!("tensor b.weights holds {value}, not a finite number")), "{message}");
        }
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
    fn a_flipped_bit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        example().save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            // What has no effect, as in the padding, is no damage.
            assert!(Checkpoint::parse(&bytes).map_or(true, |read| read == example()), "bit {at}");
        }
        let mut bytes = whole.clone();
        *bytes.last_mut().unwrap() ^= 0x40;
        std::fs::write(&path, &bytes).unwrap();
        let message = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(message.contains("x.safetensors: is damaged: the checksum of tensor mean"), "{message}");
        assert_ne!(Checkpoint::read_unverified(&path).unwrap().tensors[MEAN], example().tensors[MEAN]);
    }

    #[test]
    fn a_checkpoint_of_an_older_release_is_read() {
        let Checkpoint { tensors, state } = example();
        let text = serde_json::to_string(&state).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write_tensors(&path, &tensors, Some((METADATA, text))).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), example());
    }

    #[test]
    fn other_safetensors_files_are_refused() {
        let bytes = crate::files::serialize([("x", &[1][..], crate::files::Elements::F32(&[1.0]))], None).unwrap();
        let message = Checkpoint::parse(&bytes).unwrap_err().to_string();
        assert!(message.contains("not a checkpoint of this program"), "{message}");
    }
}
