//! Operators that spread a map's pixels: blocks of pixels as channels and back, transposed convolutions.

use super::Node;
use super::layers::maps;
use super::lower::GraphLowering;
use super::moves::PIECES;
use super::reduced::number;
use super::refusal::Refusal;
use super::shapes::volume;
use super::storage::{Places, Storage, Tensor};
use super::window::{AxisWindows, Pads, WindowSpec};

impl GraphLowering<'_> {
    /// Moves every place of a block of pixels to channels of its own, or back, as [`super::Op::Blocks`] says.
    pub(super) fn blocks(&mut self, node: &Node, block: usize, deeper: bool, inner: bool) -> Result<Tensor, Refusal> {
        let x = self.floats(node, 0)?;
        let [images, channels, height, width] = maps("X", x.dims())?;
        let places = block.checked_mul(block).filter(|&places| places <= PIECES).ok_or(Refusal::Pieces(block))?;
        let fits = if deeper {
            height.is_multiple_of(block) && width.is_multiple_of(block)
        } else {
            channels.is_multiple_of(places)
        };
        if !fits {
            return Err(Refusal::Blocks { block, dims: x.dims().to_vec() });
        }
        let dims = if deeper {
            [images, channels * places, height / block, width / block]
        } else {
            [images, channels / places, height * block, width * block]
        };
        let (slot, y) = self.map(node, Places::images(&dims)?);
        let (deep, wide) = if deeper { (&y.places, &x.places) } else { (&x.places, &y.places) };
        let shallow = wide.dims[1];
        let mut pieces = Vec::with_capacity(places);
        for (i, j) in (0..block).flat_map(|i| (0..block).map(move |j| (i, j))) {
            let place = i * block + j;
            let part =
                if inner { deep.spaced(1, place, places, shallow) } else { deep.part(1, place * shallow, shallow) };
            let spaced = wide.spaced(2, i, block, part.dims[2]).spaced(3, j, block, part.dims[3]);
            pieces.push(if deeper { (spaced, part) } else { (part, spaced) });
        }
        for (from, to) in pieces {
            self.copy(&x.with(from), slot, &to, 1.0);
        }
        Ok(y)
    }

    /// Convolves the maps, spread by the strides, with the filters turned round, which is the transposed convolution.
    pub(super) fn conv_transpose(
        &mut self,
        node: &Node,
        window: &WindowSpec,
        groups: usize,
        further: Option<&[usize]>,
    ) -> Result<Tensor, Refusal> {
        let (x, w, b) = (self.floats(node, 0)?, self.floats(node, 1)?, self.optional(node, 2)?);
        let ([images, channels, height, width], filters) = (maps("X", x.dims())?, maps("W", w.dims())?);
        let [c, own, r, s] = filters;
        if c != channels || !c.is_multiple_of(groups) {
            return Err(Refusal::Groups { groups, filters: c, depth: own, maps: channels });
        }
        let further = match further {
            None => [0; 2],
            Some(&[y, x]) if y.max(x) <= super::window::LARGEST => [y, x],
            Some(found) => return Err(Refusal::Pair { name: "output_padding", found: found.to_vec() }),
        };
        // Windows over a map that is as large as they reach: their settings are checked there.
        let spec = WindowSpec { pads: Pads::Given(None), ..window.clone() };
        let reach = |windows: &AxisWindows| windows.dilation * (windows.size - 1) + 1;
        let largest = [super::window::LARGEST; 2];
        let axes = spec.over(largest, Some([r, s]))?;
        let mut spread = [[0; 2]; 2]; // of each axis: places before the first pixel, extent
        for (at, (windows, extent)) in axes.iter().zip([height, width]).enumerate() {
            let (reach, stride) = (reach(windows), windows.stride);
            let full = (extent - 1).checked_mul(stride).and_then(|span| span.checked_add(reach + further[at]));
            let full = full.ok_or_else(|| Refusal::TooLarge(x.dims().to_vec()))?;
            let [before, behind] = match &window.pads {
                Pads::Given(None) | Pads::Valid => [0, 0],
                Pads::Given(Some(pads)) => match pads[..] {
                    [top, left, bottom, right] => [[top, bottom], [left, right]][at],
                    _ => return Err(Refusal::Pads { pads: pads.clone() }),
                },
                same => {
                    let pad = full.saturating_sub(extent.saturating_mul(stride));
                    if *same == Pads::SameUpper { [pad / 2, pad - pad / 2] } else { [pad - pad / 2, pad / 2] }
                }
            };
            // The window turned round begins as far outside as padding leaves it.
            if before >= reach || behind >= reach + further[at] || before + behind >= full {
                return Err(Refusal::Pads { pads: vec![before, behind] });
            }
            spread[at] = [reach - 1 - before, full - before - behind + reach - 1];
        }
        let [[top, rows], [left, columns]] = spread;
        let (slot, wide) = self.filled(node, &[images, channels, rows, columns], &number(0.0))?;
        let middle = wide.places.spaced(2, top, axes[0].stride, height).spaced(3, left, axes[1].stride, width);
        self.copy(&x, slot, &middle, 1.0);
        let turned = self.turned(node, groups, filters)?;
        let plain = WindowSpec { dilations: window.dilations.clone(), ..WindowSpec::default() };
        self.convolve(node, (wide, turned, b), &plain, groups)
    }

    /// The filters `[C][K / groups][R][S]` of a transposed convolution as those of a convolution,
    /// `[K][C / groups][R][S]` turned round.
    fn turned(&self, node: &Node, groups: usize, [channels, own, r, s]: [usize; 4]) -> Result<Tensor, Refusal> {
        let given = self.known(node, 1)?.ok_or(Refusal::MissingInput(1))?;
        let (depth, area) = (channels / groups, r * s);
        let dims = [own * groups, depth, r, s];
        let mut values = Vec::with_capacity(volume(&dims)?);
        for (k, c) in (0..own * groups).flat_map(|k| (0..depth).map(move |c| (k, c))) {
            let first = ((k / own * depth + c) * own + k % own) * area;
            values.extend(given[first..first + area].iter().rev());
        }
        Ok(Tensor { source: Storage::Host(values.into()), places: Places::rows(&dims)? })
    }
}
