//! Whether a network of Caffe is that of a model file: the same layers with the same settings in the same order. Dropout
//! does nothing in evaluation, and groups are a matter of weights.

use super::Network;
use super::layers::{Kind, Layer};
use crate::net::model::{Lrn, Row};
use crate::net::{Model, Stage};

impl Network {
    /// Checks that `model` computes what this network does.
    ///
    /// # Errors
    /// The first layer that differs, as it is here and there.
    pub fn agrees_with(&self, model: &Model) -> Result<(), String> {
        let size = model.input.size;
        if let Some(other) = self.size.filter(|&other| other != size) {
            return Err(format!("it reads images of {other} pixels, the model of {size}"));
        }
        let (here, there): (Vec<String>, Vec<String>) = (
            self.layers.iter().map(told).collect(),
            model.layers.iter().flat_map(|row| row_told(model, row)).collect(),
        );
        let end = || "nothing".to_owned();
        match (0..here.len().max(there.len())).find(|&at| here.get(at) != there.get(at)) {
            None => Ok(()),
            Some(at) => {
                let [here, there] = [here, there].map(|list| list.get(at).cloned().unwrap_or_else(end));
                Err(format!("its layer {} is {here}, where the model has {there}", at + 1))
            }
        }
    }
}

fn told(layer: &Layer) -> String {
    match layer.kind {
        Kind::Conv(conv) => conv_told(&layer.name, [conv.filters, conv.size, conv.stride, conv.pad]),
        Kind::Full(outputs) => full_told(&layer.name, outputs),
        Kind::Relu => Stage::Relu.name().into(),
        Kind::Tanh => Stage::Tanh.name().into(),
        Kind::Lrn(lrn) => {
            let super::layers::Lrn { within, size, k, alpha, beta } = lrn;
            lrn_told(within, Lrn { size, k, alpha, beta }, 1)
        }
        Kind::Pool(pool) => pool_told(pool.average, [pool.size, pool.stride, pool.pad]),
        Kind::Softmax => Stage::Softmax.name().into(),
    }
}

fn row_told(model: &Model, row: &Row) -> Vec<String> {
    let layer = match (row.conv, row.fc) {
        (Some(conv), _) => conv_told(&row.name, [conv.filters, conv.size, conv.stride, conv.pad]),
        (None, outputs) => full_told(&row.name, outputs.unwrap_or_default()),
    };
    let stages = row.then.iter().filter_map(|stage| {
        Some(match stage {
            Stage::Dropout(_) => return None,
            Stage::Lrn(own) => lrn_told(false, own.or(model.lrn)?, model.towers),
            Stage::LrnSpatial(own) => lrn_told(true, own.or(model.lrn)?, 1),
            Stage::Pool(own) => own.or(model.pool).map(|pool| pool_told(false, [pool.size, pool.stride, pool.pad]))?,
            Stage::AveragePool(own) => {
                own.or(model.pool).map(|pool| pool_told(true, [pool.size, pool.stride, pool.pad]))?
            }
            other => other.name().into(),
        })
    });
    std::iter::once(layer).chain(stages).collect()
}

fn conv_told(name: &str, [filters, size, stride, pad]: [usize; 4]) -> String {
    format!("{name}, a convolution of {filters} filters {size}×{size}/{stride} with padding {pad}")
}

fn full_told(name: &str, outputs: usize) -> String {
    format!("{name}, fully connected with {outputs} outputs")
}

fn lrn_told(within: bool, lrn: Lrn, towers: usize) -> String {
    let over = if within { "pixels" } else { "maps" };
    let inside = if towers > 1 { format!(" inside each of {towers} towers") } else { String::new() };
    let Lrn { size, k, alpha, beta } = lrn;
    format!("normalisation over {size} {over}{inside}, k {k}, alpha {alpha:.4e}, beta {beta}")
}

fn pool_told(average: bool, [size, stride, pad]: [usize; 3]) -> String {
    let kind = if average { "average" } else { "max" };
    format!("{kind} pool {size}×{size}/{stride} with padding {pad}")
}
