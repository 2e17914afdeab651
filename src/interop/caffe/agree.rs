//! Whether a network of Caffe is that of a model file: the same layers with the same settings in the same order. Dropout
//! does nothing in evaluation, and groups are a matter of weights.

use super::Network;
use crate::kernel::Params;
use crate::net::Model;
use crate::ops::activation::Activation;
use crate::ops::kind::{Caffe, Head, LayerKind, Place};
use crate::ops::layer::Maps;

/// A layer of either side.
pub(super) struct Compared {
    kind: &'static LayerKind,
    settings: Params,
    /// Every setting in words, which are the same for the same layer.
    pub(super) words: String,
}

impl Network {
    /// Checks that `model` computes what this network does.
    pub fn agrees_with(&self, model: &Model) -> Result<(), String> {
        let size = model.input.size;
        if let Some(other) = self.size.filter(|&other| other != size) {
            return Err(format!("it reads images of {other} pixels, the model of {size}"));
        }
        let here = self.layers.iter().filter_map(|layer| compared(Some(&layer.name), layer.kind, &layer.settings, 1));
        let (here, there) = (here.collect::<Vec<_>>(), layers_of(model)?);
        let words = |layers: &[Compared], at: usize| layers.get(at).map(|layer| layer.words.clone());
        for at in 0..here.len().max(there.len()) {
            if words(&here, at) != words(&there, at) {
                let [here, there] = [&here, &there].map(|layers| words(layers, at).unwrap_or_else(|| "nothing".into()));
                return Err(format!("its layer {} is {here}, where the model has {there}", at + 1));
            }
        }
        // Windows that hang over the edge count on one side only where that changes an extent.
        let image = Maps { maps: model.input.channels, height: size, width: size };
        let [outputs_here, outputs_there] = [&here, &there].map(|layers| outputs(layers, image));
        match outputs_here.iter().zip(&outputs_there).position(|(here, there)| here != there) {
            None => Ok(()),
            Some(at) => Err(format!(
                "its layer {} is {} and gives {}, where the model's gives {}",
                at + 1,
                here[at].words,
                outputs_here[at],
                outputs_there[at]
            )),
        }
    }
}

fn layers_of(model: &Model) -> Result<Vec<Compared>, String> {
    let mut layers = Vec::new();
    for row in &model.layers {
        for (name, stage) in
            std::iter::once((Some(&*row.name), &row.head)).chain(row.then.iter().map(|stage| (None, stage)))
        {
            let settings = model.settings(stage).map_err(|reason| format!("layer {}: {reason}", row.name))?;
            layers.extend(compared(name, stage.kind, &settings, model.towers));
        }
    }
    Ok(layers)
}

/// A layer as it is compared; `None` for one that does nothing in evaluation. Only layers with weights have a name that counts.
pub(super) fn compared(
    name: Option<&str>,
    kind: &'static LayerKind,
    settings: &Params,
    towers: usize,
) -> Option<Compared> {
    let Caffe::Words(words) = kind.caffe else { return None };
    let words = words(kind, settings, towers);
    let words = match name.filter(|_| kind.is_head()) {
        Some(name) => format!("{name}, {words}"),
        None => words,
    };
    Some(Compared { kind, settings: settings.clone(), words })
}

/// The outputs of the layers on one tower, as far as each of them can be built.
pub(super) fn outputs(layers: &[Compared], image: Maps) -> Vec<Maps> {
    let mut x = image;
    let each = layers.iter().map_while(|layer| {
        let built = match layer.kind.place {
            Place::Head { outputs, build } => {
                let outputs = layer.settings.get(outputs);
                build(&layer.settings, Head { outputs, activation: Activation::Linear, weights: 0.0, bias: 0.0 })
            }
            Place::Stage { build, .. } => build(&layer.settings),
            Place::Loss => return Some(x),
        };
        x = built.and_then(|layer| layer.output(&[x])).ok()?;
        Some(x)
    });
    each.collect()
}
