//! Where images come from: an image folder, or the ILSVRC2012 release as it is distributed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::ilsvrc;
use crate::data::archive::read_exact_at;
use crate::data::decode::{Image, guarded, read_file};
use crate::data::folder::{self, Files};
use crate::data::{DataError, ImageError, MAX_BYTES};

/// Classes and images to prepare.
pub(super) struct Source {
    /// Names of the classes, in the order of the labels.
    pub(super) classes: Vec<String>,
    /// Images to train on.
    pub(super) training: Images,
    /// Images to validate on.
    pub(super) validation: Images,
}

/// Labelled images of one split.
pub(super) struct Images {
    /// The class of each.
    pub(super) labels: Vec<u32>,
    store: Store,
}

enum Store {
    /// Files below `root`.
    Files { root: PathBuf, paths: Vec<PathBuf> },
    /// Parts of a tar file.
    Tar { path: PathBuf, file: File, members: Vec<Part> },
}

/// An image in a tar file.
pub(super) struct Part {
    /// The image's path in the archive, through nested archives.
    pub(super) name: Box<str>,
    /// Where its content begins, in bytes from the beginning of the file.
    pub(super) offset: u64,
    /// Bytes of content.
    pub(super) length: u64,
}

impl Source {
    /// Finds out what `root` holds, and where.
    pub(super) fn open(root: &Path) -> Result<Self, DataError> {
        fs::read_dir(root).map_err(DataError::read(root))?;
        if ilsvrc::is_release(root) {
            return ilsvrc::open(root);
        }
        if !root.join("train").is_dir() {
            let problem = format!(
                "holds nothing to prepare. Accepted are an image folder (train/<class>/* and val/<class>/*) and the \
                 ILSVRC2012 release ({}, {}, {} and a list of the validation images' classes)",
                ilsvrc::TRAINING,
                ilsvrc::VALIDATION,
                ilsvrc::SYNSETS[0]
            );
            return Err(DataError::content(root, problem));
        }
        let (classes, files) = folder::list(root)?;
        let images = |(paths, labels): Files| Images { labels, store: Store::Files { root: root.into(), paths } };
        let [training, validation] = files.map(images);
        Ok(Self { classes, training, validation })
    }

    /// A number that changes with the names, the sizes and the classes of the images.
    pub(super) fn fingerprint(&self) -> Result<u64, DataError> {
        let mut hash = Fnv::new();
        for class in &self.classes {
            hash.add(class.as_bytes());
        }
        for images in [&self.training, &self.validation] {
            hash.add(&images.len().to_le_bytes());
            for (i, label) in images.labels.iter().enumerate() {
                hash.add(images.name(i).as_bytes());
                hash.add(&label.to_le_bytes());
                hash.add(&images.bytes(i)?.to_le_bytes());
            }
        }
        Ok(hash.0)
    }
}

impl Images {
    /// Images in the tar file at `path`.
    pub(super) fn in_tar(path: PathBuf, file: File, members: Vec<Part>, labels: Vec<u32>) -> Self {
        Self { labels, store: Store::Tar { path, file, members } }
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The path of image `i` in the source.
    pub(super) fn name(&self, i: usize) -> String {
        match &self.store {
            // All lie below the root.
            Store::Files { root, paths } => paths[i].strip_prefix(root).unwrap_or(&paths[i]).display().to_string(),
            Store::Tar { members, .. } => members[i].name.to_string(),
        }
    }

    /// The size of the file of image `i`.
    fn bytes(&self, i: usize) -> Result<u64, DataError> {
        match &self.store {
            Store::Files { paths, .. } => {
                fs::metadata(&paths[i]).map(|it| it.len()).map_err(DataError::read(&paths[i]))
            }
            Store::Tar { members, .. } => Ok(members[i].length),
        }
    }

    fn read(&self, i: usize) -> Result<Vec<u8>, ImageError> {
        match &self.store {
            Store::Files { paths, .. } => read_file(&self.name(i), &paths[i]),
            Store::Tar { path, file, members } => {
                let Part { name, offset, length } = &members[i];
                if *length > MAX_BYTES {
                    let reason = format!("more than {} MiB", MAX_BYTES >> 20);
                    return Err(ImageError::TooLarge(name.to_string(), reason));
                }
                let mut bytes = vec![0; *length as usize];
                let read = read_exact_at(file, &mut bytes, *offset);
                read.map_err(|error| ImageError::Read(format!("{} {name}", path.display()), error))?;
                Ok(bytes)
            }
        }
    }

    /// Image `i` as `size` x `size` x 3 bytes. A file that cannot be read is an error of the data set, as it says
    /// nothing of the image.
    pub(super) fn decode(&self, i: usize, size: usize) -> Result<Result<Vec<u8>, ImageError>, DataError> {
        let decode = |bytes: &[u8]| Image::decode(&self.name(i), bytes)?.square(&self.name(i), size);
        match self.read(i) {
            Ok(bytes) => Ok(guarded(|| self.name(i), || decode(&bytes))),
            Err(ImageError::Read(name, error)) => Err(DataError::Read { path: name.into(), error }),
            Err(other) => Ok(Err(other)),
        }
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
