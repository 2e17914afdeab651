//! Shards: tar files of images and classes, in the format of WebDataset and `alexnet prepare`.

mod index;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rayon::prelude::*;

pub(super) use self::index::Index;
use super::archive::{name_before, read_exact_at};
use super::format::{Folder, Format, Opened, Parts, lines};
use super::listing::{PassedOver, exists};
use super::split::{ImageSet, StoredImage};
use super::statistics::{self, Measured};
use super::{DataError, DataFault, ImageError, ImageFault};
use crate::files::open_file;
use crate::random::{Purpose, Stream};

/// Number of shards whose images are shuffled together, and that are read at a time.
const WINDOW: usize = 8;

/// Number of shards kept open, those of two windows: a process may open about a thousand files, a data set has more.
const OPEN: usize = 2 * WINDOW;

/// Digits of an image's place in its split, by which its name in a shard begins.
pub(super) const PLACE: usize = 8;

/// Largest number of shards in a split: their numbers have 16 bits.
pub(super) const MOST_SHARDS: usize = 1 << 16;

/// Largest number of classes without a list of their names.
const MOST_CLASSES: u32 = 1 << 16;

/// File of the names of the classes, one a line.
pub(super) const CLASSES: &str = "classes.txt";

/// File of the recipe of `prepare`; without [`statistics::FILE`] beside it the folder is not finished.
pub(super) const RECIPE: &str = "prepare.json";

/// Images in shards, numbered through all of them.
#[derive(Debug)]
pub(super) struct Shards {
    files: Vec<Shard>,
    entries: Vec<Entry>,
    /// The class of each image.
    labels: Vec<u32>,
    /// Open shards by their numbers, the latest last.
    open: Mutex<VecDeque<(u16, Arc<File>)>>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    /// Numbers of its images.
    images: Range<u32>,
}

/// Place of an image; 20 bytes with its label, for a million images.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u64,
    length: u32,
    shard: u16,
    raw: bool,
}

/// The format of shards: tar files `train-*.tar` and `val-*.tar` with `KEY.jpg` (.jpeg, .png; .rgb for plain pixels)
/// and `KEY.cls`, the number of the class; class names from `classes.txt`, else numbers. What `alexnet prepare` wrote
/// is opened from its index files, others by reading their headers.
pub(super) const FORMAT: Format = Format {
    description: "a folder of shards (train-*.tar and val-*.tar with KEY.jpg and KEY.cls, as `alexnet prepare` makes them)",
    recognises: |folder| Ok(folder.names.iter().any(|name| is_shard_of(name, "train-") || is_shard_of(name, "val-"))),
    open,
};

fn is_shard_of(file: &str, split: &str) -> bool {
    file.starts_with(split) && Path::new(file).extension().is_some_and(|extension| extension == "tar")
}

fn open(Folder { root, names }: &Folder, parts: Parts) -> Result<Opened, DataError> {
    let statistics = root.join(statistics::FILE);
    let (prepared, known) = (exists(&root.join(RECIPE))?, exists(&statistics)?);
    if prepared && !known {
        return Err(DataError::content(root, DataFault::Unfinished));
    }
    let paths = |split: &str| -> Vec<PathBuf> {
        names.iter().filter(|name| is_shard_of(name, split)).map(|name| root.join(name)).collect()
    };
    let all = parts == Parts::All;
    let mut passed = PassedOver::default();
    let training = all.then(|| read(paths("train-"), &mut passed)).transpose()?;
    let validation = read(paths("val-"), &mut passed)?;
    passed.log();
    for (split, shards) in [("train", training.as_ref()), ("val", Some(&validation))] {
        if shards.is_some_and(|shards| shards.labels.is_empty()) {
            return Err(DataError::content(root, DataFault::EmptySplit(split)));
        }
    }
    let labels = training.iter().flat_map(|shards| &shards.labels).chain(&validation.labels);
    let most = labels.copied().max().unwrap_or(0);
    let classes = classes(&root.join(CLASSES), most)?;
    let measured = (all && known).then(|| Measured::read(&statistics)).transpose()?;
    let about = measured.as_ref().map(|measured| &measured.about).filter(|_| prepared);
    if let (Some(about), Some(training)) = (about, &training) {
        let (found, prepared) = ([training.labels.len(), validation.labels.len()], [about.training, about.validation]);
        if found != prepared {
            return Err(DataError::content(root, DataFault::ShardsLost { found, prepared }));
        }
    }
    Ok(Opened { measured, ..Opened::new(classes, training, validation) })
}

