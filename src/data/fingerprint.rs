//! Numbers that change with the images of a data set.

use std::time::UNIX_EPOCH;

use rayon::prelude::*;

use super::Split;

impl Split {
    /// A number that changes with the size of decoded images and with the names, the sizes and the times of the stored
    /// ones; `None` where the format keeps no time of each.
    pub fn fingerprint(&self) -> Option<u64> {
        let image = |i| {
            let time = self.modified(i)?.duration_since(UNIX_EPOCH).ok()?;
            let mut hash = Fnv::new();
            hash.add(self.name(i).as_bytes());
            hash.add(&self.stored_bytes(i).ok()?.to_le_bytes());
            hash.add(&time.as_nanos().to_le_bytes());
            Some(hash.0)
        };
        self.modified(0)?;
        let images: Option<Vec<u64>> = (0..self.len()).into_par_iter().map(image).collect();
        let mut hash = Fnv::new();
        hash.add(&self.size().to_le_bytes());
        images?.iter().for_each(|image| hash.add(&image.to_le_bytes()));
        Some(hash.0)
    }
}

/// The hash FNV-1a of 64 bits over parts, each with its length.
pub(super) struct Fnv(pub(super) u64);

impl Fnv {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn add(&mut self, part: &[u8]) {
        let bytes = part.iter().copied().chain((part.len() as u64).to_le_bytes());
        self.0 = bytes.fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }
}

#[cfg(test)]
mod tests {
    use crate::data::Dataset;
    use crate::data::testing::{folder, png};

    #[test]
    fn another_size_time_or_name_is_another_data_set() {
        let root = folder([
            ("train/a/1.png", png(4, 4, [10, 0, 255])),
            ("train/a/2.png", png(4, 4, [10, 1, 255])),
            ("val/a/1.png", png(4, 4, [1; 3])),
        ]);
        let at = |size| Dataset::open(Some(root.path()), size).unwrap().train.fingerprint().unwrap();
        let first = at(4);
        assert_eq!(first, at(4));
        assert_ne!(first, at(5));
        let file = root.path().join("train/a/1.png");
        let touched = std::fs::File::options().write(true).open(&file).unwrap();
        touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let second = at(4);
        std::fs::rename(&file, root.path().join("train/a/0.png")).unwrap();
        assert!(first != second && second != at(4));
        assert_eq!(Dataset::open(None, 4).unwrap().train.fingerprint(), None);
    }
}
