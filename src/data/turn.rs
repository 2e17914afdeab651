//! Turning of 8-bit RGB images in their own memory, as a camera's orientation asks for.

use image::metadata::Orientation;

/// Most rows whose pixels become columns at once.
const BAND: usize = 64;

/// Columns of a band that are written at once, which stay in the nearest cache.
const TILE: usize = 16;

/// Turns `rgb` (`height` x `width` x 3 bytes) upright; its width and height then. Beside the image it takes the memory
/// of at most [`BAND`] rows twice.
pub(super) fn turn(rgb: &mut [u8], (width, height): (usize, usize), orientation: Orientation) -> (usize, usize) {
    mirror(rgb, (width, height), orientation);
    if !turns_sideways(orientation) {
        return (width, height);
    }
    transpose(rgb.as_chunks_mut().0, (width, height));
    (height, width)
}

/// Mirrors `rgb` in place as far as `orientation` asks for before rows become columns, if they do.
pub(super) fn mirror(rgb: &mut [u8], (width, height): (usize, usize), orientation: Orientation) {
    match mirrored(orientation) {
        (false, false) => {}
        (true, false) => rgb.chunks_exact_mut(width * 3).for_each(|row| reverse(row.as_chunks_mut().0)),
        (true, true) => reverse(rgb.as_chunks_mut().0),
        (false, true) => {
            let (top, bottom) = rgb.split_at_mut(height / 2 * width * 3);
            let rows = bottom.chunks_exact_mut(width * 3).rev();
            top.chunks_exact_mut(width * 3).zip(rows).for_each(|(above, below)| above.swap_with_slice(below));
        }
    }
}

/// Whether rows of the image become columns when it is turned upright.
pub(super) fn turns_sideways(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Whether the image is mirrored across and down, before rows become columns.
fn mirrored(orientation: Orientation) -> (bool, bool) {
    match orientation {
        Orientation::NoTransforms | Orientation::Rotate90FlipH => (false, false),
        Orientation::FlipHorizontal | Orientation::Rotate270 => (true, false),
        Orientation::FlipVertical | Orientation::Rotate90 => (false, true),
        Orientation::Rotate180 | Orientation::Rotate270FlipH => (true, true),
    }
}

/// Makes rows of pixels columns, in place: first within each of the bands of rows, by way of a copy of the band; then
/// the columns of the bands, each whole, take the places of each other; then the rows that no band holds come to their
/// ends.
fn transpose(pixels: &mut [[u8; 3]], (width, height): (usize, usize)) {
    let most = BAND.min(height);
    let Some(band) = (most.div_ceil(2)..=most).rev().min_by_key(|rows| height % rows) else { return };
    let (bands, whole) = (height / band, height - height % band);
    let left_over = pixels[whole * width..].to_vec();
    let mut copy = vec![[0; 3]; band * width];
    for rows in pixels[..whole * width].chunks_exact_mut(band * width) {
        copy.copy_from_slice(rows);
        for left in (0..width).step_by(TILE) {
            let right = (left + TILE).min(width);
            for (y, row) in copy.chunks_exact(width).enumerate() {
                (left..right).for_each(|x| rows[x * band + y] = row[x]);
            }
        }
    }
    // Column x of band b goes from place b * width + x to x * bands + b, in rings of places.
    let from = |to: usize| to % bands * width + to / bands;
    let mut done = vec![false; bands * width];
    let mut first = vec![[0; 3]; band];
    for start in 0..done.len() {
        if done[start] || from(start) == start {
            continue;
        }
        first.copy_from_slice(&pixels[start * band..][..band]);
        let mut to = start;
        while from(to) != start {
            pixels.copy_within(from(to) * band..(from(to) + 1) * band, to * band);
            done[to] = true;
            to = from(to);
        }
        pixels[to * band..][..band].copy_from_slice(&first);
        done[to] = true;
    }
    for row in (0..width).rev().take_while(|_| whole < height) {
        pixels.copy_within(row * whole..(row + 1) * whole, row * height);
        let end = &mut pixels[row * height + whole..(row + 1) * height];
        end.iter_mut().zip(left_over[row..].iter().step_by(width)).for_each(|(to, from)| *to = *from);
    }
}

/// Reverses the order of pixels, four from either end at a time: twice as fast as one by one.
fn reverse(pixels: &mut [[u8; 3]]) {
    let half = pixels.len() / 2;
    let (front, back) = pixels.split_at_mut(pixels.len() - half);
    let (front, inner) = front[..half].as_chunks_mut::<4>();
    let (inner_back, back) = back.as_rchunks_mut::<4>();
    for (first, last) in front.iter_mut().zip(back.iter_mut().rev()) {
        (*first, *last) = (reversed(*last), reversed(*first));
    }
    inner.swap_with_slice(inner_back);
    inner.reverse();
    inner_back.reverse();
}

/// The same of four pixels, as three words.
fn reversed(pixels: [[u8; 3]; 4]) -> [[u8; 3]; 4] {
    let [a, b, c] = bytemuck::cast::<_, [u32; 3]>(pixels).map(u32::from_le);
    let first = c >> 8 | (b >> 16 & 0xFF) << 24;
    let second = b >> 24 | (c & 0xFF) << 8 | (a >> 24) << 16 | b << 24;
    let third = b >> 8 & 0xFF | a << 8;
    bytemuck::cast([first, second, third].map(u32::to_le))
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage};
    use proptest::prelude::*;

    use super::*;
    use crate::data::testing::pattern;

    #[test]
    fn pixels_are_reversed() {
        for count in 0..40 {
            let mut pixels: Vec<[u8; 3]> = pattern(count, 1).as_chunks().0.to_vec();
            let expected: Vec<_> = pixels.iter().rev().copied().collect();
            reverse(&mut pixels);
            assert_eq!(pixels, expected, "{count} pixels");
        }
    }

    proptest! {
        #[test]
        fn an_image_is_turned_as_the_image_crate_does(width in 1_usize..200, height in 1_usize..200, exif in 1_u8..9) {
            let orientation = Orientation::from_exif(exif).unwrap();
            let mut rgb = pattern(width, height);
            let mut wanted: DynamicImage =
                RgbImage::from_raw(width as u32, height as u32, rgb.clone()).unwrap().into();
            wanted.apply_orientation(orientation);
            let sides = turn(&mut rgb, (width, height), orientation);
            prop_assert_eq!(sides, (wanted.width() as usize, wanted.height() as usize));
            prop_assert!(rgb == wanted.as_bytes());
        }
    }
}
