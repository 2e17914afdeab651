//! Dropout as in 2012 (section 4.2; released code, layer.cu): in training a unit is set to 0 with probability
//! 1 − keep and nothing is rescaled; in every other pass all outputs are multiplied by keep.
//!
//! The mask is a pure function of (seed, stream, step, unit of the whole layer, position in the minibatch): it depends
//! neither on the number of towers nor on micro-batches, is not stored, and the backward pass makes it again.

use crate::kernel::{Args, Case, Fill, Kernel, Params, Variant, for_each_chunk, read_map, words, write_map};
use crate::ops::activation::Activation;
use crate::ops::elementwise::{buffers, map};
use crate::ops::kind::{Caffe, LayerKind, Place, Scaling, Setting};
use crate::ops::layer::{Chw, Layer, LayerError, Saved, Site, ThroughRelu, map_slot, only};
use crate::ops::onnx::{Form, Subgraph};
use crate::ops::step;
use crate::program::{Recorder, Slot};
use crate::random::{Purpose, philox, stream_id, tag, unit};
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// Dropout of one tower's share of a layer.
    pub struct Shape {
        /// Units of this tower, C·H·W.
        units: usize,
        /// Images, N: a multiple of 8.
        images: usize,
        /// Index of this tower's first unit in the whole layer.
        first_unit: usize,
        /// Probability that a unit is kept.
        keep: f32,
        /// [`crate::random::stream_id`] of the layer's masks.
        stream: usize,
    }
}

const SOURCES: &[&str] =
    &[step::LAYOUT, include_str!("../../shaders/common/philox.wgsl"), include_str!("../../shaders/dropout.wgsl")];

fn elements(params: &Params) -> usize {
    params.get::<usize>("units") * params.get::<usize>("images")
}

/// The training pass; forward on x, backward on dy.
pub static MASK: Kernel = Kernel {
    name: "dropout.mask",
    doc: "y = x [unit(philox(unit, image / 4, step, stream)[image % 4]) < keep], not rescaled; x, y [C*H*W][N]",
    bindings: &[read_map("x"), words("step"), write_map("y")],
    variants: &[Variant::linear("mask", SOURCES, elements).vectors(4)],
    twin: twin!(mask),
    cases: || {
        // The second step also has a high seed word and is a later micro-batch.
        let steps = [step::words(1, 0, 8, 0), step::words(0x0123_4567_89AB_CDEF, 70_001, 120, 128)];
        let mut cases = cases(|n| vec![(n, Fill::Normal(1.0)), (step::COUNT, Fill::Random), (n, Fill::Output)]);
        cases.iter_mut().enumerate().for_each(|(i, c)| c.buffers[1].1 = Fill::Words(steps[i % 2].to_vec()));
        cases
    },
    tolerance: 0.0, // a copy or 0
    flops: |p| elements(p) as u64,
    ..Kernel::PLAIN
};

/// Every pass that is not training.
pub static SCALE: Kernel = Kernel {
    name: "dropout.scale",
    doc: "y = keep x; x, y [C*H*W][N]",
    bindings: &[read_map("x"), write_map("y")],
    variants: &[Variant::linear("scale", SOURCES, elements).vectors(4)],
    twin: twin!(scale),
    cases: || cases(|n| buffers(n, &[Fill::Normal(1.0)])),
    tolerance: 1e-6, // one rounding
    flops: |p| elements(p) as u64,
    ..Kernel::PLAIN
};

fn cases(buffers: fn(usize) -> Vec<(usize, Fill)>) -> Vec<Case> {
    let shapes = [
        ("one unit", 1, 8, 0, 0.5, 0x0200_0001),
        ("tower b", 300, 128, 300, 0.5, 0x02FF_FFFF),
        ("ragged", 77, 24, 13, 0.8, 0x0200_0000),
        ("keep all", 5, 24, 0, 1.0, 3),
    ];
    let case = |(name, units, images, first_unit, keep, stream): (&str, usize, usize, _, _, _)| {
        let shape = Shape { units, images, first_unit, keep, stream };
        Case::new(name, shape.params(), buffers(units * images))
    };
    shapes.map(case).into()
}

