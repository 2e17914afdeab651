//! The operations of the network, one file each: parameters, kernels, CPU twins, cases, unit tests.

pub mod activation;
pub mod bias;
pub mod binary;
pub mod ceiling;
mod contraction;
pub mod conv;
pub mod dropout;
mod elementwise;
pub mod fc;
pub mod gemm;
pub mod half;
pub mod health;
pub mod input;
pub mod layer;
pub mod loss_scale;
pub mod lrn;
pub mod lrn_spatial;
pub mod optimizer;
pub mod pool;
mod product;
pub mod round;
pub mod softmax;
pub mod strided;
#[cfg(test)]
mod testing;

use self::optimizer::OPTIMIZERS;
use crate::kernel::Kernel;

/// Every kernel: those of the layers and what is between them, then those of [`OPTIMIZERS`]. Validation, parity, benches
/// and listings are loops over this.
pub static KERNELS: &[&Kernel] = &{
    let mut all = [OTHERS[0]; OTHERS.len() + OPTIMIZERS.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = if i < OTHERS.len() { OTHERS[i] } else { &OPTIMIZERS[i - OTHERS.len()].kernel };
        i += 1;
    }
    all
};

const OTHERS: &[&Kernel] = &[
    &activation::FORWARD,
    &activation::BACKWARD,
    &conv::FORWARD,
    &conv::BACKWARD_INPUT,
    &conv::BACKWARD_FILTER,
    &conv::GROUPED,
    &gemm::FORWARD,
    &gemm::BACKWARD_INPUT,
    &gemm::BACKWARD_WEIGHTS,
    &binary::FORWARD,
    &bias::PARTIAL,
    &bias::SUM,
    &dropout::MASK,
    &dropout::SCALE,
    &half::PACK,
    &half::UNPACK,
    &health::WATCH,
    &input::CROP,
    &loss_scale::WATCH,
    &loss_scale::DECIDE,
    &softmax::FORWARD,
    &softmax::LOSS,
    &softmax::BACKWARD,
    &lrn::FORWARD,
    &lrn::BACKWARD,
    &lrn_spatial::FORWARD,
    &lrn_spatial::BACKWARD,
    &round::WEIGHTS,
    &pool::MAX_FORWARD,
    &pool::MAX_BACKWARD,
    &pool::AVERAGE_FORWARD,
    &pool::AVERAGE_BACKWARD,
    &pool::window::MAX,
    &pool::window::AVERAGE,
    &strided::COPY,
    &ceiling::FMA,
    &ceiling::COPY,
];

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
    #[must_use]
    pub fn words(seed: u64, step: u32, images: u32, first_image: u32) -> [u32; COUNT] {
        let [low, high] = crate::random::key(seed);
        let mut words = [0; COUNT];
        let places = [SEED_LOW, SEED_HIGH, STEP, IMAGES, FIRST_IMAGE];
        places.into_iter().zip([low, high, step, images, first_image]).for_each(|(place, word)| words[place] = word);
        words
    }
}
