//! The one way in which files are replaced: a temporary file beside the target, synced, then renamed.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use tempfile::NamedTempFile;

use super::FileError;
use super::target::resolve;

/// The extension of a file that is not finished.
const PARTIAL: &str = "partial";

/// Bytes that are gathered before the operating system sees them.
const BUFFER: usize = 1 << 18;

/// Bytes after which the disk is asked to take what it has.
const EARLY: usize = 1 << 24;

/// A thread that syncs a large file while it is written, so that little is left when it ends.
#[derive(Debug)]
struct Early {
    wish: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Early {
    fn begin(file: &fs::File) -> io::Result<Self> {
        let (file, (wish, wishes)) = (file.try_clone()?, sync_channel(1));
        let work = move || wishes.iter().try_for_each(|()| file.sync_data());
        Ok(Self { wish, thread: thread::Builder::new().name("sync".into()).spawn(work)? })
    }

    /// Waits for it. An error that it met is told to nobody else.
    fn end(self) -> io::Result<()> {
        drop(self.wish);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs the file panicked")))
    }
}

/// A file being written as `NAME.xxxxxx.partial` beside its target. Dropped before [`AtomicFile::finish`] it disappears
/// and the target stays as it was; what a killed process leaves is removed by [`sweep`], or by the next writer to the
/// same target. A writer at work holds a lock on its file.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    file: BufWriter<NamedTempFile>,
    early: Option<Early>,
    /// Bytes since the disk was asked last.
    waiting: usize,
}

impl AtomicFile {
    /// Begins a file that is to replace `target`, in a folder that exists. Links are followed; only files are replaced.
    pub fn create(target: &Path) -> Result<Self, FileError> {
        let target = &resolve(target)?;
        sweep_beside(target);
        let mut prefix = target.file_name().unwrap_or_default().to_owned();
        prefix.push(".");
        let suffix = format!(".{PARTIAL}");
        // The umask decides on permissions, as for any other file.
        let mut options = fs::File::options();
        options.read(true).write(true).create_new(true);
        let mut refused = None;
        let open = |path: &Path| options.open(path).inspect_err(|error| refused = error.raw_os_error());
        let file = tempfile::Builder::new().prefix(&prefix).suffix(&suffix).make_in(folder(target), open);
        // Without the name of the temporary file, which says nothing to the user.
        let plain = |error| refused.map_or(error, io::Error::from_raw_os_error);
        let file = file.map_err(plain).map_err(FileError::write(target))?;
        // Where there are no locks nobody can tell whether the file is in use, and it is left alone.
        let _ = file.as_file().try_lock();
        Ok(Self { target: target.into(), file: BufWriter::with_capacity(BUFFER, file), early: None, waiting: 0 })
    }

    /// Gives the file its name, once the disk has its content.
    ///
    /// # Errors
    /// [`FileError::Write`] when the operating system refuses; then the target is as it was.
    pub fn finish(self) -> Result<(), FileError> {
        let Self { target, file, early, .. } = self;
        let persist = || -> io::Result<()> {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            early.map_or(Ok(()), Early::end)?;
            file.as_file().sync_all()?;
            file.persist(&target)?;
            sync_folder(&target);
            Ok(())
        };
        persist().map_err(FileError::write(&target))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(&bytes[..bytes.len().min(EARLY)])?;
        self.waiting += written;
        if self.waiting >= EARLY {
            self.waiting = 0;
            if self.early.is_none() {
                self.early = Early::begin(self.file.get_ref().as_file()).ok(); // without a thread it is synced in the end
            }
            if let Some(early) = &self.early {
                let _ = early.wish.try_send(()); // one that is still at work has a wish left
            }
        }
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The folder that `path` lies in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Replaces the content of the file at `path`, in a folder that exists, by `bytes`.
///
/// # Errors
/// [`FileError::Write`] when the operating system refuses; then the file is as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(FileError::write(path))?;
    file.finish()
}

/// Gives the finished file `from` a second name, `to`, in place of what is called so. Where the file system has no hard
/// links the content is copied, and `to` is either the file before or the whole copy.
pub fn link_file(from: &Path, to: &Path) -> Result<(), FileError> {
    let suffix = format!(".{PARTIAL}");
    let mut builder = tempfile::Builder::new();
    let name = to.file_name().unwrap_or_default();
    let linked = builder.prefix(name).suffix(&suffix).make_in(folder(to), |path| fs::hard_link(from, path));
    let Ok(linked) = linked else {
        let mut copy = AtomicFile::create(to)?;
        fs::File::open(from).and_then(|mut file| io::copy(&mut file, &mut copy)).map_err(FileError::write(to))?;
        return copy.finish();
    };
    // Renaming one name of a file to another does nothing and leaves both.
    let place = linked.path().to_owned();
    linked.persist(to).map_err(|error| FileError::write(to)(error.error))?;
    match fs::remove_file(place) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(FileError::write(to)(e)),
        _ => sync_folder(to),
    }
    Ok(())
}

