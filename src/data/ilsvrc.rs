//! The releases of ILSVRC2012 and ILSVRC-2010: training images in a tar of tars, validation images in a tar, classes in
//! text files.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::archive::{Archive, Member, file_name, read_exact_at};
use super::format::{Folder, Format, Opened, Parts, lines};
use super::listing::{NOT_NAMED, PassedOver, exists, is_image_name, is_litter_member};
use super::split::{ImageSet, StoredImage};
use super::{DataError, DataFault, ImageError, ImageExcess, MAX_BYTES};
use crate::files::open_file;

/// The format of the release as it is distributed.
pub(super) const FORMAT: Format = Format {
    description: "the ILSVRC2012 release (ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, synset_words.txt and a list of \
                  the validation images' classes), or that of 2010 (ILSVRC2010_images_train.tar and so on)",
    recognises: |folder| Ok(ARCHIVES.iter().flatten().any(|name| folder.has(name))),
    open,
};

/// Files of each release: that of the training images, a `WNID.tar` for each class, and that of the validation images.
const ARCHIVES: [[&str; 2]; 2] = [
    ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"],
    ["ILSVRC2010_images_train.tar", "ILSVRC2010_images_val.tar"],
];

/// Files that list the classes: a line begins with a WordNet id, and its number is the label.
const SYNSETS: [&str; 2] = ["synset_words.txt", "synsets.txt"];

/// Files that list the classes of the validation images.
const LABELS: [&str; 6] = [
    "val.txt",
    "ILSVRC2012_validation_ground_truth.txt",
    "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
    "data/ILSVRC2012_validation_ground_truth.txt",
    "ILSVRC2010_validation_ground_truth.txt",
    "devkit-1.0/data/ILSVRC2010_validation_ground_truth.txt",
];

/// File of the WordNet ids in the order of the development kit's ILSVRC2012_ID, other than that of [`SYNSETS`].
pub(super) const KIT_SYNSETS: &str = "devkit_synsets.txt";

/// Images in a tar file, or in tar files inside it.
struct TarImages {
    path: PathBuf,
    file: File,
    /// The images, named through nested archives.
    members: Vec<Member>,
    labels: Vec<u32>,
}

impl ImageSet for TarImages {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn name(&self, i: usize) -> String {
        self.members[i].name.to_string()
    }

    fn file_name(&self, i: usize) -> Option<String> {
        Some(file_name(&self.members[i].name).to_owned())
    }

    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
        content(&self.path, &self.file, &self.members[i])
    }

    fn stored_bytes(&self, i: usize) -> Result<u64, ImageError> {
        Ok(self.members[i].length)
    }

    fn modified(&self, _: usize) -> Option<SystemTime> {
        self.file.metadata().and_then(|file| file.modified()).ok()
    }
}

/// Reads an image in an archive.
pub(super) fn content<'a>(path: &Path, file: &File, member: &Member) -> Result<StoredImage<'a>, ImageError> {
    let Member { name, offset, length } = member;
    if *length > MAX_BYTES {
        return Err(ImageError::TooLarge(name.to_string(), ImageExcess::File));
    }
    let mut bytes = vec![0; *length as usize];
    let read = read_exact_at(file, &mut bytes, *offset);
    read.map_err(|error| ImageError::Read(format!("{} {name}", path.display()), error))?;
    Ok(StoredImage::File(Cow::Owned(bytes)))
}

