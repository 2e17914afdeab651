//! Errors about data sets and single images; every message names the file and the fix.

use std::io;
use std::path::PathBuf;

use crate::files::FileError;

/// Why a data set cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum DataError {
    #[error("{}: cannot be read ({error}); check the path and its permissions", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}: cannot be written ({error}); make room or choose another place, then run the same command again", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error(transparent)]
    File(FileError),
    #[error(
        "{}: no data set here: {found}. Accepted are {}or no path at all for the bundled sample",
        path.display(), super::format::accepted()
    )]
    Unrecognised { path: PathBuf, found: String },
    #[error("the {split} set has {count} images; it needs 1 to 4,294,967,295")]
    Count { split: &'static str, count: usize },
    #[error("{name}: has label {label}, but there are {classes} classes; name every class, or correct the label")]
    Label { name: String, label: u32, classes: usize },
    #[error("{}: {problem}", path.display())]
    Content { path: PathBuf, problem: String },
    #[error(transparent)]
    Image(ImageError),
    #[error(
        "{count} of {images} {split} images cannot be decoded, more than {share} %; the last of them: {last}. Mend or \
         remove them, or allow more by --max-broken PERCENT"
    )]
    Broken { count: usize, images: usize, split: &'static str, share: f64, last: String },
    #[error("none of the {count} images can be decoded; the first: {first}")]
    NoImage { count: usize, first: String },
    #[error("the data's {found} are not the {wanted} of the checkpoint; give the data that it was trained on")]
    Classes { found: String, wanted: String },
    #[error("a loader thread cannot be started ({0}); ask for fewer threads")]
    Threads(io::Error),
    #[error("the bundled sample is damaged: {0}; rebuild the program from a clean checkout")]
    Sample(String),
}

impl From<FileError> for DataError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Read { path, reason } => Self::Read { path, error: reason },
            FileError::Write { path, reason } => Self::Write { path, error: reason },
            other => Self::File(other),
        }
    }
}

impl From<ImageError> for DataError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Read(name, error) => Self::Read { path: name.into(), error },
            other => Self::Image(other),
        }
    }
}

impl DataError {
    /// A [`DataError::Content`] about `path`.
    pub(super) fn content(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Content { path: path.into(), problem: problem.into() }
    }

    /// Wraps an error of the operating system about writing `path`.
    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Write { path, error }
    }

    /// Wraps an error of the operating system about reading `path`.
    pub(super) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Read { path, error }
    }
}

/// Why one image cannot be used. The first field of each variant is the image's name: a path, or a record of a file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ImageError {
    #[error("{0}: cannot be read ({1})")]
    Read(String, io::Error),
    #[error("{0}: is a folder, a pipe or a device, not a file; give an image file")]
    NotAFile(String),
    #[error("{0}: is empty; fetch it again")]
    Empty(String),
    #[error("{0}: is not a JPEG or PNG image, nor WebP, BMP, TIFF, GIF or PNM; convert it or remove it")]
    NotAnImage(String),
    #[error("{0}: is truncated (it ends before the image does); fetch it again")]
    Truncated(String),
    #[error("{0}: is {1}x{2} pixels, smaller than 2 pixels on a side; remove it")]
    TooSmall(String, usize, usize),
    /// Decoding would take more memory than [`super::MAX_SIDE`] and [`super::MAX_BYTES`] allow.
    #[error("{0}: is too large ({1}); scale it down first")]
    TooLarge(String, String),
    #[error("{0}: is damaged or of an unsupported kind ({1}); fetch or convert it again")]
    Damaged(String, String),
}
