//! Files as this program keeps them: written whole or not at all, tensors as safetensors, one writer to a folder, names
//! that steer no terminal.
//!
//! Whatever is written in one piece goes through [`AtomicFile`] or [`write_file`], so a reader sees all of the old
//! content or all of the new one, even after a crash of the machine. Files from strangers are only ever parsed as
//! tensors and text; every length is checked before it is used.

mod atomic;
mod lock;
mod target;
mod tensors;
mod text;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use self::atomic::{AtomicFile, is_partial, link_file, sweep, write_file};
pub use self::lock::FolderLock;
pub use self::target::{FileKind, TargetError, check_target, expect_distinct, expect_other};
pub use self::tensors::{Elements, METADATA, TensorError, TensorFile, serialize, write_tensors};
pub use self::text::{one_line, printable};

/// Why a file cannot be read or written.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum FileError {
    #[error("{}: cannot be read ({reason})", path.display())]
    Read { path: PathBuf, reason: io::Error },
    #[error("{}: cannot be written ({reason}){}; what was saved there before is intact", path.display(), room(reason))]
    Write { path: PathBuf, reason: io::Error },
    #[error("{}: {error}", path.display())]
    Tensors { path: PathBuf, error: TensorError },
    #[error("{}: {reason}", path.display())]
    Target { path: PathBuf, reason: TargetError },
    #[error(
        "{}: another process is working in this folder and holds its lock; wait until it ends, stop it, or choose \
         another folder",
        folder.display()
    )]
    Locked { folder: PathBuf },
}

/// Advice where a file system is full.
fn room(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": make room, or choose another place",
        _ => "",
    }
}

impl FileError {
    /// Wraps what the operating system said about reading `path`.
    pub fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self::Read { path: path.into(), reason }
    }

    /// Wraps what the operating system said about writing `path`.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        // The name of a temporary file is nobody's business.
        let own = |reason: &io::Error| {
            reason.get_ref()?.source()?.downcast_ref::<io::Error>()?.raw_os_error().map(io::Error::from_raw_os_error)
        };
        move |reason| Self::Write { path: path.into(), reason: own(&reason).unwrap_or(reason) }
    }
}

/// The SHA-256 of a file's bytes, in hexadecimal digits.
pub fn sha256(path: &Path) -> Result<String, FileError> {
    use sha2::{Digest as _, Sha256};

    struct Hasher(Sha256);
    impl io::Write for Hasher {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut hasher = Hasher(Sha256::new());
    let mut file = open_file(path).map_err(FileError::read(path))?;
    io::copy(&mut file, &mut hasher).map_err(FileError::read(path))?;
    Ok(hasher.0.finalize().iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}")))
}

/// Largest size in bytes of a text: a configuration, a list of names.
const MOST_TEXT: u64 = 64 << 20;

/// Refuses what is there at `path` and no file.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`], or as the system says; not where nothing is there.
pub fn expect_no_other(path: &Path) -> io::Result<()> {
    let reason = "it is a folder, a pipe or a device, expected a file";
    match std::fs::metadata(path) {
        Ok(about) if !about.is_file() => Err(io::Error::new(io::ErrorKind::InvalidInput, reason)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens a file to read. Pipes and devices, which may have no end, are refused before they are opened.
pub fn open_file(path: &Path) -> io::Result<File> {
    expect_no_other(path).and_then(|()| File::open(path))
}

/// Reads a file of UTF-8 text, without the mark that some editors put in front.
pub fn read_text(path: &Path) -> io::Result<String> {
    let refuse = |error| io::Error::new(io::ErrorKind::InvalidData, format!("it is no UTF-8 text: {error}"));
    let text = String::from_utf8(read_at_most(path, MOST_TEXT)?).map_err(refuse)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Reads all of a file.
pub fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    read_at_most(path, u64::MAX).map_err(FileError::read(path))
}

/// The same for a file of at most `most` bytes, whatever it grows to meanwhile.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] for a longer one, [`io::ErrorKind::InvalidInput`] for what is no file, or as the
/// system says.
pub fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_file(path)?;
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(most) as usize + 1);
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// Folder for what this program can make again, in the platform's cache folder; `None` where it has none.
pub fn cache_folder() -> Option<PathBuf> {
    dirs::cache_dir().map(|base| base.join("alexnet"))
}
