//! The forms in which a data set can lie in a folder.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{DataError, Dataset, cifar, folder, ilsvrc, shards};

/// A form in which data sets lie in folders: a file of this module and a line of [`FORMATS`].
pub(super) struct Format {
    /// What it looks like, for the message to somebody whose folder holds something else.
    pub(super) description: &'static str,
    /// Whether a folder holds a data set of this form.
    pub(super) recognises: fn(&Folder) -> bool,
    /// Opens the data set in a folder that is recognised; its images decode to `size` x `size` pixels.
    pub(super) open: fn(&Folder, size: usize) -> Result<Dataset, DataError>,
}

/// All of them. What is trained on comes first: where a folder holds several, `train` takes the first and `prepare` the
/// last, which is nearest to what was distributed.
const FORMATS: [&Format; 4] = [&cifar::FORMAT, &folder::FORMAT, &shards::FORMAT, &ilsvrc::FORMAT];

/// A folder and what lies in it.
pub(super) struct Folder {
    /// Its path.
    pub(super) root: PathBuf,
    /// The names of its files and folders, sorted: file systems list in any order.
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

    /// A few words on what it holds.
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

/// Opens the data set at `root` in the first form that recognises it.
pub(super) fn open(root: &Path, size: usize) -> Result<Dataset, DataError> {
    open_any(root, size, FORMATS.iter())
}

/// Opens the data set at `root` in the last form that recognises it.
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

/// What is accepted as a data set, for messages.
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
