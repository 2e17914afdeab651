//! The filters of the first layer, as in the paper's Figure 3: those of tower A above those of tower B.

use super::picture::{Anchor, Ink, Mark, Picture, Pixels, TEXT};
use crate::checkpoint::Checkpoint;
use crate::net::LAYERS;
use crate::tensor::Tensor;

/// Filters in a row, as in the paper.
const COLUMNS: usize = 16;

/// Side of a filter in the picture, in pixels.
const SIDE: f32 = 44.0;

/// Space between two filters.
const GAP: f32 = 3.0;

/// Picture of the first layer's filters; `None` where the first layer is no convolution.
pub fn filters(checkpoint: &Checkpoint) -> Option<Picture> {
    let towers = towers(checkpoint)?;
    let (name, first) = towers.first()?;
    let [_, height, width, _] = first.shape()[..] else { return None };
    let row = name.split('.').next().unwrap_or(name);
    let about = format!("Filters of {row}, {width}×{height} pixels, tower by tower.");
    let mut picture = Picture::new(COLUMNS as f32 * (SIDE + GAP), 0.0, about);
    for (index, (_, tensor)) in towers.iter().enumerate() {
        if towers.len() > 1 {
            let letter = char::from(b'A' + index as u8);
            picture.text([0.0, picture.height + TEXT], format!("tower {letter}"), Ink::Faint, Anchor::Start);
            picture.height += 1.6 * TEXT;
        }
        let shown = images(tensor);
        for (k, pixels) in shown.iter().enumerate() {
            let (column, line) = (k % COLUMNS, k / COLUMNS);
            let at = [column as f32 * (SIDE + GAP), picture.height + line as f32 * (SIDE + GAP)];
            let tip = format!("filter {k} of tower {}", char::from(b'A' + index as u8));
            picture.marks.push(Mark::Image { frame: [at[0], at[1], SIDE, SIDE], pixels: pixels.clone(), tip });
        }
        picture.height += shown.len().div_ceil(COLUMNS) as f32 * (SIDE + GAP) + GAP;
    }
    Some(picture)
}

/// Weights of the first layer `[C][R][S][K]`, tower by tower.
fn towers(checkpoint: &Checkpoint) -> Option<Vec<(String, &Tensor)>> {
    let model = checkpoint.state.model(LAYERS).ok()?;
    let row = &model.layers.first()?.name;
    let letters = (0..model.towers).map(|tower| char::from(b'a' + tower as u8).to_string());
    let names = letters.map(|letter| format!("{row}.{letter}.weights")).chain([format!("{row}.weights")]);
    let found: Vec<_> = names.filter_map(|name| Some((name.clone(), checkpoint.tensors.get(&name)?))).collect();
    found.iter().all(|(_, tensor)| tensor.shape().len() == 4).then_some(found).filter(|found| !found.is_empty())
}

/// The filters of a tensor `[C][R][S][K]` as images, 0 as grey, each as bright as its largest weight allows.
pub(super) fn images(filters: &Tensor) -> Vec<Pixels> {
    let [channels, height, width, count] = filters.shape()[..] else { return Vec::new() };
    let values = filters.values();
    let image = |k: usize| {
        let at = |c: usize, y: usize, x: usize| values[((c * height + y) * width + x) * count + k];
        let places = || (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let colours = |(y, x): (usize, usize)| -> [f32; 3] {
            if channels == 3 {
                return [0, 1, 2].map(|c| at(c, y, x));
            }
            [(0..channels).map(|c| at(c, y, x)).sum::<f32>() / channels as f32; 3]
        };
        let most = places().flat_map(colours).map(f32::abs).fold(f32::MIN_POSITIVE, f32::max);
        let byte = |value: f32| (127.5 + 127.5 * value / most).round() as u8;
        Pixels { width, height, bytes: places().flat_map(|place| colours(place).map(byte)).collect() }
    };
    (0..count).map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_as_bright_as_its_largest_weight_allows() {
        // Two filters of 3 channels, 1×2 pixels.
        let values = vec![1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.5, 0.02, 0.0, -0.01];
        let images = images(&Tensor::new([3, 1, 2, 2], values));
        assert_eq!(images[0].bytes, [255, 0, 191, 128, 128, 128]);
        assert_eq!(images[1].bytes, [128, 128, 255, 128, 128, 64]);
    }
}