/// Names of the classes in a file, one a line, or without the file numbers up to `most`.
fn classes(path: &Path, most: u32) -> Result<Vec<String>, DataError> {
    if !exists(path)? {
        if most >= MOST_CLASSES {
            return Err(DataError::content(path, DataFault::LabelWithoutName(most)));
        }
        return Ok((0..=most).map(|label| label.to_string()).collect());
    }
    let names = lines(path)?;
    if names.len() <= most as usize {
        return Err(DataError::content(path, DataFault::FewClassNames { names: names.len(), most }));
    }
    Ok(names)
}

/// Opens the shards at `paths`.
fn read(paths: Vec<PathBuf>, passed: &mut PassedOver) -> Result<Shards, DataError> {
    if paths.len() > MOST_SHARDS {
        return Err(DataError::content(&paths[0], DataFault::Shards(paths.len() - 1)));
    }
    let opened: Vec<(Index, PassedOver)> = paths.par_iter().map(|path| Index::open(path)).collect::<Result<_, _>>()?;
    let mut indices = Vec::with_capacity(opened.len());
    for (index, others) in opened {
        indices.push(index);
        passed.merge(others);
    }
    let count = indices.iter().map(|index| index.images.len()).sum();
    let (mut files, mut entries, mut labels) = (Vec::new(), Vec::with_capacity(count), Vec::with_capacity(count));
    for (number, (path, index)) in paths.into_iter().zip(indices).enumerate() {
        let (shard, raw) = (number as u16, index.raw);
        let first = entries.len() as u32;
        entries.extend(index.images.iter().map(|&(offset, length, _)| Entry { offset, length, shard, raw }));
        labels.extend(index.images.iter().map(|&(.., label)| label));
        if u32::try_from(entries.len()).is_err() {
            return Err(DataError::content(path, DataFault::Images));
        }
        files.push(Shard { path, images: first..entries.len() as u32 });
    }
    Ok(Shards { files, entries, labels, open: Mutex::default() })
}

impl Shards {
    /// The open file of a shard.
    fn file(&self, shard: u16) -> std::io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = open.iter().find(|(number, _)| *number == shard) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(open_file(&self.files[usize::from(shard)].path)?);
        if open.len() == OPEN {
            open.pop_front();
        }
        open.push_back((shard, Arc::clone(&file)));
        Ok(file)
    }
}

impl ImageSet for Shards {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Path of the shard of image `i`, and the byte where it begins.
    fn name(&self, i: usize) -> String {
        let entry = self.entries[i];
        format!("{} byte {}", self.files[usize::from(entry.shard)].path.display(), entry.offset)
    }

    /// Name in the header before the image, behind the number that `prepare` put before it.
    fn file_name(&self, i: usize) -> Option<String> {
        let entry = self.entries[i];
        let name = name_before(&*self.file(entry.shard).ok()?, entry.offset)?;
        let (number, rest) = name.split_once('-').unwrap_or_default();
        let numbered = number.len() >= PLACE && number.bytes().all(|byte| byte.is_ascii_digit());
        Some(if numbered { rest.to_owned() } else { name })
    }

    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
        let entry = self.entries[i];
        let mut bytes = vec![0; entry.length as usize];
        let read = self.file(entry.shard).and_then(|file| read_exact_at(&file, &mut bytes, entry.offset));
        read.map_err(|error| ImageError::Read(self.name(i), error))?;
        if !entry.raw {
            return Ok(StoredImage::File(Cow::Owned(bytes)));
        }
        let side = (bytes.len() / 3).isqrt();
        if side < 2 || side * side * 3 != bytes.len() {
            return Err(ImageError::Damaged(self.name(i), ImageFault::NoSquare(bytes.len())));
        }
        Ok(StoredImage::Pixels { width: side, height: side, rgb: Cow::Owned(bytes) })
    }

    fn stored_bytes(&self, i: usize) -> Result<u64, ImageError> {
        Ok(self.entries[i].length.into())
    }

    fn modified(&self, i: usize) -> Option<SystemTime> {
        std::fs::metadata(&self.files[usize::from(self.entries[i].shard)].path).and_then(|file| file.modified()).ok()
    }

    /// Order of an epoch: shards are shuffled, then the images of every [`WINDOW`] successive ones together, so that a
    /// disk reads a few files from end to end.
    fn training_order(&self, seed: u64, epoch: u64) -> Vec<u32> {
        let stream = |tag| Stream::new(seed, Purpose::Shuffle, tag);
        let shards = stream(1).permutation(epoch, self.files.len());
        let mut order = Vec::with_capacity(self.entries.len());
        for (tag, window) in (2..).zip(shards.chunks(WINDOW)) {
            let images: Vec<u32> = window.iter().flat_map(|&i| self.files[i as usize].images.clone()).collect();
            order.extend(stream(tag).permutation(epoch, images.len()).into_iter().map(|i| images[i as usize]));
        }
        order
    }
}
