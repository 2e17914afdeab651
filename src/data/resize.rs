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
