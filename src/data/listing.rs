//! Listings of folders: what every entry is, without opening it, and what a data set passes over, with the reason.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::decode::EXTENSIONS;
use super::{DataError, DataFault};

/// Names of what systems leave beside the files of their users; those with a dot in front besides.
const LITTER: [&str; 7] =
    ["@eaDir", "__MACOSX", "Thumbs.db", "desktop.ini", "lost+found", "$RECYCLE.BIN", "System Volume Information"];

/// Reasons for passing over an entry.
pub(super) const NOT_NAMED: &str = "are not called like images (.jpg, .png, .webp, .bmp, .tif, .gif, .ppm, ...)";
pub(super) const LOOSE: &str = "lie loose, not in the folder of a class";
const FOLDER: &str = "are called like images, but are folders";
const DANGLING: &str = "are links to nothing";
const SPECIAL: &str = "are pipes or devices";

/// Kind of the file that a path leads to, through links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A link to what is not there.
    Dangling,
    /// A pipe, a socket or a device.
    Special,
}

/// A file or folder in a folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    /// Whether it is a link.
    linked: bool,
}

impl Entry {
    fn new(entry: &DirEntry) -> Result<Self, DataError> {
        let path = entry.path();
        let kind = kind(entry).map_err(DataError::read(&path))?;
        Ok(Self { linked: kind.1, kind: kind.0, path })
    }

    fn named_like_an_image(&self) -> bool {
        is_image_name(&self.path)
    }

    /// Refuses a link to nothing that is not called like an image: a whole class may be missing.
    pub(super) fn expect_target(&self) -> Result<(), DataError> {
        if self.kind == Kind::Dangling && !self.named_like_an_image() {
            return Err(DataError::content(&self.path, DataFault::Dangling));
        }
        Ok(())
    }
}

/// What an entry is, and whether it is a link.
fn kind(entry: &DirEntry) -> io::Result<(Kind, bool)> {
    let own = entry.file_type()?;
    let linked = own.is_symlink();
    let found = if linked { fs::metadata(entry.path()).map(|metadata| metadata.file_type()) } else { Ok(own) };
    let kind = match found {
        Ok(found) if found.is_dir() => Kind::Folder,
        Ok(found) if found.is_file() => Kind::File,
        Ok(_) => Kind::Special,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Kind::Dangling,
        Err(error) => return Err(error),
    };
    Ok((kind, linked))
}

/// Lists a folder, sorted by name, without the litter of systems.
pub(super) fn list(folder: &Path) -> Result<Vec<Entry>, DataError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        let entry = entry.map_err(DataError::read(folder))?;
        if !is_litter(&entry.file_name()) {
            entries.push(Entry::new(&entry)?);
        }
    }
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// Whether a folder lies at `path`.
///
/// # Errors
/// When that cannot be found out.
pub(super) fn is_folder(path: &Path) -> Result<bool, DataError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => Ok(false),
        Err(error) => Err(DataError::read(path)(error)),
    }
}

/// Whether something lies at `path`.
///
/// # Errors
/// When that cannot be found out.
pub(super) fn exists(path: &Path) -> Result<bool, DataError> {
    path.try_exists().map_err(DataError::read(path))
}

fn is_litter(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') || LITTER.contains(&&*name)
}

/// Whether a path is named like an image file, and neither it nor a folder on its way is litter. Decoding finds out its
/// real content.
pub(super) fn is_image_name(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
        && path.file_name().is_some_and(|name| !is_litter(name))
}

/// Whether a member of an archive is the litter of a system.
pub(super) fn is_litter_member(name: &str) -> bool {
    name.split('/').any(|part| !matches!(part, "" | "." | "..") && is_litter(OsStr::new(part)))
}

/// Paths of the images in `folder` and the folders in it, as torchvision orders them: by folder, then by name.
pub(super) fn images(folder: &Path, passed: &mut PassedOver) -> Result<Vec<PathBuf>, DataError> {
    let mut folders = Vec::new();
    walk(folder, &mut Vec::new(), &mut folders, passed)?;
    folders.sort_unstable_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
    Ok(folders.into_iter().flat_map(|(_, images)| images).collect())
}

