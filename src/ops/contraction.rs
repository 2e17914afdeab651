//! What the convolution and matrix product kernels share: pieces of WGSL, and the variants each comes in.

use super::activation::Activation;
use crate::kernel::{Needs, Params, Part};

/// Subgroups of 8 lanes, over which weights are handed around.
pub(super) const SUBGROUP: Needs = Needs { subgroup_size: Some(8) };

pub(super) const ACTIVATION: &str = include_str!("../../shaders/common/activation.wgsl");
pub(super) const FETCH_SUBGROUP: &str = include_str!("../../shaders/common/fetch_subgroup.wgsl");
pub(super) const FETCH_PLAIN: &str = include_str!("../../shaders/common/fetch_plain.wgsl");

/// A part of a run that sums over the extent which is cut: bias and neuron come with the last.
pub(super) fn summing_part(params: Params, part: Part) -> Params {
    let params = if part.first { params } else { params.replaced("accumulate", true) };
    if part.last { params } else { params.replaced("bias", false).replaced("activation", Activation::Linear as usize) }
}

/// A part of a run whose outputs are cut: nothing else changes.
pub(super) fn plain_part(params: Params, _: Part) -> Params {
    params
}

/// How much of a contraction an invocation holds in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tiling {
    /// Hands weights around a subgroup; many sums, for processors with 32 vector registers.
    Large,
    /// Hands weights around a subgroup; few sums, for processors with 16.
    Small,
    /// Every invocation for itself, as many as a GPU keeps in registers.
    Plain,
}

impl Tiling {
    /// Whether weights are handed around.
    pub(super) fn subgroup(self) -> bool {
        self != Self::Plain
    }
}

/// The variants of one direction: they differ in the shared source and in the tile, which `$tile` gives for parameters
/// and a [`Tiling`]. What each output sums up, and in which order, does not depend on the tile: the two with subgroups
/// give the same bits, and the device may take the faster one.
macro_rules! variants {
    ($entry:literal, $subgroup:expr, $plain:expr, $tile:path, $grid:path) => {
        &[
            $crate::kernel::Variant {
                name: "subgroup",
                sources: $subgroup,
                entry: $entry,
                tile: |p| $tile(p, $crate::ops::contraction::Tiling::Large),
                grid: $grid,
                needs: $crate::ops::contraction::SUBGROUP,
            },
            $crate::kernel::Variant {
                name: "subgroup_small",
                sources: $subgroup,
                entry: $entry,
                tile: |p| $tile(p, $crate::ops::contraction::Tiling::Small),
                grid: $grid,
                needs: $crate::ops::contraction::SUBGROUP,
            },
            $crate::kernel::Variant {
                name: "plain",
                sources: $plain,
                entry: $entry,
                tile: |p| $tile(p, $crate::ops::contraction::Tiling::Plain),
                grid: $grid,
                needs: $crate::kernel::Needs::NONE,
            },
        ]
    };
}

pub(super) use variants;
