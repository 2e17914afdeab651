//! Resampling of 8-bit RGB images: a triangle filter, widened when shrinking so that nothing aliases.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::ImageError;

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
    let refuse = |reason: &dyn std::fmt::Display| ImageError::Damaged(name.into(), reason.to_string());
    let from = TypedImageRef::<U8x3>::from_buffer(width as u32, height as u32, rgb).map_err(|e| refuse(&e))?;
    if size == width.min(height) {
        // Where the border is odd the library would centre between two pixels, and blur.
        let (left, top) = ((width - size) / 2, (height - size) / 2);
        let row = |y: usize| &rgb[(y * width + left) * 3..][..size * 3];
        return Ok((top..top + size).flat_map(row).copied().collect());
    }
    let mut pixels = vec![0; size * size * 3];
    let mut to = TypedImage::<U8x3>::from_buffer(size as u32, size as u32, &mut pixels).map_err(|e| refuse(&e))?;
    let short = width.min(height).max(1);
    // The crop begins at a whole pixel of the scaled image, so that nothing is blurred where the scale is 1.
    let offset = |side: usize| ((side * size / short).saturating_sub(size) / 2 * short) as f64 / size as f64;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(
        offset(width),
        offset(height),
        short as f64,
        short as f64,
    );
    // Untyped, it would compile the filters of all thirteen types of pixels: a third of this crate's machine code.
    Resizer::new().resize_typed(&from, &mut to, &options).map_err(|e| refuse(&e))?;
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use image::imageops::{FilterType, crop_imm, resize};
    use proptest::prelude::*;

    use super::*;

    fn pattern(width: usize, height: usize) -> Vec<u8> {
        let value = |i: usize| ((i * 2_654_435_761) >> 13) as u8;
        (0..width * height * 3).map(value).collect()
    }

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
