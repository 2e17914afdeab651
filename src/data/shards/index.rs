//! Index of a shard: from the file beside it, or else from its tar headers.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::archive::{Archive, Member};
use crate::data::listing::{PassedOver, is_image_name, is_litter_member};
use crate::data::{ArchiveFault, DataError, DataFault, IndexFault, MAX_BYTES};
use crate::files::{open_file, read_at_most};

/// Largest size of an index file in bytes.
const MAX_INDEX: u64 = 256 << 20;

/// Version of the file format of [`Index`].
const VERSION: u32 = 1;

/// The places of a shard's images.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub(in crate::data) struct Index {
    version: u32,
    /// Size of the shard in bytes, by which a stale index is noticed.
    shard_bytes: u64,
    /// Whether the images are stored as plain pixels.
    pub(in crate::data) raw: bool,
    /// Reasons for the images of the source that were left out.
    pub(in crate::data) skipped: Vec<String>,
    /// Offset and size in bytes of each image, and its class.
    pub(in crate::data) images: Vec<(u64, u32, u32)>,
}

impl Index {
    /// The index of a shard of `shard_bytes`.
    pub(in crate::data) fn new(
        shard_bytes: u64,
        raw: bool,
        skipped: Vec<String>,
        images: Vec<(u64, u32, u32)>,
    ) -> Self {
        Self { version: VERSION, shard_bytes, raw, skipped, images }
    }

    /// Path of the index of `shard`.
    pub(in crate::data) fn path(shard: &Path) -> PathBuf {
        shard.with_extension("json")
    }

    /// The index of `shard` and what of the shard it leaves out: from the file beside it, or by [`scan`].
    pub(super) fn open(shard: &Path) -> Result<(Self, PassedOver), DataError> {
        match Self::read(shard)? {
            Some(index) => Ok((index, PassedOver::default())),
            None => scan(shard),
        }
    }

    /// The index beside `shard`, if there is one.
    pub(in crate::data) fn read(shard: &Path) -> Result<Option<Self>, DataError> {
        let path = Self::path(shard);
        let bytes = match read_at_most(&path, MAX_INDEX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DataError::read(path)(error)),
        };
        let stale = |reason| DataError::content(&path, DataFault::Index(reason));
        let index: Self = serde_json::from_slice(&bytes).map_err(|error| stale(IndexFault::Damaged(error)))?;
        let shard_bytes = std::fs::metadata(shard).map_err(DataError::read(shard))?.len();
        if index.version != VERSION || index.shard_bytes != shard_bytes {
            return Err(stale(IndexFault::OtherShard(shard.into())));
        }
        let fits = |&(offset, length, _): &(u64, u32, u32)| {
            u64::from(length) <= MAX_BYTES && offset.checked_add(length.into()).is_some_and(|end| end <= shard_bytes)
        };
        match index.images.iter().find(|image| !fits(image)) {
            Some(&(offset, length, _)) => Err(stale(IndexFault::Image { length, offset })),
            None => Ok(Some(index)),
        }
    }
}

/// The members of one sample, whose names are equal up to the first dot of the file name.
#[derive(Default)]
struct Sample {
    key: String,
    image: Option<(Member, bool)>,
    label: Option<u32>,
    /// Images under other extensions, of keys with dots for one: their number and the first.
    others: (usize, Option<Box<str>>),
}

/// Reason for passing over images of a shard.
const OTHER_KEYS: &str = "are images without a class under their key, which ends at the first dot";

/// Reads the headers of a WebDataset shard: samples of `KEY.jpg` (.jpeg, .png, or .rgb for plain pixels) and
/// `KEY.cls`; other members are ignored, and counted if nothing of their key is used.
fn scan(shard: &Path) -> Result<(Index, PassedOver), DataError> {
    let file = open_file(shard).map_err(DataError::read(shard))?;
    let mut archive = Archive::new(shard, &file)?;
    let (mut images, mut kinds) = (Vec::new(), [0_usize; 2]);
    let (mut sample, mut passed) = (Sample::default(), PassedOver::default());
    while let Some(member) = archive.next().transpose()? {
        let Some((key, extension)) = key(&member.name).filter(|_| !is_litter_member(&member.name)) else { continue };
        if key != sample.key {
            let done = std::mem::replace(&mut sample, Sample { key: key.to_owned(), ..Sample::default() });
            images.extend(done.finish(shard, &mut kinds, &mut passed)?);
        }
        match extension.to_ascii_lowercase().as_str() {
            kind @ ("jpg" | "jpeg" | "png" | "rgb") => {
                if member.length > MAX_BYTES {
                    return Err(archive.too_long(&member, MAX_BYTES));
                }
                let raw = kind == "rgb";
                sample.image.get_or_insert((member, raw));
            }
            "cls" => {
                let text = String::from_utf8_lossy(archive.small_content(&member)?).trim().to_owned();
                let wrong = |name, text| archive.wrong(member.offset, ArchiveFault::NoNumber { name, text });
                let label = text.parse().map_err(|_| wrong(member.name.to_string(), text));
                sample.label = Some(label?);
            }
            _ if is_image_name(Path::new(&*member.name)) => {
                sample.others.0 += 1;
                sample.others.1.get_or_insert(member.name);
            }
            _ => {}
        }
    }
    images.extend(sample.finish(shard, &mut kinds, &mut passed)?);
    if kinds.iter().all(|&count| count > 0) {
        return Err(DataError::content(shard, DataFault::MixedImages));
    }
    Ok((Index::new(0, kinds[1] > 0, Vec::new(), images), passed))
}

impl Sample {
    /// The image with its label; `None` for a sample with neither.
    fn finish(
        self,
        shard: &Path,
        kinds: &mut [usize; 2],
        passed: &mut PassedOver,
    ) -> Result<Option<(u64, u32, u32)>, DataError> {
        match (self.image, self.label) {
            (Some((image, raw)), Some(label)) => {
                kinds[usize::from(raw)] += 1;
                Ok(Some((image.offset, image.length as u32, label)))
            }
            (None, None) => {
                let (count, first) = self.others;
                passed.count(OTHER_KEYS, count, || shard.join(&*first.unwrap_or_default()).display().to_string());
                Ok(None)
            }
            (Some(_), None) => Err(DataError::content(shard, DataFault::NoClass(self.key))),
            (None, Some(_)) => Err(DataError::content(shard, DataFault::NoImage(self.key))),
        }
    }
}

/// Splits a member's name at the first dot of its file name; `None` for hidden files.
fn key(name: &str) -> Option<(&str, &str)> {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = file + name[file..].find('.')?;
    (dot > file).then(|| (&name[..dot], &name[dot + 1..]))
}
