//! The filters of a convolution, as in the paper's Figure 3: those of tower A above those of tower B.

use thiserror::Error;

use super::picture::{Anchor, Ink, Mark, Picture, Pixels, TEXT, stacked};
use crate::checkpoint::Checkpoint;
use crate::net::{LAYERS, NetError, named};
use crate::tensor::Tensor;

/// Filters in a row, as in the paper.
const COLUMNS: usize = 16;

/// Side of a filter in the picture, in pixels, and the space between two.
const SIDE: f32 = 44.0;
const GAP: f32 = 3.0;

/// Side of a weight where every channel of a filter is shown by itself, in pixels.
const WEIGHT: f32 = 3.0;

/// Weights that are white where every channel is shown by itself, in root mean squares: few are larger, and if the
/// largest were white, nothing else would be seen.
const REACH: f32 = 4.0;

/// Grey around the channels of filters.
const AROUND: u8 = 236;

/// Reason why there are no filters to draw.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum FilterError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("there is no convolution {name}; this network has {known}")]
    NoLayer { name: String, known: String },
    #[error("the checkpoint lacks tensors of convolution {0}, or has others under their names")]
    Missing(String),
    #[error("the filters after step {0} have other shapes than those before: the checkpoints are of several networks")]
    Others(u64),
    #[error("found {0} checkpoints of the run, expected several; `alexnet train --keep N` keeps them")]
    Few(usize),
}

/// Weights that are as white, or as black, as it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contrast {
    /// The largest of the layer.
    Layer,
    /// The largest of each filter.
    Filter,
}

named! {
    Contrast:
    Layer "layer" "The same for all filters, as in the paper",
    Filter "filter" "For each filter by itself, so that faint ones show"
}

/// The filters of a convolution, tower by tower.
#[derive(Clone, Debug, PartialEq)]
pub struct Filters {
    /// Row of the network.
    pub layer: String,
    /// Weights `[C][R][S][K]` of each tower: of all maps that it sees, those of tower A first.
    towers: Vec<Tensor>,
}

impl Filters {
    /// Those of a row of the network in `checkpoint`; of its first convolution where no `layer` is named.
    pub fn new(checkpoint: &Checkpoint, layer: Option<&str>) -> Result<Self, FilterError> {
        let model = checkpoint.state.model(LAYERS)?;
        let is_convolution = |row: &&str| {
            let mut weights = checkpoint.tensors.iter().filter(|(name, _)| name.starts_with(&format!("{row}.")));
            weights.any(|(name, tensor)| name.contains(".weights") && tensor.shape().len() == 4)
        };
        let rows: Vec<&str> = model.layers.iter().map(|row| row.name.as_str()).filter(is_convolution).collect();
        let wanted = layer.or(rows.first().copied()).unwrap_or("of any name");
        if !rows.contains(&wanted) {
            let known = if rows.is_empty() { "none".into() } else { rows.join(", ") };
            return Err(FilterError::NoLayer { name: wanted.into(), known });
        }
        let letter = |tower: usize| char::from(b'a' + tower as u8);
        let own = (0..model.towers).map(|tower| format!("{wanted}.{}.weights", letter(tower)));
        // Of a row that sees several towers, each tower has a tensor for the maps of each.
        let parts = |name: String| -> Vec<&Tensor> {
            let seen = (0..model.towers).map(|tower| format!("{name}.{}", letter(tower)));
            std::iter::once(name.clone()).chain(seen).filter_map(|name| checkpoint.tensors.get(&name)).collect()
        };
        let towers = own.chain([format!("{wanted}.weights")]).map(parts).filter(|parts| !parts.is_empty());
        let towers: Option<Vec<Tensor>> = towers.map(|parts| joined(&parts)).collect();
        let towers = towers.filter(|towers| !towers.is_empty());
        Ok(Self { layer: wanted.into(), towers: towers.ok_or_else(|| FilterError::Missing(wanted.into()))? })
    }

    /// How far these have moved from those `before`.
    fn less(&self, before: &Self) -> Self {
        let less = |(now, before): (&Tensor, &Tensor)| {
            Tensor::new(now.shape(), now.values().iter().zip(before.values()).map(|(a, b)| a - b).collect())
        };
        Self { layer: self.layer.clone(), towers: self.towers.iter().zip(&before.towers).map(less).collect() }
    }

    fn mean_size(&self) -> f64 {
        let values = || self.towers.iter().flat_map(Tensor::values);
        values().map(|value| f64::from(value.abs())).sum::<f64>() / values().count().max(1) as f64
    }

