//! The images of one split, training or validation, behind one interface wherever they are stored.

use std::path::PathBuf;

use super::decode::decode_file;
use super::shards::Shards;
use super::views::training_order;
use super::{ImageError, resize};

/// The side of a CIFAR image and of the sample's, in pixels.
pub(super) const TILE: usize = 32;

/// The bytes of a 32x32 RGB image.
pub(super) const TILE_BYTES: usize = TILE * TILE * 3;

/// Labelled images, numbered from 0. Shared between threads in an `Arc`.
#[derive(Debug)]
pub struct Split {
    size: usize,
    labels: Vec<u32>,
    store: Store,
}

#[derive(Debug)]
enum Store {
    /// Image files, decoded anew each time.
    Files(Vec<PathBuf>),
    /// 32x32 images in memory, [`TILE_BYTES`] each with rows outermost, and the files they came from.
    Tiles { pixels: Vec<u8>, parts: Vec<Part> },
    /// Image files within tar files, decoded anew each time.
    Shards(Shards),
}

/// A run of consecutive tiles out of one file.
#[derive(Debug)]
pub(super) struct Part {
    /// The file, for messages.
    pub(super) file: String,
    /// How many images it holds.
    pub(super) count: usize,
}

impl Split {
    /// Images in files; `labels` has one entry a path.
    pub(super) fn files(size: usize, paths: Vec<PathBuf>, labels: Vec<u32>) -> Self {
        Self { size, labels, store: Store::Files(paths) }
    }

    /// Images in memory, [`TILE_BYTES`] a label; the counts of `parts` add up to the number of labels.
    pub(super) fn tiles(size: usize, pixels: Vec<u8>, labels: Vec<u32>, parts: Vec<Part>) -> Self {
        Self { size, labels, store: Store::Tiles { pixels, parts } }
    }

    /// Images in shards; `labels` has one entry an image.
    pub(super) fn shards(size: usize, shards: Shards, labels: Vec<u32>) -> Self {
        Self { size, labels, store: Store::Shards(shards) }
    }

    /// The number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none, which no opened data set has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The side of a decoded image, in pixels.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The class of image `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    #[must_use]
    pub fn label(&self, i: usize) -> u32 {
        self.labels[i]
    }

    /// The order in which an epoch of training visits the images: a permutation that depends on the seed and the epoch
    /// alone. Images in shards are visited a few shards at a time.
    #[must_use]
    pub fn training_order(&self, seed: u64, epoch: u64) -> Vec<u32> {
        match &self.store {
            Store::Shards(shards) => shards.training_order(seed, epoch),
            Store::Files(_) | Store::Tiles { .. } => training_order(seed, epoch, self.len()),
        }
    }

    /// What to call image `i` in a message: its path, or its file and its place in it, counted from 0.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    #[must_use]
    pub fn name(&self, i: usize) -> String {
        match &self.store {
            Store::Files(paths) => paths[i].display().to_string(),
            Store::Shards(shards) => shards.name(i),
            Store::Tiles { parts, .. } => {
                let mut within = i;
                for part in parts {
                    if within < part.count {
                        return format!("{} image {within}", part.file);
                    }
                    within -= part.count;
                }
                panic!("image {i} of {}", self.len())
            }
        }
    }

    /// Image `i` as `size` x `size` x 3 bytes: rows outermost, red first.
    ///
    /// # Errors
    /// [`ImageError`] where a file is missing or broken; images held in memory always decode.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    pub fn decode(&self, i: usize) -> Result<Vec<u8>, ImageError> {
        match &self.store {
            Store::Files(paths) => decode_file(&paths[i], self.size),
            Store::Shards(shards) => shards.decode(i, self.size),
            Store::Tiles { pixels, .. } => {
                let tile = &pixels[i * TILE_BYTES..][..TILE_BYTES];
                if self.size == TILE {
                    return Ok(tile.to_vec());
                }
                resize::square(&self.name(i), tile, (TILE, TILE), self.size)
            }
        }
    }
}
