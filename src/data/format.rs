//! The list of formats of data sets.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::listing::is_folder;
use super::{DataError, DataFault, Found, ImageSet, Measured};
use crate::files::read_text;

/// A format of data sets in folders: a file of this module and a line of [`FORMATS`].
pub(super) struct Format {
    /// Description of the folder, for the message about a folder of no format.
    pub(super) description: &'static str,
    /// Whether a folder holds a data set of this format, or its validation images.
    pub(super) recognises: fn(&Folder) -> Result<bool, DataError>,
    /// Opens the data set in a recognised folder.
    pub(super) open: fn(&Folder, Parts) -> Result<Opened, DataError>,
}

/// Parts of a data set that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    All,
    /// Validation images alone; no training images need be there.
    Validation,
}

/// A data set as a format opens it.
pub(super) struct Opened {
    pub(super) classes: Vec<String>,
    /// Training images, unless validation images alone are wanted.
    pub(super) training: Option<Box<dyn ImageSet>>,
    pub(super) validation: Box<dyn ImageSet>,
    /// Statistics of the training images, if they were measured before.
    pub(super) measured: Option<Measured>,
}

impl Opened {
    /// A data set of which nothing was measured.
    pub(super) fn new(
        classes: Vec<String>,
        training: Option<impl ImageSet + 'static>,
        validation: impl ImageSet + 'static,
    ) -> Self {
        let training = training.map(|images| Box::new(images) as Box<dyn ImageSet>);
        Self { classes, training, validation: Box::new(validation), measured: None }
    }
}

/// Formats in the order of preference of `train`; `prepare` goes from the last to the first, since the last is nearest
/// to the files as they are distributed.
const FORMATS: &[&Format] = &[
    &super::cifar::FORMAT,
    &super::cifar100::FORMAT,
    &super::folder::FORMAT,
    &super::kaggle::FORMAT,
    &super::shards::FORMAT,
    &super::synsets::FORMAT,
    &super::ilsvrc::FORMAT,
];

/// A folder with its listing.
pub(super) struct Folder {
    /// Path of the folder.
    pub(super) root: PathBuf,
    /// Names of its files and folders, sorted: file systems list in any order.
    pub(super) names: Vec<String>,
}

impl Folder {
    /// Lists the folder at `root`.
    fn list(root: &Path) -> Result<Self, DataError> {
        if !fs::metadata(root).map_err(DataError::read(root))?.is_dir() {
            return Err(DataError::Unrecognised { path: root.into(), found: Found::File });
        }
        let paths = entries(root)?;
        let names = paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(Self { root: root.into(), names: names.collect() })
    }

    /// Whether a file or folder of that name is in it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|other| other == name)
    }

    /// Whether a folder of that name is in it.
    pub(super) fn has_folder(&self, name: &str) -> Result<bool, DataError> {
        Ok(self.has(name) && is_folder(&self.root.join(name))?)
    }

    /// The first entries, for a message, and the number of the others.
    fn found(&self) -> Found {
        const SHOWN: usize = 4;
        let (shown, more) = self.names.split_at(self.names.len().min(SHOWN));
        Found::Folder(shown.to_vec(), more.len())
    }
}

/// Opens the data set at `root` in the first format that recognises it; to validate on, a mere folder of classes will
/// do.
pub(super) fn open(root: &Path, parts: Parts) -> Result<Opened, DataError> {
    or_bare(root, parts, open_any(root, parts, FORMATS.iter()))
}

/// What was opened at `root`, or else a mere folder of classes: to validate on, or with the advice to make a data set
/// of it.
fn or_bare(root: &Path, parts: Parts, opened: Result<Opened, DataError>) -> Result<Opened, DataError> {
    match opened {
        Err(unknown @ DataError::Unrecognised { .. }) if is_folder(root)? => {
            let bare = super::folder::open_bare(root)?.ok_or(unknown)?;
            if parts == Parts::Validation {
                return Ok(bare);
            }
            let (count, first) = (bare.classes.len(), bare.classes.first().cloned().unwrap_or_default());
            Err(DataError::content(root, DataFault::ClassesAlone { count, first }))
        }
        opened => opened,
    }
}

/// Opens the data set at `root` in the last format that recognises it.
pub(super) fn open_distributed(root: &Path) -> Result<Opened, DataError> {
    or_bare(root, Parts::All, open_any(root, Parts::All, FORMATS.iter().rev()))
}

fn open_any<'f>(
    root: &Path,
    parts: Parts,
    formats: impl Iterator<Item = &'f &'static Format>,
) -> Result<Opened, DataError> {
    let folder = Folder::list(root)?;
    for format in formats {
        if (format.recognises)(&folder)? {
            return (format.open)(&folder, parts);
        }
    }
    Err(DataError::Unrecognised { path: root.into(), found: folder.found() })
}

/// Descriptions of all formats, for messages.
pub(super) fn accepted() -> String {
    FORMATS.iter().fold(String::new(), |mut text, format| {
        let _ = write!(text, "{}; ", format.description);
        text
    })
}

/// Reads the lines of a text file, trimmed, without the empty ones.
pub(super) fn lines(path: &Path) -> Result<Vec<String>, DataError> {
    let text = read_text(path).map_err(DataError::read(path))?;
    Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// Lists the paths in a folder, sorted.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let listing = fs::read_dir(folder).map_err(DataError::read(folder))?;
    let paths: Result<Vec<PathBuf>, _> = listing.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(DataError::read(folder))?;
    paths.sort_unstable();
    Ok(paths)
}
