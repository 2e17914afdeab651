//! The CIFAR-10 binary folder (Krizhevsky 2009): files of records, each a label byte and three 32x32 planes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::split::{Part, Split, TILE, TILE_BYTES};
use super::{DataError, Dataset};

const RECORD: usize = 1 + TILE_BYTES;
const PLANE: usize = TILE * TILE;

/// The classes of CIFAR-10 in the order of its labels.
pub(super) const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Whether `file` is called like a training batch.
pub(super) fn is_batch(file: &str) -> bool {
    file.strip_prefix("data_batch_").is_some_and(|rest| rest.ends_with(".bin"))
}

/// Opens the folder `root`, whose training batches are `batches` (file names).
pub(super) fn open(root: &Path, mut batches: Vec<String>, size: usize) -> Result<Dataset, DataError> {
    // Shorter names first, so that batch 10 follows batch 9.
    batches.sort_by_key(|name| (name.len(), name.clone()));
    let mut training: Vec<PathBuf> = batches.iter().map(|name| root.join(name)).collect();
    let test = root.join("test_batch.bin");
    let validation = if test.exists() {
        test
    } else {
        training.pop().filter(|_| !training.is_empty()).ok_or_else(|| {
            DataError::content(root, "one data_batch_*.bin alone leaves nothing to validate on; add test_batch.bin")
        })?
    };
    let classes = class_names(&root.join("batches.meta.txt"))?;
    let read = |files: &[PathBuf]| read_split(files, classes.len(), size).map(Arc::new);
    Ok(Dataset { train: read(&training)?, validation: read(&[validation])?, classes })
}

/// One name a line; the digits where the file is absent.
fn class_names(path: &Path) -> Result<Vec<String>, DataError> {
    if !path.exists() {
        return Ok((0..CLASSES.len()).map(|label| label.to_string()).collect());
    }
    let text = fs::read(path).map_err(DataError::read(path))?;
    let text = String::from_utf8_lossy(&text);
    let names: Vec<String> = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(DataError::content(path, "names no class; write one name a line or delete the file"));
    }
    Ok(names)
}

fn read_split(files: &[PathBuf], classes: usize, size: usize) -> Result<Split, DataError> {
    let (mut pixels, mut labels, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for path in files {
        let bytes = fs::read(path).map_err(DataError::read(path))?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
            let problem = format!(
                "has {} bytes, which is not a whole number of {RECORD}-byte records; fetch the file again",
                bytes.len()
            );
            return Err(DataError::content(path, problem));
        }
        pixels.reserve(bytes.len());
        for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
            let label = record[0];
            if usize::from(label) >= classes {
                let problem = format!(
                    "record {index} has label {label}, but there are {classes} classes (labels 0 to {}); fetch the \
                     file again, or name every class in batches.meta.txt",
                    classes - 1
                );
                return Err(DataError::content(path, problem));
            }
            labels.push(u32::from(label));
            pixels.extend((0..PLANE).flat_map(|at| [0, 1, 2].map(|plane| record[1 + plane * PLANE + at])));
        }
        let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        parts.push(Part { file, count: bytes.len() / RECORD });
    }
    Ok(Split::tiles(size, pixels, labels, parts))
}
