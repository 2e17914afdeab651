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
    /// Classes, or [`NO_LABEL`].
    pub labels: Vec<u32>,
    /// How each image is to be cropped.
    pub views: Vec<View>,
    /// The number of each image in its split, or [`NO_LABEL`].
    pub indices: Vec<u32>,
    /// How many places hold images. 0 only where no image of the whole order could be decoded.
    pub count: usize,
    /// The images left out since the batch before, each with its reason; others took their places.
    pub skipped: Vec<String>,
    /// Where in the order the next batch begins: the `start` with which to go on after this batch.
    pub next: usize,
}

/// One image of the order on its way into a batch.
pub(super) struct DecodedImage {
    /// The image's number in its split.
    pub(super) index: u32,
    /// Its class and pixels, or why it has to be left out.
    pub(super) content: Result<(u32, Vec<u8>), String>,
}

impl DecodedImage {
    /// The item for image `index`.
    pub(super) fn new(index: u32, label: u32, decoded: Result<Vec<u8>, ImageError>) -> Self {
        Self { index, content: decoded.map(|pixels| (label, pixels)).map_err(|error| error.to_string()) }
    }
}

impl Batch {
    /// A batch of no images yet: `images` grows by each, and is filled up in the end, so that nothing is written twice.
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

    /// Fills a batch from `items`, which stand at position `start` of the order; `None` at the end of them.
    ///
    /// Broken images which follow a full batch count as skipped by it, so that none is lost at the end of an epoch.
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
