//! Windows that move over maps: their places, their reach over the edge, and their number.

use super::refusal::Refusal;

/// Settings of a window, one number for each axis of a map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowSpec {
    /// Extents [height, width]; those of the filters where absent.
    pub size: Option<Vec<usize>>,
    /// Distances between windows; 1 where absent.
    pub strides: Option<Vec<usize>>,
    /// Distances between the elements of a window; 1 where absent.
    pub dilations: Option<Vec<usize>>,
    /// Padding around the maps.
    pub pads: Pads,
    /// Whether a last window may reach over the edge.
    pub ceil: bool,
}

/// Padding around the maps.
#[derive(Clone, Debug, PartialEq)]
pub enum Pads {
    /// Places before each axis, then places behind each; none where absent.
    Given(Option<Vec<usize>>),
    /// `VALID`: no padding at all.
    Valid,
    /// As many places as one window at every stride takes, an odd one behind.
    SameUpper,
    /// As many places as one window at every stride takes, an odd one before.
    SameLower,
}

impl Default for Pads {
    fn default() -> Self {
        Self::Given(None)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AxisWindows {
    pub(super) size: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Places before the first element of the map at which the first window begins.
    pub(super) before: usize,
    /// Places of padding behind the last element.
    pub(super) behind: usize,
    pub(super) count: usize,
}

/// The most places of a window, with its dilation, and of a padding: far more than any map has.
pub(super) const LARGEST: usize = 1 << 16;

impl WindowSpec {
    /// The windows over a map of `extents` [height, width]; where there are `filters`, their extents are the size.
    pub(super) fn over(&self, extents: [usize; 2], filters: Option<[usize; 2]>) -> Result<[AxisWindows; 2], Refusal> {
        let pair = |name: &'static str, numbers: &Option<Vec<usize>>, default: usize| match numbers.as_deref() {
            None => Ok([default; 2]),
            Some(&[y, x]) if y.max(x) <= LARGEST && y.min(x) >= 1 => Ok([y, x]),
            Some(numbers) => Err(Refusal::Pair { name, found: numbers.to_vec() }),
        };
        let size = match (filters, &self.size) {
            (None, None) => return Err(Refusal::MissingSetting("kernel_shape")),
            (Some(filters), Some(size)) if *size != filters => {
                return Err(Refusal::KernelShape { size: size.clone(), filters });
            }
            (Some(filters), _) => pair("filters", &Some(filters.into()), 1)?,
            (None, size) => pair("kernel_shape", size, 1)?,
        };
        let (strides, dilations) = (pair("strides", &self.strides, 1)?, pair("dilations", &self.dilations, 1)?);
        let pads = match &self.pads {
            Pads::Given(Some(pads)) => match pads[..] {
                [top, left, bottom, right] if pads.iter().all(|&pad| pad <= LARGEST) => [[top, bottom], [left, right]],
                _ => return Err(Refusal::Pads { pads: pads.clone() }),
            },
            _ => [[0; 2]; 2],
        };
        let along = |axis: usize| {
            let (size, stride, dilation) = (size[axis], strides[axis], dilations[axis]);
            let reach = dilation.checked_mul(size - 1).filter(|&reach| reach < LARGEST);
            let reach = reach.ok_or(Refusal::WindowTooLarge { size, dilation })? + 1;
            let windows =
                AxisWindows { size, stride, dilation, before: pads[axis][0], behind: pads[axis][1], count: 0 };
            self.placed(windows, reach, extents[axis])
        };
        Ok([along(0)?, along(1)?])
    }

    /// Pads and counts windows of `reach` places along an axis of `extent`.
    fn placed(&self, windows: AxisWindows, reach: usize, extent: usize) -> Result<AxisWindows, Refusal> {
        if matches!(self.pads, Pads::SameUpper | Pads::SameLower) {
            let count = extent.div_ceil(windows.stride);
            let pad = ((count - 1) * windows.stride + reach).saturating_sub(extent);
            let less = pad / 2;
            let before = if self.pads == Pads::SameUpper { less } else { pad - less };
            return Ok(AxisWindows { before, behind: pad - before, count, ..windows });
        }
        let whole = windows.before + extent + windows.behind;
        let Some(rest) = whole.checked_sub(reach) else {
            return Err(Refusal::WindowBeyondMap { reach, extent: whole });
        };
        let last = if self.ceil { rest.div_ceil(windows.stride) } else { rest / windows.stride };
        // A window beyond the edge counts only if it begins on the map or before it.
        let beyond = self.ceil && last > 0 && last * windows.stride >= windows.before + extent;
        let last = if beyond { last - 1 } else { last };
        Ok(AxisWindows { count: last + 1, ..windows })
    }
}
