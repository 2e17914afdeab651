//! Networks as graphs of operators, the form in which files of other programs hold them: any order of layers, any inputs
//! and outputs. The parser of a file makes a [`Graph`]; [`lower()`] makes a program of it, over the kernels that
//! [`crate::net`] uses too.

mod bind;
mod contractions;
mod layers;
mod lower;
mod places;
mod refusal;
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

/// A network as a graph of operators.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Names of all values, by [`ValueId`].
    pub names: Vec<String>,
    /// Inputs that the caller gives.
    pub inputs: Vec<Input>,
    /// Values that the caller gets.
    pub outputs: Vec<ValueId>,
    /// Nodes, each behind those that write what it reads.
    pub nodes: Vec<Node>,
    /// Values known before the network runs.
    pub constants: BTreeMap<ValueId, Constant>,
    /// Further facts of the file, by name.
    pub metadata: BTreeMap<String, String>,
}

impl Graph {
    /// The name of a value.
    pub fn name(&self, value: ValueId) -> &str {
        &self.names[value.0]
    }
}

/// A value: index into [`Graph::names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// An input that the caller gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The value it becomes.
    pub value: ValueId,
    /// Type of its elements.
    pub elem: Elem,
    /// Extents, the last axis innermost; `None` where the file does not say how many.
    pub dims: Option<Vec<Extent>>,
}

/// Type of the elements of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elem {
    /// 32-bit floats.
    Float,
    /// Whole numbers or truth values that are known when the network is set up, for example sizes.
    Integer,
    /// A type that is not computed with, by its name.
    Other(String),
}

/// An extent of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A fixed extent.
    Known(usize),
    /// Any extent, the same wherever this name stands.
    Named(String),
    /// Any extent.
    Unknown,
}

/// A value known before the network runs; `values` are as many as the product of `dims`.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Extents, the last axis innermost.
    pub dims: Vec<usize>,
    /// Elements in row-major order.
    pub values: Values,
}

/// Elements of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    Floats(Arc<[f32]>),
    /// Whole numbers: sizes, axes.
    Integers(Arc<[i64]>),
    /// A type that is not computed with, by its name; nodes that read it are refused.
    Other(String),
}

/// One application of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The node's name, for messages.
    pub name: String,
    /// The operator's name in the file.
    pub operator: String,
    /// The operation with its settings.
    pub op: Op,
    /// Values it reads; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Values it writes; `None` where no node reads them.
    pub outputs: Vec<Option<ValueId>>,
}

impl Node {
    /// The error of this node for `reason`.
    pub fn refuse(&self, reason: impl Into<String>) -> GraphError {
        GraphError::Node { node: self.name.clone(), operator: self.operator.clone(), reason: reason.into() }
    }
}

/// The operation of a node with its settings. Negative axes count from the end.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Convolution of `[N][C][H][W]` with filters `[K][C / groups][R][S]`, and a bias `[K]` or none.
    Conv {
        /// Size, strides, dilations and padding of the windows.
        window: Window,
        /// Number of groups that maps and filters are divided into.
        groups: usize,
    },
    /// The largest of every window.
    MaxPool(Window),
    /// The mean of every window.
    AveragePool {
        /// Size, strides and padding of the windows.
        window: Window,
        /// Whether padding counts as elements of value 0.
        count_padding: bool,
    },
    /// The mean of every map.
    GlobalAveragePool,
    /// x (k + alpha Σ x²)^-beta over neighbouring maps.
    Lrn {
        /// Number of maps in the sum.
        size: usize,
        /// Factor of the sum.
        alpha: f32,
        /// Negated exponent.
        beta: f32,
        /// Constant that the sum is added to.
        k: f32,
    },
    /// max(x, 0).
    Relu,
    /// tanh x.
    Tanh,
    /// alpha · A · B + beta · C, any of A and B transposed.
    Gemm {
        /// Factor of the product.
        alpha: f32,
        /// Factor of the third input.
        beta: f32,
        /// Whether the first input is transposed.
        transposed_a: bool,
        /// Whether the second input is transposed.
        transposed_b: bool,
    },
    /// A · B over the last two axes; axes before them are a batch of products.
    MatMul,
    /// An operation on two tensors, number by number. Where the second has fewer axes, it is aligned at `axis` of the first,
    /// without one at the last axes.
    Binary {
        /// Sum, product or another operation on two numbers.
        operation: Operation,
        /// Axis of the first tensor at which the second begins.
        axis: Option<i64>,
    },
    /// Probabilities along an axis.
    Softmax {
        /// Axis that sums to 1.
        axis: i64,
        /// Whether this axis and all behind it are taken as one, as in opsets up to 12.
        flat: bool,
        /// Whether logarithms are wanted.
        log: bool,
    },
    /// Several tensors joined along an axis.
    Concat {
        /// Axis along which they are joined.
        axis: i64,
    },
    /// A tensor cut into parts along an axis.
    Split {
        /// Axis along which it is cut.
        axis: i64,
        /// Extents of the parts, unless a second input holds them; equal parts without either.
        sizes: Option<Vec<i64>>,
        /// Whether equal parts may leave a smaller one for the last.
        uneven: bool,
    },
    /// A tensor under another shape: that of the setting, or else of the second input.
    Reshape {
        /// Extents; -1 stands for what is left.
        dims: Option<Vec<i64>>,
        /// Whether 0 means an extent of 0; otherwise it stands for the input's extent.
        zero: bool,
    },
    /// A tensor as a matrix: the axes before `axis` are its rows, the others its columns.
    Flatten {
        /// First axis of the columns.
        axis: i64,
    },
    /// The input unchanged, as when a network is evaluated; a third input may ask for training.
    Dropout,
    /// The input unchanged.
    Identity,
}

/// Why a graph cannot be computed.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum GraphError {
    #[error("{0}")]
    File(String),
    #[error("{what} {name}: {reason}")]
    Value { what: &'static str, name: String, reason: String },
    #[error("node {node} ({operator}): {reason}")]
    Node { node: String, operator: String, reason: String },
}
