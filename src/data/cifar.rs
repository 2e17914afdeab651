//! The CIFAR-10 binary folder (Krizhevsky 2009): files of records, each a label byte and three 32x32 planes.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::format::{Folder, Format, Opened, Parts, lines};
use super::listing::exists;
use super::split::{ImageSet, StoredImage};
use super::{DataError, DataFault, ImageError};
use crate::files::read_at_most;

/// The format of CIFAR-10: `data_batch_*.bin` for training; `test_batch.bin` for validation, or without it the last
/// `data_batch_*.bin`; class names from `batches.meta.txt`. The images are held in memory, 3 KiB each.
pub(super) const FORMAT: Format = Format {
    description: "a CIFAR-10 binary folder (data_batch_1.bin, data_batch_2.bin, ..., and test_batch.bin if there is one)",
    recognises: |folder| Ok(folder.names.iter().any(|name| is_batch(name))),
    open,
};

/// Side of an image, the sample's too, in pixels.
pub(super) const TILE: usize = 32;

/// Bytes of an RGB image.
pub(super) const TILE_BYTES: usize = TILE * TILE * 3;

const PLANE: usize = TILE * TILE;

/// The classes of CIFAR-10 in the order of its labels.
pub(super) const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Images of 32 x 32 pixels in memory.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    /// [`TILE_BYTES`] for each image, rows outermost, red first.
    pub(super) pixels: Vec<u8>,
    /// The class of each image.
    pub(super) labels: Vec<u32>,
    /// Files they came from, in order.
    pub(super) files: Vec<TileFile>,
}

/// A file that consecutive tiles came from.
#[derive(Debug)]
pub(super) struct TileFile {
    /// File name, for messages.
    pub(super) name: String,
    /// Number of images in the file.
    pub(super) count: usize,
}

impl ImageSet for Tiles {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn name(&self, i: usize) -> String {
        let mut within = i;
        for file in &self.files {
            if within < file.count {
                return format!("{} image {within}", file.name);
            }
            within -= file.count;
        }
        format!("image {i}")
    }

    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
        let rgb = Cow::Borrowed(&self.pixels[i * TILE_BYTES..][..TILE_BYTES]);
        Ok(StoredImage::Pixels { width: TILE, height: TILE, rgb })
    }
}

/// Whether `file` is named like a training batch.
fn is_batch(file: &str) -> bool {
    file.strip_prefix("data_batch_").and_then(|rest| rest.strip_suffix(".bin")).is_some()
}

fn open(folder: &Folder, parts: Parts) -> Result<Opened, DataError> {
    let root = &folder.root;
    let mut batches: Vec<&String> = folder.names.iter().filter(|name| is_batch(name)).collect();
    // Shorter names first, so that batch 10 follows batch 9.
    batches.sort_by_key(|name| (name.len(), *name));
    let mut training: Vec<PathBuf> = batches.iter().map(|name| root.join(name)).collect();
    let test = root.join("test_batch.bin");
    let validation = if exists(&test)? {
        test
    } else {
        let last = training.pop().filter(|_| !training.is_empty());
        last.ok_or_else(|| DataError::content(root, DataFault::OneBatch))?
    };
    let classes = class_names(&root.join("batches.meta.txt"))?;
    let read = |paths: &[PathBuf]| read(paths, 1, &classes, "batches.meta.txt");
    let training = (parts == Parts::All).then(|| read(&training)).transpose()?;
    let validation = read(&[validation])?;
    Ok(Opened::new(classes, training, validation))
}

/// Class names, one a line; the digits where the file is absent.
fn class_names(path: &Path) -> Result<Vec<String>, DataError> {
    if !exists(path)? {
        return Ok((0..CLASSES.len()).map(|label| label.to_string()).collect());
    }
    let names = lines(path)?;
    if names.is_empty() {
        return Err(DataError::content(path, DataFault::NoClassName));
    }
    Ok(names)
}

