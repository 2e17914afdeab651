//! Comparison of a network of Caffe with a model file: the same layers with the same settings in the same order.
//! Dropout does nothing in evaluation. Groups of a convolution are those of all towers; several of the file's can lie
//! in one of the model, whose weights between them are then 0.

use super::{ModelMismatch, Network};
use crate::kernel::Params;
use crate::net::Model;
use crate::net::model::Sees;
use crate::ops::activation::Activation;
use crate::ops::conv;
use crate::ops::kind::{Caffe, Head, LayerKind, Place};
use crate::ops::layer::Chw;

/// A layer of the network or of the model.
pub(super) struct Compared {
    kind: &'static LayerKind,
    settings: Params,
    /// Towers that it stays inside of.
    towers: usize,
    /// Name, where it has weights.
    name: Option<String>,
    /// Description with every setting; equal for equal layers.
    pub(super) words: String,
}

impl Network {
    /// Checks that `model` computes what this network does; names may be others.
    pub fn agrees_with(&self, model: &Model) -> Result<(), ModelMismatch> {
        let size = model.input.size;
        if let Some(found) = self.size.filter(|&found| found != size) {
            return Err(ModelMismatch::Size { found, expected: size });
        }
        let here = self.layers.iter().filter_map(|layer| compared(Some(&layer.name), layer.kind, &layer.settings, 1));
        let (mut here, there) = (here.collect::<Vec<_>>(), layers_of(model)?);
        here.iter_mut().zip(&there).for_each(|(here, there)| here.join_groups(there));
        let words = |layers: &[Compared], at: usize| layers.get(at).map(|layer| layer.words.clone());
        for at in 0..here.len().max(there.len()) {
            if words(&here, at) != words(&there, at) {
                let [found, expected] =
                    [&here, &there].map(|layers| layers.get(at).map_or_else(|| "nothing".into(), Compared::named));
                return Err(ModelMismatch::Layer { number: at + 1, found, expected });
            }
        }
        // Windows that hang over the edge count on one side only where that changes an extent.
        let image = Chw { channels: model.input.channels, height: size, width: size };
        let [outputs_here, outputs_there] = [&here, &there].map(|layers| outputs(layers, image));
        match outputs_here.iter().zip(&outputs_there).position(|(here, there)| here != there) {
            None => Ok(()),
            Some(at) => {
                let (found, expected) = (outputs_here[at], outputs_there[at]);
                Err(ModelMismatch::Output { number: at + 1, layer: here[at].named(), found, expected })
            }
        }
    }
}

fn layers_of(model: &Model) -> Result<Vec<Compared>, ModelMismatch> {
    let mut layers = Vec::new();
    for (index, row) in model.layers.iter().enumerate() {
        let reads_towers = index > 0 && model.layers[index - 1].on.is_none();
        let inside = if reads_towers && row.sees == Sees::Own { model.towers } else { 1 };
        for (name, stage) in
            std::iter::once((Some(&*row.name), &row.head)).chain(row.then.iter().map(|stage| (None, stage)))
        {
            let refuse = |reason| ModelMismatch::Settings { layer: row.name.clone(), reason };
            let settings = model.settings(stage).map_err(refuse)?;
            let towers = if stage.kind.is_head() { inside } else { model.towers };
            layers.extend(compared(name, stage.kind, &settings, towers));
        }
    }
    Ok(layers)
}

/// A layer as it is compared, named only where it has weights; `None` where it does nothing in evaluation.
pub(super) fn compared(
    name: Option<&str>,
    kind: &'static LayerKind,
    settings: &Params,
    towers: usize,
) -> Option<Compared> {
    let Caffe::Words(words) = kind.caffe else { return None };
    let name = name.filter(|_| kind.is_head()).map(str::to_owned);
    Some(Compared { kind, settings: settings.clone(), towers, name, words: words(kind, settings, towers) })
}

impl Compared {
    /// Groups of a convolution, on all towers.
    fn groups(&self) -> Option<usize> {
        (*self.kind == conv::KIND).then(|| self.towers * self.settings.get::<usize>("groups"))
    }

    /// Takes several groups as one, where those of `other` are so large.
    fn join_groups(&mut self, other: &Self) {
        if let (Some(own), Some(others), Caffe::Words(words)) = (self.groups(), other.groups(), self.kind.caffe)
            && own.is_multiple_of(others.max(1))
        {
            self.settings = self.settings.replaced("groups", others);
            self.words = words(self.kind, &self.settings, self.towers);
        }
    }

    /// Name of the layer and its description, for messages.
    fn named(&self) -> String {
        self.name.as_ref().map_or_else(|| self.words.clone(), |name| format!("{name}, {}", self.words))
    }
}

/// The outputs of the layers on one tower, up to the first that cannot be built.
pub(super) fn outputs(layers: &[Compared], image: Chw) -> Vec<Chw> {
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
