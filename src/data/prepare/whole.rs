//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::data::DataError;

/// The ending of a file that is not whole yet.
const PARTIAL: &str = "partial";

/// A file being written under a temporary name. Dropped before [`Whole::finish`] it disappears; what a killed process
/// leaves is swept by the next.
pub(super) struct Whole {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
}

impl Whole {
    pub(super) fn create(path: &Path) -> Result<Self, DataError> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".");
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(DataError::write(path))?;
        Ok(Self { path: path.into(), partial, file: BufWriter::with_capacity(1 << 18, file) })
    }

    /// Gives the file its name, once the disk has it.
    pub(super) fn finish(mut self) -> Result<(), DataError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        let named = synced.and_then(|()| fs::rename(&self.partial, &self.path));
        named.map_err(DataError::write(&self.path))?;
        // Without it a crash of the machine could undo the renaming of one file and not of the next. Where folders
        // cannot be synced there is nothing to be done.
        #[cfg(unix)]
        if let Some(folder) = self.path.parent() {
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // After `finish` it is not there any more.
        let _ = fs::remove_file(&self.partial);
    }
}

/// Writes a file of `bytes`.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let mut file = Whole::create(path)?;
    file.write_all(bytes).map_err(DataError::write(path))?;
    file.finish()
}

/// Whether a file is called like one that is not whole.
pub(super) fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == PARTIAL)
}

/// Removes what a killed process left in `folder`.
pub(super) fn sweep(folder: &Path) -> Result<(), DataError> {
    for path in crate::data::folder::entries(folder)? {
        if is_partial(&path) {
            fs::remove_file(&path).map_err(DataError::write(path))?;
        }
    }
    Ok(())
}
