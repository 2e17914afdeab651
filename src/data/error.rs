//! Errors about data sets and single images; every message names the file and the fix.

use std::error::Error;
use std::fmt::{self, Display};
use std::io;
use std::path::PathBuf;

use super::shards::MOST_SHARDS;
use super::statistics::StatisticsError;
use super::{MAX_BYTES, ilsvrc};
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
        "{}: no data set here: {found}. Accepted are {}or no path at all, for the bundled sample",
        path.display(), super::format::accepted()
    )]
    Unrecognised { path: PathBuf, found: Found },
    #[error("the {split} set has {count} images; it needs 1 to 4,294,967,295")]
    Count { split: &'static str, count: usize },
    #[error("{name}: has label {label}, but there are {classes} classes; name every class, or correct the label")]
    Label { name: String, label: u32, classes: usize },
    #[error("{}: {reason}", path.display())]
    Content { path: PathBuf, reason: Box<DataFault> },
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
    Sample(SampleFault),
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
    pub(super) fn content(path: impl Into<PathBuf>, reason: impl Into<Box<DataFault>>) -> Self {
        Self::Content { path: path.into(), reason: reason.into() }
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
    TooLarge(String, ImageExcess),
    #[error("{0}: is damaged or of an unsupported kind ({1}); fetch or convert it again")]
    Damaged(String, ImageFault),
}

/// The limit that an image exceeds.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ImageExcess {
    #[error("more than {} MiB", MAX_BYTES >> 20)]
    File,
    #[error(transparent)]
    Pixels(Box<dyn Error + Send + Sync>),
}

/// The reason why an image cannot be decoded, scaled or encoded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ImageFault {
    #[error(transparent)]
    Codec(Box<dyn Error + Send + Sync>),
    #[error("the decoder panicked: {0}")]
    Panicked(String),
    #[error("{0} bytes are no square of RGB pixels")]
    NoSquare(usize),
}

impl ImageFault {
    /// The reason that a library of images gives.
    pub(super) fn codec(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Codec(Box::new(error))
    }
}

/// The reason why the sample inside the program cannot be cut into images.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SampleFault {
    #[error(transparent)]
    Image(ImageError),
    #[error("{file} is {width}x{height} pixels")]
    Size { file: String, width: usize, height: usize },
}

/// What lies at a path where a data set was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A regular file lies there.
    File,
    /// A folder: names of its first entries, and the number of the others.
    Folder(Vec<String>, usize),
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("it is a file, not a folder"),
            Self::Folder(names, _) if names.is_empty() => f.write_str("the folder is empty"),
            Self::Folder(names, 0) => write!(f, "the folder holds {}", names.join(", ")),
            Self::Folder(names, more) => write!(f, "the folder holds {} and {more} more", names.join(", ")),
        }
    }
}

