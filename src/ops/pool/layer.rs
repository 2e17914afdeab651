//! The pooling layers: `pool` and `average_pool`.

use super::{AVERAGE_BACKWARD, AVERAGE_FORWARD, MAX_BACKWARD, MAX_FORWARD, Shape, pooled};
use crate::kernel::Params;
use crate::ops::activation::Activation;
use crate::ops::kind::{Built, Caffe, LayerKind, Place, Scaling, Setting};
use crate::ops::layer::{Chw, Layer, LayerError, Saved, Site, ThroughRelu, map_slot, only};
use crate::ops::onnx::{Form, Subgraph, windows};
use crate::params;
use crate::program::{Recorder, Slot};

params! {
    /// Settings of both kinds of pooling, in a row or as `pool = { … }` at the top of a model file.
    pub struct Settings {
        /// Side of the window in pixels.
        size: usize,
        /// Pixels from one window to the next.
        stride: usize,
        /// Pixels around the maps, which do not count; fewer than `size`.
        pad: usize,
    }
}

const SETTINGS: &[Setting] = &[Setting::count("size"), Setting::count("stride"), Setting::count_or("pad", 0)];

fn build(kind: PoolKind, settings: &Params) -> Built {
    let Settings { size, stride, pad } = Settings::from(settings);
    if !(size > 0 && stride > 0 && pad < size) {
        let expected = "size ≥ 1, stride ≥ 1, pad < size".into();
        return Err(LayerError::Settings { layer: "pool", expected, found: settings.clone() });
    }
    Ok(Box::new(PoolLayer { kind, size, stride, pad }))
}

fn words(kind: &str, settings: &Params) -> String {
    let Settings { size, stride, pad } = Settings::from(settings);
    format!("{kind} pool {size}×{size}/{stride} with padding {pad}")
}

/// `pool`: the maximum of windows.
pub static MAX_KIND: LayerKind = LayerKind {
    name: "pool",
    settings: SETTINGS,
    shared: Some("pool"),
    place: Place::Stage { build: |settings| build(PoolKind::Max, settings), epilogue: Activation::Linear },
    scaling: Scaling::Homogeneous,
    onnx: |settings, shapes| {
        let Settings { size, stride, pad } = Settings::from(settings);
        Subgraph::one(Form::Maps, "MaxPool", windows(shapes, size, stride, pad))
    },
    caffe: Caffe::Words(|_, settings, _| words("max", settings)),
    kernels: &[&MAX_FORWARD, &MAX_BACKWARD, &super::window::MAX],
    examples: &["pool = { size = 3, stride = 2 }", "pool = { size = 3, stride = 2, pad = 1 }"],
};

/// `average_pool`: the mean of windows.
pub static AVERAGE_KIND: LayerKind = LayerKind {
    name: "average_pool",
    settings: SETTINGS,
    shared: Some("pool"),
    place: Place::Stage { build: |settings| build(PoolKind::Average, settings), epilogue: Activation::Linear },
    scaling: Scaling::Homogeneous,
    onnx: |settings, shapes| {
        let Settings { size, stride, pad } = Settings::from(settings);
        Subgraph::one(Form::Maps, "AveragePool", windows(shapes, size, stride, pad))
    },
    caffe: Caffe::Words(|_, settings, _| words("average", settings)),
    kernels: &[&AVERAGE_FORWARD, &AVERAGE_BACKWARD, &super::window::AVERAGE],
    examples: &["average_pool = { size = 3, stride = 2 }", "average_pool = { size = 2, stride = 3, pad = 1 }"],
};

/// Reduction of a window to one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The maximum of its pixels.
    Max,
    /// The mean of the pixels inside.
    Average,
}

/// Pooling of one tower's maps.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolLayer {
    /// Reduction of a window to one number.
    pub kind: PoolKind,
    /// Side of the window.
    pub size: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels around the maps, less than `size`.
    pub pad: usize,
}

impl PoolLayer {
    fn shape(&self, site: &Site, x: Chw) -> Shape {
        Shape::new(x.channels, [x.height, x.width], site.images, self.size, self.stride, self.pad)
    }
}

impl Layer for PoolLayer {
    fn describe(&self) -> String {
        let name = if self.kind == PoolKind::Max { "max" } else { "average" };
        format!("{name} pool {0}×{0}/{1}", self.size, self.stride)
    }

    fn output(&self, x: &[Chw]) -> Result<Chw, LayerError> {
        let x = only(x)?;
        if self.size > x.height.min(x.width) + 2 * self.pad {
            return Err(LayerError::Window { window: self.size, map: x, pad: self.pad });
        }
        let along = |extent| pooled(extent, self.size, self.stride, self.pad);
        Ok(Chw { channels: x.channels, height: along(x.height), width: along(x.width) })
    }

    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Chw)], _: &[Slot], y: Chw, _: bool) -> Slot {
        let out = map_slot(r, site, "y", y);
        let kernel = if self.kind == PoolKind::Max { &MAX_FORWARD } else { &AVERAGE_FORWARD };
        r.run(kernel, self.shape(site, x[0].1).params(), &[x[0].0, out]);
        out
    }

    fn through_relu(&self) -> ThroughRelu {
        if self.kind == PoolKind::Max { ThroughRelu::Within } else { ThroughRelu::Apart }
    }

    fn backward_input(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot, _: usize) -> Slot {
        let (x, maps) = saved.x[0];
        let shape = Shape { relu: saved.relu, ..self.shape(site, maps) };
        let (dx, params) = (map_slot(r, site, "dx", maps), shape.params());
        match self.kind {
            PoolKind::Max => r.run(&MAX_BACKWARD, params, &[x, saved.y.0, dz, dx]),
            PoolKind::Average => r.run(&AVERAGE_BACKWARD, params, &[dz, dx]),
        }
        dx
    }
}
