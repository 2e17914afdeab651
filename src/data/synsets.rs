//! Releases of ImageNet as tars by synset, such as those of Fall 2009 and Fall 2011: a tar for each WordNet id, in a
//! folder or in one tar of them all. They have no validation images: every 50th image of a class is kept for that, as
//! in one of the paper's two ways to use them half of each.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::archive::{Archive, Member, file_name};
use super::format::{Folder, Format, Opened, Parts, lines};
use super::ilsvrc::{content, is_image};
use super::listing::{PassedOver, exists, is_litter_member};
use super::split::{ImageSet, StoredImage};
use super::{DataError, DataFault, ImageError};
use crate::files::open_file;

/// The format of a release.
pub(super) const FORMAT: Format = Format {
    description: "a release of ImageNet as tars by synset (n*.tar, or one tar of them like fall11_whole.tar)",
    recognises: |folder| Ok(folder.names.iter().any(|name| is_synset(name) || is_whole(name))),
    open,
};

/// Images of a class for one of which that is kept for validation.
const KEPT: usize = 50;

/// Files that name the synsets: a line begins with a WordNet id.
const WORDS: [&str; 2] = ["synset_words.txt", "words.txt"];

/// Whether a file is the tar of one synset: n01440764.tar.
fn is_synset(name: &str) -> bool {
    let id = name.strip_suffix(".tar").and_then(|name| name.strip_prefix('n'));
    id.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a file is a tar of the tars of a release, by its published name: fall11_whole.tar.
fn is_whole(name: &str) -> bool {
    name.ends_with("_whole.tar")
}

/// Images in tars, each opened while one of its images is read: a release has more of them than a process may hold
/// open.
struct SynsetImages {
    archives: Arc<Vec<PathBuf>>,
    /// Number of the archive of each image, and its place there.
    members: Vec<(usize, Member)>,
    labels: Vec<u32>,
}

impl ImageSet for SynsetImages {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn name(&self, i: usize) -> String {
        self.members[i].1.name.to_string()
    }

    fn file_name(&self, i: usize) -> Option<String> {
        Some(file_name(&self.members[i].1.name).to_owned())
    }

    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
        let (archive, member) = &self.members[i];
        let path = &self.archives[*archive];
        let file = open_file(path).map_err(|error| ImageError::Read(path.display().to_string(), error))?;
        content(path, &file, member)
    }

    fn stored_bytes(&self, i: usize) -> Result<u64, ImageError> {
        Ok(self.members[i].1.length)
    }

    fn modified(&self, i: usize) -> Option<SystemTime> {
        self.archives[self.members[i].0].metadata().and_then(|file| file.modified()).ok()
    }
}

/// Tars of classes as they are found: their WordNet ids, and their images.
#[derive(Default)]
struct Index {
    classes: Vec<(String, Vec<(usize, Member)>)>,
    passed: PassedOver,
}

impl Index {
    /// Adds the class whose tar lies in the bytes `begin..end` of archive number `number`, at `path`.
    fn class(
        &mut self,
        (number, path, file): (usize, &Path, &File),
        name: &str,
        [begin, end]: [u64; 2],
    ) -> Result<(), DataError> {
        let tar = file_name(name);
        let id = tar.strip_suffix(".tar").unwrap_or(tar).to_owned();
        let mut images = Vec::new();
        for image in Archive::within(path, file, begin, end) {
            let image = image?;
            if is_image(&image.name, &path.join(tar), &mut self.passed) {
                images.push((number, Member { name: format!("{tar}/{}", image.name).into(), ..image }));
            }
        }
        if images.is_empty() {
            self.passed.add("hold no images", &path.join(tar));
        } else {
            self.classes.push((id, images));
        }
        Ok(())
    }
}

/// Opens a release by indexing its archives.
fn open(folder: &Folder, parts: Parts) -> Result<Opened, DataError> {
    let tars = folder.names.iter().filter(|name| is_synset(name) || is_whole(name));
    let archives: Arc<Vec<PathBuf>> = Arc::new(tars.map(|name| folder.root.join(name)).collect());
    let mut index = Index::default();
    for (number, path) in archives.iter().enumerate() {
        let file = open_file(path).map_err(DataError::read(path))?;
        let length = file.metadata().map_err(DataError::read(path))?.len();
        let name = path.to_string_lossy();
        if !is_whole(&name) {
            index.class((number, path, &file), &name, [0, length])?;
            continue;
        }
        for member in Archive::new(path, &file)? {
            let member = member?;
            if !is_litter_member(&member.name) && is_synset(file_name(&member.name)) {
                let span = [member.offset, member.offset + member.length];
                index.class((number, path, &file), &member.name, span)?;
            }
        }
    }
    index.passed.log();
    let mut classes = index.classes;
    classes.sort_by(|(a, _), (b, _)| a.cmp(b));
    if classes.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(DataError::content(&folder.root, DataFault::NotDistinct));
    }
    let names = named(&folder.root, classes.iter().map(|(id, _)| id.as_str()))?;
    let empty = || SynsetImages { archives: Arc::clone(&archives), members: Vec::new(), labels: Vec::new() };
    let (mut training, mut validation) = (empty(), empty());
    for (label, (_, images)) in (0..).zip(classes) {
        let count = images.len();
        for (i, image) in images.into_iter().enumerate() {
            // Of a small class the last image.
            let kept = i % KEPT == KEPT - 1 || (count < KEPT && count > 1 && i + 1 == count);
            let split = if kept { &mut validation } else { &mut training };
            split.members.push(image);
            split.labels.push(label);
        }
    }
    Ok(Opened::new(names, (parts == Parts::All).then_some(training), validation))
}

/// Names of the classes: lines of a list of synsets that begin with their ids, or the ids alone.
fn named<'a>(root: &Path, ids: impl Iterator<Item = &'a str>) -> Result<Vec<String>, DataError> {
    let mut words = Vec::new();
    for list in WORDS.map(|name| root.join(name)) {
        if exists(&list)? {
            words = lines(&list)?;
            break;
        }
    }
    words.sort_unstable();
    let named = |id: &str| {
        let at = words.partition_point(|line| line.as_str() < id);
        let line = words.get(at).filter(|line| line.split_whitespace().next() == Some(id));
        // A tab stands between the columns of ImageNet's own list.
        line.map_or_else(|| id.to_owned(), |line| line.replace('\t', " "))
    };
    Ok(ids.map(named).collect())
}
