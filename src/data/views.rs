//! Views of stored images: crop, mirror and colour change, in training and evaluation.

use super::Colours;
use crate::random::{Purpose, Stream};

/// Crop, mirror and colour change of one stored image, drawn by the loader and computed by the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// First row of the crop within the stored image.
    pub y: u32,
    /// First column of the crop within the stored image.
    pub x: u32,
    /// Whether the crop is mirrored left to right.
    pub mirror: bool,
    /// Offset of red, green and blue, in units of 0 to 255.
    pub shift: [f32; 3],
    /// Factor of all channels after the offset.
    pub gain: f32,
}

impl Default for View {
    /// The upper left corner with unchanged colours.
    fn default() -> Self {
        Self { y: 0, x: 0, mirror: false, shift: [0.0; 3], gain: 1.0 }
    }
}

/// Rule for the views of a pass. `border2` is the stored side less the crop's: twice the released code's border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Views {
    /// The centre of every image, as in evaluation with a single view.
    Centre {
        /// Stored side less crop side, in pixels.
        border2: u32,
    },
    /// Random views, new ones in every epoch.
    Random(Draw),
}

impl Views {
    /// View of image `index` of the split, at `position` of the order.
    pub fn of(&self, index: u32, position: usize) -> View {
        match self {
            Self::Centre { border2 } => centre_view(*border2),
            Self::Random(draw) => draw.view(index, position),
        }
    }
}

/// Random views of one epoch of training (section 4.1 of the paper). A view depends on the seed, the epoch and its
/// image alone, or if images share one on its place in the order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Seed of the run.
    pub seed: u64,
    /// Number of the epoch, from 0.
    pub epoch: u64,
    /// Stored side less crop side, in pixels.
    pub border2: u32,
    /// Whether offsets of crops are uniform in `0..=border2`; else crops are central.
    pub crop: bool,
    /// Whether half of the images are mirrored.
    pub mirror: bool,
    /// Number of successive images that share crop and mirror: 1 in the paper, 32 in the released code.
    pub together: usize,
    /// Colour noise, if any.
    pub noise: Option<Noise>,
}

impl Draw {
    /// Draws the view of image `index` at `position` of the order.
    pub fn view(&self, index: u32, position: usize) -> View {
        let [y, x, side, _] = match self.together {
            0 | 1 => Stream::new(self.seed, Purpose::Crop, 0).words(self.epoch, index),
            run => Stream::new(self.seed, Purpose::Crop, 1).words(self.epoch, (position / run) as u32),
        };
        let mirror = self.mirror && side >> 31 == 1;
        let place = |word| if self.crop { self.offset(word) } else { self.border2 / 2 };
        let view = View { y: place(y), x: place(x), mirror, ..View::default() };
        let Some(noise) = self.noise else { return view };
        let z = Stream::new(self.seed, Purpose::Colour, 0).normals(self.epoch, index);
        View { shift: noise.shift([z[0], z[1], z[2]]), gain: noise.gain, ..view }
    }

    fn offset(&self, word: u32) -> u32 {
        ((u64::from(word) * (u64::from(self.border2) + 1)) >> 32) as u32
    }
}

/// Colour noise: random multiples of the principal components of colour, drawn for each image and added to all its
/// pixels (section 4.1 of the paper).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Offset of red, green and blue for one standard deviation along each component.
    pub steps: [[f32; 3]; 3],
    /// Factor of the image afterwards.
    pub gain: f32,
}

impl Noise {
    /// Noise of the paper: α times the eigenvalue, α normal with standard deviation `alpha`.
    ///
    /// An eigenvalue is a square and depends on the unit of pixels. The paper names none; of pixels from 0 to 1 it
    /// moves brightness on ImageNet by a standard deviation of 5.8 of 255, of pixels from 0 to 255 it would by 1483.
    pub fn paper(colours: &Colours, alpha: f32) -> Self {
        Self::along(colours, colours.deviations.map(|deviation| alpha * deviation * deviation / 255.0), 1.0)
    }

    /// Noise of the released code (convdata_jpeg.py:155-179): α times the standard deviation; the image is then divided
    /// by 1 + `alpha`, about as much as the noise adds to it.
    pub fn released(colours: &Colours, alpha: f32) -> Self {
        Self::along(colours, colours.deviations.map(|deviation| alpha * deviation), 1.0 / (1.0 + alpha))
    }

    fn along(colours: &Colours, lengths: [f32; 3], gain: f32) -> Self {
        let mut steps = colours.eigenvectors;
        for (step, length) in steps.iter_mut().zip(lengths) {
            *step = step.map(|x| x * length);
        }
        Self { steps, gain }
    }

    fn shift(&self, z: [f64; 3]) -> [f32; 3] {
        let along = |c: usize| self.steps.iter().zip(z).map(|(step, z)| f64::from(step[c]) * z).sum::<f64>() as f32;
        [along(0), along(1), along(2)]
    }
}

/// Order in which an epoch visits `count` images: a permutation that depends on the seed and the epoch alone.
pub fn training_order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    Stream::new(seed, Purpose::Shuffle, 0).permutation(epoch, count)
}

/// View of the centre crop.
pub fn centre_view(border2: u32) -> View {
    View { y: border2 / 2, x: border2 / 2, ..View::default() }
}

