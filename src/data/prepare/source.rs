//! What is prepared: a data set in any format, and a fingerprint by which a change of it is noticed.

use std::path::Path;

use crate::data::{DataError, Dataset, ImageError, Split, format};

/// Opens the data set in the folder at `root`: where it lies in several formats, the one nearest to what was distributed.
pub(super) fn open(root: &Path, size: usize) -> Result<Dataset, DataError> {
    format::open_distributed(root, size).map_err(|error| match error {
        DataError::Unrecognised { path, found } => {
            let problem = format!("holds nothing to prepare: {found}. Accepted are {}", format::accepted());
            DataError::content(path, problem.trim_end_matches("; "))
        }
        other => other,
    })
}

/// The name of image `i` within the data set at `root`.
pub(super) fn name(root: &Path, split: &Split, i: usize) -> String {
    let name = split.name(i);
    Path::new(&name).strip_prefix(root).map(|inside| inside.display().to_string()).unwrap_or(name)
}

/// A number that changes with the names, the sizes and the classes of the images.
pub(super) fn fingerprint(root: &Path, dataset: &Dataset) -> Result<u64, DataError> {
    let mut hash = Fnv::new();
    for class in &dataset.classes {
        hash.add(class.as_bytes());
    }
    for split in [&dataset.train, &dataset.validation] {
        hash.add(&split.len().to_le_bytes());
        for i in 0..split.len() {
            hash.add(name(root, split, i).as_bytes());
            hash.add(&split.label(i).to_le_bytes());
            hash.add(&split.stored_bytes(i).map_err(unreadable)?.to_le_bytes());
        }
    }
    Ok(hash.0)
}

/// An error about one image as one of the whole data set.
pub(super) fn unreadable(error: ImageError) -> DataError {
    match error {
        ImageError::Read(name, error) => DataError::Read { path: name.into(), error },
        other => DataError::Image(other),
    }
}

/// Fowler, Noll and Vo's hash 1a of 64 bits, over parts that do not run together.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, part: &[u8]) {
        let bytes = part.iter().copied().chain((part.len() as u64).to_le_bytes());
        self.0 = bytes.fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }
}
