//! Resampling of 8-bit RGB images: a separable triangle filter, widened when shrinking so that nothing aliases.

/// The weights with which source pixels `first..first + weights.len()` make up one output pixel.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Scales `rgb` (`height` x `width` x 3 bytes) so that the shorter side has `size` pixels and crops the centre:
/// `size` x `size` x 3 bytes.
///
/// Only the pixels which end in the crop are computed, so an image 2 pixels high and 16,384 wide costs no more than
/// others. A crop at the original scale copies the bytes as they are.
pub(super) fn square(rgb: &[u8], width: usize, height: usize, size: usize) -> Vec<u8> {
    let short = width.min(height);
    let columns = taps(width, (width - short) / 2, short, size);
    let rows = taps(height, (height - short) / 2, short, size);
    let left = columns.first().map_or(0, |t| t.first);
    let right = columns.last().map_or(0, |t| t.first + t.weights.len());
    let mut line = vec![0.0_f32; (right - left) * 3];
    let mut out = Vec::with_capacity(size * size * 3);
    for row in &rows {
        line.fill(0.0);
        for (y, &weight) in (row.first..).zip(&row.weights) {
            let source = &rgb[(y * width + left) * 3..(y * width + right) * 3];
            for (sum, &value) in line.iter_mut().zip(source) {
                *sum += weight * f32::from(value);
            }
        }
        for column in &columns {
            let pixels = line[(column.first - left) * 3..].chunks_exact(3);
            let mut sum = [0.5_f32; 3]; // half, so that the cast below rounds to nearest
            for (pixel, &weight) in pixels.zip(&column.weights) {
                for (sum, &value) in sum.iter_mut().zip(pixel) {
                    *sum += weight * value;
                }
            }
            out.extend(sum.map(|value| value as u8));
        }
    }
    out
}

/// The taps of `size` output pixels spread over the source pixels `start..start + length` of a line of `full` pixels.
/// The filter may reach beyond that part, but not beyond the line.
fn taps(full: usize, start: usize, length: usize, size: usize) -> Vec<Taps> {
    let scale = length as f64 / size as f64;
    let reach = scale.max(1.0);
    let tap = |index: usize| {
        let centre = start as f64 + (index as f64 + 0.5) * scale;
        let first = (centre - reach).floor().max(0.0) as usize;
        let last = ((centre + reach).ceil() as usize).min(full);
        let weight = |pixel: usize| (1.0 - ((pixel as f64 + 0.5 - centre) / reach).abs()).max(0.0);
        let sum: f64 = (first..last).map(weight).sum();
        Taps { first, weights: (first..last).map(|pixel| (weight(pixel) / sum) as f32).collect() }
    };
    (0..size).map(tap).collect()
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
            let found = square(&source, width, height, size);
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
            prop_assert_eq!(square(&source, width, height, size), expected);
        }

        #[test]
        fn flat_colour_stays_flat(width in 2_usize..60, height in 2_usize..60, size in 1_usize..70, value: u8) {
            let out = square(&vec![value; width * height * 3], width, height, size);
            prop_assert_eq!(out, vec![value; size * size * 3]);
        }
    }

    #[test]
    fn extreme_shapes_cost_no_more_than_their_crop() {
        let out = square(&vec![9; 2 * 16_384 * 3], 16_384, 2, 256);
        assert_eq!(out, vec![9; 256 * 256 * 3]);
    }
}
