//! Reasons why files of PyTorch are refused.

use thiserror::Error;

use super::{MOST_SHARED, objects};

/// Reason why a file is no state dict that can be read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PthError {
    #[error("truncated, or not a zip archive ({0})")]
    Archive(zip::result::ZipError),
    #[error("found two entries of one name, expected one of each")]
    DuplicateEntry,
    #[error(
        "found {0} entries called data.pkl, expected the one that torch.save writes; an archive around such files has to \
         be unpacked"
    )]
    Pickles(usize),
    #[error("entry {name} is missing or damaged ({reason})")]
    Entry { name: String, reason: EntryError },
    #[error("entry {0} is compressed, expected none as torch.save writes them: save the state dict again")]
    Compressed(String),
    #[error("entry {0} is larger than what the other entries leave of the file")]
    Overlap(String),
    #[error("found big-endian numbers, expected little-endian ones: save the state dict on another machine")]
    BigEndian,
    #[error(transparent)]
    Pickle(#[from] PickleError),
    #[error("a storage of class {0} is not known, so the file cannot be read beyond it: save it again")]
    Storage(String),
    #[error("tensor {name}: {reason}")]
    Tensor { name: String, reason: StorageError },
}

/// Reason why an entry of the archive cannot be read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum EntryError {
    #[error(transparent)]
    Archive(#[from] zip::result::ZipError),
    #[error(transparent)]
    Read(#[from] std::io::Error),
    #[error("its key is not listed")]
    NotListed,
}

/// Reason why a tensor cannot be read from its storage.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StorageError {
    #[error("elements of type {0} are not supported; known are {known}", known = objects::FLOATS)]
    Type(String),
    #[error("found {found} bytes in its storage, expected {numbers} numbers of {size} bytes")]
    Length { found: usize, numbers: usize, size: usize },
    #[error("shape {shape:?} reaches beyond its storage of {numbers} numbers")]
    Beyond { shape: Vec<usize>, numbers: usize },
    #[error("it and the tensors before it are larger than {MOST_SHARED} times the file")]
    Repeated,
    #[error("two tensors have this name, one perhaps behind a dot: expected one")]
    Ambiguous,
    #[error("a number is beyond the range of 32-bit floats")]
    Range,
    #[error("{0}")]
    Unread(String),
}

/// Reason why a pickle is no state dict.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PickleError {
    #[error("damaged pickle: it ends too early")]
    Truncated,
    #[error("damaged pickle: an opcode does not find its operands")]
    Operands,
    #[error("opcode {0:#04x} of the pickle is not supported: torch.save(model.state_dict(), FILE) writes none")]
    Opcode(u8),
    #[error(
        "found {0}, which only Python code could make, expected plain tensors: torch.save(model.state_dict(), FILE)"
    )]
    Python(String),
    #[error(
        "found a whole object of class {class}, which only Python code could make, expected its weights alone; where \
         that class is installed: torch.save({load}{entry}.state_dict(), \"weights.pth\")",
        load = loads(class)
    )]
    Whole { class: String, entry: String },
    #[error("found {0} as an extent, stride or offset, expected 0 or more")]
    Extent(i64),
    #[error("no dict of tensors in the pickle: torch.save(model.state_dict(), FILE) writes one")]
    NoDict,
    #[error("no tensors in the dict, nor in those it holds")]
    NoTensors,
}

/// Call that loads an object of `class`: those of TorchScript bring their code along.
fn loads(class: &str) -> &'static str {
    if class.starts_with("__torch__.") { "torch.jit.load(FILE)" } else { "torch.load(FILE, weights_only=False)" }
}
