//! State dicts as `torch.save` writes them since PyTorch 1.6: a zip archive of storages, and a pickle that maps tensors
//! onto them.
//!
//! Nothing in the file is executed: `pickle` is a restricted unpickler that knows what state dicts are written with.
//! Nothing is uncompressed either, as `torch.save` never compresses, so that no more is read than the file has.

mod pickle;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{Cursor, Read as _};

use thiserror::Error;
use zip::{CompressionMethod, ZipArchive};

pub use self::pickle::PickleError;
use self::pickle::StridedView;
use crate::tensor::Tensor;

/// First bytes of a file: those of a zip archive.
pub const MAGIC: &[u8] = b"PK\x03\x04";

/// First bytes of a bare pickle, as PyTorch wrote it before 1.6.
pub const OLD_MAGIC: &[u8] = b"\x80\x02";

/// Most times that a file's bytes are read over all tensors, as several can share one storage.
const MOST_SHARED: usize = 4;

/// Reason why a file is no state dict that can be read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PthError {
    #[error("truncated, or not a zip archive ({0})")]
    Archive(zip::result::ZipError),
    #[error("found two entries of one name, expected one of each")]
    DuplicateEntry,
    #[error("found {0} entries called data.pkl, expected the one that torch.save writes")]
    Pickles(usize),
    #[error("entry {name} is missing or damaged ({reason})")]
    Entry { name: String, reason: String },
    #[error("entry {0} is compressed, expected none as torch.save writes them: save the state dict again")]
    Compressed(String),
    #[error("entry {0} is larger than what the other entries leave of the file")]
    Overlap(String),
    #[error("found big-endian numbers, expected little-endian ones: save the state dict on another machine")]
    BigEndian,
    #[error(transparent)]
    Pickle(#[from] PickleError),
    #[error("tensor {name}: {reason}")]
    Tensor { name: String, reason: StorageError },
}

/// Reason why a tensor cannot be read from its storage.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StorageError {
    #[error("elements of type {0} are not supported; known are {known}", known = pickle::FLOATS)]
    Type(String),
    #[error("found {found} bytes in its storage, expected {numbers} numbers of {size} bytes")]
    Length { found: usize, numbers: usize, size: usize },
    #[error("shape {shape:?} reaches beyond its storage of {numbers} numbers")]
    Beyond { shape: Vec<usize>, numbers: usize },
    #[error("it and the tensors before it are larger than {MOST_SHARED} times the file")]
    Repeated,
    #[error("a number is beyond the range of 32-bit floats")]
    Range,
}

/// Reads the tensors of a state dict by name; the dict may be the entry `state_dict` of another.
pub fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, PthError> {
    let mut archive = Archive::open(bytes)?;
    let pickle = archive.entry("data.pkl")?;
    if archive.has("byteorder") && archive.entry("byteorder")? != b"little" {
        return Err(PthError::BigEndian);
    }
    unpickle(&pickle, bytes.len(), |key| archive.entry(&format!("data/{key}")))
}

/// Reads the tensors of a pickle from a file of `length` bytes; `storage` reads the storage of a given key.
pub fn unpickle(
    pickle: &[u8],
    length: usize,
    mut storage: impl FnMut(&str) -> Result<Vec<u8>, PthError>,
) -> Result<BTreeMap<String, Tensor>, PthError> {
    let (mut storages, mut tensors) = (BTreeMap::new(), BTreeMap::new());
    let mut left = length.saturating_mul(MOST_SHARED);
    for (name, view) in pickle::state_dict(pickle)? {
        let bytes = match storages.entry(view.storage.key.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(storage(&view.storage.key)?),
        };
        match gather(&view, bytes, &mut left) {
            Ok(tensor) => drop(tensors.insert(name, tensor)),
            Err(reason) => return Err(PthError::Tensor { name, reason }),
        }
    }
    Ok(tensors)
}

/// Gathers a tensor from its storage, and subtracts its bytes from those that are `left`.
fn gather(view: &StridedView, storage: &[u8], left: &mut usize) -> Result<Tensor, StorageError> {
    let (kind, numbers) = (&view.storage.kind, view.storage.numbers);
    let stored = pickle::stored(kind).ok_or_else(|| StorageError::Type(kind.clone()))?;
    let size = stored.size();
    if numbers.checked_mul(size) != Some(storage.len()) {
        return Err(StorageError::Length { found: storage.len(), numbers, size });
    }
    let beyond = || StorageError::Beyond { shape: view.shape.clone(), numbers };
    let count = view.shape.iter().try_fold(1_usize, |count, &extent| count.checked_mul(extent)).ok_or_else(beyond)?;
    let taken = count.checked_mul(size).ok_or(StorageError::Repeated)?;
    *left = left.checked_sub(taken).ok_or(StorageError::Repeated)?;
    if count > 0 && view.last().is_none_or(|last| last >= numbers) {
        return Err(beyond());
    }
    let bytes: Vec<u8> = (0..count).flat_map(|flat| &storage[view.index(flat) * size..][..size]).copied().collect();
    let values = stored.read(&bytes).ok_or(StorageError::Range)?;
    Ok(Tensor::new(view.shape.clone(), values))
}

/// Entries of a file, under the one folder that holds them all.
struct Archive<'b> {
    zip: ZipArchive<Cursor<&'b [u8]>>,
    folder: String,
    /// Bytes of the file that no entry has taken; entries do not overlap.
    left: u64,
}

impl<'b> Archive<'b> {
    fn open(bytes: &'b [u8]) -> Result<Self, PthError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(PthError::Archive)?;
        if zip.has_duplicate_names() {
            return Err(PthError::DuplicateEntry);
        }
        let names = zip.file_names().filter_map(Result::ok);
        let folders: Vec<String> = names.filter_map(|name| Some(name.strip_suffix("/data.pkl")?.to_owned())).collect();
        let [folder] = &folders[..] else { return Err(PthError::Pickles(folders.len())) };
        let folder = folder.clone();
        Ok(Self { zip, folder, left: bytes.len() as u64 })
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}/{name}", self.folder)).is_some()
    }

    fn entry(&mut self, name: &str) -> Result<Vec<u8>, PthError> {
        let name = format!("{}/{name}", self.folder);
        let damaged = |reason: String| PthError::Entry { name: name.clone(), reason };
        let mut file = self.zip.by_name(&name).map_err(|e| damaged(e.to_string()))?;
        if file.compression() != CompressionMethod::Stored {
            return Err(PthError::Compressed(name));
        }
        let Some(left) = self.left.checked_sub(file.size()) else { return Err(PthError::Overlap(name)) };
        self.left = left;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| damaged(e.to_string()))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