/// Opens the release by indexing its archives.
fn open(folder: &Folder, parts: Parts) -> Result<Opened, DataError> {
    let root = &folder.root;
    let of_2010 = ARCHIVES[1].iter().any(|name| folder.has(name));
    let [train, val] = ARCHIVES[usize::from(of_2010)];
    for (name, what) in [(train, "the training images"), (val, "the validation images")] {
        if !folder.has(name) && (parts == Parts::All || name == val) {
            return Err(missing(root, name, what));
        }
    }
    let synsets = first(root, &SYNSETS)?.ok_or_else(|| {
        let what = "the classes, one a line that begins with a WordNet id, as in Caffe's auxiliary files";
        missing(root, &SYNSETS.join(" or "), what)
    })?;
    let list = first(root, &LABELS)?.ok_or_else(|| {
        let what = "the class of each validation image: lines \"ILSVRC2012_val_00000001.JPEG 65\" that count classes \
                    from 0 in the order of synset_words.txt, as in Caffe's auxiliary files";
        missing(root, &LABELS[..2].join(" or "), what)
    })?;
    let (synsets_path, classes) = (synsets.clone(), lines(&synsets)?);
    let ids: Vec<&str> = classes.iter().filter_map(|line| line.split_whitespace().next()).collect();
    let numbers: HashMap<&str, u32> = ids.iter().copied().zip(0..).collect();
    if numbers.is_empty() || numbers.len() != ids.len() {
        return Err(DataError::content(synsets_path, DataFault::NotDistinct));
    }
    let mut passed = PassedOver::default();
    let mut training = || training(&root.join(train), &ids, &numbers, &synsets, &mut passed);
    let training = (parts == Parts::All).then(&mut training).transpose()?;
    let validation = validation(&root.join(val), &labels(root, &list, &numbers)?, &list, &mut passed)?;
    passed.log();
    Ok(Opened::new(classes, training, validation))
}

fn missing(root: &Path, name: &str, holds: &'static str) -> DataError {
    DataError::content(root, DataFault::Missing { name: name.into(), holds })
}

