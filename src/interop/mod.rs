//! Weights under the names and in the layout of other programs: whole layers instead of one tower's share, filters
//! outermost (`[K][C][R][S]`, `[outputs][inputs]`) instead of innermost.
//!
//! A layer whose towers see only their own maps is a grouped one, whose filters have the maps of one group; one that
//! sees both has the maps of all towers in their order. A fully connected layer reads maps in the order C·H·W. Colours
//! are red, green, blue. Dropout does nothing in evaluation, where that of 2012 multiplies with the share that is kept:
//! the weights behind it have it as a factor. One description, [`wholes`], serves both ways.

mod layout;
mod names;

use std::collections::BTreeMap;

use thiserror::Error;

pub use self::layout::{Part, Quantity, Whole, adopt, wholes};
pub use self::names::{Names, Naming};
use crate::net::{Model, Net};
use crate::tensor::Tensor;

/// Why weights cannot go from a network to a file, or back.
#[derive(Debug, Error)]
pub enum InteropError {
    /// A tensor does not fit.
    #[error("tensor {name} has shape {found:?}, layer {row} of this network needs {wanted:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The layer.
        row: String,
        /// Its shape.
        found: Vec<usize>,
        /// The network's.
        wanted: Vec<usize>,
    },
    /// Tensors that the network needs are not there.
    #[error("there is no tensor {names}")]
    Missing {
        /// Their names.
        names: String,
    },
    /// A dropout whose share cannot be a factor of weights.
    #[error(
        "layer {row}: {stage} after dropout. Other programs' dropout does nothing in evaluation, so that its share \
         would have to go into the weights of the next layer, and cannot through {stage}"
    )]
    Dropout {
        /// The row.
        row: String,
        /// The stage.
        stage: &'static str,
    },
}

impl Naming {
    /// The convention of most of the `tensors` that are `net`'s; `None` where none is.
    ///
    /// # Errors
    /// When a dropout's share cannot go into the weights behind it.
    pub fn of(net: &Net, tensors: &BTreeMap<String, Tensor>) -> Result<Option<Self>, InteropError> {
        let mut best = (0, None);
        for names in [Names::Torchvision, Names::Caffe, Names::Tower] {
            let naming = Self::found(&net.model, names, tensors);
            let found = wholes(net, &naming)?.iter().filter(|whole| tensors.contains_key(&whole.name)).count();
            if found > best.0 {
                best = (found, Some(naming));
            }
        }
        Ok(best.1)
    }
}

/// Gives the last layer of `model` as many outputs as `tensors` have biases for it, if any.
pub fn fit_classes(model: &mut Model, tensors: &BTreeMap<String, Tensor>) {
    let Some(row) = model.layers.last().map(|row| row.name.clone()) else { return };
    let tower = (model.towers > 1).then_some(0);
    let outputs = |names| tensors.get(&Naming::found(model, names, tensors).name(&row, tower, true));
    let bias = [Names::Torchvision, Names::Caffe, Names::Tower].into_iter().find_map(outputs);
    if let Some(bias) = bias {
        model.fit_classes(bias.values().len());
    }
}