/// `dropout`, with the share that it keeps: the paper's half where a row states none.
pub static KIND: LayerKind = LayerKind {
    name: "dropout",
    settings: &[Setting::real_or("keep", 0.5)],
    shared: None,
    place: Place::Stage {
        build: |settings| match settings.get("keep") {
            keep if keep > 0.0 && keep <= 1.0 => Ok(Box::new(DropoutLayer { keep })),
            _ => Err(LayerError::Settings {
                layer: "dropout",
                expected: "a share to keep, above 0 and at most 1".into(),
                found: settings.clone(),
            }),
        },
        epilogue: Activation::Linear,
    },
    scaling: Scaling::Factor(|settings| settings.get("keep")),
    onnx: |_, _| Subgraph::new(Form::Any),
    caffe: Caffe::Nothing,
    kernels: &[&MASK, &SCALE],
    examples: &["\"dropout\"", "dropout = 0.7"],
};

/// Dropout of one tower's share of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct DropoutLayer {
    /// Probability that a unit is kept.
    pub keep: f32,
}

impl DropoutLayer {
    fn shape(&self, site: &Site, maps: Chw) -> Shape {
        let (units, (_, share)) = (maps.count(), site.share);
        let stream = stream_id(Purpose::Dropout, tag(site.layer)) as usize;
        Shape { units, images: site.images, first_unit: share * units, keep: self.keep, stream }
    }
}

impl Layer for DropoutLayer {
    fn describe(&self) -> String {
        format!("dropout, keeps {}", self.keep)
    }

    fn output(&self, x: &[Chw]) -> Result<Chw, LayerError> {
        only(x)
    }

    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Chw)], _: &[Slot], y: Chw, training: bool) -> Slot {
        let (out, params) = (map_slot(r, site, "y", y), self.shape(site, y).params());
        if training {
            r.run(&MASK, params, &[x[0].0, site.step, out]);
        } else {
            r.run(&SCALE, params, &[x[0].0, out]);
        }
        out
    }

    fn cheap(&self) -> bool {
        true
    }

    fn through_relu(&self) -> ThroughRelu {
        // What it drops and what a ReLU left at 0 are 0 behind it.
        ThroughRelu::Kept
    }

    fn backward_input(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot, _: usize) -> Slot {
        if saved.relu {
            return dz;
        }
        let dx = map_slot(r, site, "dx", saved.y.1);
        r.run(&MASK, self.shape(site, saved.y.1).params(), &[dz, site.step, dx]);
        dx
    }
}

fn mask<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (x, words, y) = (args.read(), args.words(), args.write());
    let key = [words[step::SEED_LOW], words[step::SEED_HIGH]];
    let block = words[step::FIRST_IMAGE] / 4;
    for_each_chunk(y, shape.images, |row, y| {
        let x = &x[row * shape.images..][..shape.images];
        for (quad, (y, x)) in y.chunks_exact_mut(4).zip(x.chunks_exact(4)).enumerate() {
            let unit_index = (shape.first_unit + row) as u32;
            let counter = [unit_index, block + quad as u32, words[step::STEP], shape.stream as u32];
            let numbers = philox(counter, key);
            for lane in 0..4 {
                y[lane] = if unit(numbers[lane]) < shape.keep { x[lane] } else { T::zero() };
            }
        }
    });
}

