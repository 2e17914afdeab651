//! Image folders: `train/<class>/*` and `val/<class>/*`, or `val/*` with a list of their classes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::classes::{composed, sort};
use super::decode::read_file;
use super::format::{Format, Opened, Parts};
use super::listing::{Kind, LOOSE, PassedOver, images, is_folder, list};
use super::split::{ImageSet, StoredImage};
use super::{DataError, DataFault, ImageError, flat};

/// The format of image folders. Classes are the folders in `train`, sorted, by number where all are numbers; images may
/// lie in folders of a class's folder. Files that are not called like images are passed over.
pub(super) const FORMAT: Format = Format {
    description: "an image folder (train/<class>/* and val/<class>/*, or val/* with val_annotations.txt, \
                  LOC_val_solution.csv or val.txt)",
    recognises: |folder| Ok(folder.has_folder("train")? || folder.has_folder("val")?),
    open: |folder, parts| open(&folder.root, &[], parts),
};

/// Image files, decoded anew each time.
#[derive(Default)]
pub(super) struct ImageFiles {
    pub(super) paths: Vec<PathBuf>,
    pub(super) labels: Vec<u32>,
}

impl ImageSet for ImageFiles {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn name(&self, i: usize) -> String {
        self.paths[i].display().to_string()
    }

    fn file_name(&self, i: usize) -> Option<String> {
        self.paths[i].file_name().map(|name| name.to_string_lossy().into_owned())
    }

    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
        Ok(StoredImage::File(Cow::Owned(read_file(&self.name(i), &self.paths[i])?)))
    }

    fn stored_bytes(&self, i: usize) -> Result<u64, ImageError> {
        let metadata = std::fs::metadata(&self.paths[i]);
        metadata.map(|file| file.len()).map_err(|error| ImageError::Read(self.name(i), error))
    }

    fn modified(&self, i: usize) -> Option<SystemTime> {
        std::fs::metadata(&self.paths[i]).and_then(|file| file.modified()).ok()
    }
}

/// Opens the images in `root`; a list of the classes of flat validation images lies there or in one of `lists`.
pub(super) fn open(root: &Path, lists: &[PathBuf], parts: Parts) -> Result<Opened, DataError> {
    let (train, val) = (root.join("train"), root.join("val"));
    if !is_folder(&val)? {
        return Err(DataError::content(root, DataFault::NoValidation));
    }
    let mut passed = PassedOver::default();
    let flat = flat::list(&val, root, lists)?;
    let folders_of_val = || class_folders(&val);
    let of_folders = match &flat {
        _ if parts == Parts::All || is_folder(&train)? => class_folders(&train)?.names,
        None => folders_of_val()?.names,
        Some(list) => list.classes()?,
    };
    let mut names = of_folders.clone();
    sort(&mut names);
    let classes = Classes::new(names, root)?;
    let training = (parts == Parts::All).then(|| classes.read(&train, &of_folders, &mut passed)).transpose()?;
    let validation = match flat {
        Some(list) => list.read(&classes, &mut passed)?,
        None => classes.read(&val, &folders_of_val()?.names, &mut passed)?,
    };
    passed.log();
    Ok(Opened::new(classes.names, training, validation))
}

/// Opens the folder of classes at `root` itself as validation images; `None` if it has no folders with images.
pub(super) fn open_bare(root: &Path) -> Result<Option<Opened>, DataError> {
    let mut folders = list(root)?.into_iter().filter(|entry| entry.kind == Kind::Folder);
    match folders.next().map(|first| images(&first.path, &mut PassedOver::default())).transpose()? {
        Some(found) if !found.is_empty() => {}
        _ => return Ok(None),
    }
    let folders = class_folders(root)?.names;
    let mut names = folders.clone();
    sort(&mut names);
    let (classes, mut passed) = (Classes::new(names, root)?, PassedOver::default());
    let validation = classes.read(root, &folders, &mut passed)?;
    passed.log();
    Ok(Some(Opened::new(classes.names, None::<ImageFiles>, validation)))
}

