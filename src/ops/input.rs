//! From stored bytes to the network's input: crop and mirror (section 4.1), subtract the mean image (section 2), change
//! the colours (section 4.1), scale. It runs on the device, so that only bytes are uploaded.
//!
//! Stored images are conventional, `[N][size][size][3]` bytes; the input is `[3][crop][crop][N]` as everywhere.

use crate::kernel::{Args, Case, Fill, Kernel, Params, Variant, for_each_chunk, read, words, write_map};
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// A batch of views.
    pub struct Shape {
        /// Images, N: a multiple of 8.
        images: usize,
        /// Height and width of a stored image.
        size: usize,
        /// Height and width of the input, at most `size`.
        crop: usize,
        /// Choice of the subtracted mean: the one at the pixel's own place (the paper's wording), or always the centre
        /// crop of the mean image, wherever the crop lies and whether or not it is mirrored (released code).
        mean_centred: bool,
        /// Factor of red, applied last.
        scale_r: f32,
        /// Factor of green, applied last.
        scale_g: f32,
        /// Factor of blue, applied last.
        scale_b: f32,
    }
}

impl Shape {
    /// Words that hold the packed images.
    pub fn words(&self) -> usize {
        (self.images * self.size * self.size * 3).div_ceil(4)
    }
}

/// Layout of the `views` slot: where every image is cropped.
pub mod view {
    /// Row of the crop's upper left corner in the stored image.
    pub const ROW: usize = 0;
    /// Column of the corner.
    pub const COLUMN: usize = 1;
    /// 1 where the crop is mirrored, else 0.
    pub const MIRROR: usize = 2;
    /// Words of an image; the last is unused.
    pub const COUNT: usize = 4;

    /// The words of one image.
    pub fn words(row: u32, column: u32, mirror: bool) -> [u32; COUNT] {
        let mut words = [0; COUNT];
        (words[ROW], words[COLUMN], words[MIRROR]) = (row, column, mirror.into());
        words
    }
}

/// Layout of the `colours` slot: how every image's colours are changed.
pub mod colour {
    /// Added to red, in units of a stored byte.
    pub const RED: usize = 0;
    /// Added to green, in the same units.
    pub const GREEN: usize = 1;
    /// Added to blue, in the same units.
    pub const BLUE: usize = 2;
    /// Factor of all three after the mean is subtracted and the shift added.
    pub const GAIN: usize = 3;
    /// Floats of an image.
    pub const COUNT: usize = 4;

    /// The floats of one image.
    pub fn floats([red, green, blue]: [f32; 3], gain: f32) -> [f32; COUNT] {
        let mut floats = [0.0; COUNT];
        (floats[RED], floats[GREEN], floats[BLUE], floats[GAIN]) = (red, green, blue, gain);
        floats
    }
}

const SOURCES: &[&str] = &[include_str!("../../shaders/common/views.wgsl"), include_str!("../../shaders/input.wgsl")];

/// y = (pixel − mean + shift) · scale · gain.
pub static CROP: Kernel = Kernel {
    name: "input.crop",
    doc: "y[c][i][j][n] = (images[n][row + i][column + (mirror ? crop-1-j : j)][c] - mean + colours[n][c]) scale[c] \
          colours[n][3]; images [N][size][size][3] bytes, views [N][4] = row, column, mirror, 0, colours [N][4] = red, \
          green, blue, gain, mean [size][size][3], y [3][crop][crop][N]",
    bindings: &[words("images"), words("views"), read("colours"), read("mean"), write_map("y")],
    variants: &[Variant::linear("crop", SOURCES, pixels)],
    twin: twin!(crop),
    cases,
    tolerance: 1e-6, // four roundings
    flops: |p| 12 * pixels(p) as u64,
    ..Kernel::PLAIN
};

/// Pixels of the input, of all images.
fn pixels(params: &Params) -> usize {
    params.get::<usize>("crop").pow(2) * params.get::<usize>("images")
}

