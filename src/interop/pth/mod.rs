//! State dicts as `torch.save` writes them: since PyTorch 1.6 a zip archive of storages, and a pickle that maps tensors
//! onto them; before that several pickles in a row, and the storages behind them.
//!
//! Nothing in the file is executed: `pickle` is a restricted unpickler that knows what state dicts are written with.
//! Nothing is uncompressed either, as `torch.save` never compresses, so that no more is read than the file has.

mod error;
mod legacy;
mod objects;
mod pickle;
mod state_dict;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{Cursor, Read as _};

use zip::{CompressionMethod, ZipArchive};

pub use self::error::{EntryError, PickleError, PthError, StorageError};
use self::objects::{StridedView, stored};
use self::pickle::Machine;
use self::state_dict::Found;
use crate::tensor::Tensor;

/// First bytes of a file: those of a zip archive.
pub const MAGIC: &[u8] = b"PK\x03\x04";

/// First bytes of a file as PyTorch wrote it before 1.6: a pickle of its magic number.
pub const OLD_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// First bytes of any other pickle that Python has written by itself.
pub const PICKLE: [&[u8]; 4] = [b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"];

/// Most times that a file's bytes are read over all tensors, as several can share one storage.
const MOST_SHARED: usize = 4;

/// Reads the storage of a given key.
type Storages<'s> = Box<dyn FnMut(&str) -> Result<Vec<u8>, PthError> + 's>;

/// Tensors of a file by name, whose numbers stay in the file until they are asked for.
pub struct StateDict<'s> {
    /// Names of all tensors, in the file's order.
    pub order: Vec<String>,
    /// Shapes of the tensors of floats, by their names.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Reasons why others cannot be read, by their names; nobody may need them.
    pub unreadable: BTreeMap<String, StorageError>,
    /// Objects of other classes, as `args (argparse.Namespace)`; nothing of them was run.
    pub foreign: Vec<String>,
    views: BTreeMap<String, StridedView>,
    storages: Storages<'s>,
    /// Bytes that tensors may still take.
    left: usize,
}

/// Finds the tensors of a file by name; they may lie in dicts in one another.
///
/// # Errors
/// When the file is damaged, or holds no tensor of floats.
pub fn parse<'s>(bytes: impl AsRef<[u8]> + 's) -> Result<StateDict<'s>, PthError> {
    if bytes.as_ref().starts_with(OLD_MAGIC) {
        return legacy::parse(bytes);
    }
    let length = bytes.as_ref().len();
    let mut archive = Archive::open(bytes)?;
    let pickle = archive.entry("data.pkl")?;
    if archive.has("byteorder") && archive.entry("byteorder")? != b"little" {
        return Err(PthError::BigEndian);
    }
    unpickle(&pickle, length, move |key| archive.entry(&format!("data/{key}")))
}

/// Finds the tensors of a pickle from a file of `length` bytes; `storage` reads the storage of a given key.
pub fn unpickle<'s>(
    pickle: &[u8],
    length: usize,
    storage: impl FnMut(&str) -> Result<Vec<u8>, PthError> + 's,
) -> Result<StateDict<'s>, PthError> {
    let mut machine = Machine::new(pickle);
    let root = machine.run()?;
    StateDict::new(state_dict::find(&machine, root)?, length, Box::new(storage))
}

impl<'s> StateDict<'s> {
    /// Tensors that were found in a file of `length` bytes, with its storages.
    fn new(found: Found, length: usize, storages: Storages<'s>) -> Result<Self, PthError> {
        let foreign = found.foreign.into_iter().map(|(key, class)| format!("{key} ({class})")).collect();
        let left = length.saturating_mul(MOST_SHARED);
        let (order, shapes, unreadable) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let mut dict = Self { order, shapes, unreadable, foreign, views: BTreeMap::new(), storages, left };
        for (name, view) in found.tensors {
            if dict.views.contains_key(&name) {
                dict.shapes.remove(&name);
                dict.unreadable.insert(name, StorageError::Ambiguous);
                continue;
            }
            dict.order.push(name.clone());
            match stored(&view.storage.kind) {
                Some(_) => drop(dict.shapes.insert(name.clone(), view.shape.clone())),
                None => drop(dict.unreadable.insert(name.clone(), StorageError::Type(view.storage.kind.clone()))),
            }
            dict.views.insert(name, view);
        }
        match dict.unreadable.first_key_value() {
            Some((name, reason)) if dict.shapes.is_empty() => {
                Err(PthError::Tensor { name: name.clone(), reason: reason.clone() })
            }
            _ => Ok(dict),
        }
    }

