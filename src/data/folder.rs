//! Image folders: `train/<class>/*` and `val/<class>/*`, JPEG or PNG.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::decode::read_file;
use super::format::{Folder, Format, entries};
use super::split::{ImageSet, StoredImage};
use super::{DataError, Dataset, ImageError};

/// The format of image folders. Classes are the sorted folder names of `train`; files without the extension .jpg, .jpeg,
/// .jfif or .png, in any case, are ignored.
pub(super) const FORMAT: Format = Format {
    description: "an image folder (train/<class>/* and val/<class>/*, JPEG or PNG)",
    recognises: |folder| folder.root.join("train").is_dir(),
    open,
};

const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "jfif"];

/// Image files, decoded anew each time.
struct ImageFiles {
    paths: Vec<PathBuf>,
    labels: Vec<u32>,
}

impl ImageSet for ImageFiles {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn name(&self, i: usize) -> String {
        self.paths[i].display().to_string()
    }

    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
        Ok(StoredImage::File(Cow::Owned(read_file(&self.name(i), &self.paths[i])?)))
    }

    fn stored_bytes(&self, i: usize) -> Result<u64, ImageError> {
        let metadata = std::fs::metadata(&self.paths[i]);
        metadata.map(|file| file.len()).map_err(|error| ImageError::Read(self.name(i), error))
    }
}

fn open(folder: &Folder, size: usize) -> Result<Dataset, DataError> {
    let root = &folder.root;
    let (train, val) = (root.join("train"), root.join("val"));
    if !val.is_dir() {
        let problem = "has train/ but no val/ to validate on; put some images of each class into val/<class>/";
        return Err(DataError::content(root, problem));
    }
    let classes = class_folders(&train)?;
    for class in class_folders(&val)? {
        if classes.binary_search(&class).is_err() {
            let problem = format!("train/ has no class \"{class}\"; add train/{class}/ or remove this folder");
            return Err(DataError::content(val.join(class), problem));
        }
    }
    let (training, validation) = (list(&train, &classes)?, list(&val, &classes)?);
    Dataset::new(classes, training, validation, size)
}

/// The names of the class folders in `folder`, sorted.
fn class_folders(folder: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for path in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(DataError::content(path, "the name of a class must be valid UTF-8; rename the folder"));
        };
        if !name.starts_with('.') {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        return Err(DataError::content(folder, "has no class folders; put the images of each class into <class>/"));
    }
    names.sort_unstable();
    Ok(names)
}

/// Lists the images in the class folders of `folder`; labels are indices of `classes`.
fn list(folder: &Path, classes: &[String]) -> Result<ImageFiles, DataError> {
    let (mut paths, mut labels) = (Vec::new(), Vec::new());
    for (label, class) in classes.iter().enumerate() {
        let class = folder.join(class);
        if !class.is_dir() {
            continue; // a class may have no validation images
        }
        let mut files = entries(&class)?;
        let all = files.len();
        files.retain(|path| is_image_name(path));
        if files.is_empty() {
            let problem = format!("has no images ({all} entries, none called .jpg, .jpeg or .png); fill or remove it");
            return Err(DataError::content(class, problem));
        }
        if files.len() < all {
            log::debug!("{}: {} entries are not called like images", class.display(), all - files.len());
        }
        labels.resize(labels.len() + files.len(), label as u32);
        paths.append(&mut files);
    }
    Ok(ImageFiles { paths, labels })
}

/// Whether the file is named like a visible image file; decoding finds out its real content.
pub(super) fn is_image_name(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    !hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::{check, folder as files, png, refusal};

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
    fn wrong_folders_are_refused_by_name() {
        let refused = |names: &[&'static str]| refusal(files(names.iter().map(|&name| (name, image()))).path());
        check(refused(&["train/cat/1.png"]), &["has train/ but no val/", "val/<class>/"]);
        check(refused(&["train/1.png", "val/cat/1.png"]), &["train: has no class folders"]);
        check(refused(&["train/cat/1.png", "val/1.png"]), &["val: has no class folders"]);
        let message = refused(&["train/cat/1.png", "val/cat/1.png", "val/emu/1.png"]);
        check(message, &["emu: train/ has no class \"emu\""]);
        check(refused(&["train/cat/1.png", "train/dog/x.txt", "val/cat/1.png"]), &["dog: has no images"]);
        check(refused(&["train/cat/images/1.png", "val/cat/1.png"]), &["cat: has no images"]);
        check(refused(&["train/cat/1.png", "val/cat/notes"]), &["cat: has no images"]);
    }
}
