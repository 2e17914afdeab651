//! Validation images in one folder, with a list of their classes: of tiny-imagenet, of Kaggle's ImageNet, of Caffe.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::classes::{composed, synsets};
use super::folder::{Classes, ImageFiles};
use super::format::lines;
use super::listing::{self, Kind, PassedOver, exists, images, is_folder, is_image_name};
use super::{DataError, DataFault};

/// Names of lists, with the characters between an image's name and its class. What follows the class is not read.
const LISTS: [(&str, &[char]); 3] =
    [("val_annotations.txt", &['\t']), ("LOC_val_solution.csv", &[',']), ("val.txt", &[' ', '\t'])];

/// A list of flat validation images.
pub(super) struct List {
    path: PathBuf,
    /// Folder of the images.
    images: PathBuf,
    /// Class of each image, a name or a number, by the image's name without its extension.
    classes: BTreeMap<String, String>,
}

/// Finds the list of the images in `val`, which lies there, in `root`, in one of `others` or above Kaggle's folders;
/// `None` if the images lie in class folders.
pub(super) fn list(val: &Path, root: &Path, others: &[PathBuf]) -> Result<Option<List>, DataError> {
    let nested = val.join("images");
    let images = if is_folder(&nested)? { nested } else { val.into() };
    let mut entries = listing::list(&images)?.into_iter();
    if !entries.any(|entry| entry.kind == Kind::File && is_image_name(&entry.path)) {
        return Ok(None);
    }
    let above = root.join("../../..");
    for folder in [val, root].into_iter().chain(others.iter().map(PathBuf::as_path)).chain([above.as_path()]) {
        for (name, separator) in LISTS {
            let path = folder.join(name);
            if exists(&path)? {
                let classes = read(&path, separator)?;
                return Ok(Some(List { path, images, classes }));
            }
        }
    }
    Ok(None)
}

/// Classes in the list at `path` by the names of images.
fn read(path: &Path, separator: &[char]) -> Result<BTreeMap<String, String>, DataError> {
    let mut classes = BTreeMap::new();
    for (number, line) in lines(path)?.iter().enumerate() {
        let parts = line
            .split_once(separator)
            .and_then(|(image, rest)| Some((stem(image.trim()), rest.split_whitespace().next()?.to_owned())));
        match parts {
            Some((image, _)) if number == 0 && image == "ImageId" => {}
            Some((image, class)) => drop(classes.insert(image, class)),
            None => {
                let fault = DataFault::NotAnEntry { line: number + 1, found: line.clone() };
                return Err(DataError::content(path, fault));
            }
        }
    }
    Ok(classes)
}

/// The last part of a path without its extension.
fn stem(name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_owned()
}

impl List {
    /// Names of the classes in the list, sorted; the synsets of ILSVRC2012 where it has their numbers.
    pub(super) fn classes(&self) -> Result<Vec<String>, DataError> {
        let found: BTreeSet<&String> = self.classes.values().collect();
        if !found.iter().all(|class| class.parse::<usize>().is_ok()) {
            return Ok(found.into_iter().cloned().collect());
        }
        let names: Vec<String> = ids().map(str::to_owned).collect();
        if found.iter().any(|class| class.parse::<usize>().is_ok_and(|number| number >= names.len())) {
            return Err(self.counts_from_one(names.len()));
        }
        Ok(names)
    }

    /// The images, with their labels among `classes`.
    pub(super) fn read(&self, classes: &Classes, passed: &mut PassedOver) -> Result<ImageFiles, DataError> {
        let numbered = self.numbered(classes)?;
        let mut files = ImageFiles::default();
        let mut missing = self.classes.clone();
        for path in images(&self.images, passed)? {
            let image = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let Some(class) = self.classes.get(&image) else {
                return Err(DataError::content(&self.path, DataFault::NoLine(path.display().to_string())));
            };
            missing.remove(&image);
            let number = class.parse::<usize>().ok().and_then(|number| numbered.as_ref()?.get(number).copied());
            let label = number.unwrap_or_else(|| classes.numbers.get(&composed(class)).copied());
            let Some(label) = label else {
                let fault = DataFault::ClassNotInTraining { image, class: class.clone() };
                return Err(DataError::content(&self.path, fault));
            };
            files.paths.push(path);
            files.labels.push(label);
        }
        let lost = "are lines of a list without their images";
        passed.count(lost, missing.len(), || missing.keys().next().cloned().unwrap_or_default());
        Ok(files)
    }

