//! Options of a run, which decide how a network is computed, and the job that they are for.

use serde::{Deserialize, Serialize};

use super::named::named;
use crate::tensor::{IMAGE_GROUP, share_of};

/// The number format in which maps and their gradients cross between devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WireFormat {
    /// Floats of 32 bits, as they are computed.
    #[default]
    F32,
    /// 16-bit floats, half the bytes: lossy, as the released code could do it.
    F16,
}

named! { WireFormat: F32 "f32" "32-bit floats, unchanged", F16 "f16" "16-bit floats: half the bytes, lossy" }

/// Floating-point precision of maps and of the operands of contractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats everywhere, as in 2012.
    #[default]
    F32,
    /// 16-bit floats for maps, their gradients and the operands of contractions; 32-bit ones for sums, trained weights,
    /// momentum and gradients of weights. The loss is scaled ([`crate::ops::loss_scale`]).
    Mixed,
}

named! {
    Precision:
    F32 "f32" "32-bit floats",
    Mixed "mixed" "16-bit floats between kernels, 32-bit ones for sums and for what is trained: half the memory, faster on GPUs"
}

impl Precision {
    /// The scale of the loss at the start of training; a scale of 1 changes nothing.
    pub const fn first_loss_scale(self) -> LossScale {
        LossScale { scale: if matches!(self, Self::Mixed) { 65_536.0 } else { 1.0 }, good: 0.0 }
    }
}

/// The scale of the loss under mixed precision.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct LossScale {
    /// Factor of the next loss, a power of two.
    pub scale: f32,
    /// Steps since it was changed.
    pub good: f32,
}

/// The way in which ranks share the work of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Parallel {
    /// Each rank computes its own images.
    #[default]
    Data,
    /// Each rank computes the convolutions of its own images, and its units of the fully connected layers for all
    /// images.
    Hybrid,
}

named! {
    Parallel:
    Data "data" "each rank computes its own images, and gradients of all weights are exchanged",
    Hybrid "hybrid" "fully connected layers are cut among ranks, which exchange their inputs instead of their gradients"
}

impl Parallel {
    /// Whether it is the way of earlier releases, which configurations leave out.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_data(&self) -> bool {
        *self == Self::Data
    }
}

/// Options of a run: they decide how a network is computed, not what. The fields are those of `config.toml`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// Images computed at once; as many as fit where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Recomputes outputs of ReLU, normalisation and dropout in the backward pass instead of keeping them.
    pub recompute: bool,
    /// Number format of maps between devices.
    pub exchange: WireFormat,
    /// Floating-point precision of maps and operands.
    pub precision: Precision,
    /// The way in which ranks share the work.
    #[serde(skip_serializing_if = "Parallel::is_data")]
    pub parallel: Parallel,
}

impl Options {
    /// Everything as in 2012: 32-bit floats, nothing recomputed, as many images at once as fit.
    pub const DEFAULT: Self = Self {
        micro_batch: None,
        recompute: false,
        exchange: WireFormat::F32,
        precision: Precision::F32,
        parallel: Parallel::Data,
    };

    /// These options with `changes`.
    #[must_use]
    pub fn changed(self, changes: OptionChanges) -> Self {
        Self {
            micro_batch: changes.micro_batch.or(self.micro_batch),
            recompute: changes.recompute || self.recompute,
            exchange: changes.exchange.unwrap_or(self.exchange),
            precision: changes.precision.unwrap_or(self.precision),
            parallel: changes.parallel.unwrap_or(self.parallel),
        }
    }
}

/// Changes to [`Options`]; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionChanges {
    /// Images computed at once.
    pub micro_batch: Option<usize>,
    /// Recomputes cheap outputs in the backward pass.
    pub recompute: bool,
    /// Number format of maps between devices.
    pub exchange: Option<WireFormat>,
    /// Floating-point precision of maps and operands.
    pub precision: Option<Precision>,
    /// The way in which ranks share the work.
    pub parallel: Option<Parallel>,
}

/// The work that a network is lowered for.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Images between two updates, or evaluated together, on all ranks.
    pub minibatch: usize,
    /// Number of ranks that share a minibatch.
    pub ranks: usize,
    /// Number of this rank among them.
    pub rank: usize,
    /// Whether to record gradients and the update.
    pub training: bool,
    /// Whether images come as floats of the network's own input instead of stored bytes.
    pub floats: bool,
    /// Whether every layer's output can be read after an evaluation.
    pub features: bool,
    /// Options by which it is computed.
    pub options: Options,
}

impl Job {
    /// Training with minibatches of `images`.
    pub const fn training(images: usize) -> Self {
        let options = Options::DEFAULT;
        Self { minibatch: images, ranks: 1, rank: 0, training: true, floats: false, features: false, options }
    }

    /// Evaluation with batches of `images`.
    pub const fn evaluation(images: usize) -> Self {
        Self { training: false, ..Self::training(images) }
    }

    /// The same job with other options.
    #[must_use]
    pub const fn with(self, options: Options) -> Self {
        Self { options, ..self }
    }

    /// The same job with `images` computed at once.
    #[must_use]
    pub const fn at_once(self, images: usize) -> Self {
        self.with(Options { micro_batch: Some(images), ..self.options })
    }

    /// Whether ranks share the fully connected layers.
    pub fn is_hybrid(&self) -> bool {
        self.ranks > 1 && self.options.parallel == Parallel::Hybrid
    }

    /// The most images of a minibatch that one rank computes.
    pub fn share(&self) -> usize {
        share_of(self.minibatch, self.ranks)
    }

    /// Images computed at once: WGSL wants multiples of 8. Where a rank's share of a minibatch is more, several batches
    /// add up their gradients.
    pub fn images(&self) -> usize {
        self.options.micro_batch.unwrap_or(self.share()).next_multiple_of(IMAGE_GROUP).max(IMAGE_GROUP)
    }
}
