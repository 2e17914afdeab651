//! The sample bundled with the program: 3,000 images of CIFAR-10 on two contact sheets (`assets/sample/README.md`).

use super::cifar::{CLASSES, TILE, TILE_BYTES, TileFile, Tiles};
use super::decode::Image;
use super::format::Opened;
use super::{DataError, SampleFault};

const TRAIN: &[u8] = include_bytes!("../../assets/sample/train.png");
const VALIDATION: &[u8] = include_bytes!("../../assets/sample/val.png");

/// Opens the sample: 2,500 training and 500 validation images, the same number of every class.
pub(super) fn open() -> Result<Opened, DataError> {
    let classes = CLASSES.map(str::to_owned).to_vec();
    Ok(Opened::new(classes, Some(cut("sample/train.png", TRAIN)?), cut("sample/val.png", VALIDATION)?))
}

/// Cuts a contact sheet into tiles, left to right and top to bottom. The classes follow each other in equal shares.
fn cut(file: &str, bytes: &[u8]) -> Result<Tiles, DataError> {
    let sheet = Image::decode(file, bytes).map_err(|error| DataError::Sample(SampleFault::Image(error)))?;
    let (across, down) = (sheet.width / TILE, sheet.height / TILE);
    let count = across * down;
    let share = count / CLASSES.len();
    if share * CLASSES.len() * TILE_BYTES != sheet.rgb.len() {
        let Image { width, height, .. } = sheet;
        return Err(DataError::Sample(SampleFault::Size { file: file.into(), width, height }));
    }
    let row = |tile: usize, y: usize| {
        let (top, left) = (tile / across * TILE + y, tile % across * TILE);
        &sheet.rgb[(top * sheet.width + left) * 3..][..TILE * 3]
    };
    let mut pixels = Vec::with_capacity(sheet.rgb.len());
    for tile in 0..count {
        (0..TILE).for_each(|y| pixels.extend_from_slice(row(tile, y)));
    }
    let labels = (0..count).map(|tile| (tile / share) as u32).collect();
    Ok(Tiles { pixels, labels, files: vec![TileFile { name: file.to_owned(), count }] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Split};

    #[test]
    fn the_sample_has_as_many_images_of_each_class() {
        let data = Dataset::of(open().unwrap(), 32).unwrap();
        for (split, share) in [(&data.train, 250), (&data.validation, 50)] {
            for class in 0..10 {
                assert_eq!((0..split.len()).filter(|&i| split.label(i) == class).count(), share);
            }
            assert!((0..split.len()).all(|i| split.decode(i).is_ok_and(|image| image.len() == TILE_BYTES)));
        }
        assert_eq!(data.train.name(17), "sample/train.png image 17");
        assert!(TRAIN.len() + VALIDATION.len() <= 8_000_000, "the sample is to stay below 8 MB");
    }

    /// The first two pixels of the first tile and the last two of the last, read from the records themselves: numbers
    /// 29 and 2498 of `data_batch_1.bin`, 0 and 578 of `data_batch_4.bin`.
    #[test]
    fn tiles_are_the_records_of_cifar() {
        let data = Dataset::of(open().unwrap(), 32).unwrap();
        let ends = |split: &Split| {
            let (first, last) = (split.decode(0).unwrap(), split.decode(split.len() - 1).unwrap());
            [first[..6].to_vec(), last[TILE_BYTES - 6..].to_vec()]
        };
        assert_eq!(ends(&data.train), [[202, 204, 199, 202, 204, 199], [114, 102, 78, 123, 116, 101]]);
        assert_eq!(ends(&data.validation), [[178, 176, 189, 178, 176, 189], [135, 135, 135, 140, 140, 140]]);
    }

    #[test]
    fn a_sheet_of_the_wrong_shape_is_refused() {
        let sheet = crate::data::testing::png(33, 320, [0; 3]);
        assert!(cut("sheet", &sheet).unwrap_err().to_string().contains("sheet is 33x320"));
        assert!(cut("sheet", b"text").is_err());
        let tiny = crate::data::testing::png(8, 8, [0; 3]);
        assert!(cut("sheet", &tiny).is_err());
    }
}