/// Names of the classes with their numbers.
pub(super) struct Classes {
    pub(super) names: Vec<String>,
    /// Number of each class by its composed name.
    pub(super) numbers: HashMap<String, u32>,
}

impl Classes {
    /// Classes of the data set in `root`, in this order.
    fn new(names: Vec<String>, root: &Path) -> Result<Self, DataError> {
        let mut numbers = HashMap::with_capacity(names.len());
        for (number, name) in (0..).zip(&names) {
            if numbers.insert(composed(name), number).is_some() {
                return Err(DataError::content(root, DataFault::TwoSpellings(name.clone())));
            }
        }
        Ok(Self { names, numbers })
    }

    /// Lists the images in the folders of classes `names` in `folder`, and counts loose files.
    fn read(&self, folder: &Path, names: &[String], passed: &mut PassedOver) -> Result<ImageFiles, DataError> {
        let mut files = ImageFiles::default();
        for name in names {
            let class = folder.join(name);
            let Some(&label) = self.numbers.get(&composed(name)) else {
                return Err(DataError::content(class, DataFault::NotInTraining(name.clone())));
            };
            let mut others = PassedOver::default();
            let mut paths = images(&class, &mut others)?;
            if paths.is_empty() {
                let fault = DataFault::EmptyClass(list(&class)?.len());
                return Err(DataError::content(class, fault));
            }
            passed.merge(others);
            files.labels.resize(files.labels.len() + paths.len(), label);
            files.paths.append(&mut paths);
        }
        class_folders(folder)?.loose.iter().for_each(|path| passed.add(LOOSE, path));
        Ok(files)
    }
}

/// The entries of a folder of classes.
struct ClassFolders {
    /// Names of the folders, sorted by their bytes.
    names: Vec<String>,
    /// Entries beside the folders of the classes.
    loose: Vec<PathBuf>,
}

/// Lists the class folders in `folder`.
fn class_folders(folder: &Path) -> Result<ClassFolders, DataError> {
    let (mut names, mut loose) = (Vec::new(), Vec::new());
    for entry in list(folder)? {
        entry.expect_target()?;
        if entry.kind != Kind::Folder {
            loose.push(entry.path);
            continue;
        }
        let Some(name) = entry.path.file_name().and_then(|name| name.to_str()) else {
            return Err(DataError::content(entry.path, DataFault::NotUnicode));
        };
        names.push(name.to_owned());
    }
    if names.is_empty() {
        return Err(DataError::content(folder, DataFault::NoClassFolders));
    }
    names.sort_unstable();
    Ok(ClassFolders { names, loose })
}

#[cfg(test)]
mod tests {
    use crate::data::testing::{check, folder as files, png, refusal};
    use crate::data::{Dataset, Labelled};

    fn image() -> Vec<u8> {
        png(6, 4, [10, 20, 30])
    }

    #[test]
    fn classes_are_sorted_and_files_of_other_kinds_passed_over() {
        let root = files([
            ("train/dog/2.PNG", image()),
            ("train/dog/1.JPEG", image()),
            ("train/dog/.hidden.png", Vec::new()),
            ("train/dog/notes.txt", Vec::new()),
            ("train/cat/b.jpg", png(2, 2, [200, 0, 0])),
            ("train/README", Vec::new()),
            ("val/dog/1.Jpg", image()),
        ]);
        let data = Dataset::open(Some(root.path()), 5).unwrap();
        assert_eq!(data.classes, ["cat", "dog"]);
        let described: Vec<(u32, String)> = (0..data.train.len())
            .map(|i| (data.train.label(i), data.train.name(i).rsplit(['/', '\\']).next().unwrap().to_owned()))
            .collect();
        assert_eq!(described, [(0, "b.jpg".into()), (1, "1.JPEG".into()), (1, "2.PNG".into())]);
        assert_eq!((data.validation.len(), data.validation.label(0)), (1, 1));
        assert_eq!(data.train.decode(0).unwrap(), [200, 0, 0].repeat(25));
        assert_eq!(data.train.decode(1).unwrap(), [10, 20, 30].repeat(25));
    }