fn scale<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (x, y) = (args.read(), args.write());
    let keep = T::of(f64::from(shape.keep));
    map(y, x, |x| keep * x);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;
    use proptest::prelude::*;

    const UNITS: usize = 200;
    const IMAGES: usize = 128;

    fn layer(first_unit: usize, units: usize, images: usize, keep: f32, stream: usize) -> Shape {
        Shape { units, images, first_unit, keep, stream }
    }

    /// The mask of a layer: dropout of ones.
    fn drawn(shape: Shape, step: [u32; step::COUNT]) -> Vec<f32> {
        let ones = vec![1.0; shape.units * shape.images];
        let mut y = vec![f32::NAN; ones.len()];
        mask(Args::new(&shape.params(), vec![Arg::Read(&ones), Arg::Words(&step), Arg::Write(&mut y)]));
        y
    }

    fn share(mask: &[f32]) -> f32 {
        mask.iter().sum::<f32>() / mask.len() as f32
    }

    /// Five standard errors of a share of `count` fair coins.
    fn bound(count: usize) -> f32 {
        5.0 * 0.5 / (count as f32).sqrt()
    }

    #[test]
    fn the_share_kept_is_the_one_asked_for() {
        for keep in [0.0, 0.1, 0.5, 0.8, 1.0] {
            let kept = share(&drawn(layer(0, UNITS, IMAGES, keep, 1), step::words(3, 4, 128, 0)));
            assert!((kept - keep).abs() <= bound(UNITS * IMAGES), "{keep}: {kept}");
            assert!(keep % 1.0 != 0.0 || kept == keep, "{keep} is certain");
        }
    }

    #[test]
    fn masks_of_other_steps_units_images_layers_and_seeds_are_independent() {
        let base = layer(0, UNITS, IMAGES, 0.5, 1);
        let here = drawn(base, step::words(3, 4, 128, 0));
        let others = [
            drawn(base, step::words(3, 5, 128, 0)),
            drawn(base, step::words(4, 4, 128, 0)),
            drawn(base, step::words(3, 4, 128, 128)),
            drawn(Shape { first_unit: UNITS, ..base }, step::words(3, 4, 128, 0)),
            drawn(Shape { stream: 2, ..base }, step::words(3, 4, 128, 0)),
        ];
        for other in others {
            let equal: Vec<f32> = here.iter().zip(&other).map(|(a, b)| f32::from(u8::from(a == b))).collect();
            assert!((share(&equal) - 0.5).abs() < bound(equal.len()), "{}", share(&equal));
        }
        for distance in [1, 2, 3, 4, IMAGES] {
            let pairs = here.iter().zip(&here[distance..]);
            let equal: Vec<f32> = pairs.map(|(a, b)| f32::from(u8::from(a == b))).collect();
            assert!((share(&equal) - 0.5).abs() < bound(equal.len()), "{distance}: {}", share(&equal));
        }
    }

    proptest! {
        #[test]
        fn a_mask_depends_neither_on_towers_nor_on_micro_batches(split in 1..UNITS, eights in 1..16_usize, seed: u64) {
            let whole = drawn(layer(0, UNITS, IMAGES, 0.5, 9), step::words(seed, 2, 128, 0));
            let mut towers = drawn(layer(0, split, IMAGES, 0.5, 9), step::words(seed, 2, 128, 0));
            towers.extend(drawn(layer(split, UNITS - split, IMAGES, 0.5, 9), step::words(seed, 2, 128, 0)));
            prop_assert_eq!(&whole, &towers);
            let cut = 8 * eights;
            let head = drawn(layer(0, UNITS, cut, 0.5, 9), step::words(seed, 2, 128, 0));
            let tail = drawn(layer(0, UNITS, IMAGES - cut, 0.5, 9), step::words(seed, 2, 128, cut as u32));
            for unit in 0..UNITS {
                let row = &whole[unit * IMAGES..][..IMAGES];
                prop_assert_eq!(&row[..cut], &head[unit * cut..][..cut]);
                prop_assert_eq!(&row[cut..], &tail[unit * (IMAGES - cut)..][..IMAGES - cut]);
            }
        }
    }

    #[test]
    fn what_is_kept_is_not_rescaled_and_elsewhere_everything_is() {
        let shape = layer(0, 2, 8, 0.5, 1);
        let x: Vec<f32> = (1..=16).map(|i| i as f32).collect();
        let mut y = vec![f32::NAN; 16];
        let step = step::words(1, 1, 8, 0);
        mask(Args::new(&shape.params(), vec![Arg::Read(&x), Arg::Words(&step), Arg::Write(&mut y)]));
        assert!(x.iter().zip(&y).all(|(x, y)| *y == 0.0 || x == y));
        scale(Args::new(&shape.params(), vec![Arg::Read(&x), Arg::Write(&mut y)]));
        assert!(x.iter().zip(&y).all(|(x, y)| *y == 0.5 * x));
    }
}
