//! The images of one split, training or validation, behind one trait for all formats.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::decode::{decode_square, guarded};
use super::outage::Outage;
use super::resize::square;
use super::views::training_order;
use super::{DataError, ImageError};

/// A set of labelled images, numbered from 0, which a format implements, or a program for its own images. Several
/// threads read at a time.
pub trait ImageSet: Send + Sync {
    /// Class of each image: an index of the list of classes.
    fn labels(&self) -> &[u32];

    /// Name of image `i` in messages and predictions.
    fn name(&self, i: usize) -> String;

    /// Name of the file that image `i` is or was, without its folder; `None` where the format has no names.
    fn file_name(&self, _i: usize) -> Option<String> {
        None
    }

    /// Reads image `i` as it is stored.
    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError>;

    /// Size of stored image `i` in bytes, by which `prepare` notices that a data set has changed.
    fn stored_bytes(&self, i: usize) -> Result<u64, ImageError> {
        Ok(match self.read(i)? {
            StoredImage::File(bytes) | StoredImage::Pixels { rgb: bytes, .. } => bytes.len() as u64,
        })
    }

    /// When stored image `i` was last changed; `None` where the format does not know.
    fn modified(&self, _i: usize) -> Option<SystemTime> {
        None
    }

    /// The order in which an epoch of training visits the images: a permutation that depends on the seed and the epoch
    /// alone.
    fn training_order(&self, seed: u64, epoch: u64) -> Vec<u32> {
        training_order(seed, epoch, self.labels().len())
    }
}

/// An image as an [`ImageSet`] stores it.
#[derive(Clone, Debug)]
pub enum StoredImage<'a> {
    /// The content of an image file of any format that [`Image::decode`](super::Image::decode) reads.
    File(Cow<'a, [u8]>),
    /// Pixels that need no decoding.
    Pixels {
        /// Number of pixels in a row.
        width: usize,
        /// Number of rows of pixels.
        height: usize,
        /// `height` x `width` x 3 bytes, red first.
        rgb: Cow<'a, [u8]>,
    },
}

/// An [`ImageSet`] whose images decode to one size. Shared between threads in an `Arc`.
pub struct Split {
    size: usize,
    images: Arc<dyn ImageSet>,
    /// By label of the images: the label that is meant.
    relabelled: Option<Vec<u32>>,
    outage: Outage,
}

impl Split {
    /// A split of `images` that decode to `size` x `size` pixels, with labels below `classes`; `what` is the name of
    /// the split in messages.
    pub(super) fn new(
        what: &'static str,
        images: Box<dyn ImageSet>,
        classes: usize,
        size: usize,
    ) -> Result<Self, DataError> {
        let labels = images.labels();
        if labels.is_empty() || u32::try_from(labels.len()).is_err() {
            return Err(DataError::Count { split: what, count: labels.len() });
        }
        if let Some(i) = labels.iter().position(|&label| label as usize >= classes) {
            return Err(DataError::Label { name: images.name(i), label: labels[i], classes });
        }
        Ok(Self::of(images.into(), size))
    }

    /// The same of images without labels.
    pub(super) fn unlabelled(
        what: &'static str,
        images: impl ImageSet + 'static,
        size: usize,
    ) -> Result<Self, DataError> {
        if images.labels().is_empty() {
            return Err(DataError::Count { split: what, count: 0 });
        }
        Ok(Self::of(Arc::new(images), size))
    }

    fn of(images: Arc<dyn ImageSet>, size: usize) -> Self {
        Self { size, images, relabelled: None, outage: Outage::default() }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.images.labels().len()
    }

    /// Whether there are no images, which is true of no opened data set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The side of a decoded image, in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The class of image `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    pub fn label(&self, i: usize) -> u32 {
        let label = self.images.labels()[i];
        self.relabelled.as_ref().map_or(label, |map| map[label as usize])
    }

    /// The same images, those of label `i` labelled `map[i]`.
    pub(super) fn relabelled(&self, map: &[u32]) -> Self {
        let before = self.relabelled.as_deref();
        let map =
            before.map_or_else(|| map.to_vec(), |before| before.iter().map(|&label| map[label as usize]).collect());
        Self { size: self.size, images: Arc::clone(&self.images), relabelled: Some(map), outage: Outage::default() }
    }

    /// When stored image `i` was last changed; `None` where the format does not know.
    pub(super) fn modified(&self, i: usize) -> Option<SystemTime> {
        self.images.modified(i)
    }

    /// The order in which an epoch of training visits the images: a permutation that depends on the seed and the epoch
    /// alone. Images in shards are visited a few shards at a time.
    pub fn training_order(&self, seed: u64, epoch: u64) -> Vec<u32> {
        self.images.training_order(seed, epoch)
    }

    /// The order of every epoch that changes no minibatch: that in which the images are stored; where that is class by
    /// class, shuffled once, as `prepare` shuffles what it stores.
    pub fn stored_order(&self, seed: u64) -> Vec<u32> {
        let labels = self.images.labels();
        if labels.is_sorted() { training_order(seed, 0, labels.len()) } else { (0..labels.len() as u32).collect() }
    }

    /// Name of image `i` in messages: its path, or its file and its place there, from 0.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    pub fn name(&self, i: usize) -> String {
        self.images.name(i)
    }

    /// Name of the file that image `i` is or was, without its folder; `None` where the format has no names.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    pub fn file_name(&self, i: usize) -> Option<String> {
        self.images.file_name(i)
    }

    /// The bytes of image `i` as it is stored.
    pub(super) fn stored_bytes(&self, i: usize) -> Result<u64, ImageError> {
        self.images.stored_bytes(i)
    }

    /// Image `i` as `size` x `size` x 3 bytes: rows outermost, red first.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    pub fn decode(&self, i: usize) -> Result<Vec<u8>, ImageError> {
        let name = || self.images.name(i);
        match self.images.read(i)? {
            StoredImage::File(bytes) => decode_square(name, &bytes, self.size),
            StoredImage::Pixels { width, height, rgb } => {
                if width.min(height) < 2 && self.size > 1 {
                    return Err(ImageError::TooSmall(name(), width, height));
                }
                if (width, height) == (self.size, self.size) && rgb.len() == self.size * self.size * 3 {
                    return Ok(rgb.into_owned());
                }
                square(&name(), &rgb, (width, height), self.size)
            }
        }
    }
}

impl Split {
    /// Decodes image `i` as [`Split::decode`] does; reads it again for about a minute, unless `stop` is set, if it
    /// cannot be read. A decoder that panics counts as one that refuses the image.
    pub(super) fn decode_patiently(&self, i: usize, stop: &AtomicBool) -> Result<Vec<u8>, ImageError> {
        guarded(|| self.name(i), || self.outage.endure(stop, || self.decode(i)))
    }

    /// The same with another first wait after a failure to read.
    #[cfg(test)]
    pub(super) fn waiting(self, first: std::time::Duration) -> Self {
        Self { outage: Outage::waiting(first), ..self }
    }
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Split").field("size", &self.size).field("images", &self.len()).finish_non_exhaustive()
    }
}
