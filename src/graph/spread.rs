//! Operators that spread a map's pixels: blocks of pixels as channels and back, transposed convolutions.

use super::Node;
use super::layers::maps;
use super::lower::GraphLowering;
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
        let places = block.saturating_mul(block);
        let fits = if deeper {
            height.is_multiple_of(block) && width.is_multiple_of(block)
        } else {
            channels.is_multiple_of(places)
        };
        let refuse = || Refusal::Blocks { block, dims: x.dims().to_vec() };
        if !fits {
            return Err(refuse());
        }
        let dims = if deeper {
            [images, channels * places, height / block, width / block]
        } else {
            [images, channels / places, height * block, width * block]
        };
        let (slot, y) = self.map(node, Places::images(&dims)?);
        let (deep, wide) = if deeper { (&y.places, &x.places) } else { (&x.places, &y.places) };
        let [shallow, rows, columns] = [wide.dims[1], deep.dims[2], deep.dims[3]];
        // Both as [images][row in block][column in block][channels][rows][columns].
        let (apart, order) = if inner {
            ([images, shallow, block, block, rows, columns], [0, 2, 3, 1, 4, 5])
        } else {
            ([images, block, block, shallow, rows, columns], [0, 1, 2, 3, 4, 5])
        };
        let deep = deep.reshaped(&apart).ok_or_else(refuse)?.permuted(&order);
        let wide = wide.reshaped(&[images, shallow, rows, block, columns, block]).ok_or_else(refuse)?;
        let wide = wide.permuted(&[0, 3, 5, 1, 2, 4]);
        let (from, to) = if deeper { (wide, deep) } else { (deep, wide) };
        self.copy(&x.with(from), slot, &to, 1.0);
        Ok(y)
    }

    /// Convolves the maps, spread by the strides, with the filters turned round, which is the transposed convolution.
    pub(super) fn conv_transpose(
        &mut self,
        node: &Node,
        window: &WindowSpec,
        groups: usize,
        [further, extents]: [Option<&[usize]>; 2],
    ) -> Result<Tensor, Refusal> {
        let (x, w, b) = (self.floats(node, 0)?, self.floats(node, 1)?, self.optional(node, 2)?);
        let ([images, channels, height, width], filters) = (maps("X", x.dims())?, maps("W", w.dims())?);
        let [c, own, r, s] = filters;
        if c != channels || !c.is_multiple_of(groups) {
            return Err(Refusal::Groups { groups, filters: c, depth: own, maps: channels });
        }
        let pair = |name: &'static str, numbers: Option<&[usize]>| match numbers {
            None => Ok([None; 2]),
            Some(&[y, x]) if y.max(x) <= super::window::LARGEST => Ok([Some(y), Some(x)]),
            Some(found) => Err(Refusal::Pair { name, found: found.to_vec() }),
        };
        let (further, stated) = (pair("output_padding", further)?, pair("output_shape", extents)?);
        // Windows over a map that is as large as they reach: their settings are checked there.
        let spec = WindowSpec { pads: Pads::Given(None), ..window.clone() };
        let reach = |windows: &AxisWindows| windows.dilation * (windows.size - 1) + 1;
        let largest = [super::window::LARGEST; 2];
        let axes = spec.over(largest, Some([r, s]))?;
        // Of each axis: places before the first pixel, extent; lines of the result that go, and that stay.
        let mut spread = [[0; 2]; 2];
        let mut kept = [[0; 2]; 2];
        for (at, (windows, extent)) in axes.iter().zip([height, width]).enumerate() {
            let (reach, stride) = (reach(windows), windows.stride);
            let reached = (extent - 1).checked_mul(stride).and_then(|span| span.checked_add(reach));
            let reached = reached.ok_or_else(|| Refusal::TooLarge(x.dims().to_vec()))?;
            // Beyond what the windows reach there are zeros.
            let beyond = further[at].unwrap_or(0).max(stated[at].unwrap_or(0).saturating_sub(reached));
            let full = reached + beyond;
            let wanted = stated[at].unwrap_or_else(|| extent.saturating_mul(stride));
            let [before, behind] = taken(&window.pads, stated[at].is_some(), [full, wanted], at)?;
            if before.saturating_add(behind) >= full {
                return Err(Refusal::Cropped { before, behind, full });
            }
            // The window turned round begins as far outside as padding leaves it; what more is taken is cut off after.
            let [first, last] = [before.min(reach - 1), behind.min(reach - 1 + beyond)];
            spread[at] = [reach - 1 - first, full - first - last + reach - 1];
            kept[at] = [before - first, full - before - behind];
        }
        let [[top, rows], [left, columns]] = spread;
        let (slot, wide) = self.filled(node, &[images, channels, rows, columns], &number(0.0))?;
        let middle = wide.places.spaced(2, top, axes[0].stride, height).spaced(3, left, axes[1].stride, width);
        self.copy(&x, slot, &middle, 1.0);
        let turned = self.turned(node, groups, filters)?;
        let plain = WindowSpec { dilations: window.dilations.clone(), ..WindowSpec::default() };
        let y = self.convolve(node, (wide, turned, b), &plain, groups)?;
        let [[top, rows], [left, columns]] = kept;
        Ok(y.with(y.places.part(2, top, rows).part(3, left, columns)))
    }

    /// The filters `[C][K / groups][R][S]` of a transposed convolution as those of a convolution,
    /// `[K][C / groups][R][S]` turned round.
    fn turned(&mut self, node: &Node, groups: usize, [channels, own, r, s]: [usize; 4]) -> Result<Tensor, Refusal> {
        let given = self.known(node, 1)?.ok_or(Refusal::MissingInput(1))?;
        let (depth, area) = (channels / groups, r * s);
        let dims = [own * groups, depth, r, s];
        self.make_constant(given.len())?;
        let mut values = Vec::with_capacity(volume(&dims)?);
        for (k, c) in (0..own * groups).flat_map(|k| (0..depth).map(move |c| (k, c))) {
            let first = ((k / own * depth + c) * own + k % own) * area;
            values.extend(given[first..first + area].iter().rev());
        }
        Ok(Tensor { source: Storage::Host(values.into()), places: Places::rows(&dims)? })
    }
}

/// Lines that padding takes before and behind along axis `at`, of all of them; where the extent that is wanted is
/// `stated` or follows from the strides, what is too much.
fn taken(pads: &Pads, stated: bool, [full, wanted]: [usize; 2], at: usize) -> Result<[usize; 2], Refusal> {
    match pads {
        Pads::Given(Some(pads)) if !stated => match pads[..] {
            [top, left, bottom, right] => Ok([[top, bottom], [left, right]][at]),
            _ => Err(Refusal::Pads { pads: pads.clone() }),
        },
        Pads::Given(None) | Pads::Valid if !stated => Ok([0, 0]),
        _ => {
            let (all, less) = (full.saturating_sub(wanted), full.saturating_sub(wanted) / 2);
            Ok(if *pads == Pads::SameUpper { [less, all - less] } else { [all - less, less] })
        }
    }
}