/// The fault of a file or folder of a data set, as a clause about it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum DataFault {
    #[error("is a link to nothing; mount the disk that it leads to, or remove it")]
    Dangling,
    #[error("is a link to a folder that it lies in; remove it")]
    Circle,

    // Classes.
    #[error("has train/ but no val/ to validate on; put some images of each class into val/<class>/")]
    NoValidation,
    #[error(
        "holds {count} folders of images ({first}, ...), but neither train/ nor val/; move them into train/, and some \
         images of each into val/<class>/"
    )]
    ClassesAlone { count: usize, first: String },
    #[error("has no class folders; put the images of each class into <class>/")]
    NoClassFolders,
    #[error(
        "has no images ({0} entries, none called .jpg, .png, .webp, .bmp, .tif, .gif or .ppm); add some or remove the folder"
    )]
    EmptyClass(usize),
    #[error("train/ has no class \"{0}\"; add train/{0}/ or remove this folder")]
    NotInTraining(String),
    #[error("has class {0} twice, in two spellings of the same characters; make one of them")]
    TwoSpellings(String),
    #[error("the name of a class must be valid UTF-8; rename the folder")]
    NotUnicode,
    #[error("class {0:?} begins or ends with a space or has a line break; rename it")]
    NotALine(String),
    #[error(
        "names {some} of the {wanted} classes, {first} the first of them, and has {found} lines; expected a line that \
         begins with the name of each class, or just a line for each in their order"
    )]
    ClassNames { some: usize, wanted: usize, first: String, found: usize },
    #[error("names no class; write one name a line or delete the file")]
    NoClassName,
    #[error("names no class, or one twice; fetch it again")]
    NotDistinct,
    #[error("names {names} classes, but there is a label {most}; name them all, one a line")]
    FewClassNames { names: usize, most: u32 },
    #[error("is not there, and a label of {0} is no class; name the classes, one a line")]
    LabelWithoutName(u32),

    // Lists of the classes of images.
    #[error("line {line}: found {found:?}, expected an image and its class")]
    NotAnEntry { line: usize, found: String },
    #[error("line {line}: {class:?} is neither a number nor a known class")]
    UnknownClass { line: usize, class: String },
    #[error("is to have a line for each validation image, all with names or none")]
    MixedLines,
    #[error("has no line for {0}; add it, or fetch both again")]
    NoLine(String),
    #[error("{image} is of class {class}, which train/ does not have; add train/{class}/")]
    ClassNotInTraining { image: String, class: String },
    #[error(
        "has a number of {0} or more for {0} classes, which count from 0 in the order of their names; take Caffe's \
         val.txt, or write the names of classes"
    )]
    CountsFromOne(usize),
    #[error("has class {most}, but there are {classes} classes; fetch it again")]
    HighClass { most: u32, classes: u32 },
    #[error("has classes 0 and {0}, but there are {0} classes; fetch it again")]
    BothBases(u32),
    #[error(
        "counts classes from 1, in the order of the development kit's meta.mat. Put {kit} beside it, the WordNet ids \
         in that order, one a line; or replace it by Caffe's val.txt, which counts from 0 in the order of \
         synset_words.txt", kit = ilsvrc::KIT_SYNSETS
    )]
    NoKit,
    #[error("is to begin with the {classes} classes of the list of synsets; line {line} does not")]
    OtherSynsets { classes: u32, line: usize },

    // Archives and batches of images.
    #[error("{name} is missing: {holds}; put it beside the rest of the ILSVRC2012 release")]
    Missing { name: String, holds: &'static str },
    #[error("holds {member}, a class that {} does not have", list.display())]
    ClassNotListed { member: String, list: PathBuf },
    #[error(
        "has no images of {empty} of the {classes} classes of {}, {first} the first; fetch the archive again, or take \
         the classes out of the list", list.display()
    )]
    EmptyClasses { empty: usize, classes: usize, list: PathBuf, first: String },
    #[error("has {images} images, but {} has {lines} lines; fetch both again", list.display())]
    Lines { images: usize, list: PathBuf, lines: usize },
    #[error("byte {at}: {reason}")]
    Archive { at: u64, reason: ArchiveFault },
    #[error("one data_batch_*.bin alone leaves nothing to validate on; add test_batch.bin")]
    OneBatch,
    #[error("has {bytes} bytes, which is not a whole number of {record}-byte records; fetch the file again")]
    Records { bytes: usize, record: usize },
    #[error(
        "record {record} has label {label}, but there are {classes} classes (labels 0 to {}); fetch the file again, or \
         name every class in {list}", classes - 1
    )]
    Label { record: usize, label: u8, classes: usize, list: &'static str },

    // Shards, and their making.
    #[error("is not prepared to the end; run the same `alexnet prepare` again")]
    Unfinished,
    #[error("has no images in {0}-*.tar; add shards with KEY.jpg and KEY.cls")]
    EmptySplit(&'static str),
    #[error(
        "has {} training and {} validation images, but {} and {} were prepared; copy all shards, or run the same \
         `alexnet prepare` again", found[0], found[1], prepared[0], prepared[1]
    )]
    ShardsLost { found: [usize; 2], prepared: [usize; 2] },
    #[error("and {0} shards more; a split has at most {MOST_SHARDS}")]
    Shards(usize),
    #[error("brings the images to more than 4,294,967,295; take fewer shards")]
    Images,
    #[error("holds both .rgb and compressed images; pack them into shards of their own")]
    MixedImages,
    #[error("{0} has no .cls with its class beside it; pack the shard anew")]
    NoClass(String),
    #[error("{0} has no image (.jpg, .jpeg, .png or .rgb) beside it; pack the shard anew")]
    NoImage(String),
    #[error("{0}; delete it, and what the shard holds is found by reading it")]
    Index(IndexFault),
    #[error("{0}; prepare the folder anew")]
    Statistics(#[from] StatisticsError),
    #[error("has {0} bytes; delete it, and its shard is made again")]
    Sums(usize),
    #[error("holds nothing to prepare: {found}. Accepted are {}", super::format::accepted().trim_end_matches("; "))]
    NothingToPrepare { found: Found },
    #[error("would hold {0} shards, more than {MOST_SHARDS}; raise --shard-images")]
    TooManyShards(usize),
    #[error("is not empty and was not made by `alexnet prepare`; choose another --out")]
    Taken,
    #[error("is damaged ({0}); choose another --out")]
    Recipe(serde_json::Error),
    #[error("was begun with {0}; choose another --out")]
    OtherOptions(String),
    #[error("was begun with other files in {0} (names, sizes or classes have changed); choose another --out")]
    OtherFiles(String),
    #[error("an image cannot be encoded: {0}")]
    Unencoded(ImageError),
}

/// The fault of a tar archive at one of its bytes.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ArchiveFault {
    #[error("the archive ends in the middle of a header; fetch it again")]
    CutHeader,
    #[error("the archive ends in the middle of {name}, which has {length} bytes; fetch it again")]
    CutMember { name: String, length: u64 },
    #[error("is no tar header (its checksum is wrong); fetch the archive again")]
    NoHeader,
    #[error(transparent)]
    Number(io::Error),
    #[error("a name or attributes of {0} bytes; is this a tar file?")]
    LongName(u64),
    #[error("a size that is no number")]
    NoSize,
    #[error("{0} is sparse; pack it without --sparse")]
    Sparse(String),
    #[error("{0} is a link, without content; pack it with --dereference --hard-dereference")]
    Link(String),
    #[error("{name} has {length} bytes, too many; at most {most} are read")]
    TooLong { name: String, length: u64, most: u64 },
    #[error("{name} holds {text:?}, not the number of a class")]
    NoNumber { name: String, text: String },
}

/// The fault of the index beside a shard.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum IndexFault {
    #[error("is damaged ({0})")]
    Damaged(serde_json::Error),
    #[error("is the index of another shard than {}", .0.display())]
    OtherShard(PathBuf),
    #[error("has an image of {length} bytes at byte {offset}")]
    Image { length: u32, offset: u64 },
}