/// Reads the records of some files, each with `head` bytes in front of its pixels, the last of which is its class;
/// `list` is the file that names the classes.
pub(super) fn read(paths: &[PathBuf], head: usize, classes: &[String], list: &'static str) -> Result<Tiles, DataError> {
    let (bytes_per_record, classes) = (head + TILE_BYTES, classes.len());
    let mut tiles = Tiles::default();
    for path in paths {
        let bytes = read_at_most(path, u64::MAX).map_err(DataError::read(path))?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(bytes_per_record) {
            let fault = DataFault::Records { bytes: bytes.len(), record: bytes_per_record };
            return Err(DataError::content(path, fault));
        }
        tiles.pixels.reserve(bytes.len());
        for (index, record) in bytes.chunks_exact(bytes_per_record).enumerate() {
            let label = record[head - 1];
            if usize::from(label) >= classes {
                return Err(DataError::content(path, DataFault::Label { record: index, label, classes, list }));
            }
            tiles.labels.push(u32::from(label));
            tiles.pixels.extend((0..PLANE).flat_map(|at| [0, 1, 2].map(|plane| record[head + plane * PLANE + at])));
        }
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        tiles.files.push(TileFile { name, count: bytes.len() / bytes_per_record });
    }
    Ok(tiles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::data::testing::{check, folder, record, refusal};

    fn names(text: &str) -> (&str, Vec<u8>) {
        ("batches.meta.txt", text.into())
    }

    #[test]
    fn the_last_batch_validates_where_there_is_no_test_batch() {
        let root = folder([
            ("data_batch_10.bin", record(3, 100)),
            ("data_batch_9.bin", record(2, 90)),
            ("data_batch_1.bin", [record(0, 10), record(1, 20)].concat()),
        ]);
        let data = Dataset::open(Some(root.path()), 32).unwrap();
        assert_eq!(data.classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        let labels: Vec<u32> = (0..data.train.len()).map(|i| data.train.label(i)).collect();
        assert_eq!(labels, [0, 1, 2]);
        assert_eq!((data.validation.len(), data.validation.label(0)), (1, 3));
        assert_eq!(data.train.name(1), "data_batch_1.bin image 1");
        assert_eq!(data.train.name(2), "data_batch_9.bin image 0");
        assert_eq!(data.validation.name(0), "data_batch_10.bin image 0");
    }

    #[test]
    fn a_test_batch_validates_and_names_come_from_the_meta_file() {
        let root =
            folder([("data_batch_1.bin", record(1, 10)), ("test_batch.bin", record(0, 20)), names("cat\r\ndog\n\n")]);
        let data = Dataset::open(Some(root.path()), 32).unwrap();
        assert_eq!(data.classes, ["cat", "dog"]);
        assert_eq!((data.train.len(), data.validation.len()), (1, 1));
        assert_eq!(data.validation.name(0), "test_batch.bin image 0");
    }

    #[test]
    fn planes_become_pixels_at_any_size() {
        // Red counts columns, green counts rows, blue is constant.
        let at = |i: usize| [(i % TILE) as u8, (i / TILE) as u8, 7];
        let planes: Vec<u8> = (0..3).flat_map(|plane| (0..PLANE).map(move |i| at(i)[plane])).collect();
        let batch = [vec![0], planes].concat();
        let root = folder([("data_batch_1.bin", batch.clone()), ("test_batch.bin", batch)]);
        let decode = |size| Dataset::open(Some(root.path()), size).unwrap().train.decode(0).unwrap();
        assert_eq!(decode(32), (0..PLANE).flat_map(at).collect::<Vec<u8>>());
        let large = decode(64);
        assert_eq!(large.len(), 64 * 64 * 3);
        let pixel = |x: usize, y: usize| &large[(y * 64 + x) * 3..][..3];
        assert_eq!((pixel(0, 0), pixel(63, 0), pixel(0, 63)), (&[0, 0, 7][..], &[31, 0, 7][..], &[0, 31, 7][..]));
    }

    #[test]
    fn damaged_folders_are_refused_by_name() {
        let good = || record(1, 1);
        let refused = |files: Vec<(&str, Vec<u8>)>| refusal(folder(files).path());
        check(refused(vec![("data_batch_1.bin", good())]), &["add test_batch.bin"]);
        for wrong in [Vec::new(), good()[1..].to_vec(), [good(), vec![0]].concat()] {
            let length = format!("has {} bytes", wrong.len());
            let message = refused(vec![("data_batch_1.bin", wrong), ("test_batch.bin", good())]);
            check(message, &["data_batch_1.bin", &length, "fetch the file again"]);
        }
        let ten = [good(), record(10, 1)].concat();
        let message = refused(vec![("data_batch_1.bin", good()), ("test_batch.bin", ten)]);
        check(message, &["test_batch.bin", "record 1 has label 10", "0 to 9"]);
        let message = refused(vec![("data_batch_1.bin", good()), ("test_batch.bin", good()), names("cat\n")]);
        check(message, &["data_batch_1.bin", "record 0 has label 1", "batches.meta.txt"]);
        let message = refused(vec![("data_batch_1.bin", good()), ("test_batch.bin", good()), names("\n")]);
        check(message, &["batches.meta.txt: names no class"]);
    }
}
