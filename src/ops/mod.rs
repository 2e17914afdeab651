//! The operations of the network, one file each: parameters, kernels, CPU twins, cases, unit tests.

pub mod activation;
pub mod bias;
pub mod binary;
pub mod ceiling;
pub mod conv;
pub mod dropout;
mod elementwise;
pub mod fc;
pub mod half;
pub mod health;
pub mod input;
pub mod kind;
pub mod layer;
pub mod loss_scale;
pub mod local;
pub mod lrn;
pub mod lrn_spatial;
pub mod onnx;
pub mod optimizer;
pub mod pool;
mod product;
pub mod round;
pub mod softmax;
pub mod strided;
pub mod unary;
pub mod weighted;
#[cfg(test)]
mod testing;

use self::kind::LayerKind;
use self::optimizer::OPTIMIZERS;
use crate::kernel::Kernel;

/// Every kind of layer that a model file can name. Parsing, building, listings, export, import and tests are loops over
/// this.
pub static LAYERS: &[&LayerKind] = &[
    &conv::KIND,
    &fc::KIND,
    &local::KIND,
    &activation::RELU,
    &activation::TANH,
    &lrn::KIND,
    &lrn_spatial::KIND,
    &pool::MAX_KIND,
    &pool::AVERAGE_KIND,
    &dropout::KIND,
    &softmax::KIND,
];

/// Kernels that are of no one kind of layer.
const FURTHER: &[&Kernel] = &[
    &binary::FORWARD,
    &bias::BACKWARD,
    &half::PACK,
    &half::UNPACK,
    &health::WATCH,
    &input::CROP,
    &loss_scale::WATCH,
    &loss_scale::DECIDE,
    &round::WEIGHTS,
    &strided::COPY,
    &unary::FORWARD,
    &ceiling::FMA,
    &ceiling::COPY,
];

/// Every kernel: those of all [`LAYERS`], what is between them, then those of [`OPTIMIZERS`]. Validation, parity,
/// benches and listings are loops over this.
pub static KERNELS: &[&Kernel] = &{
    let mut all = [FURTHER[0]; COUNT];
    let (mut next, mut i) = (0, 0);
    while i < LAYERS.len() {
        next = append(&mut all, next, LAYERS[i].kernels);
        i += 1;
    }
    next = append(&mut all, next, FURTHER);
    i = 0;
    while i < OPTIMIZERS.len() {
        next = append(&mut all, next, &[&OPTIMIZERS[i].kernel]);
        i += 1;
    }
    all
};

const COUNT: usize = {
    let (mut count, mut i) = (FURTHER.len() + OPTIMIZERS.len(), 0);
    while i < LAYERS.len() {
        count += LAYERS[i].kernels.len();
        i += 1;
    }
    count
};

/// Puts `kernels` into `all` from place `next` on; the place behind them.
const fn append(all: &mut [&'static Kernel], next: usize, kernels: &[&'static Kernel]) -> usize {
    let mut i = 0;
    while i < kernels.len() {
        all[next + i] = kernels[i];
        i += 1;
    }
    next + i
}

/// Layout of the `step` slot, the few words that change every step; `shaders/common/step.wgsl` reads them.
pub mod step {
    /// The layout in WGSL.
    pub const LAYOUT: &str = include_str!("../../shaders/common/step.wgsl");

    /// Philox key, low word.
    pub const SEED_LOW: usize = 0;
    /// Philox key, high word.
    pub const SEED_HIGH: usize = 1;
    /// Number of the step.
    pub const STEP: usize = 2;
    /// Images in the minibatch that carry a label: the B of the mean gradient.
    pub const IMAGES: usize = 3;
    /// Position in the minibatch of this batch's first image (not 0 in later micro-batches).
    pub const FIRST_IMAGE: usize = 4;
    /// Words in the slot.
    pub const COUNT: usize = 8;

    /// The words of step `step` of a minibatch with `images` labelled images.
    pub fn words(seed: u64, step: u32, images: u32, first_image: u32) -> [u32; COUNT] {
        let [low, high] = crate::random::key(seed);
        let mut words = [0; COUNT];
        let places = [SEED_LOW, SEED_HIGH, STEP, IMAGES, FIRST_IMAGE];
        places.into_iter().zip([low, high, step, images, first_image]).for_each(|(place, word)| words[place] = word);
        words
    }
}
