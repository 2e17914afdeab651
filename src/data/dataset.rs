//! Data sets: training and validation images with the names of their classes.

use std::path::Path;
use std::sync::Arc;

use super::statistics::measure;
use super::{DataError, ImageSet, Measured, Split, Statistics, format, sample};

/// Training and validation images with the names of their classes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Names of the classes; a label is an index of this list.
    pub classes: Vec<String>,
    /// Training images.
    pub train: Arc<Split>,
    /// Validation images, none of which is trained on.
    pub validation: Arc<Split>,
    /// Statistics of the training images, if they were measured when the data set was prepared.
    pub measured: Option<Measured>,
}

impl Dataset {
    /// A data set of a program's own images, which decode to `size` x `size` pixels; labels are indices of `classes`.
    pub fn new(
        classes: Vec<String>,
        training: impl ImageSet + 'static,
        validation: impl ImageSet + 'static,
        size: usize,
    ) -> Result<Self, DataError> {
        let train = Arc::new(Split::new("training", training, classes.len(), size)?);
        let validation = Arc::new(Split::new("validation", validation, classes.len(), size)?);
        Ok(Self { classes, train, validation, measured: None })
    }

    /// Opens the data set in the folder at `path`, in any of the known formats, or without a path the bundled sample.
    /// Images decode to `size` x `size` pixels.
    ///
    /// # Errors
    /// When a file or folder is at fault, which the message names. Single images are not decoded here, except the sample's.
    pub fn open(path: Option<&Path>, size: usize) -> Result<Self, DataError> {
        path.map_or_else(|| sample::open(size), |path| format::open(path, size))
    }

    /// Mean image and colours of the training images: as measured before, or computed from all of them.
    pub fn statistics(&self) -> Result<Statistics, DataError> {
        let known = self.measured.as_ref().filter(|measured| measured.about.size == self.train.size());
        known.map_or_else(|| measure(&self.train), |measured| Ok(measured.statistics.clone()))
    }

    /// Checks that the classes are the `classes` of a checkpoint.
    pub fn expect_classes(&self, classes: &[String]) -> Result<(), DataError> {
        if self.classes == classes {
            return Ok(());
        }
        Err(DataError::Classes { found: named(&self.classes), wanted: named(classes) })
    }
}

/// Number and first names of classes.
fn named(classes: &[String]) -> String {
    const SHOWN: usize = 3;
    let more = if classes.len() > SHOWN { ", …" } else { "" };
    format!("{} classes ({}{more})", classes.len(), classes[..classes.len().min(SHOWN)].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::{folder, png, refusal};

    #[test]
    fn anything_else_is_described_with_what_is_accepted() {
        let accepted = ["CIFAR-10 binary folder", "train/<class>/*", "bundled sample"];
        let empty = folder([]);
        let other = folder(["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"].map(|name| (name, Vec::new())));
        let cases = [
            (refusal(empty.path()), "the folder is empty"),
            (refusal(other.path()), "the folder holds a.txt, b.txt, c.txt, d.txt and 1 more"),
            (refusal(&other.path().join("a.txt")), "it is a file, not a folder"),
        ];
        for (message, found) in cases {
            assert!(message.contains(found), "{message}");
            assert!(accepted.iter().all(|layout| message.contains(layout)), "{message}");
        }
        let missing = refusal(&other.path().join("nowhere"));
        assert!(missing.contains("nowhere: cannot be read"), "{missing}");
    }

    #[test]
    fn a_data_set_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + Clone>(_: &T) {}
        let root = folder([("train/a/1.png", png(4, 4, [1; 3])), ("val/a/1.png", png(4, 4, [1; 3]))]);
        shared(&Dataset::open(Some(root.path()), 4).unwrap());
    }
}
