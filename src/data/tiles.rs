//! Small images of one size, held in memory.

use std::borrow::Cow;

use super::ImageError;
use super::split::{ImageSet, Stored};

/// The side of a CIFAR image and of the sample's, in pixels.
pub(super) const TILE: usize = 32;

/// The bytes of a 32x32 RGB image.
pub(super) const TILE_BYTES: usize = TILE * TILE * 3;

/// Images of 32x32 pixels in memory.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    /// [`TILE_BYTES`] an image, rows outermost, red first.
    pub(super) pixels: Vec<u8>,
    /// The class of each image.
    pub(super) labels: Vec<u32>,
    /// The files they came from, in order.
    pub(super) files: Vec<TileFile>,
}

/// A file that consecutive tiles came from.
#[derive(Debug)]
pub(super) struct TileFile {
    /// Its name, for messages.
    pub(super) name: String,
    /// How many images it holds.
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

    fn read(&self, i: usize) -> Result<Stored<'_>, ImageError> {
        let rgb = Cow::Borrowed(&self.pixels[i * TILE_BYTES..][..TILE_BYTES]);
        Ok(Stored::Pixels { width: TILE, height: TILE, rgb })
    }
}
