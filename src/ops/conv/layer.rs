//! The convolutional layer: one convolution for each input, bias and neuron in the last one's epilogue.

use super::{BACKWARD_FILTER, BACKWARD_INPUT, Conv, FORWARD, extent, floor_extent};
use crate::ops::activation::Activation;
use crate::ops::bias;
use crate::ops::layer::{Init, Layer, Maps, Saved, Site, WeightKind, WeightSpec, map_slot};
use crate::program::{Recorder, Slot};

/// One tower's share of a convolutional layer.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvLayer {
    /// Filters of this tower.
    pub filters: usize,
    /// Window, square.
    pub size: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Zeros around the maps.
    pub pad: usize,
    /// Leaves out pixels that a whole stride does not reach, instead of adding zeros.
    pub floor: bool,
    /// Neuron.
    pub activation: Activation,
    /// Standard deviation of the initial weights.
    pub weights: f32,
    /// Initial bias.
    pub bias: f32,
}

impl ConvLayer {
    fn conv(&self, site: &Site, x: Maps, y: Maps) -> Conv {
        Conv {
            maps: x.maps,
            h: x.height,
            w: x.width,
            n: site.images,
            k: self.filters,
            p: y.height,
            q: y.width,
            r: self.size,
            s: self.size,
            stride_y: self.stride,
            stride_x: self.stride,
            pad_y: self.pad,
            pad_x: self.pad,
            accumulate: false,
            bias: false,
            activation: Activation::Linear as usize,
        }
    }
}

impl Layer for ConvLayer {
    fn describe(&self) -> String {
        let stride = if self.stride > 1 { format!("/{}", self.stride) } else { String::new() };
        format!("conv {0}×{0}{stride}{1}", self.size, self.activation.suffix())
    }

    fn output(&self, x: &[Maps]) -> Result<Maps, String> {
        let along = |input: usize| {
            let extent = if self.floor { floor_extent } else { extent };
            extent(input, self.size, self.stride, self.pad).ok_or_else(|| {
                format!("its window of {} is larger than the map of {input} with padding {}", self.size, self.pad)
            })
        };
        let first = x.first().ok_or("it has no input")?;
        if x.iter().any(|maps| maps.pixels() != first.pixels()) {
            return Err("its inputs differ in size".into());
        }
        Ok(Maps { maps: self.filters, height: along(first.height)?, width: along(first.width)? })
    }

    fn weights(&self, x: &[Maps]) -> Vec<WeightSpec> {
        let matrix = |(i, maps): (usize, &Maps)| WeightSpec {
            kind: WeightKind::Weights(i),
            shape: vec![maps.maps, self.size, self.size, self.filters],
            init: Init::Normal(self.weights),
        };
        let mut specs: Vec<_> = x.iter().enumerate().map(matrix).collect();
        specs.push(WeightSpec { kind: WeightKind::Bias, shape: vec![self.filters], init: Init::Constant(self.bias) });
        specs
    }

    fn macs(&self, x: &[Maps], y: Maps) -> u64 {
        let window = self.size * self.size;
        x.iter().map(|maps| (maps.maps * window * y.count()) as u64).sum()
    }

    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Maps)], w: &[Slot], y: Maps, _: bool) -> Slot {
        let out = map_slot(r, site, "y", y);
        let bias = w[x.len()];
        for (i, &(slot, maps)) in x.iter().enumerate() {
            let mut conv = Conv { accumulate: i > 0, ..self.conv(site, maps, y) };
            if i + 1 == x.len() {
                (conv.bias, conv.activation) = (true, self.activation as usize);
            }
            r.run(&FORWARD, conv.params(), &[slot, w[i], bias, out]);
        }
        out
    }

    fn activation(&self) -> Activation {
        self.activation
    }

    fn backward_input(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot, i: usize) -> Slot {
        let maps = saved.x[i].1;
        let dx = map_slot(r, site, &format!("dx{i}"), maps);
        r.run(&BACKWARD_INPUT, self.conv(site, maps, saved.y.1).params(), &[saved.w[i], dz, dx]);
        dx
    }

    fn backward_weights(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot) {
        let y = saved.y.1;
        if let Some(db) = saved.dw[saved.x.len()] {
            bias::backward(r, site, y, dz, db);
        }
        for (&(x, maps), dw) in saved.x.iter().zip(saved.dw) {
            if let Some(dw) = *dw {
                let conv = Conv { accumulate: site.accumulate, ..self.conv(site, maps, y) };
                r.run(&BACKWARD_FILTER, conv.params(), &[x, dz, dw]);
            }
        }
    }
}
