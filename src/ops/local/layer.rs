//! The layer itself: settings, shapes, weights, recordings.

use super::{BACKWARD_FILTER, BACKWARD_INPUT, FORWARD, Shape};
use crate::ops::activation::Activation;
use crate::ops::bias;
use crate::ops::conv::extent;
use crate::ops::kind::{Caffe, Head, LayerKind, Place, Scaling, Setting, caffe_words};
use crate::ops::layer::{
    Chw, Init, Layer, LayerError, MOST_PIXELS, Saved, Site, WeightKind, WeightSpec, map_slot, same_sizes,
};
use crate::ops::onnx::{Form, Subgraph};
use crate::params;
use crate::program::{Recorder, Slot};

params! {
    /// Settings of an untied local layer over the whole width of the network.
    pub struct Settings {
        /// Filters of each output pixel, of all towers together.
        filters: usize,
        /// Side of the window in pixels.
        size: usize,
        /// Pixels from one window to the next.
        stride: usize,
        /// Zeros around the maps, fewer than `size`.
        pad: usize,
    }
}

/// `local`: filters over windows of the maps, others for every pixel.
pub static KIND: LayerKind = LayerKind {
    name: "local",
    settings: &[
        Setting::count("filters"),
        Setting::count("size"),
        Setting::count_or("stride", 1),
        Setting::count_or("pad", 0),
    ],
    shared: None,
    place: Place::Head {
        outputs: "filters",
        build: |settings, head| {
            let own = Settings::from(settings);
            if own.pad >= own.size || ![own.size, own.stride].iter().all(|extent| (1..=MOST_PIXELS).contains(extent)) {
                let expected = format!("size and stride of 1 to {MOST_PIXELS}, pad < size");
                return Err(LayerError::Settings { layer: "local", expected, found: settings.clone() });
            }
            Ok(Box::new(Local { settings: own, head }))
        },
    },
    scaling: Scaling::Other,
    // ONNX has no operator for it: export refuses its weights.
    onnx: |_, _| Subgraph::new(Form::Maps),
    caffe: Caffe::Words(caffe_words),
    kernels: &[&FORWARD, &BACKWARD_INPUT, &BACKWARD_FILTER],
    examples: &[
        "local = { filters = 8, size = 3, pad = 1 }",
        "local = { filters = 6, size = 2, stride = 2 }",
        "local = { filters = 4, size = 5, stride = 3, pad = 2 }",
    ],
};

/// One tower's share of an untied local layer.
#[derive(Debug)]
struct Local {
    settings: Settings,
    head: Head,
}

impl Local {
    /// The run over one input of `x` to outputs of `y`, without an epilogue.
    fn shape(&self, images: usize, x: Chw, y: Chw, accumulate: bool) -> Shape {
        let Settings { size, stride, pad, .. } = self.settings;
        Shape {
            maps: x.channels,
            h: x.height,
            w: x.width,
            n: images,
            k: y.channels,
            p: y.height,
            q: y.width,
            r: size,
            s: size,
            stride,
            pad,
            accumulate,
            bias: false,
            activation: Activation::Linear as usize,
        }
    }
}

impl Layer for Local {
    fn describe(&self) -> String {
        let Settings { size, stride, .. } = self.settings;
        let stride = if stride > 1 { format!("/{stride}") } else { String::new() };
        format!("local {size}×{size}{stride}{}", self.head.activation.suffix())
    }

    fn output(&self, x: &[Chw]) -> Result<Chw, LayerError> {
        let first = same_sizes(x)?;
        let Settings { size, stride, pad, .. } = self.settings;
        match [first.height, first.width].map(|input| extent(input, size, stride, pad)) {
            [Some(height), Some(width)] => Ok(Chw { channels: self.head.outputs, height, width }),
            _ => Err(LayerError::Window { window: size, map: first, pad }),
        }
    }

    fn weights(&self, x: &[Chw]) -> Vec<WeightSpec> {
        // The network was built, so the shapes are there.
        let Ok(Chw { channels, height, width }) = self.output(x) else { return Vec::new() };
        let (size, Head { weights, bias, .. }) = (self.settings.size, self.head);
        let matrices = |(i, maps): (usize, &Chw)| WeightSpec {
            kind: WeightKind::Weights(i),
            shape: vec![height, width, maps.channels, size, size, channels],
            init: Init::Normal(weights),
        };
        let shape = vec![channels, height, width];
        let bias = WeightSpec { kind: WeightKind::Bias, shape, init: Init::Constant(bias) };
        x.iter().enumerate().map(matrices).chain([bias]).collect()
    }

    fn macs(&self, x: &[Chw], y: Chw) -> u64 {
        x.iter().map(|&maps| self.shape(1, maps, y, false).macs()).sum()
    }

    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Chw)], w: &[Slot], y: Chw, _: bool) -> Slot {
        let out = map_slot(r, site, "y", y);
        for (i, &(slot, maps)) in x.iter().enumerate() {
            let mut shape = self.shape(site.images, maps, y, i > 0);
            if i + 1 == x.len() {
                (shape.bias, shape.activation) = (true, self.head.activation as usize);
            }
            r.run(&FORWARD, shape.params(), &[slot, w[i], w[x.len()], out]);
        }
        out
    }

    fn activation(&self) -> Activation {
        self.head.activation
    }

    fn backward_input(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot, i: usize) -> Slot {
        let maps = saved.x[i].1;
        let dx = map_slot(r, site, &format!("dx{i}"), maps);
        let shape = self.shape(site.images, maps, saved.y.1, false);
        r.run(&BACKWARD_INPUT, shape.params(), &[saved.w[i], dz, dx]);
        dx
    }

    fn backward_weights(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot) {
        let y = saved.y.1;
        if let Some(db) = saved.dw[saved.x.len()] {
            // Every output has a bias of its own: each is a map of one pixel.
            bias::backward(r, site, Chw::flat(y.count()), dz, db);
        }
        for (&(x, maps), dw) in saved.x.iter().zip(saved.dw) {
            if let Some(dw) = *dw {
                let shape = self.shape(site.images, maps, y, site.accumulate);
                r.run(&BACKWARD_FILTER, shape.params(), &[x, dz, dw]);
            }
        }
    }
}