/// Syncs the names in the folder of `path`; else a crash of the machine could undo the renaming of one file and
/// not of the next. Where folders cannot be synced there is nothing to be done.
fn sync_folder(path: &Path) {
    #[cfg(unix)]
    let _ = fs::File::open(folder(path)).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = path;
}

/// Whether a file is named like one that is not finished.
pub fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == PARTIAL)
}

/// Removes the unfinished files that killed writers left beside `target`: those that no process holds the lock of. One
/// that cannot be removed does no harm.
fn sweep_beside(target: &Path) {
    let Some(prefix) = target.file_name().map(|name| format!("{}.", name.to_string_lossy())) else { return };
    let entries = fs::read_dir(folder(target)).into_iter().flatten().flatten();
    let named_so = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        is_partial(path) && name.strip_prefix(&prefix).is_some_and(|rest| rest.matches('.').count() == 1)
    };
    for path in entries.map(|entry| entry.path()).filter(named_so) {
        if fs::File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Removes the unfinished files that killed processes left in `folder`; nobody may be writing there.
pub fn sweep(folder: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(folder).map_err(FileError::read(folder))? {
        let path = entry.map_err(FileError::read(folder))?.path();
        if is_partial(&path) {
            fs::remove_file(&path).map_err(FileError::write(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_by_the_next_and_one_at_work_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let mut at_work = AtomicFile::create(&path).unwrap();
        for name in ["a.json.1x2y3z.partial", "a.json.tmp", "b.json.1x2y3z.partial", "a.json.b.1x2y3z.partial"] {
            fs::write(folder.path().join(name), b"half").unwrap();
        }
        write_file(&path, b"new").unwrap();
        let mut left = names(folder.path());
        left.retain(|name| name.ends_with("1x2y3z.partial") || name.ends_with("tmp"));
        left.sort();
        assert_eq!(left, ["a.json.b.1x2y3z.partial", "a.json.tmp", "b.json.1x2y3z.partial"]);
        at_work.write_all(b"newer").unwrap();
        at_work.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
    }

    #[test]
    fn a_file_is_replaced_when_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_file(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert!(names(folder.path()).iter().any(|name| name.starts_with("a.json.") && name.ends_with(".partial")));
        file.finish().unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"new".to_vec(), vec!["a.json".to_owned()]));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("taken");
        fs::create_dir(&target).unwrap(); // a folder cannot be replaced by a file
        let message = write_file(&target, b"new").unwrap_err().to_string();
        assert!(message.contains("taken: cannot be written") && target.is_dir(), "{message}");
        let message = write_file(&folder.path().join("nowhere/x"), b"new").unwrap_err().to_string();
        assert!(message.contains("nowhere/x: cannot be written (") && !message.contains("partial"), "{message}");
        drop(AtomicFile::create(&folder.path().join("given up")).unwrap());
        assert_eq!(names(folder.path()), ["taken"], "no temporary file is left");
    }

    #[test]
    fn a_second_name_replaces_what_was_called_so() {
        let folder = tempfile::tempdir().unwrap();
        let [last, kept] = ["last", "kept"].map(|name| folder.path().join(name));
        write_file(&last, b"new").unwrap();
        write_file(&kept, b"old").unwrap();
        for _ in 0..2 {
            link_file(&last, &kept).unwrap(); // the second time both are one file already
            assert_eq!(fs::read(&kept).unwrap(), b"new");
            assert_eq!(names(folder.path()).len(), 2, "{:?}", names(folder.path()));
        }
        write_file(&last, b"newer").unwrap();
        assert_eq!(fs::read(&kept).unwrap(), b"new");
        assert!(link_file(&folder.path().join("none"), &kept).is_err());
        assert_eq!((fs::read(&kept).unwrap(), names(folder.path()).len()), (b"new".to_vec(), 2));
    }

    #[test]
    fn leftovers_of_a_killed_process_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        write_file(&path, b"whole").unwrap();
        std::mem::forget(AtomicFile::create(&path).unwrap()); // killed, it removes nothing
        assert_eq!(names(folder.path()).len(), 2);
        sweep(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["last.safetensors"]);
    }
}