    /// The filters as a picture: in colour where there are three channels, else each channel by itself.
    pub fn draw(&self, contrast: Contrast) -> Picture {
        let [channels, height, width] = self.towers[0].shape()[..3] else {
            unreachable!("a convolution has four axes")
        };
        let all: usize = self.towers.iter().map(|tower| tower.shape()[3]).sum();
        let plain = channels == 3 || channels == 1;
        let seen = if plain { String::new() } else { format!(", a column for each of {channels} maps") };
        let about = format!("{all} filters of {}, {width}×{height} pixels, tower by tower{seen}.", self.layer);
        let mut picture = Picture::new(0.0, 0.0, about);
        let values = || self.towers.iter().flat_map(Tensor::values).copied();
        let most = if plain { largest(values()) } else { REACH * root_mean_square(values()) };
        let most = (contrast == Contrast::Layer).then_some(most);
        for (index, tensor) in self.towers.iter().enumerate() {
            let letter = char::from(b'A' + index as u8);
            if self.towers.len() > 1 {
                picture.text([0.0, picture.height + TEXT], format!("tower {letter}"), Ink::Faint, Anchor::Start);
                picture.height += 1.6 * TEXT;
            }
            if plain {
                tiles(&mut picture, &images(tensor, most), letter);
            } else {
                let pixels = sheet(tensor, most);
                let [width, height] = [pixels.width, pixels.height].map(|side| WEIGHT * side as f32);
                let tip = format!("filters of tower {letter}, one a line");
                let frame = [0.0, picture.height, width, height];
                picture.marks.push(Mark::Image { frame, pixels, tip });
                picture.width = picture.width.max(width);
                picture.height += height + GAP;
            }
        }
        picture
    }
}

/// Filters in rows, upscaled.
fn tiles(picture: &mut Picture, shown: &[Pixels], letter: char) {
    for (k, pixels) in shown.iter().enumerate() {
        let (column, line) = (k % COLUMNS, k / COLUMNS);
        let at = [column as f32 * (SIDE + GAP), picture.height + line as f32 * (SIDE + GAP)];
        let tip = format!("filter {k} of tower {letter}");
        picture.marks.push(Mark::Image { frame: [at[0], at[1], SIDE, SIDE], pixels: pixels.clone(), tip });
    }
    picture.width = picture.width.max(shown.len().min(COLUMNS) as f32 * (SIDE + GAP) - GAP);
    picture.height += shown.len().div_ceil(COLUMNS) as f32 * (SIDE + GAP) + GAP;
}

/// Filters after each of some numbers of steps, below one another: the first as they are, then how far they moved since
/// the ones before.
pub fn filters_over_training(all: &[(u64, Filters)], contrast: Contrast) -> Result<Picture, FilterError> {
    let [(step, first), rest @ ..] = all else { return Err(FilterError::Few(0)) };
    if rest.is_empty() {
        return Err(FilterError::Few(1));
    }
    let shapes = |filters: &Filters| filters.towers.iter().map(|tower| tower.shape().to_vec()).collect::<Vec<_>>();
    if let Some((step, _)) = rest.iter().find(|(_, filters)| shapes(filters) != shapes(first)) {
        return Err(FilterError::Others(*step));
    }
    let titled = |words: String, filters: &Filters| {
        let (mut picture, drawn) = (Picture::new(0.0, 2.0 * TEXT, ""), filters.draw(contrast));
        picture.text([0.0, TEXT], words, Ink::Text, Anchor::Start);
        (picture.width, picture.about) = (drawn.width, drawn.about.clone());
        vec![picture, drawn]
    };
    let mut pictures = titled(format!("{} after step {step}", first.layer), first);
    for ((before, old), (step, new)) in all.iter().zip(rest) {
        let moved = new.less(old);
        let share = 100.0 * moved.mean_size() / old.mean_size().max(f64::MIN_POSITIVE);
        pictures
            .extend(titled(format!("change from step {before} to {step}: {share:.2} % of the weights' size"), &moved));
    }
    let about = format!("Filters of {} after step {step}, and {} changes since.", first.layer, rest.len());
    Ok(Picture { about, ..stacked(pictures) })
}

/// Tensors `[C][R][S][K]` of the same filters, one behind the other; `None` where they are others.
fn joined(parts: &[&Tensor]) -> Option<Tensor> {
    let mut shape = parts.first()?.shape().to_vec();
    let same = |part: &&Tensor| part.shape().len() == 4 && part.shape()[1..] == shape[1..];
    if shape.contains(&0) || !parts.iter().all(same) {
        return None;
    }
    shape[0] = parts.iter().map(|part| part.shape()[0]).sum();
    Some(Tensor::new(shape, parts.iter().flat_map(|part| part.values()).copied().collect()))
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.map(f32::abs).fold(0.0, f32::max)
}

