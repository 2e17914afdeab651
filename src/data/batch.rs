//! A batch of stored images, and how one is filled from a stream of decoded and broken images.

use std::iter::Peekable;

use super::{DataError, ImageError, View, Views};
use crate::tensor::NO_LABEL;

/// Images with their labels and views. Every list has one entry for each of the `capacity` places; the first `count`
/// places hold images, the others zeros, [`NO_LABEL`] and default views.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `capacity` x `size` x `size` x 3 bytes: stored images, uncropped, rows outermost, red first.
    pub images: Vec<u8>,
    /// Class of each image, or [`NO_LABEL`].
    pub labels: Vec<u32>,
    /// Crop, mirror and colour change of each image.
    pub views: Vec<View>,
    /// Number of each image in its split, or [`NO_LABEL`].
    pub indices: Vec<u32>,
    /// Number of places that hold images; 0 only if no image of the whole order can be decoded.
    pub count: usize,
    /// Reasons for the images left out since the batch before; others took their places.
    pub skipped: Vec<String>,
    /// Position in the order at which the next batch begins: [`LoaderOptions::start`](super::LoaderOptions::start) of a
    /// loader that resumes after this batch.
    pub next: usize,
}

/// An image of the order, decoded for a batch.
pub(super) struct DecodedImage {
    /// Number of the image in its split.
    pub(super) index: u32,
    /// Class of the image.
    pub(super) label: u32,
    /// Pixels, or the reason for leaving the image out.
    pub(super) pixels: Result<Vec<u8>, ImageError>,
}

impl DecodedImage {
    /// Whether it was read, but cannot be decoded.
    fn is_broken(&self) -> bool {
        self.pixels.as_ref().is_err_and(|error| !matches!(error, ImageError::Read(..)))
    }
}

impl Batch {
    /// A batch without images; `images` grows with each and is padded at the end, so that no byte is written twice.
    pub(super) fn empty(capacity: usize, bytes_per_image: usize, next: usize) -> Self {
        Self {
            images: Vec::with_capacity(capacity * bytes_per_image),
            labels: vec![NO_LABEL; capacity],
            views: vec![View::default(); capacity],
            indices: vec![NO_LABEL; capacity],
            count: 0,
            skipped: Vec::new(),
            next,
        }
    }

    /// A batch of no place at all.
    pub fn without_images() -> Self {
        Self::empty(0, 0, 0)
    }

    /// Fills a batch from `items`, which begin at position `start` of the order; `None` if there are none.
    ///
    /// A full batch also takes the broken images behind it as skipped, so that none is lost at the end of an epoch.
    ///
    /// # Errors
    /// When an image of the batch could not be read, although it may be whole.
    pub(super) fn fill(
        items: &mut Peekable<impl Iterator<Item = DecodedImage>>,
        capacity: usize,
        bytes_per_image: usize,
        start: usize,
        views: Views,
    ) -> Option<Result<Self, DataError>> {
        items.peek()?;
        let mut batch = Self::empty(capacity, bytes_per_image, start);
        while let Some(item) = items.next_if(|item| batch.count < capacity || item.is_broken()) {
            let position = batch.next;
            batch.next += 1;
            match item.pixels {
                Ok(pixels) => {
                    let place = batch.count;
                    batch.images.extend_from_slice(&pixels);
                    batch.labels[place] = item.label;
                    batch.views[place] = views.of(item.index, position);
                    batch.indices[place] = item.index;
                    batch.count += 1;
                }
                Err(error @ ImageError::Read(..)) => return Some(Err(error.into())),
                Err(error) => batch.skipped.push(error.to_string()),
            }
        }
        batch.images.resize(capacity * bytes_per_image, 0);
        Some(Ok(batch))
    }
}