    /// Labels by the numbers in the list, if it has numbers that are no names of classes: numbers of synsets for a part
    /// of ILSVRC2012, else of the sorted classes.
    fn numbered(&self, classes: &Classes) -> Result<Option<Vec<Option<u32>>>, DataError> {
        let parsed: Vec<usize> = self.classes.values().filter_map(|class| class.parse().ok()).collect();
        if parsed.len() < self.classes.len() || self.classes.values().all(|class| classes.numbers.contains_key(class)) {
            return Ok(None);
        }
        let of_synsets: Vec<Option<u32>> = ids().map(|id| classes.numbers.get(id).copied()).collect();
        let is_part = of_synsets.iter().flatten().count() == classes.names.len();
        let labels = if is_part { of_synsets } else { (0..classes.names.len() as u32).map(Some).collect() };
        match parsed.iter().max() {
            Some(&most) if most >= labels.len() => Err(self.counts_from_one(labels.len())),
            _ => Ok(Some(labels)),
        }
    }

    fn counts_from_one(&self, classes: usize) -> DataError {
        DataError::content(&self.path, DataFault::CountsFromOne(classes))
    }
}

/// WordNet ids of ILSVRC2012.
fn ids() -> impl Iterator<Item = &'static str> {
    synsets().filter_map(|line| line.split(' ').next())
}

#[cfg(test)]
mod tests {
    use crate::data::testing::{check, folder, png, refusal};
    use crate::data::{Dataset, Labelled};

    const TRAIN: [&str; 2] = ["train/n01443537/images/1.png", "train/n01440764/images/2.png"];

    /// Labels of the validation images of a folder, with a train/ and without.
    fn labels(list: (&'static str, &str), images: &[&'static str]) -> [Vec<u32>; 2] {
        let file = (list.0, list.1.as_bytes().to_vec());
        let pictures = |names: &[&'static str]| names.iter().map(|&name| (name, png(4, 4, [1; 3]))).collect::<Vec<_>>();
        let root = folder([pictures(&TRAIN), pictures(images), vec![file.clone()]].concat());
        let whole = Dataset::open(Some(root.path()), 4).unwrap();
        assert_eq!(whole.classes, ["n01440764", "n01443537"]);
        let root = folder([pictures(images), vec![file]].concat());
        let alone = Labelled::open(Some(root.path()), 4).unwrap().arranged(&whole.classes);
        [whole.validation, alone.unwrap().images].map(|images| (0..images.len()).map(|i| images.label(i)).collect())
    }

    #[test]
    fn lists_of_three_kinds_name_the_classes() {
        let tiny = "val_1.png\tn01440764\t0\t32\t44\t62\nval_0.png\tn01443537\t1\t2\t3\t4\n";
        let both = ["val/images/val_0.png", "val/images/val_1.png"];
        assert_eq!(labels(("val/val_annotations.txt", tiny), &both), [[1, 0]; 2]);
        let solution =
            "ImageId,PredictionString\nV_2,n01440764 85 1 499 272 \nV_1,n01443537 1 2 3 4 n01443537 1 2 3 4\n";
        assert_eq!(labels(("LOC_val_solution.csv", solution), &["val/V_1.JPEG", "val/V_2.JPEG"]), [[1, 0]; 2]);
    }

    #[test]
    fn numbers_are_those_of_the_sorted_classes() {
        let list = ("val/val.txt", "V_1.JPEG 1\nV_2.JPEG 0\nV_3.JPEG 0\n");
        let [whole, _] = labels(list, &["val/V_1.JPEG", "val/V_2.JPEG"]);
        assert_eq!(whole, [1, 0]);
    }

    #[test]
    fn images_and_classes_that_are_not_in_the_list_are_named() {
        let refused = |list: &str| {
            let images = TRAIN.into_iter().chain(["val/V_1.png", "val/V_2.png"]).map(|name| (name, png(4, 4, [1; 3])));
            refusal(folder(images.chain([("val.txt", list.into())])).path())
        };
        check(refused("V_1.png 0"), &["val.txt: has no line for", "V_2.png"]);
        check(
            refused("V_1.png n01440764\nV_2.png n02102040"),
            &["V_2 is of class n02102040, which train/ does not have"],
        );
        check(refused("V_1.png 0\nV_2.png 1000"), &["val.txt: has a number of 1000 or more"]);
        check(refused("V_1.png"), &["val.txt: line 1", "expected an image and its class"]);
    }
}
