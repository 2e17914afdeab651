//! Data sets: training and validation images with the names of their classes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::classes::{matched, numbered};
use super::fingerprint::Fnv;
use super::format::{self, Opened, Parts};
use super::statistics::measure;
use super::{DataError, ImageSet, Measured, Split, Statistics, sample};

/// Training and validation images with the names of their classes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Names of the classes; a label is an index of this list.
    pub classes: Vec<String>,
    /// Images that are trained on, with their labels.
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
        Self::of(Opened::new(classes, Some(training), validation), size)
    }

    /// A data set of images that decode to `size` x `size` pixels.
    pub(super) fn of(opened: Opened, size: usize) -> Result<Self, DataError> {
        let Opened { classes, training, validation, measured } = opened;
        let count = DataError::Count { split: "training", count: 0 };
        let train = Arc::new(Split::new("training", training.ok_or(count)?, classes.len(), size)?);
        let validation = Arc::new(Split::new("validation", validation, classes.len(), size)?);
        let opened = Self { classes, train, validation, measured };
        opened.gaps().iter().for_each(|gap| log::warn!("{gap}"));
        Ok(opened)
    }

    /// For each split that lacks images of a class a line that says so.
    fn gaps(&self) -> Vec<String> {
        let gap = |(what, split): (&str, &Split)| {
            let filled: BTreeSet<u32> = (0..split.len()).map(|i| split.label(i)).collect();
            let empty: Vec<u32> = (0..self.classes.len() as u32).filter(|label| !filled.contains(label)).collect();
            let (first, all) = (&self.classes[*empty.first()? as usize], self.classes.len());
            Some(format!("{} of {all} classes have no {what} images; the first is {first}", empty.len()))
        };
        [("training", &*self.train), ("validation", &*self.validation)].into_iter().filter_map(gap).collect()
    }

    /// Opens the data set in the folder at `path`, in any of the known formats, or without a path the bundled sample.
    /// Images decode to `size` x `size` pixels.
    ///
    /// # Errors
    /// When a file or folder is at fault, which the message names. Single images are not decoded here, except the
    /// sample's.
    pub fn open(path: Option<&Path>, size: usize) -> Result<Self, DataError> {
        Self::of(path.map_or_else(sample::open, |path| format::open(path, Parts::All))?, size)
    }

    /// Mean image and colours of the training images: as measured before, or computed from all of them.
    pub fn statistics(&self) -> Result<Statistics, DataError> {
        match self.known_statistics() {
            Some(known) => Ok(known.clone()),
            // It is stopped by nobody.
            None => Ok(self.measure(&AtomicUsize::new(0), &AtomicBool::new(false))?.unwrap_or_default()),
        }
    }

    /// Statistics that were measured when the data set was prepared, for images of its size.
    pub fn known_statistics(&self) -> Option<&Statistics> {
        let measured = self.measured.as_ref().filter(|measured| measured.about.size == self.train.size());
        measured.map(|measured| &measured.statistics)
    }

    /// Mean image and colours of the training images, computed from all of them and counted in `done`;
    /// without a result if `stop` is raised meanwhile.
    pub fn measure(&self, done: &AtomicUsize, stop: &AtomicBool) -> Result<Option<Statistics>, DataError> {
        measure(&self.train, done, stop)
    }

    /// By class: the number of images and a hash of the names of their files, wherever those lie.
    pub fn contents(&self) -> Vec<(usize, u64)> {
        let mut hashes: Vec<(usize, Fnv)> = self.classes.iter().map(|_| (0, Fnv::new())).collect();
        for split in [&self.train, &self.validation] {
            for i in 0..split.len() {
                let (count, hash) = &mut hashes[split.label(i) as usize];
                let name = split.name(i);
                *count += 1;
                hash.add(name.rsplit(['/', '\\']).next().unwrap_or(&name).as_bytes());
            }
        }
        hashes.into_iter().map(|(count, hash)| (count, hash.0)).collect()
    }

    /// A line about the difference from the [`Dataset::contents`] that were `before`, if there is one.
    pub fn changed(&self, before: &[(usize, u64)]) -> Option<String> {
        let now = self.contents();
        let mut changed = now.iter().zip(before).zip(&self.classes).filter(|((now, before), _)| now != before);
        let ((first, first_before), class) = changed.next()?;
        let [all, all_before] = [&now[..], before].map(|all| all.iter().map(|(count, _)| count).sum::<usize>());
        Some(format!(
            "the data have changed since the checkpoint: {all_before} images then, {all} now, in {} classes; the first is \
             {class}: {} images then, {} now{}",
            1 + changed.count(),
            first_before.0,
            first.0,
            if first.0 == first_before.0 { " under other names" } else { "" }
        ))
    }

    /// The same images with labels among the `classes` of a checkpoint, which are the same in some order.
    pub fn arranged(self, classes: &[String]) -> Result<Self, DataError> {
        if self.classes == classes {
            return Ok(self);
        }
        let refuse = || DataError::Classes { found: named(&self.classes), wanted: named(classes) };
        let (map, by) =
            matched(&self.classes, classes).filter(|(map, _)| map.len() == classes.len()).ok_or_else(refuse)?;
        log::warn!("the classes of the data have another order than those of the checkpoint; they are matched by {by}");
        let [train, validation] = [&self.train, &self.validation].map(|split| Arc::new(split.relabelled(&map)));
        Ok(Self { classes: classes.to_vec(), train, validation, measured: self.measured })
    }
}

