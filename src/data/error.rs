//! What can be wrong with a data set or with one image of it; every message names the file and the fix.

use std::io;
use std::path::PathBuf;

use crate::files::FileError;

/// Why a data set cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("{}: cannot be read ({error}); check the path and its permissions", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written ({error}); make room or choose another place, then run the same command again", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// A file is not what it is taken for.
    #[error(transparent)]
    File(FileError),
    /// The folder holds a data set in none of the known formats.
    #[error(
        "{}: no data set here: {found}. Accepted are {}or no path at all for the bundled sample",
        path.display(), super::format::accepted()
    )]
    Unrecognised {
        /// The path that was asked for.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A split has no images, or more than can be numbered.
    #[error("the {split} set has {count} images; it needs 1 to 4,294,967,295")]
    Count {
        /// Training or validation.
        split: &'static str,
        /// Its images.
        count: usize,
    },
    /// An image has a label without a class.
    #[error("{name}: has label {label}, but there are {classes} classes; name every class, or correct the label")]
    Label {
        /// The image.
        name: String,
        /// Its label.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// The format is known, but something in the folder is wrong.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The offending file or folder.
        path: PathBuf,
        /// What is wrong and what would put it right.
        problem: String,
    },
    /// An image cannot be used, and the work cannot go on without it.
    #[error(transparent)]
    Image(ImageError),
    /// None of the images of a split can be decoded.
    #[error("none of the {count} images can be decoded; the first: {first}")]
    NoImage {
        /// How many were tried.
        count: usize,
        /// The message of the first of them.
        first: String,
    },
    /// The classes are not those that a network was trained on.
    #[error("the data's {found} are not the {wanted} of the checkpoint; give the data that it was trained on")]
    Classes {
        /// Number and names of the data's classes.
        found: String,
        /// Those of the checkpoint.
        wanted: String,
    },
    /// The operating system refuses another thread.
    #[error("a loader thread cannot be started ({0}); ask for fewer threads")]
    Threads(io::Error),
    /// The bundled sample cannot be decoded, which is a fault of this program.
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

impl DataError {
    /// A [`DataError::Content`] about `path`.
    pub(super) fn content(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Content { path: path.into(), problem: problem.into() }
    }

    /// As [`DataError::read`], of a file that is written.
    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Write { path, error }
    }

    /// Turns an error of the operating system about `path` into ours.
    pub(super) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Read { path, error }
    }
}

/// Why one image cannot be used. The first field of each is the image's name: a path, or a record of a batch file.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be read.
    #[error("{0}: cannot be read ({1})")]
    Read(String, io::Error),
    /// The file holds no byte.
    #[error("{0}: is empty; fetch it again")]
    Empty(String),
    /// The content is neither JPEG nor PNG, whatever the file's name says.
    #[error("{0}: is not a JPEG or PNG image; convert it or remove it")]
    NotAnImage(String),
    /// The file ends before its image does.
    #[error("{0}: is truncated (it ends before the image does); fetch it again")]
    Truncated(String),
    /// One side is shorter than two pixels.
    #[error("{0}: is {1}x{2} pixels, smaller than 2 pixels on a side; remove it")]
    TooSmall(String, usize, usize),
    /// Decoding would take more memory than an image may ([`super::MAX_SIDE`] and [`super::MAX_BYTES`]).
    #[error("{0}: is too large ({1}); scale it down first")]
    TooLarge(String, String),
    /// The decoder refused the content.
    #[error("{0}: is damaged or of an unsupported kind ({1}); fetch or convert it again")]
    Damaged(String, String),
}