fn root_mean_square(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + f64::from(value).powi(2), count + 1.0));
    (sum / f64::max(count, 1.0)).sqrt() as f32
}

/// Byte of a weight: 0 is grey, `most` white.
fn byte(value: f32, most: f32) -> u8 {
    (127.5 + 127.5 * (value / most.max(f32::MIN_POSITIVE)).clamp(-1.0, 1.0)).round() as u8
}

/// The filters of a tensor `[C][R][S][K]` as images, where `most`, or else the largest weight of each, is white.
pub(super) fn images(filters: &Tensor, most: Option<f32>) -> Vec<Pixels> {
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
        let most = most.unwrap_or_else(|| largest(places().flat_map(colours)));
        let bytes = places().flat_map(|place| colours(place).map(|value| byte(value, most))).collect();
        Pixels { width, height, bytes }
    };
    (0..count).map(image).collect()
}

/// All channels of all filters of a tensor `[C][R][S][K]`: a line for each filter, a column for each channel.
fn sheet(filters: &Tensor, most: Option<f32>) -> Pixels {
    let [channels, height, width, count] = filters.shape()[..] else { unreachable!("a convolution has four axes") };
    let values = filters.values();
    let (columns, rows) = (channels * (width + 1) - 1, count * (height + 1) - 1);
    let mut bytes = vec![AROUND; columns * rows * 3];
    for k in 0..count {
        let own = values[k..].iter().step_by(count);
        let most = most.unwrap_or_else(|| REACH * root_mean_square(own.copied()));
        for c in 0..channels {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let value = byte(values[((c * height + y) * width + x) * count + k], most);
                let at = 3 * ((k * (height + 1) + y) * columns + c * (width + 1) + x);
                bytes[at..at + 3].fill(value);
            }
        }
    }
    Pixels { width: columns, height: rows, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_as_bright_as_the_largest_weight_allows() {
        // Two filters of 3 channels, 1×2 pixels.
        let values = vec![1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.5, 0.02, 0.0, -0.01];
        let tensor = Tensor::new([3, 1, 2, 2], values);
        let own = images(&tensor, None);
        assert_eq!(own[0].bytes, [255, 0, 191, 128, 128, 128]);
        assert_eq!(own[1].bytes, [128, 128, 255, 128, 128, 64]);
        assert_eq!(images(&tensor, Some(1.0))[1].bytes, [128, 128, 130, 128, 128, 126]);
    }

    #[test]
    fn every_channel_of_a_filter_has_its_place() {
        // Two filters of 2 channels, 1×2 pixels: a line each, with a gap between channels and lines.
        let tensor = Tensor::new([2, 1, 2, 2], vec![1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let pixels = sheet(&tensor, None);
        assert_eq!((pixels.width, pixels.height), (5, 3));
        let red: Vec<u8> = pixels.bytes.iter().step_by(3).copied().collect();
        assert_eq!(red, [173, 82, 236, 128, 128, 236, 236, 236, 236, 236, 128, 128, 236, 191, 128]);
    }

    #[test]
    fn changes_are_drawn_below_the_first_filters() {
        let filters =
            |value| Filters { layer: "conv1".into(), towers: vec![Tensor::new([3, 2, 2, 4], vec![value; 48])] };
        let all = [(1, filters(1.0)), (2, filters(1.5)), (4, filters(1.5))];
        let picture = filters_over_training(&all, Contrast::Layer).unwrap();
        let text = |mark: &Mark| if let Mark::Text { text, .. } = mark { Some(text.clone()) } else { None };
        let words = picture.marks.iter().filter_map(text).collect::<Vec<_>>().join("; ");
        assert!(words.contains("from step 1 to 2: 50.00 %") && words.contains("from step 2 to 4: 0.00 %"), "{words}");
        assert!(filters_over_training(&all[..1], Contrast::Layer).is_err());
        let other = Filters { layer: "conv1".into(), towers: vec![Tensor::new([3, 1, 1, 1], vec![1.0; 3])] };
        assert!(filters_over_training(&[all[0].clone(), (9, other)], Contrast::Layer).is_err());
        let tensor = |shape: &[usize]| Tensor::new(shape, vec![1.0; shape.iter().product()]);
        let of = |a: &[usize], b: &[usize]| joined(&[&tensor(a), &tensor(b)]).map(|all| all.shape().to_vec());
        assert_eq!(of(&[3, 2, 2, 4], &[5, 2, 2, 4]), Some(vec![8, 2, 2, 4]));
        assert_eq!((of(&[3, 2, 2, 4], &[3, 2, 4]), of(&[3, 2, 2, 4], &[3, 2, 2, 5])), (None, None));
    }
}
