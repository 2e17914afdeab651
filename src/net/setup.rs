//! What a network is lowered for: how many images, for training or not, and with how many digits.

use serde::{Deserialize, Serialize};

/// How maps and their gradients travel between devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exchange {
    /// As they are.
    #[default]
    F32,
    /// As 16-bit floats, half the bytes: lossy, as the released code could do it.
    F16,
}

/// With how many digits a network is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything 32-bit floats, as in 2012.
    #[default]
    F32,
    /// Maps, their gradients and the operands of contractions are 16-bit floats, and sums, trained weights, momentum and
    /// gradients of weights 32-bit ones; the loss is scaled ([`crate::ops::loss_scale`]).
    Mixed,
}

impl Precision {
    /// How the loss is scaled in the beginning; a scale of 1 changes nothing.
    #[must_use]
    pub const fn first_loss_scale(self) -> LossScale {
        LossScale { scale: if matches!(self, Self::Mixed) { 65_536.0 } else { 1.0 }, good: 0.0 }
    }
}

/// How the loss is scaled under mixed precision.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct LossScale {
    /// What the next loss is multiplied by, a power of two.
    pub scale: f32,
    /// Steps since it was changed.
    pub good: f32,
}

/// What a network is lowered for.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "switches that do not depend on each other")]
pub struct Setup {
    /// Images that are computed at once; rounded up to a multiple of 8.
    pub images: usize,
    /// Images between two updates. Where that is more, several batches add up their gradients.
    pub minibatch: usize,
    /// Whether to record gradients and the update.
    pub training: bool,
    /// Whether outputs of ReLU, normalisation and dropout are made again in the backward pass instead of kept.
    pub recompute: bool,
    /// What copies between devices may do to maps.
    pub exchange: Exchange,
    /// Whether images come as floats of the network's own input instead of stored bytes.
    pub floats: bool,
    /// How maps are stored, and what contractions read.
    pub precision: Precision,
    /// Whether every layer's output can be read after an evaluation.
    pub features: bool,
}

impl Setup {
    /// To be trained with minibatches of `images`, computed at once.
    #[must_use]
    pub const fn training(images: usize) -> Self {
        Self {
            images,
            minibatch: images,
            training: true,
            recompute: false,
            exchange: Exchange::F32,
            floats: false,
            precision: Precision::F32,
            features: false,
        }
    }

    /// To be evaluated with `images` at once.
    #[must_use]
    pub const fn evaluation(images: usize) -> Self {
        Self { training: false, ..Self::training(images) }
    }
}
