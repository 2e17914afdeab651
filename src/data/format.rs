//! The list of formats of data sets.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{DataError, Dataset, cifar, folder, ilsvrc, shards};

/// A format of data sets in folders: a file of this module and a line of [`FORMATS`].
pub(super) struct Format {
    /// Description of the folder, for the message about a folder of no format.
    pub(super) description: &'static str,
    /// Whether a folder holds a data set of this format.
    pub(super) recognises: fn(&Folder) -> bool,
    /// Opens the data set in a recognised folder; its images decode to `size` x `size` pixels.
    pub(super) open: fn(&Folder, size: usize) -> Result<Dataset, DataError>,
}

/// Formats in the order of preference of `train`; `prepare` goes from the last to the first, since the last is nearest to
/// the files as they are distributed.
const FORMATS: [&Format; 4] = [&cifar::FORMAT, &folder::FORMAT, &shards::FORMAT, &ilsvrc::FORMAT];

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
            return Err(DataError::Unrecognised { path: root.into(), found: "it is a file, not a folder".into() });
        }
        let paths = entries(root)?;
        let names = paths.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(Self { root: root.into(), names: names.collect() })
    }

    /// Describes the content in a few words.
    fn found(&self) -> String {
        const SHOWN: usize = 4;
        if self.names.is_empty() {
            return "the folder is empty".into();
        }
        let shown = self.names[..self.names.len().min(SHOWN)].join(", ");
        let more = self.names.len().saturating_sub(SHOWN);
        if more == 0 {
            format!("the folder holds {shown}")
        } else {
            format!("the folder holds {shown} and {more} more")
        }
    }
}

/// Opens the data set at `root` in the first format that recognises it.
pub(super) fn open(root: &Path, size: usize) -> Result<Dataset, DataError> {
    open_any(root, size, FORMATS.iter())
}

/// Opens the data set at `root` in the last format that recognises it.
pub(super) fn open_distributed(root: &Path, size: usize) -> Result<Dataset, DataError> {
    open_any(root, size, FORMATS.iter().rev())
}

fn open_any<'f>(
    root: &Path,
    size: usize,
    mut formats: impl Iterator<Item = &'f &'static Format>,
) -> Result<Dataset, DataError> {
    let folder = Folder::list(root)?;
    match formats.find(|format| (format.recognises)(&folder)) {
        Some(format) => (format.open)(&folder, size),
        None => Err(DataError::Unrecognised { path: root.into(), found: folder.found() }),
    }
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
    let text = fs::read(path).map_err(DataError::read(path))?;
    let text = String::from_utf8_lossy(&text);
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