/// Appends `folder` and all below it, each with its images; `links` holds the real folders that were left by links.
fn walk(
    folder: &Path,
    links: &mut Vec<PathBuf>,
    folders: &mut Vec<(PathBuf, Vec<PathBuf>)>,
    passed: &mut PassedOver,
) -> Result<(), DataError> {
    let mut images = Vec::new();
    for entry in list(folder)? {
        match (entry.kind, entry.named_like_an_image()) {
            (Kind::File, true) => images.push(entry.path),
            (Kind::File, false) => passed.add(NOT_NAMED, &entry.path),
            (Kind::Folder, true) => passed.add(FOLDER, &entry.path),
            (Kind::Dangling, true) => passed.add(DANGLING, &entry.path),
            (Kind::Special, _) => passed.add(SPECIAL, &entry.path),
            (Kind::Folder | Kind::Dangling, false) => {
                entry.expect_target()?;
                if entry.linked {
                    let real = |path: &Path| fs::canonicalize(path).map_err(DataError::read(path));
                    links.push(real(folder)?);
                    let target = real(&entry.path)?;
                    if links.iter().any(|from| from.starts_with(&target)) {
                        return Err(DataError::content(entry.path, DataFault::Circle));
                    }
                    walk(&entry.path, links, folders, passed)?;
                    links.pop();
                } else {
                    walk(&entry.path, links, folders, passed)?;
                }
            }
        }
    }
    folders.push((folder.into(), images));
    Ok(())
}

/// What a data set does not use: by reason, how many and the first.
#[derive(Debug, Default)]
pub(super) struct PassedOver(BTreeMap<&'static str, (usize, String)>);

impl PassedOver {
    /// Adds an entry; the reason completes "3 files …".
    pub(super) fn add(&mut self, reason: &'static str, path: &Path) {
        self.count(reason, 1, || path.display().to_string());
    }

    /// Adds `count` of them, the first of which is called `first`.
    pub(super) fn count(&mut self, reason: &'static str, count: usize, first: impl FnOnce() -> String) {
        if count > 0 {
            self.0.entry(reason).or_insert_with(|| (0, first())).0 += count;
        }
    }

    /// Adds those of another part of the data set.
    pub(super) fn merge(&mut self, other: Self) {
        for (reason, (count, first)) in other.0 {
            self.count(reason, count, || first);
        }
    }

    /// The lines that say it.
    fn lines(&self) -> impl Iterator<Item = String> {
        self.0
            .iter()
            .map(|(reason, (count, first))| format!("passed over: {count} that {reason}; the first is {first}"))
    }

    /// Logs a line for each reason.
    pub(super) fn log(&self) {
        self.lines().for_each(|line| log::warn!("{line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::{check, folder};

    fn listed(root: &Path) -> (Vec<String>, Vec<String>) {
        let mut passed = PassedOver::default();
        let images = images(root, &mut passed).unwrap();
        let names = images.iter().map(|path| path.strip_prefix(root).unwrap().display().to_string().replace('\\', "/"));
        (names.collect(), passed.lines().collect())
    }

    #[test]
    fn folders_are_walked_and_what_is_no_image_is_told() {
        let files = ["b.jpg", "a/x.PNG", "a/deep/y.jpeg", "a-b/z.jfif", "notes.txt", "raw", "c.avif", "e.jpg/f.png"];
        let litter = ["._b.jpg", ".DS_Store", "@eaDir/b.jpg", "__MACOSX/a/x.png", "Thumbs.db"];
        let root = folder(files.iter().chain(&litter).map(|&name| (name, Vec::new())));
        let (images, passed) = listed(root.path());
        // By the whole path of the folder: '-' comes before '/'.
        assert_eq!(images, ["b.jpg", "a/x.PNG", "a-b/z.jfif", "a/deep/y.jpeg"]);
        assert_eq!(passed.len(), 2, "{passed:?}");
        check(&passed[0], &["1 that are called like images, but are folders", "e.jpg"]);
        check(&passed[1], &["3 that are not called like images", "c.avif"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_are_told_apart_without_opening_them() {
        use std::os::unix::fs::symlink;
        let root = folder([("class/1.png", Vec::new()), ("other/2.png", Vec::new())]);
        let class = root.path().join("class");
        symlink("nowhere", class.join("3.jpg")).unwrap();
        symlink("1.png/under-a-file", class.join("4.jpg")).unwrap();
        symlink("../other", class.join("more")).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(class.join("5.jpg")).status();
        assert!(pipe.unwrap().success());
        let (images, passed) = listed(&class);
        assert_eq!(images, ["1.png", "more/2.png"]);
        check(&passed[0], &["2 that are links to nothing", "3.jpg"]);
        check(&passed[1], &["1 that are pipes or devices", "5.jpg"]);

        symlink("../class", root.path().join("other/back")).unwrap();
        let error = super::images(&class, &mut PassedOver::default()).unwrap_err().to_string();
        check(error, &["more/back: is a link to a folder that it lies in"]);
        symlink("nowhere", class.join("again")).unwrap();
        let error = super::images(&class, &mut PassedOver::default()).unwrap_err().to_string();
        check(error, &["again: is a link to nothing; mount"]);
    }
}
