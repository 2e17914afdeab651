//! Opening a data set: which of the accepted layouts a path holds.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::folder::entries;
use super::measure::measure;
use super::{DataError, Measured, Split, Statistics, cifar, folder, sample, shards};

/// Training and validation images with the names of their classes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Names of the classes; a label is a place in this list.
    pub classes: Vec<String>,
    /// What is trained on.
    pub train: Arc<Split>,
    /// What is evaluated on; no image of it is trained on.
    pub validation: Arc<Split>,
    /// Mean and colours of the training images, where they are known beforehand.
    pub measured: Option<Measured>,
}

impl Dataset {
    /// Opens the data set at `spec`, or the bundled sample without one. Images decode to `size` x `size` pixels.
    ///
    /// Accepted are:
    /// - a CIFAR-10 binary folder: `data_batch_*.bin` to train on and `test_batch.bin` to validate on, or without it
    ///   the last training batch, which then is not trained on; class names from `batches.meta.txt`. Its images are
    ///   held in memory, 3 KiB each;
    /// - a folder of shards: WebDataset tar files `train-*.tar` and `val-*.tar` with `KEY.jpg` (.jpeg, .png; .rgb for
    ///   plain pixels) and `KEY.cls`, the number of the class; class names from `classes.txt`, else numbers. What
    ///   `alexnet prepare` wrote is opened from its index files, others by reading their headers;
    /// - an image folder: `train/<class>/*` and `val/<class>/*`, JPEG or PNG. Classes are the sorted folder names of
    ///   `train`; files not called .jpg, .jpeg, .jfif or .png, in any case, are passed over.
    ///
    /// # Errors
    /// [`DataError`] naming the file or folder at fault. Single images are not decoded here, except the sample's.
    pub fn open(spec: Option<&Path>, size: usize) -> Result<Self, DataError> {
        let Some(root) = spec else { return sample::open(size) };
        let kind = fs::metadata(root).map_err(DataError::read(root))?;
        if !kind.is_dir() {
            return Err(DataError::Layout { path: root.into(), found: "it is a file, not a folder".into() });
        }
        let paths = entries(root)?;
        let names: Vec<String> =
            paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
        let batches: Vec<String> = names.iter().filter(|name| cifar::is_batch(name)).cloned().collect();
        if !batches.is_empty() {
            cifar::open(root, batches, size)
        } else if root.join("train").is_dir() {
            folder::open(root, size)
        } else if names.iter().any(|name| shards::is_shard(name)) {
            shards::open(root, &names, size)
        } else {
            Err(DataError::Layout { path: root.into(), found: found(&names) })
        }
    }

    /// Mean image and colours of the training images: known beforehand, or computed from all of them.
    ///
    /// # Errors
    /// [`DataError::NoImage`] if no image at all can be decoded.
    pub fn statistics(&self) -> Result<Statistics, DataError> {
        let known = self.measured.as_ref().filter(|measured| measured.about.size == self.train.size());
        known.map_or_else(|| measure(&self.train), |measured| Ok(measured.statistics.clone()))
    }

    /// Makes sure that labels mean what they meant to a checkpoint with these `classes`.
    ///
    /// # Errors
    /// [`DataError::Classes`] when they do not.
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

/// A few words on what a folder holds.
fn found(names: &[String]) -> String {
    const SHOWN: usize = 4;
    if names.is_empty() {
        return "the folder is empty".into();
    }
    let shown = names[..names.len().min(SHOWN)].join(", ");
    let more = names.len().saturating_sub(SHOWN);
    if more == 0 { format!("the folder holds {shown}") } else { format!("the folder holds {shown} and {more} more") }
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
