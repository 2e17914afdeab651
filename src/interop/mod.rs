//! Weights under the names and in the layout of other programs: whole layers instead of one tower's share, filters
//! outermost (`[K][C][R][S]`, `[outputs][inputs]`) instead of innermost.
//!
//! A layer whose towers see only their own maps is a grouped one, whose filters have the maps of one group; one that
//! sees both has the maps of all towers in their order. A fully connected layer reads maps in the order C·H·W. Colours
//! are red, green, blue. Dropout does nothing in evaluation, where that of 2012 multiplies with the share that is kept:
//! the weights behind it have it as a factor. One description, [`file_tensors`], serves both ways.

pub mod caffe;
mod tensors;
mod names;
pub mod npy;
pub mod onnx;
pub mod pth;
mod read;
mod recognise;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

pub use self::names::{Convention, Naming};
pub use self::read::{
    CLASSES, FormatError, MEAN, ReadError, Unreadable, WeightsFile, read_array, read_graph, read_layers, read_mean,
    read_weights,
};
pub use self::tensors::{FileTensor, Quantity, TensorPart, adopt, file_tensors};
use crate::net::{Model, Net};
use crate::tensor::Tensor;

/// All conventions, the likeliest first.
pub const CONVENTIONS: [Convention; 3] = [Convention::Torchvision, Convention::Caffe, Convention::Tower];

/// Reason why weights cannot be brought from a network to a file, or back.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InteropError {
    #[error("tensor {name} has shape {found:?}, layer {row} of this network needs {wanted:?}")]
    Shape { name: String, row: String, found: Vec<usize>, wanted: Vec<usize> },
    #[error("tensor {name}: {reason}")]
    Unreadable { name: String, reason: Unreadable },
    #[error("there is no tensor {names}")]
    Missing { names: String },
    #[error("{name} is not in the file, only {from}, of which PyTorch computes it: first {remove}, then save again")]
    Computed { name: String, from: String, remove: &'static str },
    #[error(
        "tensor {name} is made by {class}, expected plain floats: save what .to_dense() or .dequantize() makes of it"
    )]
    Made { name: String, class: String },
    #[error("no weights of this network under {under}; they are under {found}")]
    Under { under: String, found: String },
    #[error("an ONNX file has at most {most} bytes, this network needs {bytes}")]
    Large { bytes: usize, most: usize },
    #[error(
        "layer {row}: {stage} after dropout. Other programs' dropout does nothing in evaluation, so that its share \
         would have to go into the weights of the next layer, and cannot through {stage}"
    )]
    Dropout { row: String, stage: &'static str },
    #[error(
        "layer {row} has other filters for every pixel, which other programs have no layer for; its weights stay here"
    )]
    Untied { row: String },
    #[error("layer {row}: {classes} outputs do not divide over {towers} towers, and other programs have none to spare")]
    Uneven { row: String, classes: usize, towers: usize },
}

impl Naming {
    /// The convention by which most of the `tensors` are weights of `net`; `None` where none is, as in its own
    /// checkpoints.
    pub fn of(net: &Net, tensors: &BTreeMap<String, Tensor>) -> Option<Self> {
        let model = &net.model;
        let hits = |naming: &Self| {
            let towers = (0..model.towers).map(|tower| (model.towers > 1).then_some(tower));
            let names =
                towers.flat_map(|tower| model.layers.iter().map(move |row| naming.name(&row.name, tower, false)));
            names.collect::<BTreeSet<_>>().iter().filter(|name| tensors.contains_key(*name)).count()
        };
        let namings = CONVENTIONS.map(|names| Self::found(model, names, tensors));
        // The first of several with as many hits.
        namings.into_iter().rev().max_by_key(hits).filter(|naming| hits(naming) > 0)
    }
}

/// Gives the last layer of `model` as many outputs as `tensors` have biases for it, if any.
pub fn fit_classes(model: &mut Model, tensors: &BTreeMap<String, Tensor>) {
    let Some(row) = model.layers.last().map(|row| row.name.clone()) else { return };
    let tower = (model.towers > 1).then_some(0);
    let outputs = |names| tensors.get(&Naming::found(model, names, tensors).name(&row, tower, true));
    let bias = CONVENTIONS.into_iter().find_map(outputs);
    if let Some(bias) = bias {
        model.fit_classes(bias.values().len());
    }
}
