//! Networks as graphs of operators, as files of other programs have them: any order of layers, any inputs and outputs.
//! A file's parser makes a [`Graph`]; [`lower()`] makes a program of it, over the same kernels as those of
//! [`crate::net`].

mod bind;
mod contractions;
mod layers;
mod lower;
mod places;
mod shapes;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

pub use self::bind::Given;
pub use self::lower::{Lowered, Output, lower};
pub use self::places::Upload;
pub use self::window::{Pads, Window};
pub use crate::ops::binary::Operation;

/// A network.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Names of all values, by [`ValueId`].
    pub names: Vec<String>,
    /// What is asked of the caller.
    pub inputs: Vec<Input>,
    /// What is given to the caller.
    pub outputs: Vec<ValueId>,
    /// In an order in which each reads only what was there before it.
    pub nodes: Vec<Node>,
    /// Values that are known beforehand.
    pub constants: BTreeMap<ValueId, Constant>,
    /// Further facts of the file, by name.
    pub metadata: BTreeMap<String, String>,
}

impl Graph {
    /// The name of a value.
    #[must_use]
    pub fn name(&self, value: ValueId) -> &str {
        &self.names[value.0]
    }
}

/// A value: index into [`Graph::names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// What is asked of the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Which value it becomes.
    pub value: ValueId,
    /// Its elements.
    pub elem: Elem,
    /// Its extents; `None` where not even their number is said.
    pub dims: Option<Vec<Extent>>,
}

/// Elements of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elem {
    /// 32-bit floats.
    Float,
    /// Whole numbers or truths, which are known when the network is set up: sizes, for one.
    Integer,
    /// What is not computed with, by its name.
    Other(String),
}

/// An extent of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// This one.
    Known(usize),
    /// Any, but the same wherever this name stands.
    Named(String),
    /// Any.
    Unknown,
}

/// A value that is known beforehand; `values` are as many as the product of `dims`.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Extents, the last one innermost.
    pub dims: Vec<usize>,
    /// Elements.
    pub values: Values,
}

/// Elements of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// To compute with.
    Floats(Arc<[f32]>),
    /// Whole numbers: sizes, axes.
    Integers(Arc<[i64]>),
    /// What is not computed with, by its name; refused where it is read.
    Other(String),
}

/// One application of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// For people.
    pub name: String,
    /// The operator's name in the file.
    pub operator: String,
    /// What it does.
    pub op: Op,
    /// What it reads; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// What it writes; `None` where nobody wants it.
    pub outputs: Vec<Option<ValueId>>,
}

impl Node {
    /// A complaint about this node.
    #[must_use]
    pub fn refuse(&self, reason: impl Into<String>) -> GraphError {
        GraphError::Node { node: self.name.clone(), operator: self.operator.clone(), reason: reason.into() }
    }
}

/// What a node does, with its settings. Axes may be counted from the end, as negative numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Convolution of `[N][C][H][W]` with filters `[K][C / groups][R][S]`, and a bias `[K]` or none.
    Conv {
        /// Windows.
        window: Window,
        /// Groups of maps and of filters.
        groups: usize,
    },
    /// The largest of every window.
    MaxPool(Window),
    /// The mean of every window.
    AveragePool {
        /// Windows.
        window: Window,
        /// Whether padding counts.
        count_padding: bool,
    },
    /// The mean of every map.
    GlobalAveragePool,
    /// x (k + alpha Σ x²)^-beta over neighbouring maps.
    Lrn {
        /// Maps in the sum.
        size: usize,
        /// What multiplies it.
        alpha: f32,
        /// Exponent.
        beta: f32,
        /// What it starts from.
        k: f32,
    },
    /// max(x, 0).
    Relu,
    /// tanh x.
    Tanh,
    /// alpha · A · B + beta · C, any of A and B transposed.
    Gemm {
        /// Of the product.
        alpha: f32,
        /// Of the third input.
        beta: f32,
        /// Whether the first input is transposed.
        transposed_a: bool,
        /// Whether the second is.
        transposed_b: bool,
    },
    /// A · B; more than two axes are a batch of products.
    MatMul,
    /// Two tensors, number by number; the second begins at this axis of the first where it has fewer, at the end if not
    /// said.
    Binary {
        /// What becomes of two numbers.
        operation: Operation,
        /// Where the second begins.
        axis: Option<i64>,
    },
    /// Probabilities along an axis.
    Softmax {
        /// Which axis.
        axis: i64,
        /// Whether this axis and all behind it are taken as one, as up to version 12.
        flat: bool,
        /// Whether logarithms are wanted.
        log: bool,
    },
    /// Several tensors one behind the other.
    Concat {
        /// Along this axis.
        axis: i64,
    },
    /// A tensor in parts.
    Split {
        /// Along this axis.
        axis: i64,
        /// Extents of the parts, where they are not a second input; equal ones where neither is there.
        sizes: Option<Vec<i64>>,
        /// Whether equal parts may leave a smaller one for the last.
        uneven: bool,
    },
    /// Another shape: the second input, where it is not a setting.
    Reshape {
        /// Extents; -1 for what is left.
        dims: Option<Vec<i64>>,
        /// Whether an extent of 0 is one, instead of what the input has.
        zero: bool,
    },
    /// Two axes of all: those before this one and the others.
    Flatten {
        /// Which axis.
        axis: i64,
    },
    /// Nothing, as it is when a network is evaluated; a third input may ask for training.
    Dropout,
    /// Nothing.
    Identity,
}

/// Why a graph cannot be computed.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GraphError {
    /// The file.
    #[error("{0}")]
    File(String),
    /// A tensor, an input or an output.
    #[error("{what} {name}: {reason}")]
    Value {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A node.
    #[error("node {node} ({operator}): {reason}")]
    Node {
        /// Its name.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong, with the name of the setting.
        reason: String,
    },
}
