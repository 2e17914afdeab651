//! A batch of stored images, and how one is filled from a stream of decoded and broken images.

use std::iter::Peekable;

use super::{ImageError, View, Views};
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
    /// Class and pixels, or the reason for leaving the image out.
    pub(super) content: Result<(u32, Vec<u8>), String>,
}

impl DecodedImage {
    /// Wraps image `index` of class `label`.
    pub(super) fn new(index: u32, label: u32, decoded: Result<Vec<u8>, ImageError>) -> Self {
        Self { index, content: decoded.map(|pixels| (label, pixels)).map_err(|error| error.to_string()) }
    }
}

impl Batch {
    /// A batch without images; `images` grows with each and is padded at the end, so that no byte is written twice.
    fn empty(capacity: usize, bytes_per_image: usize, next: usize) -> Self {
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

    /// Fills a batch from `items`, which begin at position `start` of the order; `None` if there are none.
    ///
    /// A full batch also takes the broken images behind it as skipped, so that none is lost at the end of an epoch.
    pub(super) fn fill(
        items: &mut Peekable<impl Iterator<Item = DecodedImage>>,
        capacity: usize,
        bytes_per_image: usize,
        start: usize,
        views: Views,
    ) -> Option<Self> {
        items.peek()?;
        let mut batch = Self::empty(capacity, bytes_per_image, start);
        while let Some(item) = items.next_if(|item| batch.count < capacity || item.content.is_err()) {
            let position = batch.next;
            batch.next += 1;
            match item.content {
                Ok((label, pixels)) => {
                    let place = batch.count;
                    batch.images.extend_from_slice(&pixels);
                    batch.labels[place] = label;
                    batch.views[place] = views.of(item.index, position);
                    batch.indices[place] = item.index;
                    batch.count += 1;
                }
                Err(reason) => batch.skipped.push(reason),
            }
        }
        batch.images.resize(capacity * bytes_per_image, 0);
        Some(batch)
    }
}
