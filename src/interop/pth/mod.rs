//! State dicts as `torch.save` writes them since PyTorch 1.6: a zip archive with a pickle, which says which tensor lies
//! where in which storage, and the storages.
//!
//! Nothing in the file is executed: `pickle` knows the few words that a state dict is written with, and no others.
//! Nothing is uncompressed either, as `torch.save` never compresses, so that what is read is no more than the file.

mod pickle;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{Cursor, Read as _};

use zip::{CompressionMethod, ZipArchive};

use self::pickle::{Place, Storage};
use crate::tensor::Tensor;

/// How the files begin.
pub const MAGIC: &[u8] = b"PK\x03\x04";

/// How a bare pickle begins, which PyTorch wrote before 1.6.
pub const OLD_MAGIC: &[u8] = b"\x80\x02";

/// How often all numbers of a file may be read, as several tensors can lie in one storage.
const MOST_SHARED: usize = 4;

/// The tensors of a state dict by name, or of the one that a dict holds as `state_dict`.
///
/// # Errors
/// What is wrong with the file, or what in it is no plain tensor of floats.
pub fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let mut archive = Archive::open(bytes)?;
    let pickle = archive.entry("data.pkl")?;
    if archive.has("byteorder") && archive.entry("byteorder")? != b"little" {
        return Err("was saved on a machine whose bytes are the other way round (big-endian)".into());
    }
    unpickle(&pickle, bytes.len(), |key| archive.entry(&format!("data/{key}")))
}

/// The same from the pickle alone, of a file of `length` bytes, where `storage` gives a storage by its name.
///
/// # Errors
/// As [`parse`].
pub fn unpickle(
    pickle: &[u8],
    length: usize,
    mut storage: impl FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<BTreeMap<String, Tensor>, String> {
    let (mut storages, mut tensors) = (BTreeMap::new(), BTreeMap::new());
    let mut left = length.saturating_mul(MOST_SHARED);
    for (name, place) in pickle::state_dict(pickle)? {
        let bytes = match storages.entry(place.storage.key.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(storage(&place.storage.key)?),
        };
        let tensor = cut(&place, bytes, &mut left).map_err(|reason| format!("tensor {name} {reason}"))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// The tensor in its storage; what it takes goes off from what is `left`, in bytes.
fn cut(place: &Place, storage: &[u8], left: &mut usize) -> Result<Tensor, String> {
    let Storage { stored, numbers, .. } = &place.storage;
    let stored = stored.as_ref().map_err(|kind| format!("is of {kind}, not floats of 16, 32 or 64 bits"))?;
    let size = stored.size();
    if numbers.checked_mul(size) != Some(storage.len()) {
        return Err(format!("lies in {numbers} numbers of {size} bytes, but there are {} bytes", storage.len()));
    }
    let beyond = || format!("of shape {:?} reaches beyond its storage of {numbers} numbers", place.shape);
    let count = place.shape.iter().try_fold(1_usize, |count, &extent| count.checked_mul(extent)).ok_or_else(beyond)?;
    *left = (count.checked_mul(size).and_then(|taken| left.checked_sub(taken)))
        .ok_or("is larger, with those before it, than the file could hold")?;
    if count > 0 {
        let mut steps =
            place.shape.iter().zip(&place.strides).map(|(&extent, &stride)| (extent - 1).checked_mul(stride));
        let last = steps.try_fold(place.offset, |at, step| at.checked_add(step?)).ok_or_else(beyond)?;
        if last >= *numbers {
            return Err(beyond());
        }
    }
    let bytes: Vec<u8> = places(place, count).flat_map(|at| storage[at * size..][..size].iter().copied()).collect();
    let values = stored.read(&bytes).ok_or("holds a number beyond the range of 32-bit floats")?;
    Ok(Tensor::new(place.shape.clone(), values))
}

/// Where in the storage the numbers of a tensor lie, the last axis innermost.
fn places(place: &Place, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(|flat| {
        let axes = place.shape.iter().zip(&place.strides).rev();
        let (_, at) = axes
            .fold((flat, place.offset), |(rest, at), (&extent, &stride)| (rest / extent, at + rest % extent * stride));
        at
    })
}

/// The entries of the file, under the one folder in which they all lie.
struct Archive<'b> {
    zip: ZipArchive<Cursor<&'b [u8]>>,
    folder: String,
    /// Bytes that can still be read: entries do not overlap.
    left: u64,
}

impl<'b> Archive<'b> {
    fn open(bytes: &'b [u8]) -> Result<Self, String> {
        let zip =
            ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("is truncated or not a zip archive ({e})"))?;
        if zip.has_duplicate_names() {
            return Err("has two entries of one name".into());
        }
        let names = zip.file_names().filter_map(Result::ok);
        let folders: Vec<String> = names.filter_map(|name| Some(name.strip_suffix("/data.pkl")?.to_owned())).collect();
        let [folder] = &folders[..] else {
            return Err(format!("holds {} pickles called data.pkl, where torch.save writes one", folders.len()));
        };
        let folder = folder.clone();
        Ok(Self { zip, folder, left: bytes.len() as u64 })
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}/{name}", self.folder)).is_some()
    }

    fn entry(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let name = format!("{}/{name}", self.folder);
        let damaged = |e: &dyn std::fmt::Display| format!("has no whole entry {name} ({e})");
        let mut file = self.zip.by_name(&name).map_err(|e| damaged(&e))?;
        if file.compression() != CompressionMethod::Stored {
            return Err(format!("has a compressed entry {name}, which torch.save does not write: save it again"));
        }
        let Some(left) = self.left.checked_sub(file.size()) else {
            return Err(format!("is shorter than its entries, {name} among them"));
        };
        self.left = left;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| damaged(&e))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