/// Labelled images to evaluate networks on.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Names of the classes; a label is an index of this list.
    pub classes: Vec<String>,
    /// The images, with labels below the number of classes.
    pub images: Arc<Split>,
}

impl Labelled {
    /// Opens the validation images in the folder at `path`, in any of the known formats, or without a path those of the
    /// bundled sample. Images decode to `size` x `size` pixels; training images need not be there.
    pub fn open(path: Option<&Path>, size: usize) -> Result<Self, DataError> {
        let opened = path.map_or_else(sample::open, |path| format::open(path, Parts::Validation))?;
        let images = Split::new("validation", opened.validation, opened.classes.len(), size)?;
        Ok(Self { classes: opened.classes, images: Arc::new(images) })
    }

    /// The same images with labels among `classes`, those of a network, which may be more and in another order. Logs
    /// what the classes were recognised by.
    pub fn arranged(self, classes: &[String]) -> Result<Self, DataError> {
        if self.classes == classes {
            return Ok(self);
        }
        let mut used = vec![false; self.classes.len()];
        (0..self.images.len()).for_each(|i| used[self.images.label(i) as usize] = true);
        let names: Vec<String> =
            self.classes.iter().zip(&used).filter(|(_, used)| **used).map(|(name, _)| name.clone()).collect();
        let refuse = || DataError::Classes { found: named(&names), wanted: named(classes) };
        let (of_used, by) = matched(&names, classes).or_else(|| numbered(&names, classes)).ok_or_else(refuse)?;
        log::warn!(
            "{} classes of the data are matched by {by} with {} of the network: {} is {}, …",
            names.len(),
            classes.len(),
            names[0],
            classes[of_used[0] as usize]
        );
        let mut of_used = of_used.into_iter();
        let map: Vec<u32> = used.iter().map(|used| if *used { of_used.next().unwrap_or(0) } else { 0 }).collect();
        Ok(Self { classes: classes.to_vec(), images: Arc::new(self.images.relabelled(&map)) })
    }
}

/// Path of data that were given as `path` in `folder`, where that is known and they are still there.
pub fn located(path: &Path, folder: Option<&Path>) -> PathBuf {
    let given = || path.to_path_buf();
    folder.map(|folder| folder.join(path)).filter(|path| path.exists()).unwrap_or_else(given)
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
    fn classes_without_images_are_told() {
        let image = || png(4, 4, [1; 3]);
        let root =
            folder(["train/a/1.png", "train/b/1.png", "train/c/1.png", "val/b/1.png"].map(|name| (name, image())));
        let gaps = Dataset::open(Some(root.path()), 4).unwrap().gaps();
        assert_eq!(gaps, ["2 of 3 classes have no validation images; the first is a"]);
        assert!(Dataset::open(None, 32).unwrap().gaps().is_empty());
    }

    #[test]
    fn a_data_set_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + Clone>(_: &T) {}
        let root = folder([("train/a/1.png", png(4, 4, [1; 3])), ("val/a/1.png", png(4, 4, [1; 3]))]);
        shared(&Dataset::open(Some(root.path()), 4).unwrap());
    }
}
