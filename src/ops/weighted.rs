//! Layers with weights, convolutional and fully connected: one contraction for each input, the bias and the activation
//! in the last one's epilogue.

use std::fmt::Debug;

use super::activation::Activation;
use super::bias;
use super::conv::{Conv, Direction, Grouped};
use super::kind::Head;
use super::layer::{Chw, Init, Layer, LayerError, Saved, Site, ThroughRelu, WeightKind, WeightSpec, map_slot};
use crate::program::{Recorder, Slot};

/// Work of a contraction's kernel besides summing products.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue {
    /// Adds to what is there.
    pub accumulate: bool,
    /// Adds a bias for each output.
    pub bias: bool,
    /// Activation f in the contraction's epilogue; by input the one that made x.
    pub activation: Activation,
}

impl Epilogue {
    /// A sum that is added to what is there, or takes its place.
    pub const fn accumulating(accumulate: bool) -> Self {
        Self { accumulate, bias: false, activation: Activation::Linear }
    }
}

/// Differences of a convolution from a fully connected layer.
pub trait Contraction: Debug + Send + Sync {
    /// Words for listings, `conv 3×3`.
    fn describe(&self, outputs: usize) -> String;

    /// Shape of the output.
    fn output(&self, outputs: usize, x: &[Chw]) -> Result<Chw, LayerError>;

    /// Extents of the weights over one input, outputs left out.
    fn window(&self, x: Chw) -> Vec<usize>;

    /// Groups of maps, each with outputs of its own, which share the outputs evenly; none unless said.
    fn groups(&self) -> usize {
        1
    }

    /// The convolution that computes one group for `images` images, without an epilogue.
    fn conv(&self, images: usize, x: Chw, y: Chw) -> Conv;

    /// All of it with an epilogue.
    fn grouped(&self, images: usize, x: Chw, y: Chw, epilogue: Epilogue) -> Grouped {
        let Epilogue { accumulate, bias, activation } = epilogue;
        let conv = Conv { accumulate, bias, activation: activation as usize, ..self.conv(images, x, y) };
        Grouped::new(conv, self.groups())
    }
}

/// One tower's share of a layer with weights.
#[derive(Debug)]
pub struct Weighted<C> {
    /// The contraction that the layer records.
    pub contraction: C,
    /// Settings of the row.
    pub head: Head,
}

impl<C: Contraction> Layer for Weighted<C> {
    fn describe(&self) -> String {
        self.contraction.describe(self.head.outputs) + &self.head.activation.suffix()
    }

    fn output(&self, x: &[Chw]) -> Result<Chw, LayerError> {
        self.contraction.output(self.head.outputs, x)
    }

    fn weights(&self, x: &[Chw]) -> Vec<WeightSpec> {
        let Head { outputs, weights, bias, .. } = self.head;
        let matrix = |(i, &maps): (usize, &Chw)| WeightSpec {
            kind: WeightKind::Weights(i),
            shape: [&self.contraction.window(maps)[..], &[outputs / self.contraction.groups()]].concat(),
            init: Init::Normal(weights),
        };
        let bias = WeightSpec { kind: WeightKind::Bias, shape: vec![outputs], init: Init::Constant(bias) };
        x.iter().enumerate().map(matrix).chain([bias]).collect()
    }

    fn groups(&self) -> usize {
        self.contraction.groups()
    }

    fn macs(&self, x: &[Chw], y: Chw) -> u64 {
        let products = |&maps: &Chw| self.contraction.window(maps).iter().product::<usize>() * y.count();
        (x.iter().map(products).sum::<usize>() / self.groups()) as u64
    }

    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Chw)], w: &[Slot], y: Chw, _: bool) -> Slot {
        let out = map_slot(r, site, "y", y);
        for (i, &(slot, maps)) in x.iter().enumerate() {
            let mut epilogue = Epilogue::accumulating(i > 0);
            if i + 1 == x.len() {
                (epilogue.bias, epilogue.activation) = (true, self.head.activation);
            }
            let conv = self.contraction.grouped(site.images, maps, y, epilogue);
            conv.record(r, Direction::Forward, &[slot, w[i], w[x.len()], out]);
        }
        out
    }

    fn activation(&self) -> Activation {
        self.head.activation
    }

    fn backward_input(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot, i: usize) -> Slot {
        let (x, maps) = saved.x[i];
        let dx = saved.sum.unwrap_or_else(|| map_slot(r, site, &format!("dx{i}"), maps));
        let activation = if saved.relu { Activation::Relu } else { Activation::Linear };
        let epilogue = Epilogue { activation, ..Epilogue::accumulating(saved.sum.is_some()) };
        let conv = self.contraction.grouped(site.images, maps, saved.y.1, epilogue);
        conv.record(r, Direction::BackwardInput, &[saved.w[i], dz, x, dx]);
        dx
    }

    fn through_relu(&self) -> ThroughRelu {
        ThroughRelu::Within
    }

    fn backward_weights(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot) {
        let y = saved.y.1;
        if let Some(db) = saved.dw[saved.x.len()] {
            bias::backward(r, site, y, dz, db);
        }
        for (&(x, maps), dw) in saved.x.iter().zip(saved.dw) {
            if let Some(dw) = *dw {
                let epilogue = Epilogue::accumulating(site.accumulate);
                let conv = self.contraction.grouped(site.images, maps, y, epilogue);
                conv.record(r, Direction::BackwardFilter, &[x, dz, dw]);
            }
        }
    }
}