/// The ten views of evaluation: the corners and the centre in the order of the original code, then the same mirrored.
pub fn ten_views(border2: u32) -> [View; 10] {
    let (centre, far) = (border2 / 2, border2);
    let offsets = [(0, 0), (0, far), (centre, centre), (far, 0), (far, far)];
    std::array::from_fn(|i| {
        let (y, x) = offsets[i % 5];
        View { y, x, mirror: i >= 5, ..View::default() }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRAW: Draw = Draw { seed: 1, epoch: 2, border2: 32, crop: true, mirror: true, together: 1, noise: None };

    /// Colours of ImageNet, from the released code's file of 2012 (spec, section 3.4).
    const IMAGENET: Colours = Colours {
        eigenvectors: [[0.564, 0.576, 0.592], [0.713, 0.024, -0.701], [0.418, -0.817, 0.397]],
        deviations: [121.78, 37.09, 19.72],
    };

    proptest! {
        #[test]
        fn training_views_stay_inside_and_depend_on_their_key_alone(
            seed: u64, epoch: u64, index: u32, position in 0_usize..1 << 40, border2 in 0_u32..5000, mirror: bool,
        ) {
            let draw = Draw { seed, epoch, border2, mirror, ..DRAW };
            let view = draw.view(index, position);
            prop_assert!(view.y <= border2 && view.x <= border2);
            prop_assert!(mirror || !view.mirror);
            prop_assert_eq!((view.shift, view.gain), ([0.0; 3], 1.0));
            prop_assert_eq!(view, Views::Random(draw).of(index, 0));
            let still = Draw { crop: false, mirror: false, ..draw };
            prop_assert_eq!(still.view(index, position), centre_view(border2));
        }
    }

    #[test]
    fn every_offset_is_as_likely() {
        let (mut rows, mut columns, mut mirrored) = ([0_u32; 33], [0_u32; 33], 0_u32);
        for index in 0..33_000 {
            let view = DRAW.view(index, 0);
            rows[view.y as usize] += 1;
            columns[view.x as usize] += 1;
            mirrored += u32::from(view.mirror);
        }
        // Five standard deviations of a binomial count: 1000 expected a bin, 16,500 mirrored.
        assert!(rows.iter().chain(&columns).all(|count| count.abs_diff(1000) < 156), "{rows:?} {columns:?}");
        assert!(mirrored.abs_diff(16_500) < 455, "{mirrored}");
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let views = |draw: Draw| (0..20).map(|i| draw.view(i, 0)).collect::<Vec<_>>();
        assert!(views(DRAW) != views(Draw { epoch: 3, ..DRAW }) && views(DRAW) != views(Draw { seed: 2, ..DRAW }));
        assert_ne!(training_order(1, 0, 50), training_order(1, 1, 50));
        assert_ne!(training_order(1, 0, 50), training_order(2, 0, 50));
    }

    #[test]
    fn images_in_a_row_may_share_a_draw_but_not_their_noise() {
        let draw = Draw { together: 32, noise: Some(Noise::released(&IMAGENET, 0.1)), ..DRAW };
        let views: Vec<View> = (0..128).map(|position| draw.view(1000 - position as u32, position)).collect();
        let place = |view: &View| (view.y, view.x, view.mirror);
        for run in views.chunks(32) {
            assert!(run.iter().all(|view| place(view) == place(&run[0])));
            assert!(run.windows(2).all(|pair| pair[0].shift != pair[1].shift && pair[0].gain == 1.0 / 1.1));
        }
        let places: std::collections::BTreeSet<_> = views.iter().map(place).collect();
        assert_eq!(places.len(), 4, "four draws for a minibatch of 128");
    }

    /// Compares mean and deviation of many draws along each component with `lengths`.
    fn spreads(noise: Noise, lengths: [f64; 3]) {
        const COUNT: u32 = 20_000;
        let draw = Draw { noise: Some(noise), ..DRAW };
        let shifts: Vec<_> = (0..COUNT).map(|i| draw.view(i, 0).shift.map(f64::from)).collect();
        for (component, length) in IMAGENET.eigenvectors.into_iter().zip(lengths) {
            let norm = component.map(|x| f64::from(x).powi(2)).iter().sum::<f64>().sqrt();
            let along = |shift: &[f64; 3]| -> f64 {
                shift.iter().zip(component).map(|(s, x)| s * f64::from(x)).sum::<f64>() / norm
            };
            let mean = shifts.iter().map(along).sum::<f64>() / f64::from(COUNT);
            let variance = shifts.iter().map(|shift| along(shift).powi(2)).sum::<f64>() / f64::from(COUNT);
            // Five standard errors; the vectors have three digits, so that the strongest shows in the others a little.
            let slack = 0.002 * lengths[0];
            assert!(mean.abs() < 5.0 * length / f64::from(COUNT).sqrt() + slack, "{mean}");
            assert!(
                (variance.sqrt() - length).abs() < 5.0 * length / f64::from(2 * COUNT).sqrt() + slack,
                "{variance}"
            );
        }
    }

    #[test]
    fn noise_follows_the_principal_components() {
        spreads(Noise::released(&IMAGENET, 0.1), [12.178, 3.709, 1.972]);
        spreads(Noise::paper(&IMAGENET, 0.1), [5.816, 0.539, 0.153]);
        assert_eq!(Noise::paper(&IMAGENET, 0.1).gain, 1.0);
    }

    #[test]
    fn ten_views_follow_the_original_order() {
        let views = ten_views(32);
        let offsets = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)];
        for (i, view) in views.iter().enumerate() {
            assert_eq!(((view.y, view.x), view.mirror), (offsets[i % 5], i >= 5));
        }
        assert_eq!(views[2], centre_view(32));
        assert_eq!(Views::Centre { border2: 32 }.of(7, 0), views[2]);
    }
}