    #[test]
    fn the_images_of_a_class_may_lie_in_folders_of_its_own() {
        let names = ["train/cat/images/1.png", "train/cat/2.png", "train/cat/boxes.txt", "train/dog/a/b/1.png"];
        let root = files(names.into_iter().chain(["val/dog/x/1.png"]).map(|name| (name, image())));
        let data = Dataset::open(Some(root.path()), 4).unwrap();
        let labels: Vec<u32> = (0..data.train.len()).map(|i| data.train.label(i)).collect();
        assert_eq!((labels, data.validation.label(0)), (vec![0, 0, 1], 1));
        check(data.train.name(0), &["cat", "2.png"]);
    }

    #[test]
    fn classes_that_are_numbers_are_numbered_by_them_and_listed_as_ever() {
        let root = files(["train/10/1.png", "train/9/1.png", "val/9/1.png"].map(|name| (name, image())));
        let data = Dataset::open(Some(root.path()), 4).unwrap();
        assert_eq!(data.classes, ["9", "10"]);
        // A run that began when classes were sorted by their bytes sees the same images in the same order.
        assert_eq!((data.train.label(0), data.train.label(1), data.validation.label(0)), (1, 0, 0));
        check(data.train.name(0), &["10"]);
    }

    #[test]
    fn spellings_of_two_systems_are_one_class() {
        let root = files(["train/caf\u{e9}/1.png", "val/cafe\u{301}/1.png"].map(|name| (name, image())));
        let data = Dataset::open(Some(root.path()), 4).unwrap();
        assert_eq!((data.classes, data.validation.label(0)), (vec!["caf\u{e9}".to_owned()], 0));
        let both = ["train/caf\u{e9}/1.png", "train/cafe\u{301}/1.png", "val/cafe\u{301}/1.png"];
        check(refusal(files(both.map(|name| (name, image()))).path()), &["twice, in two spellings"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_class_behind_a_link_to_nothing_does_not_vanish() {
        let root = files(["train/cat/1.png", "val/cat/1.png"].map(|name| (name, image())));
        std::os::unix::fs::symlink("nowhere", root.path().join("train/dog")).unwrap();
        check(refusal(root.path()), &["train/dog: is a link to nothing"]);
    }

    #[test]
    fn a_folder_of_classes_is_data_to_validate_on() {
        let root = files(["dog/1.png", "cat/1.png", "cat/2.png"].map(|name| (name, image())));
        let data = Labelled::open(Some(root.path()), 4).unwrap();
        assert_eq!(data.classes, ["cat", "dog"]);
        assert_eq!((0..3).map(|i| data.images.label(i)).collect::<Vec<_>>(), [0, 0, 1]);
        check(refusal(root.path()), &["2 folders of images (cat, ...)", "neither train/ nor val/", "val/<class>/"]);
        let none = files([("notes/a.txt", Vec::new()), ("x.png", image())]);
        assert!(Labelled::open(Some(none.path()), 4).unwrap_err().to_string().contains("no data set here"));
    }

    #[test]
    fn wrong_folders_are_refused_by_name() {
        let refused = |names: &[&'static str]| refusal(files(names.iter().map(|&name| (name, image()))).path());
        check(refused(&["train/cat/1.png"]), &["has train/ but no val/", "val/<class>/"]);
        check(refused(&["train/1.png", "val/cat/1.png"]), &["train: has no class folders"]);
        check(refused(&["train/cat/1.png", "val/1.png"]), &["val: has no class folders"]);
        let message = refused(&["train/cat/1.png", "val/cat/1.png", "val/emu/1.png"]);
        check(message, &["emu: train/ has no class \"emu\""]);
        check(refused(&["train/cat/1.png", "train/dog/x.txt", "val/cat/1.png"]), &["dog: has no images"]);
        check(refused(&["train/cat/1.png", "val/cat/notes"]), &["cat: has no images"]);
    }
}
