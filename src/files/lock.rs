//! The lock of a folder that one process at a time may write in.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{FileError, expect_no_other, is_partial};

/// The file in the folder that carries the lock. The operating system's lock on it counts, not that it is there.
const NAME: &str = "lock";

/// The exclusive right to write in a folder. It ends when this is dropped or the process ends, killed or not.
#[derive(Debug)]
pub struct FolderLock {
    folder: PathBuf,
    /// Open for as long as the lock is held.
    _file: File,
}

impl FolderLock {
    /// Takes the lock of `folder`, which exists.
    pub fn acquire(folder: &Path) -> Result<Self, FileError> {
        let path = folder.join(NAME);
        loop {
            expect_no_other(&path).map_err(FileError::write(&path))?;
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(FileError::write(folder))?;
            match file.try_lock() {
                // Else the holder before removed it between the opening and the locking.
                Ok(()) if is_at(&file, &path) => return Ok(Self { folder: folder.into(), _file: file }),
                Ok(()) => (),
                Err(TryLockError::WouldBlock) => return Err(FileError::Locked { folder: folder.into() }),
                Err(TryLockError::Error(reason)) => {
                    let path = path.display();
                    log::warn!(
                        "{path}: this file system has no locks ({reason}); see to it that no other run writes here"
                    );
                    return Ok(Self { folder: folder.into(), _file: file });
                }
            }
        }
    }

    /// The folder whose lock it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether `folder` holds nothing, save a lock and unfinished files that a killed process left.
    pub fn is_free(folder: &Path) -> io::Result<bool> {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            if name != NAME && !is_partial(Path::new(&name)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // One that stays does no harm.
        let _ = fs::remove_file(self.folder.join(NAME));
    }
}

/// Whether `file` is still the one called `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |metadata: io::Result<fs::Metadata>| metadata.map(|file| (file.dev(), file.ino())).ok();
    identity(file.metadata()) == identity(fs::metadata(path))
}

/// Whether there is still a file called `path`.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_writer_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let first = FolderLock::acquire(place.path()).unwrap();
        let refused = FolderLock::acquire(place.path()).unwrap_err();
        let message = refused.to_string();
        assert!(matches!(refused, FileError::Locked { .. }), "{message}");
        assert!(message.contains(&place.path().display().to_string()) && message.contains("wait"), "{message}");
        assert!(FolderLock::is_free(place.path()).unwrap(), "a lock is no content");
        drop(first);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "nothing is left");
        drop(FolderLock::acquire(place.path()).unwrap());
    }

    #[test]
    fn a_lock_file_that_nobody_holds_is_no_lock() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(NAME), "").unwrap();
        assert!(FolderLock::acquire(place.path()).is_ok());
    }
}
