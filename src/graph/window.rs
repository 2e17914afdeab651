//! Windows that move over maps: where they are, how far they reach over the edge, and how many there are.

/// Settings of a window, one number for each axis of a map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Extents; those of the filters where absent.
    pub size: Option<Vec<usize>>,
    /// Distances of windows; 1 where absent.
    pub strides: Option<Vec<usize>>,
    /// Distances of the elements of a window; 1 where absent.
    pub dilations: Option<Vec<usize>>,
    /// What is around the maps.
    pub pads: Pads,
    /// Whether a last window may hang over.
    pub ceil: bool,
}

/// What is around the maps.
#[derive(Clone, Debug, PartialEq)]
pub enum Pads {
    /// So many places before each axis, then so many behind each; none where absent.
    Given(Option<Vec<usize>>),
    /// Nothing.
    Valid,
    /// As many as it takes for one window at every stride, an odd one behind.
    SameUpper,
    /// The same, an odd one before.
    SameLower,
}

impl Default for Pads {
    fn default() -> Self {
        Self::Given(None)
    }
}

/// Windows along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Along {
    pub(super) size: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Places before the first element of the map at which the first window begins.
    pub(super) before: usize,
    /// Places of padding behind the last.
    pub(super) behind: usize,
    /// How many windows.
    pub(super) count: usize,
}

/// Most places of a window, its dilation included, and most of a padding: far more than any map has of them.
const LARGEST: usize = 1 << 16;

impl Window {
    /// The windows over a map of `extents`, where `size` is that of the filters if there are any.
    pub(super) fn over(&self, extents: [usize; 2], filters: Option<[usize; 2]>) -> Result<[Along; 2], String> {
        let pair = |name: &str, numbers: &Option<Vec<usize>>, default: usize| match numbers.as_deref() {
            None => Ok([default; 2]),
            Some(&[y, x]) if y.max(x) <= LARGEST && y.min(x) >= 1 => Ok([y, x]),
            Some(numbers) => Err(format!("{name} {numbers:?} are not two numbers from 1 to {LARGEST}")),
        };
        let size = match (filters, &self.size) {
            (None, None) => return Err("kernel_shape is missing".into()),
            (Some(filters), Some(size)) if *size != filters => {
                return Err(format!("kernel_shape {size:?} is not that of the filters, {filters:?}"));
            }
            (Some(filters), _) => pair("filters", &Some(filters.into()), 1)?,
            (None, size) => pair("kernel_shape", size, 1)?,
        };
        let (strides, dilations) = (pair("strides", &self.strides, 1)?, pair("dilations", &self.dilations, 1)?);
        let pads = match &self.pads {
            Pads::Given(Some(pads)) => match pads[..] {
                [top, left, bottom, right] if pads.iter().all(|&pad| pad <= LARGEST) => [[top, bottom], [left, right]],
                _ => return Err(format!("pads {pads:?} are not four numbers up to {LARGEST}")),
            },
            _ => [[0; 2]; 2],
        };
        let along = |axis: usize| {
            let (size, stride, dilation) = (size[axis], strides[axis], dilations[axis]);
            let reach = dilation.checked_mul(size - 1).filter(|&reach| reach < LARGEST);
            let reach = reach.ok_or_else(|| format!("kernel_shape {size} with dilations {dilation} is too large"))? + 1;
            let windows = Along { size, stride, dilation, before: pads[axis][0], behind: pads[axis][1], count: 0 };
            self.placed(windows, reach, extents[axis])
        };
        Ok([along(0)?, along(1)?])
    }

    /// Windows of `reach` places along an axis of `extent`.
    fn placed(&self, windows: Along, reach: usize, extent: usize) -> Result<Along, String> {
        if matches!(self.pads, Pads::SameUpper | Pads::SameLower) {
            let count = extent.div_ceil(windows.stride);
            let pad = ((count - 1) * windows.stride + reach).saturating_sub(extent);
            let less = pad / 2;
            let before = if self.pads == Pads::SameUpper { less } else { pad - less };
            return Ok(Along { before, behind: pad - before, count, ..windows });
        }
        let whole = windows.before + extent + windows.behind;
        let Some(rest) = whole.checked_sub(reach) else {
            return Err(format!("a window of {reach} (kernel_shape, dilations) is larger than the map of {whole}"));
        };
        let last = if self.ceil { rest.div_ceil(windows.stride) } else { rest / windows.stride };
        // A window that hangs over begins on the map or before it, or there is none.
        let beyond = self.ceil && last > 0 && last * windows.stride >= windows.before + extent;
        let last = if beyond { last - 1 } else { last };
        Ok(Along { count: last + 1, ..windows })
    }
}