fn cases() -> Vec<Case> {
    let plain = Shape { images: 8, size: 7, crop: 7, mean_centred: false, scale_r: 1.0, scale_g: 1.0, scale_b: 1.0 };
    let coloured = Shape { scale_r: 0.5, scale_g: 1.0 / 1.1, scale_b: 0.017, ..plain };
    let case = |(name, shape): (&str, Shape)| {
        let corner = |n: usize| (n * 5 % (shape.size - shape.crop + 1)) as u32;
        let views = (0..shape.images).flat_map(|n| match n {
            // Outside the image by little and by much.
            6 => view::words(u32::MAX, (shape.size - shape.crop + 1) as u32, true),
            n => view::words(corner(n), corner(n + 3), n % 2 == 1),
        });
        let buffers = vec![
            (shape.words(), Fill::Random),
            (view::COUNT * shape.images, Fill::Words(views.collect())),
            (colour::COUNT * shape.images, Fill::Normal(12.0)),
            (shape.size * shape.size * 3, Fill::Uniform(90.0, 140.0)),
            (3 * shape.crop * shape.crop * shape.images, Fill::Output),
        ];
        Case::new(name, shape.params(), buffers)
    };
    [
        ("whole images", plain),
        ("crops, mean in place", Shape { size: 12, crop: 9, images: 24, ..coloured }),
        ("crops, mean of the centre", Shape { size: 12, crop: 9, mean_centred: true, ..coloured }),
        ("odd border", Shape { size: 16, crop: 9, mean_centred: true, images: 24, ..plain }),
        ("a minibatch", Shape { size: 32, crop: 24, images: 128, mean_centred: true, ..coloured }),
    ]
    .map(case)
    .into()
}

/// First pixel of a view in the packed bytes and in the mean image, and whether it is mirrored.
struct View {
    image: usize,
    corner: usize,
    mirror: bool,
}

fn crop<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (images, views) = (args.words(), args.words());
    let (colours, mean, y) = (args.read(), args.read(), args.write());
    let most = (shape.size - shape.crop) as u32;
    let placed = |(n, v): (usize, &[u32])| View {
        image: n * shape.size * shape.size,
        corner: v[view::ROW].min(most) as usize * shape.size + v[view::COLUMN].min(most) as usize,
        mirror: v[view::MIRROR] != 0,
    };
    let views: Vec<View> = views.chunks_exact(view::COUNT).enumerate().map(placed).collect();
    let scale = [shape.scale_r, shape.scale_g, shape.scale_b].map(|scale| T::of(f64::from(scale)));
    let border = (shape.size - shape.crop) / 2;
    // A chunk is one line of one colour, of all images. Each image's line is read to its end: images lie far apart, and
    // going through them pixel by pixel would have each come from memory again.
    for_each_chunk(y, shape.crop * shape.images, |index, y| {
        let (c, i) = (index / shape.crop, index % shape.crop);
        for ((n, view), change) in views.iter().enumerate().zip(colours.chunks_exact(colour::COUNT)) {
            for (j, y) in y[n..].iter_mut().step_by(shape.images).enumerate() {
                let centre = (border + i) * shape.size + border + j;
                let at = view.corner + i * shape.size + if view.mirror { shape.crop - 1 - j } else { j };
                let mean = mean[3 * if shape.mean_centred { centre } else { at } + c];
                *y =
                    (byte::<T>(images, 3 * (view.image + at) + c) - mean + change[c]) * scale[c] * change[colour::GAIN];
            }
        }
    });
}