    /// Reads those of `wanted` that are left, as 32-bit floats. They are in [`StateDict::shapes`] no more: what cannot
    /// be read is in [`StateDict::unreadable`].
    pub fn read(&mut self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Tensor> {
        let names: Vec<&String> = self.order.iter().filter(|name| wanted(name)).collect();
        let views: Vec<(String, StridedView)> =
            names.into_iter().filter_map(|name| self.shapes.remove(name).and(self.views.remove_entry(name))).collect();
        let mut readers: BTreeMap<String, usize> = BTreeMap::new();
        for (_, view) in &views {
            *readers.entry(view.storage.key.clone()).or_default() += 1;
        }
        let mut storages: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut tensors = BTreeMap::new();
        for (name, view) in views {
            let read = match storages.entry(view.storage.key.clone()) {
                Entry::Occupied(known) => gather(&view, known.get(), &mut self.left),
                Entry::Vacant(new) => match (self.storages)(&view.storage.key) {
                    Ok(bytes) => gather(&view, new.insert(bytes), &mut self.left),
                    Err(reason) => Err(StorageError::Unread(reason.to_string())),
                },
            };
            // A storage is dropped behind its last tensor: together they would be as much as the file again.
            if let Some(readers) = readers.get_mut(&view.storage.key) {
                *readers -= 1;
                if *readers == 0 {
                    storages.remove(&view.storage.key);
                }
            }
            match read {
                Ok(tensor) => drop(tensors.insert(name, tensor)),
                Err(reason) => drop(self.unreadable.insert(name, reason)),
            }
        }
        tensors
    }
}

/// Gathers a tensor from its storage, and subtracts its bytes from those that are `left`.
fn gather(view: &StridedView, storage: &[u8], left: &mut usize) -> Result<Tensor, StorageError> {
    let (kind, numbers) = (&view.storage.kind, view.storage.numbers);
    let stored = stored(kind).ok_or_else(|| StorageError::Type(kind.clone()))?;
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
    let mut values = stored.read(&bytes).ok_or(StorageError::Range)?;
    if view.negative {
        for value in &mut values {
            *value = -*value;
        }
    }
    Ok(Tensor::new(view.shape.clone(), values))
}

/// Entries of a file, under the one folder that holds them all.
struct Archive<B> {
    zip: ZipArchive<Cursor<B>>,
    folder: String,
    /// Bytes of the file that no entry has taken; entries do not overlap.
    left: u64,
}

impl<B: AsRef<[u8]>> Archive<B> {
    fn open(bytes: B) -> Result<Self, PthError> {
        let left = bytes.as_ref().len() as u64;
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(PthError::Archive)?;
        if zip.has_duplicate_names() {
            return Err(PthError::DuplicateEntry);
        }
        let names = zip.file_names().filter_map(Result::ok);
        let folders: Vec<String> = names.filter_map(|name| Some(name.strip_suffix("/data.pkl")?.to_owned())).collect();
        let [folder] = &folders[..] else { return Err(PthError::Pickles(folders.len())) };
        let folder = folder.clone();
        Ok(Self { zip, folder, left })
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}/{name}", self.folder)).is_some()
    }

    fn entry(&mut self, name: &str) -> Result<Vec<u8>, PthError> {
        let name = format!("{}/{name}", self.folder);
        let damaged = |reason| PthError::Entry { name: name.clone(), reason };
        let mut file = self.zip.by_name(&name).map_err(|error| damaged(error.into()))?;
        if file.compression() != CompressionMethod::Stored {
            return Err(PthError::Compressed(name));
        }
        let Some(left) = self.left.checked_sub(file.size()) else { return Err(PthError::Overlap(name)) };
        self.left = left;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| damaged(error.into()))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
