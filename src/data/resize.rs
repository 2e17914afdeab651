//! Resampling of 8-bit RGB images: a triangle filter, widened when shrinking so that nothing aliases.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;

use super::turn::{mirror, turns_sideways};
use super::{ImageError, ImageFault};

/// Scales `rgb` (`height` x `width` x 3 bytes) so that the shorter side has `size` pixels and crops the centre:
/// `size` x `size` x 3 bytes.
///
/// Only the pixels which end in the crop are computed, so an image 2 pixels high and 16,384 wide costs no more than
/// others. A crop at the original scale copies the bytes as they are. `name` is used in messages only.
pub(super) fn square(
    name: &str,
    rgb: &[u8],
    (width, height): (usize, usize),
    size: usize,
) -> Result<Vec<u8>, ImageError> {
    if size == width.min(height) {
        return Ok(cut(rgb, (width, height), size));
    }
    let short = width.min(height);
    let centre = |side| (offset(side, short, size), short);
    scaled(name, rgb, (width, height), [centre(width), centre(height)], (size, size))
}

/// The same of an image that is turned upright by `orientation` first, to the same bytes; the image itself is at most
/// mirrored, in place.
pub(super) fn square_turned(
    name: &str,
    mut rgb: Vec<u8>,
    (width, height): (usize, usize),
    size: usize,
    orientation: Orientation,
) -> Result<Vec<u8>, ImageError> {
    mirror(&mut rgb, (width, height), orientation);
    if !turns_sideways(orientation) {
        return square(name, &rgb, (width, height), size);
    }
    let short = width.min(height);
    let mut pixels = if size == short {
        cut(&rgb, (width, height), size)
    } else {
        // Columns of an upright image are scaled before its rows: of this one rows before columns.
        let centre = |side| (offset(side, short, size), short);
        let narrow = scaled(name, &rgb, (width, height), [centre(width), (0.0, height)], (size, height))?;
        drop(rgb);
        scaled(name, &narrow, (size, height), [(0.0, size), centre(height)], (size, size))?
    };
    let grid = pixels.as_chunks_mut::<3>().0;
    for y in 1..size {
        (0..y).for_each(|x| grid.swap(y * size + x, x * size + y));
    }
    Ok(pixels)
}

/// First pixel of the crop along a side, in pixels of the image. The crop begins at a whole pixel of the scaled image,
/// so that nothing is blurred where the scale is 1.
fn offset(side: usize, short: usize, size: usize) -> f64 {
    ((side * size / short).saturating_sub(size) / 2 * short) as f64 / size as f64
}

/// The centre of an image whose shorter side has `size` pixels. Where the border is odd the resizer would centre
/// between two pixels, and blur.
fn cut(rgb: &[u8], (width, height): (usize, usize), size: usize) -> Vec<u8> {
    let (left, top) = ((width - size) / 2, (height - size) / 2);
    let row = |y: usize| &rgb[(y * width + left) * 3..][..size * 3];
    (top..top + size).flat_map(row).copied().collect()
}

/// A crop scaled to `to` pixels across and down; first pixel and length of the crop are given across and down.
fn scaled(
    name: &str,
    rgb: &[u8],
    (width, height): (usize, usize),
    [(left, across), (top, down)]: [(f64, usize); 2],
    to: (usize, usize),
) -> Result<Vec<u8>, ImageError> {
    let damaged = |reason| ImageError::Damaged(name.into(), reason);
    let from = TypedImageRef::<U8x3>::from_buffer(width as u32, height as u32, rgb)
        .map_err(|e| damaged(ImageFault::codec(e)))?;
    let mut pixels = vec![0; to.0 * to.1 * 3];
    let mut into = TypedImage::<U8x3>::from_buffer(to.0 as u32, to.1 as u32, &mut pixels)
        .map_err(|e| damaged(ImageFault::codec(e)))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(
        left,
        top,
        across as f64,
        down as f64,
    );
    // Untyped, it would compile the filters of all thirteen types of pixels: a third of this crate's machine code.
    Resizer::new().resize_typed(&from, &mut into, &options).map_err(|e| damaged(ImageFault::codec(e)))?;
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use image::imageops::{FilterType, crop_imm, resize};
    use image::{DynamicImage, RgbImage};
    use proptest::prelude::*;

    use super::*;
    use crate::data::testing::pattern;

    #[test]
    fn agrees_with_the_image_crate_on_scaling_and_cropping() {
        // Sides for which the scaled longer side and the crop's offset are whole numbers.
        for (width, height, size) in [(40, 40, 17), (40, 20, 30), (90, 150, 30), (32, 32, 224), (150, 90, 90)] {
            let source = pattern(width, height);
            let short = width.min(height);
            let (across, down) = (width * size / short, height * size / short);
            let image = RgbImage::from_raw(width as u32, height as u32, source.clone()).unwrap();
            let scaled = resize(&image, across as u32, down as u32, FilterType::Triangle);
            let (left, top) = ((across - size) / 2, (down - size) / 2);
            let expected = crop_imm(&scaled, left as u32, top as u32, size as u32, size as u32).to_image();
            let found = square("", &source, (width, height), size).unwrap();
            let worst = found.iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "{width}x{height} to {size}: {worst:?}");
        }
    }

    proptest! {
        #[test]
        fn the_original_scale_copies_bytes(width in 2_usize..40, height in 2_usize..40) {
            let source = pattern(width, height);
            let size = width.min(height);
            let (left, top) = ((width - size) / 2, (height - size) / 2);
            let expected: Vec<u8> = (top..top + size)
                .flat_map(|y| source[(y * width + left) * 3..][..size * 3].to_vec())
                .collect();
            prop_assert_eq!(square("", &source, (width, height), size).unwrap(), expected);
        }

        #[test]
        fn turning_and_then_scaling_gives_the_same_bytes(
            width in 2_usize..90, height in 2_usize..90, size in 1_usize..70, exif in 1_u8..9,
        ) {
            let orientation = Orientation::from_exif(exif).unwrap();
            let source = pattern(width, height);
            let mut upright: DynamicImage =
                RgbImage::from_raw(width as u32, height as u32, source.clone()).unwrap().into();
            upright.apply_orientation(orientation);
            let sides = (upright.width() as usize, upright.height() as usize);
            let expected = square("", upright.as_bytes(), sides, size).unwrap();
            prop_assert_eq!(square_turned("", source, (width, height), size, orientation).unwrap(), expected);
        }

        #[test]
        fn flat_colour_stays_flat(width in 2_usize..60, height in 2_usize..60, size in 1_usize..70, value: u8) {
            let out = square("", &vec![value; width * height * 3], (width, height), size).unwrap();
            prop_assert_eq!(out, vec![value; size * size * 3]);
        }
    }

    #[test]
    fn extreme_shapes_cost_no_more_than_their_crop() {
        let out = square("", &vec![9; 2 * 16_384 * 3], (16_384, 2), 256).unwrap();
        assert_eq!(out, vec![9; 256 * 256 * 3]);
    }
}
