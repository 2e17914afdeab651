//! The convolutional layer, `conv`.

use super::grouped::{GROUPED_BACKWARD_FILTER, GROUPED_BACKWARD_INPUT};
use super::{BACKWARD_FILTER, BACKWARD_INPUT, Conv, FORWARD, GROUPED, extent, floor_extent};
use crate::ops::kind::{Caffe, LayerKind, Place, Scaling, Setting};
use crate::ops::layer::{Chw, LayerError, MOST_PIXELS, same_sizes};
use crate::ops::onnx::{Form, Subgraph, WEIGHTS, X, Y, int, windows};
use crate::ops::weighted::{Contraction, Weighted};
use crate::params;

params! {
    /// Settings of a convolution over the whole width of the network.
    pub struct Settings {
        /// Filters of all towers together.
        filters: usize,
        /// Side of the window in pixels.
        size: usize,
        /// Pixels from one window to the next.
        stride: usize,
        /// Zeros around the maps, fewer than `size`.
        pad: usize,
        /// Leaves out pixels that a whole stride does not reach, as later libraries do; the released code adds zeros.
        floor: bool,
        /// Groups of a tower's maps, each seen by as large a share of its filters and by no others.
        groups: usize,
    }
}

/// `conv`: filters over windows of the maps.
pub static KIND: LayerKind = LayerKind {
    name: "conv",
    settings: &[
        Setting::count("filters"),
        Setting::count("size"),
        Setting::count_or("stride", 1),
        Setting::count_or("pad", 0),
        Setting::switch("floor"),
        Setting::count_or("groups", 1).unstated(),
    ],
    shared: None,
    place: Place::Head {
        outputs: "filters",
        build: |settings, head| {
            let contraction = Settings::from(settings);
            let Settings { size, stride, pad, groups, .. } = contraction;
            if pad >= size || groups == 0 || ![size, stride].iter().all(|extent| (1..=MOST_PIXELS).contains(extent)) {
                let expected = format!("size and stride of 1 to {MOST_PIXELS}, pad < size, groups of 1 or more");
                return Err(LayerError::Settings { layer: "conv", expected, found: settings.clone() });
            }
            Ok(Box::new(Weighted { contraction, head }))
        },
    },
    scaling: Scaling::Other,
    onnx: |settings, shapes| {
        let Settings { size, stride, pad, .. } = Settings::from(settings);
        let [weights, bias] = WEIGHTS;
        let mut attributes = windows(shapes, size, stride, pad);
        attributes.push(("group", int(shapes.groups)));
        Subgraph::new(Form::Maps).then("Conv", &[X, weights, bias], &[Y], attributes)
    },
    caffe: Caffe::Words(|_, settings, towers| {
        let Settings { filters, size, stride, pad, groups, .. } = Settings::from(settings);
        let groups = if towers * groups > 1 { format!(" in {} groups", towers * groups) } else { String::new() };
        format!("a convolution of {filters} filters {size}×{size}/{stride} with padding {pad}{groups}")
    }),
    kernels: &[
        &FORWARD,
        &BACKWARD_INPUT,
        &BACKWARD_FILTER,
        &GROUPED,
        &GROUPED_BACKWARD_INPUT,
        &GROUPED_BACKWARD_FILTER,
    ],
    examples: &[
        "conv = { filters = 6, size = 3, pad = 1 }",
        "conv = { filters = 6, size = 3, stride = 2, pad = 1, floor = true }",
        "conv = { filters = 4, size = 5, stride = 3, pad = 2 }",
        "conv = { filters = 8, size = 3, pad = 1, groups = 2 }",
        "conv = { filters = 128, size = 2, groups = 2 }",
    ],
};

impl Contraction for Settings {
    fn describe(&self, _: usize) -> String {
        let stride = if self.stride > 1 { format!("/{}", self.stride) } else { String::new() };
        let groups = if self.groups > 1 { format!(", {} groups", self.groups) } else { String::new() };
        format!("conv {0}×{0}{stride}{groups}", self.size)
    }

    fn output(&self, outputs: usize, x: &[Chw]) -> Result<Chw, LayerError> {
        let first = same_sizes(x)?;
        let (groups, maps) = (self.groups, first.channels);
        if groups > 1 && !(x.len() == 1 && maps.is_multiple_of(groups) && outputs.is_multiple_of(groups)) {
            return Err(LayerError::Groups { groups, maps, filters: outputs });
        }
        let extent = if self.floor { floor_extent } else { extent };
        let along = |input| extent(input, self.size, self.stride, self.pad);
        match (along(first.height), along(first.width)) {
            (Some(height), Some(width)) => Ok(Chw { channels: outputs, height, width }),
            _ => Err(LayerError::Window { window: self.size, map: first, pad: self.pad }),
        }
    }

    fn window(&self, x: Chw) -> Vec<usize> {
        vec![x.channels, self.size, self.size]
    }

    fn groups(&self) -> usize {
        self.groups
    }

    fn conv(&self, images: usize, x: Chw, y: Chw) -> Conv {
        Conv {
            h: x.height,
            w: x.width,
            p: y.height,
            q: y.width,
            r: self.size,
            s: self.size,
            stride_y: self.stride,
            stride_x: self.stride,
            pad_y: self.pad,
            pad_x: self.pad,
            ..Conv::dense(x.channels / self.groups, y.channels / self.groups, images)
        }
    }
}
