//! Padding: a tensor surrounded by one number, its mirror image, its edges or itself.

use super::lower::GraphLowering;
use super::moves::PIECES;
use super::reduced::number;
use super::refusal::Refusal;
use super::shapes::{LARGEST, axis};
use super::storage::{Places, Tensor};
use super::{Node, PadMode};
use crate::program::Slot;

impl GraphLowering<'_> {
    /// Surrounds a tensor as `mode` says, or takes from its edges where the padding is negative.
    pub(super) fn pad(
        &mut self,
        node: &Node,
        stated: Option<&[i64]>,
        mode: PadMode,
        value: Option<f32>,
    ) -> Result<Tensor, Refusal> {
        let pads = self.list(node, stated, 1)?.ok_or(Refusal::MissingInput(1))?;
        let x = self.floats(node, 0)?;
        let axes = self.list(node, None, 3)?.unwrap_or_else(|| (0..x.dims().len() as i64).collect());
        if pads.len() != 2 * axes.len() {
            return Err(Refusal::PadCount { pads: pads.len(), axes: axes.len() });
        }
        let mut inner = x.places.clone();
        let mut around = vec![[0; 2]; x.dims().len()];
        for (i, &at) in axes.iter().enumerate() {
            let at = axis(at, inner.dims.len())?;
            let (before, behind, extent) = (pads[i], pads[axes.len() + i], inner.dims[at] as i64);
            let small = |pad: i64| pad.unsigned_abs() <= LARGEST as u64;
            let cut = before.min(0).saturating_add(behind.min(0)).saturating_add(extent);
            if !small(before) || !small(behind) || cut <= 0 {
                return Err(Refusal::Padding { before, behind, extent: inner.dims[at] });
            }
            inner = inner.part(at, (-before.min(0)) as usize, cut as usize);
            around[at] = [before, behind].map(|pad| pad.max(0) as usize);
        }
        let mut inner = x.with(inner);
        if mode == PadMode::Constant {
            return self.surround(node, inner, &around, value);
        }
        for (at, around) in around.into_iter().enumerate().filter(|(_, around)| *around != [0; 2]) {
            inner = self.continue_lines(node, &inner, at, around, mode)?;
        }
        Ok(inner)
    }

    /// Surrounds a tensor with `value`, or the number of input 2; with so many copies before and behind along every
    /// axis.
    fn surround(
        &mut self,
        node: &Node,
        inner: Tensor,
        around: &[[usize; 2]],
        value: Option<f32>,
    ) -> Result<Tensor, Refusal> {
        let value = match value {
            Some(value) => number(value),
            None => match self.optional(node, 2)? {
                Some(value) => self.reshaped(node, &value, &[])?,
                None => number(0.0),
            },
        };
        let dims: Vec<usize> =
            inner.dims().iter().zip(around).map(|(extent, [before, behind])| before + extent + behind).collect();
        if dims == inner.dims() {
            return Ok(inner);
        }
        let (slot, y) = self.filled(node, &dims, &value)?;
        let mut middle = y.places.clone();
        for (at, &[start, _]) in around.iter().enumerate() {
            middle = middle.part(at, start, inner.dims()[at]);
        }
        self.copy(&inner, slot, &middle, 1.0);
        Ok(y)
    }

    /// A tensor of `dims` that holds `value` everywhere, to be written in part; its slot first.
    pub(super) fn filled(&mut self, node: &Node, dims: &[usize], value: &Tensor) -> Result<(Slot, Tensor), Refusal> {
        let (slot, y) = self.map(node, Places::images(dims)?);
        self.copy(&Self::repeated(value, dims)?, slot, &y.places, 1.0);
        Ok((slot, y))
    }

    /// Continues a tensor before and behind along axis `at`, line by line.
    fn continue_lines(
        &mut self,
        node: &Node,
        x: &Tensor,
        at: usize,
        [before, behind]: [usize; 2],
        mode: PadMode,
    ) -> Result<Tensor, Refusal> {
        let extent = x.dims()[at];
        if mode == PadMode::Reflect && before.max(behind) >= extent {
            return Err(Refusal::Reflected { pads: before.max(behind), extent });
        }
        if before + behind > PIECES {
            return Err(Refusal::Pieces(before + behind));
        }
        let mut dims = x.dims().to_vec();
        dims[at] += before + behind;
        let (slot, y) = self.map(node, Places::images(&dims)?);
        self.copy(x, slot, &y.places.part(at, before, extent), 1.0);
        // Which line, counted inwards from the nearer edge, the line copies that is `far` outside of it.
        let inside = |far: usize| match mode {
            PadMode::Reflect => far,
            PadMode::Wrap => extent - 1 - (far - 1) % extent,
            PadMode::Constant | PadMode::Edge => 0,
        };
        let first = (1..=before).map(|far| (before - far, inside(far)));
        let last = (1..=behind).map(|far| (before + extent - 1 + far, extent - 1 - inside(far)));
        for (to, from) in first.chain(last) {
            self.copy(&x.with(x.places.part(at, from, 1)), slot, &y.places.part(at, to, 1), 1.0);
        }
        Ok(y)
    }
}