/// Path of the first of some files that exists.
fn first(root: &Path, names: &[&str]) -> Result<Option<PathBuf>, DataError> {
    for path in names.iter().map(|name| root.join(name)) {
        if exists(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Whether a member of an archive is an image; others than the litter of systems are counted.
pub(super) fn is_image(name: &str, within: &Path, passed: &mut PassedOver) -> bool {
    let (litter, image) = (is_litter_member(name), is_image_name(Path::new(name)));
    if !litter && !image {
        passed.add(NOT_NAMED, &within.join(name));
    }
    image && !litter
}

/// Indexes the images of the tars inside the tar at `path`.
fn training(
    path: &Path,
    ids: &[&str],
    numbers: &HashMap<&str, u32>,
    synsets: &Path,
    passed: &mut PassedOver,
) -> Result<TarImages, DataError> {
    let file = open_file(path).map_err(DataError::read(path))?;
    let (mut members, mut labels) = (Vec::new(), Vec::new());
    let mut images_of = vec![0_usize; ids.len()];
    for class in Archive::new(path, &file)? {
        let class = class?;
        if is_litter_member(&class.name) {
            continue;
        }
        let Some(id) = file_name(&class.name).strip_suffix(".tar") else {
            passed.add("are no archives of classes", &path.join(&*class.name));
            continue;
        };
        let Some(&label) = numbers.get(id) else {
            let fault = DataFault::ClassNotListed { member: class.name.into(), list: synsets.into() };
            return Err(DataError::content(path, fault));
        };
        for image in Archive::within(path, &file, class.offset, class.offset + class.length) {
            let image = image?;
            if is_image(&image.name, &path.join(&*class.name), passed) {
                members.push(Member { name: format!("{}/{}", class.name, image.name).into(), ..image });
                labels.push(label);
                images_of[label as usize] += 1;
            }
        }
    }
    let empty: Vec<&str> = ids.iter().zip(&images_of).filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    if let Some(first) = empty.first() {
        let (empty, first) = (empty.len(), (*first).to_owned());
        let fault = DataFault::EmptyClasses { empty, classes: ids.len(), list: synsets.into(), first };
        return Err(DataError::content(path, fault));
    }
    Ok(TarImages { path: path.into(), file, members, labels })
}

/// Classes of the validation images: by image name, or in the order of the names.
enum Labels {
    Named(HashMap<String, u32>),
    Ordered(Vec<u32>),
}

/// Reads the list at `path`: lines of an image's name, if any, and its class as a number or a WordNet id.
fn labels(root: &Path, path: &Path, numbers: &HashMap<&str, u32>) -> Result<Labels, DataError> {
    let lines = lines(path)?;
    let mut names = Vec::new();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let (name, class) = line.rsplit_once(char::is_whitespace).map_or((None, line.as_str()), |(a, b)| (Some(a), b));
        // Some lists name the archive as well: val.zip@/ILSVRC2012_val_00000001.JPEG.
        names.extend(name.map(|name| file_name(name.trim()).to_owned()));
        let number = class.parse().ok().map(Class::Number).or_else(|| numbers.get(class).map(|&n| Class::Label(n)));
        found.push(number.ok_or_else(|| {
            DataError::content(path, DataFault::UnknownClass { line: index + 1, class: class.to_owned() })
        })?);
    }
    if found.is_empty() || !(names.is_empty() || names.len() == found.len()) {
        return Err(DataError::content(path, DataFault::MixedLines));
    }
    let labels = base(root, path, &found, !names.is_empty(), numbers)?;
    if names.is_empty() {
        return Ok(Labels::Ordered(labels));
    }
    Ok(Labels::Named(names.into_iter().zip(labels).collect()))
}

/// A class as a list states it.
#[derive(Clone, Copy)]
enum Class {
    /// A number, from 0 or 1 and in an order that depends on the list.
    Number(u32),
    /// The label of a WordNet id.
    Label(u32),
}

/// Converts the classes of a list to labels. The release's own list has the same name as Caffe's but counts from 1, in
/// another order of the classes; a list with a 0 or with names of images is Caffe's.
fn base(
    root: &Path,
    path: &Path,
    found: &[Class],
    named: bool,
    numbers: &HashMap<&str, u32>,
) -> Result<Vec<u32>, DataError> {
    let classes = numbers.len() as u32;
    let given = || found.iter().filter_map(|class| if let Class::Number(n) = class { Some(*n) } else { None });
    let most = given().max().unwrap_or(0);
    if most > classes {
        return Err(DataError::content(path, DataFault::HighClass { most, classes }));
    }
    if most < classes && (named || given().next().is_none() || given().any(|number| number == 0)) {
        return Ok(found.iter().map(|&(Class::Number(label) | Class::Label(label))| label).collect());
    }
    if given().any(|number| number == 0) {
        return Err(DataError::content(path, DataFault::BothBases(classes)));
    }
    let kit = root.join(KIT_SYNSETS);
    if !exists(&kit)? {
        return Err(DataError::content(path, DataFault::NoKit));
    }
    let kit_lines = lines(&kit)?;
    let order: Vec<u32> =
        kit_lines.iter().map_while(|line| numbers.get(line.split_whitespace().next()?).copied()).collect();
    if order.len() < classes as usize {
        return Err(DataError::content(kit, DataFault::OtherSynsets { classes, line: order.len() + 1 }));
    }
    let label = |&class: &Class| match class {
        Class::Number(number) => order[number as usize - 1],
        Class::Label(label) => label,
    };
    Ok(found.iter().map(label).collect())
}

/// Indexes the images of the tar at `path`, sorted by name, with their classes from the file `list`.
fn validation(path: &Path, labels: &Labels, list: &Path, passed: &mut PassedOver) -> Result<TarImages, DataError> {
    let file = open_file(path).map_err(DataError::read(path))?;
    let members: Result<Vec<_>, _> = Archive::new(path, &file)?.collect();
    let mut members = members?;
    members.retain(|member| is_image(&member.name, path, passed));
    members.sort_by(|a, b| file_name(&a.name).cmp(file_name(&b.name)));
    let labels = match labels {
        Labels::Ordered(labels) if labels.len() == members.len() => labels.clone(),
        Labels::Ordered(labels) => {
            let fault = DataFault::Lines { images: members.len(), list: list.into(), lines: labels.len() };
            return Err(DataError::content(path, fault));
        }
        Labels::Named(labels) => {
            let label = |member: &Member| {
                let label = labels.get(file_name(&member.name)).copied();
                label.ok_or_else(|| DataError::content(list, DataFault::NoLine(member.name.to_string())))
            };
            members.iter().map(label).collect::<Result<_, _>>()?
        }
    };
    Ok(TarImages { path: path.into(), file, members, labels })
}
