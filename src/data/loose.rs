//! Image files that a user names one by one: without labels.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decode::read_file;
use super::split::{ImageSet, StoredImage};
use super::{DataError, ImageError, NO_LABEL, Split};
use crate::files::open_file;

struct LooseImages {
    paths: Vec<PathBuf>,
    labels: Vec<u32>,
}

impl ImageSet for LooseImages {
    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn name(&self, i: usize) -> String {
        self.paths[i].display().to_string()
    }

    fn read(&self, i: usize) -> Result<StoredImage<'_>, ImageError> {
        read_file(&self.name(i), &self.paths[i]).map(|bytes| StoredImage::File(Cow::Owned(bytes)))
    }
}

impl Split {
    /// The image files at `paths`, which decode to `size` x `size` pixels and have no labels ([`NO_LABEL`]).
    ///
    /// # Errors
    /// When there is none, or one cannot be opened; whether they decode shows later.
    pub fn of_files(paths: &[impl AsRef<Path>], size: usize) -> Result<Arc<Self>, DataError> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| path.as_ref().to_path_buf()).collect();
        for path in &paths {
            open_file(path).map_err(DataError::read(path))?;
        }
        let labels = vec![NO_LABEL; paths.len()];
        Self::unlabelled("named", LooseImages { paths, labels }, size).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::png;

    #[test]
    fn files_are_images_without_labels_and_one_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let [there, missing] = ["a.png", "b.png"].map(|name| folder.path().join(name));
        std::fs::write(&there, png(4, 4, [9, 8, 7])).unwrap();
        let split = Split::of_files(&[&there], 2).unwrap();
        assert_eq!((split.len(), split.label(0), split.decode(0).unwrap()), (1, NO_LABEL, [9, 8, 7].repeat(4)));
        let message = Split::of_files(&[there, missing], 2).unwrap_err().to_string();
        assert!(message.contains("b.png: cannot be read"), "{message}");
    }
}
