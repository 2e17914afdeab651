//! How the network looks at a stored image: where it crops, whether it mirrors, how it shifts the colours.

use crate::random::{Purpose, Stream};

/// One look at a stored image. Cropping happens where the batch is used; the loader only says how.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// First row of the crop within the stored image.
    pub y: u32,
    /// First column of the crop within the stored image.
    pub x: u32,
    /// Whether the crop is mirrored left to right.
    pub mirror: bool,
    /// Added to red, green and blue, in units of 0 to 255.
    pub shift: [f32; 3],
}

/// Which view each image of an epoch gets. `border2` is the stored side less the crop's: twice the original's border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Views {
    /// The centre, as in evaluation by a single view.
    Centre {
        /// Stored side less crop side, in pixels.
        border2: u32,
    },
    /// A random crop for every image and epoch, see [`training_view`].
    Random {
        /// Where the random numbers come from, see [`crop_stream`].
        stream: Stream,
        /// Counted from 0.
        epoch: u64,
        /// Stored side less crop side, in pixels.
        border2: u32,
        /// Whether half of the images are mirrored.
        mirror: bool,
    },
}

impl Views {
    /// The view of the image numbered `index` in its split.
    #[must_use]
    pub fn of(&self, index: u32) -> View {
        match *self {
            Self::Centre { border2 } => centre_view(border2),
            Self::Random { stream, epoch, border2, mirror } => training_view(&stream, epoch, index, border2, mirror),
        }
    }
}

/// The stream of a run's training crops.
#[must_use]
pub fn crop_stream(seed: u64) -> Stream {
    Stream::new(seed, Purpose::Crop, 0)
}

/// The order in which an epoch visits `count` images: a permutation that depends on the seed and the epoch alone.
#[must_use]
pub fn training_order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    Stream::new(seed, Purpose::Shuffle, 0).permutation(epoch, count)
}

/// A training view of image `index`: an offset uniform in `0..=border2` both ways and, where `mirror` is set, an even
/// chance of being mirrored. Each image draws for itself; the original drew once for 32 images.
#[must_use]
pub fn training_view(stream: &Stream, epoch: u64, index: u32, border2: u32, mirror: bool) -> View {
    let [y, x, side, _] = stream.words(epoch, index);
    let offset = |word: u32| ((u64::from(word) * (u64::from(border2) + 1)) >> 32) as u32;
    View { y: offset(y), x: offset(x), mirror: mirror && side >> 31 == 1, shift: [0.0; 3] }
}

/// The centre crop.
#[must_use]
pub fn centre_view(border2: u32) -> View {
    View { y: border2 / 2, x: border2 / 2, ..View::default() }
}

/// The ten views of evaluation: the corners and the centre in the order of the original code, then the same mirrored.
#[must_use]
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

    proptest! {
        #[test]
        fn training_views_stay_inside_and_depend_on_their_key_alone(
            seed: u64, epoch: u64, index: u32, border2 in 0_u32..5000, mirror: bool,
        ) {
            let view = training_view(&crop_stream(seed), epoch, index, border2, mirror);
            prop_assert!(view.y <= border2 && view.x <= border2);
            prop_assert!(mirror || !view.mirror);
            prop_assert_eq!(view.shift, [0.0; 3]);
            let again = Views::Random { stream: crop_stream(seed), epoch, border2, mirror }.of(index);
            prop_assert_eq!(view, again);
        }
    }

    #[test]
    fn every_offset_is_as_likely() {
        let stream = crop_stream(1);
        let (mut rows, mut columns, mut mirrored) = ([0_u32; 33], [0_u32; 33], 0_u32);
        for index in 0..33_000 {
            let view = training_view(&stream, 2, index, 32, true);
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
        let views = |seed, epoch| (0..20).map(|i| training_view(&crop_stream(seed), epoch, i, 32, true)).collect();
        let (a, b, c): (Vec<View>, Vec<View>, Vec<View>) = (views(1, 0), views(1, 1), views(2, 0));
        assert!(a != b && a != c);
        assert_ne!(training_order(1, 0, 50), training_order(1, 1, 50));
        assert_ne!(training_order(1, 0, 50), training_order(2, 0, 50));
    }

    #[test]
    fn ten_views_follow_the_original_order() {
        let views = ten_views(32);
        let offsets = [(0, 0), (0, 32), (16, 16), (32, 0), (32, 32)];
        for (i, view) in views.iter().enumerate() {
            assert_eq!(((view.y, view.x), view.mirror), (offsets[i % 5], i >= 5));
        }
        assert_eq!(views[2], centre_view(32));
        assert_eq!(Views::Centre { border2: 32 }.of(7), views[2]);
    }
}
