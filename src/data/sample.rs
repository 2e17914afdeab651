//! The sample bundled with the program: 3,000 images of CIFAR-10 on two contact sheets (`assets/sample/README.md`).

use std::sync::Arc;

use super::cifar::CLASSES;
use super::decode::Image;
use super::split::{Part, Split, TILE, TILE_BYTES};
use super::{DataError, Dataset};

const TRAIN: &[u8] = include_bytes!("../../assets/sample/train.png");
const VALIDATION: &[u8] = include_bytes!("../../assets/sample/val.png");

/// Opens the sample: 2,500 training and 500 validation images, as many of every class.
pub(super) fn open(size: usize) -> Result<Dataset, DataError> {
    let read = |file, bytes| cut(file, bytes, size).map(Arc::new);
    Ok(Dataset {
        classes: CLASSES.map(str::to_owned).to_vec(),
        train: read("sample/train.png", TRAIN)?,
        validation: read("sample/val.png", VALIDATION)?,
    })
}

/// Cuts a contact sheet into tiles, left to right and top to bottom. The classes follow each other in equal shares.
fn cut(file: &str, bytes: &[u8], size: usize) -> Result<Split, DataError> {
    let sheet = Image::decode(file, bytes).map_err(|error| DataError::Sample(error.to_string()))?;
    let (across, down) = (sheet.width / TILE, sheet.height / TILE);
    let count = across * down;
    let share = count / CLASSES.len();
    if share * CLASSES.len() * TILE_BYTES != sheet.rgb.len() {
        return Err(DataError::Sample(format!("{file} is {}x{} pixels", sheet.width, sheet.height)));
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
    Ok(Split::tiles(size, pixels, labels, vec![Part { file: file.to_owned(), count }]))
}
