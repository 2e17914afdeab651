//! The fully connected layer: one matrix product for each input, bias and neuron in the last one's epilogue.
//! Inputs are taken in their own order `[C][H][W]`, which with images innermost needs no rearranging.

use super::activation::Activation;
use super::bias;
use super::gemm::{BACKWARD_INPUT, BACKWARD_WEIGHTS, FORWARD, Gemm};
use super::layer::{Init, Layer, Maps, Saved, Site, WeightKind, WeightSpec, map_slot};
use crate::program::{Recorder, Slot};

/// One tower's share of a fully connected layer.
#[derive(Clone, Debug, PartialEq)]
pub struct FcLayer {
    /// Neurons of this tower.
    pub outputs: usize,
    /// Neuron.
    pub activation: Activation,
    /// Standard deviation of the initial weights.
    pub weights: f32,
    /// Initial bias.
    pub bias: f32,
}

impl FcLayer {
    fn gemm(&self, site: &Site, x: Maps) -> Gemm {
        Gemm {
            m: self.outputs,
            k: x.count(),
            n: site.images,
            accumulate: false,
            bias: false,
            activation: Activation::Linear as usize,
            by_input: false,
        }
    }
}

impl Layer for FcLayer {
    fn describe(&self) -> String {
        format!("fc {}{}", self.outputs, self.activation.suffix())
    }

    fn output(&self, _: &[Maps]) -> Result<Maps, String> {
        Ok(Maps::flat(self.outputs))
    }

    fn weights(&self, x: &[Maps]) -> Vec<WeightSpec> {
        let matrix = |(i, maps): (usize, &Maps)| WeightSpec {
            kind: WeightKind::Weights(i),
            shape: vec![maps.count(), self.outputs],
            init: Init::Normal(self.weights),
        };
        let mut specs: Vec<_> = x.iter().enumerate().map(matrix).collect();
        specs.push(WeightSpec { kind: WeightKind::Bias, shape: vec![self.outputs], init: Init::Constant(self.bias) });
        specs
    }

    fn macs(&self, x: &[Maps], y: Maps) -> u64 {
        x.iter().map(|maps| (maps.count() * y.count()) as u64).sum()
    }

    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Maps)], w: &[Slot], y: Maps, _: bool) -> Slot {
        let out = map_slot(r, site, "y", y);
        let bias = w[x.len()];
        for (i, &(slot, maps)) in x.iter().enumerate() {
            let mut gemm = Gemm { accumulate: i > 0, ..self.gemm(site, maps) };
            if i + 1 == x.len() {
                (gemm.bias, gemm.activation) = (true, self.activation as usize);
            }
            r.run(&FORWARD, gemm.params(), &[slot, w[i], bias, out]);
        }
        out
    }

    fn activation(&self) -> Activation {
        self.activation
    }

    fn backward_input(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot, i: usize) -> Slot {
        let maps = saved.x[i].1;
        let dx = map_slot(r, site, &format!("dx{i}"), maps);
        let gemm = Gemm { by_input: true, ..self.gemm(site, maps) };
        r.run(&BACKWARD_INPUT, gemm.params(), &[saved.w[i], dz, dx]);
        dx
    }

    fn backward_weights(&self, r: &mut Recorder, site: &Site, saved: &Saved, dz: Slot) {
        if let Some(db) = saved.dw[saved.x.len()] {
            bias::backward(r, site, saved.y.1, dz, db);
        }
        for (&(x, maps), dw) in saved.x.iter().zip(saved.dw) {
            if let Some(dw) = *dw {
                let gemm = Gemm { accumulate: site.accumulate, ..self.gemm(site, maps) };
                r.run(&BACKWARD_WEIGHTS, gemm.params(), &[x, dz, dw]);
            }
        }
    }
}