#[inline(always)]
fn byte<T: Real>(words: &[u32], index: usize) -> T {
    T::of(f64::from((words[index / 4] >> (index % 4 * 8)) & 0xFF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;
    use proptest::prelude::*;

    const PLAIN: Shape =
        Shape { images: 8, size: 3, crop: 2, mean_centred: false, scale_r: 1.0, scale_g: 2.0, scale_b: 0.5 };

    fn pack(bytes: &[u8]) -> Vec<u32> {
        let word = |four: &[u8]| four.iter().rev().fold(0, |word, &byte| (word << 8) | u32::from(byte));
        bytes.chunks(4).map(word).collect()
    }

    fn input(shape: Shape, bytes: &[u8], views: &[u32], colours: &[f64], mean: &[f64]) -> Vec<f64> {
        let mut y = vec![f64::NAN; 3 * shape.crop * shape.crop * shape.images];
        let images = pack(bytes);
        assert_eq!(images.len(), shape.words());
        let buffers =
            vec![Arg::Words(&images), Arg::Words(views), Arg::Read(colours), Arg::Read(mean), Arg::Write(&mut y)];
        crop(Args::new(&shape.params(), buffers));
        y
    }

    /// As the loader of the released code goes about it: cut out a picture, flip it, subtract a picture, add, scale,
    /// divide.
    fn naive(shape: Shape, bytes: &[u8], views: &[u32], colours: &[f64], mean: &[f64]) -> Vec<f64> {
        let Shape { images, size, crop, .. } = shape;
        let cut = |picture: &[f64], row: usize, column: usize, mirror: bool| -> Vec<Vec<[f64; 3]>> {
            let pixel = |r: usize, c: usize| [0, 1, 2].map(|k| picture[(r * size + c) * 3 + k]);
            let line = |r| (column..column + crop).map(|c| pixel(r, c)).collect();
            let mut lines: Vec<Vec<_>> = (row..row + crop).map(line).collect();
            lines.iter_mut().filter(|_| mirror).for_each(|line| line.reverse());
            lines
        };
        let mut y = vec![f64::NAN; 3 * crop * crop * images];
        for n in 0..images {
            let (row, column, mirror) = (views[4 * n] as usize, views[4 * n + 1] as usize, views[4 * n + 2] == 1);
            let picture: Vec<f64> = bytes[n * size * size * 3..][..size * size * 3].iter().map(|&b| b.into()).collect();
            let border = (size - crop) / 2;
            let picture = cut(&picture, row, column, mirror);
            let mean =
                if shape.mean_centred { cut(mean, border, border, false) } else { cut(mean, row, column, mirror) };
            for (k, scale) in [shape.scale_r, shape.scale_g, shape.scale_b].into_iter().enumerate() {
                for (i, j) in (0..crop).flat_map(|i| (0..crop).map(move |j| (i, j))) {
                    let value = (picture[i][j][k] - mean[i][j][k] + colours[4 * n + k]) * f64::from(scale);
                    y[((k * crop + i) * crop + j) * images + n] = value * colours[4 * n + 3];
                }
            }
        }
        y
    }

    proptest! {
        #[test]
        fn is_crop_flip_subtract_colour_scale(
            size in 1..9_usize, margin in 0..5_usize, mean_centred: bool, seed in any::<u64>(),
        ) {
            use crate::random::{Purpose, Stream};
            let crop = size.saturating_sub(margin).max(1);
            let shape = Shape { size, crop, mean_centred, ..PLAIN };
            let stream = Stream::new(seed, Purpose::Test, 0);
            let draw = |i: usize, k: u32, below: usize| stream.words(i as u64, k)[0] % below as u32;
            let bytes: Vec<u8> = (0..8 * size * size * 3).map(|i| draw(i, 0, 256) as u8).collect();
            let place = |n| [draw(n, 1, size - crop + 1), draw(n, 2, size - crop + 1), draw(n, 3, 2), 0];
            let views: Vec<u32> = (0..8).flat_map(place).collect();
            let colours: Vec<f64> = (0..32).map(|i| f64::from(draw(i, 4, 100)) - 50.0).collect();
            let mean: Vec<f64> = (0..size * size * 3).map(|i| f64::from(draw(i, 5, 256))).collect();
            let (got, want) =
                (input(shape, &bytes, &views, &colours, &mean), naive(shape, &bytes, &views, &colours, &mean));
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn a_view_outside_the_image_is_moved_inside() {
        let bytes: Vec<u8> = (0..8 * 27).map(|i| (i % 251) as u8).collect();
        let (colours, mean) = ([1.0; 32], [7.0; 27]);
        let inside = [1, 1, 0, 0].repeat(8);
        let outside = [u32::MAX, 2, 0, 0].repeat(8);
        let [inside, outside] = [inside, outside].map(|views| input(PLAIN, &bytes, &views, &colours, &mean));
        assert_eq!(inside, outside);
    }
}
