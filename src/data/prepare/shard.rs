//! Writing one shard: a tar of images and their classes, an index, and for training images their sums.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use tar::{Builder, EntryType, Header};

use super::{PrepareObserver, Recipe, image_name};
use crate::data::shards::{Index, PLACE};
use crate::data::statistics::Sums;
use crate::data::{Broken, DataError, DataFault, ImageError, ImageFault, Split};
use crate::files::{AtomicFile, write_file};

/// Largest number of characters of a key that come from the name of the image.
const LONGEST_STEM: usize = 60;

/// A shard to write.
pub(super) struct ShardTask<'a> {
    /// Path of the shard.
    pub(super) path: PathBuf,
    /// Folder of the source data set.
    pub(super) source: &'a Path,
    /// Split that the images are taken from.
    pub(super) images: &'a Split,
    /// Numbers of the images in the split, in their order in the shard.
    pub(super) numbers: &'a [u32],
    /// Position of the first of them in the order of the split.
    pub(super) first: usize,
    /// Whether they are training images, whose sums are needed.
    pub(super) training: bool,
}

/// Path of the sums of a shard's images, which are kept until all shards are written.
pub(super) fn sums_path(shard: &Path) -> PathBuf {
    shard.with_extension("sums")
}

impl ShardTask<'_> {
    /// Index of the shard if it is complete; with `summed` the file of sums is no longer needed.
    pub(super) fn finished(&self, summed: bool) -> Option<Index> {
        let sums = summed || !self.training || sums_path(&self.path).is_file();
        // A damaged shard is written again.
        Index::read(&self.path).ok().flatten().filter(|_| sums)
    }

    /// Writes the shard. The tar gets its name last: a tar that exists is complete.
    pub(super) fn write(
        &self,
        recipe: &Recipe,
        broken: &Broken,
        observer: &dyn PrepareObserver,
    ) -> Result<Index, DataError> {
        let mut sums = Sums::new(if self.training { recipe.size } else { 0 });
        let (mut entries, mut skipped, mut at) = (Vec::with_capacity(self.numbers.len()), Vec::new(), 0);
        let mut tar = Builder::new(AtomicFile::create(&self.path)?);
        for (place, &number) in (self.first..).zip(self.numbers) {
            let i = number as usize;
            let name = || image_name(self.source, self.images, i);
            match self.images.decode_patiently(i, &AtomicBool::new(false)) {
                Ok(rgb) => {
                    if self.training {
                        sums.add(&rgb);
                    }
                    let label = self.images.label(i);
                    let key = key(place, &name());
                    let (extension, content) = recipe.encode(&key, rgb).map_err(|error| self.unencoded(error))?;
                    let label_text = label.to_string();
                    entries.push((at + 512, content.len() as u32, label));
                    for (extension, content) in [(extension, &content[..]), ("cls", label_text.as_bytes())] {
                        let header = header(&format!("{key}.{extension}"), content.len());
                        let written = header.and_then(|header| tar.append(&header, content));
                        written.map_err(DataError::write(&self.path))?;
                        at += 512 + (content.len() as u64).next_multiple_of(512);
                    }
                }
                // A file that cannot be read stops the work: the image may be good.
                Err(error @ ImageError::Read(..)) => return Err(error.into()),
                Err(error) => {
                    // The name within the data set, wherever that lies.
                    let reason = error.to_string().replacen(&self.images.name(i), &name(), 1);
                    observer.skipped(&reason);
                    broken.add(1, || reason.clone())?;
                    skipped.push(reason);
                }
            }
            observer.image();
        }
        let file = tar.into_inner().map_err(DataError::write(&self.path))?;
        // After the entries two empty blocks.
        let index = Index::new(at + 1024, recipe.raw, skipped, entries);
        if self.training {
            write_file(&sums_path(&self.path), &sums.to_bytes())?;
        }
        let path = Index::path(&self.path);
        let mut beside = AtomicFile::create(&path)?;
        let written = serde_json::to_writer(&mut beside, &index).map_err(Into::into);
        written.and_then(|()| beside.write_all(b"\n")).map_err(DataError::write(&path))?;
        beside.finish()?;
        file.finish()?;
        Ok(index)
    }

    fn unencoded(&self, error: ImageError) -> DataError {
        DataError::content(&self.path, DataFault::Unencoded(error))
    }
}

impl Recipe {
    /// Encodes an image of `rgb` pixels: its extension and content.
    fn encode(&self, key: &str, rgb: Vec<u8>) -> Result<(&'static str, Vec<u8>), ImageError> {
        if self.raw {
            return Ok(("rgb", rgb));
        }
        let mut jpeg = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, self.quality);
        let encoded = encoder.encode(&rgb, self.size as u32, self.size as u32, ExtendedColorType::Rgb8);
        encoded.map_err(|error| ImageError::Damaged(key.into(), ImageFault::codec(error)))?;
        Ok(("jpg", jpeg))
    }
}

/// Header of a member, the same bytes on every machine and at any time.
fn header(name: &str, length: usize) -> std::io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(length as u64);
    header.set_cksum();
    Ok(header)
}

/// Key of an image: its place in the split, which makes it unique, and the stem of its old name without dots, which
/// would end the key.
fn key(place: usize, name: &str) -> String {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let stem: String = stem.chars().map(plain).take(LONGEST_STEM).collect();
    format!("{place:0PLACE$}-{stem}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_and_short() {
        assert_eq!(key(12, "n01440764.tar/n01440764_10026.JPEG"), "00000012-n01440764_10026");
        assert_eq!(key(0, "train/a.b/my photo.of.é.jpg"), "00000000-my_photo_of__");
        let long = key(123_456_789, &"x".repeat(300));
        assert!(header(&format!("{long}.jpg"), 7).is_ok(), "{long}");
    }
}
