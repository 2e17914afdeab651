//! Networks as graphs of operators, the form in which files of other programs hold them: any order of layers, any
//! inputs and outputs. The parser of a file makes a [`Graph`]; [`lower()`] makes a program of it, over the kernels that
//! [`crate::net`] uses too.

mod bind;
mod contractions;
mod exported;
mod folding;
mod host;
mod layers;
mod lower;
mod lrn;
mod moves;
mod normal;
mod pad;
mod reduced;
mod refusal;
mod resize;
mod storage;
mod shapes;
mod spread;
mod truth;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

pub use self::bind::Given;
pub use self::exported::recognise_exported;
pub use self::lower::{GraphOutput, GraphProgram, KnownOutput, lower};
pub use self::normal::Together;
pub use self::refusal::Refusal;
pub use self::resize::{Coordinates, Rounding, Stretch};
pub use self::storage::Upload;
pub use self::window::{Pads, WindowSpec};
pub use crate::ops::binary::Operation;
use crate::ops::unary::Function;

/// A network as a graph of operators.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Names of all values, by [`ValueId`].
    pub names: Vec<String>,
    /// Inputs that the caller gives.
    pub inputs: Vec<GraphInput>,
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

    /// Leaves out all outputs but those of these names; the nodes that only others need are not computed then.
    ///
    /// # Errors
    /// When there is none of a name.
    pub fn keep_outputs(&mut self, wanted: &[String]) -> Result<(), GraphError> {
        let find = |name: &String| {
            let found = self.outputs.iter().copied().find(|&output| self.name(output) == *name);
            let names = || self.outputs.iter().map(|&output| self.name(output)).collect::<Vec<_>>().join(", ");
            found.ok_or_else(|| Refusal::UnknownName(names()).about("output", name))
        };
        self.outputs = wanted.iter().map(find).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The input whose elements `node` gives unchanged and in their order, under whatever shape; `None` where it
    /// computes something.
    pub fn passes(&self, node: &Node) -> Option<ValueId> {
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        match &node.op {
            Op::Dropout
            | Op::Identity
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze { .. }
            | Op::Cast(CastTo::Float) => input(0),
            Op::Concat { .. } | Op::Fold { .. } if node.inputs.len() == 1 => input(0),
            Op::Split { .. } if node.outputs.len() == 1 => input(0),
            Op::Binary { operation, .. } => {
                let is = |value: Option<ValueId>, neutral: f32| {
                    let values = value.and_then(|value| self.constants.get(&value)).map(|constant| &constant.values);
                    matches!(values, Some(ConstantValues::Floats(values)) if values.iter().all(|&v| v == neutral))
                };
                let (neutral, either) = match operation {
                    Operation::Add => (0.0, true),
                    Operation::Subtract => (0.0, false),
                    Operation::Multiply => (1.0, true),
                    Operation::Divide | Operation::Power | Operation::Leak => (1.0, false),
                    Operation::Maximum => (f32::NEG_INFINITY, true),
                    Operation::Minimum => (f32::INFINITY, true),
                    Operation::Less | Operation::AtMost | Operation::Equal | Operation::Keep => return None,
                };
                if is(input(1), neutral) { input(0) } else { input(1).filter(|_| either && is(input(0), neutral)) }
            }
            _ => None,
        }
    }
}

/// A value: index into [`Graph::names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// An input that the caller gives.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphInput {
    /// The value it becomes.
    pub value: ValueId,
    /// Type of its elements.
    pub elem: ElementType,
    /// Extents, the last axis innermost; `None` where the file does not say how many.
    pub dims: Option<Vec<Extent>>,
}

/// Type of the elements of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// Floats of 32 bits.
    Float,
    /// Whole numbers or truth values that are known when the network is set up, for example sizes.
    Integer,
    /// A type that is not computed with, by its name.
    Other(String),
}

/// An extent of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// An extent that the file states.
    Known(usize),
    /// Any extent, the same wherever this name stands.
    Named(String),
    /// An extent that the file leaves open.
    Unknown,
}

/// A value known before the network runs; `values` are as many as the product of `dims`.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Extents, the last axis innermost.
    pub dims: Vec<usize>,
    /// Elements in row-major order.
    pub values: ConstantValues,
}

/// Elements of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum ConstantValues {
    /// Floats of 32 bits.
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
    fn refuse(&self, reason: Refusal) -> GraphError {
        GraphError::Node { node: self.name.clone(), operator: self.operator.clone(), reason }
    }
}

/// What a tensor is surrounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode {
    /// Copies of one number.
    Constant,
    /// Its mirror image, without the edge itself.
    Reflect,
    /// Copies of its edge.
    Edge,
    /// Copies of the whole, side by side.
    Wrap,
}

/// The operation of a node with its settings. Negative axes count from the end.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "an operation says what its settings are")]
pub enum Op {
    /// Convolution of `[N][C][H][W]` with filters `[K][C / groups][R][S]`, and a bias `[K]` or none.
    Conv { window: WindowSpec, groups: usize },
    /// The largest of every window.
    MaxPool(WindowSpec),
    /// The mean of every window; with `count_padding`, padding counts as elements of value 0.
    AveragePool { window: WindowSpec, count_padding: bool },
    /// The mean of every map, or its largest number.
    GlobalPool { largest: bool },
    /// x (k + alpha Σ x²)^-beta, the sum over `size` neighbouring maps.
    Lrn { size: usize, alpha: f32, beta: f32, k: f32 },
    /// x (k + alpha Σ x²)^-beta, the sum over `size` neighbouring maps, or over as many rows and columns of a map, the
    /// greater part of an even number before each.
    Response { over: Neighbours, size: usize, alpha: f32, beta: f32, k: f32 },
    /// y = max(x, 0).
    Relu,
    /// y = tanh x, the hyperbolic tangent.
    Tanh,
    /// alpha · A · B + beta · C, any of A and B transposed.
    Gemm { alpha: f32, beta: f32, transposed_a: bool, transposed_b: bool },
    /// A · B over the last two axes; axes before them are a batch of products.
    MatMul,
    /// An operation on two tensors, number by number. Where the second has fewer axes, it is aligned at `axis` of the
    /// first, without one at the last axes.
    Binary { operation: Operation, axis: Option<i64> },
    /// Probabilities along `axis`, or their logarithms; `flat` takes all axes from it on as one, as in opsets up to 12.
    Softmax { axis: i64, flat: bool, log: bool },
    /// Several tensors joined along an axis.
    Concat { axis: i64 },
    /// A tensor cut along an axis into parts of `sizes`, else of those in a second input, else into equal parts, of
    /// which the last may be smaller where they are `uneven`.
    Split { axis: i64, sizes: Option<Vec<i64>>, uneven: bool },
    /// A tensor under the shape `dims`, else under that of the second input: -1 stands for what is left, 0 for the
    /// input's extent unless `zero`.
    Reshape { dims: Option<Vec<i64>>, zero: bool },
    /// A tensor as a matrix: the axes before `axis` are its rows, the others its columns.
    Flatten { axis: i64 },
    /// The input unchanged, as when a network is evaluated; a third input may ask for training.
    Dropout,
    /// y = x, the input unchanged.
    Identity,
    /// scale (x − mean) / √(variance + epsilon) + b, map by map; inputs x, scale, b, mean, variance.
    BatchNorm { epsilon: f32 },
    /// A function of every number.
    Function { function: Function, settings: [f32; 2] },
    /// Every number, at least the first bound and at most the second; those of inputs 1 and 2 where absent.
    Clip([Option<f32>; 2]),
    /// An operation on the first two inputs, on its result and the third, and so on; divided by their number if `mean`.
    Fold { operation: Operation, mean: bool },
    /// (x − mean) / √(variance + epsilon) · scale + shift, mean and variance of the numbers that `over` names, the mean
    /// taken as 0 unless `centred`; inputs x, scale, shift.
    Normalise { over: Together, epsilon: f32, centred: bool },
    /// A tensor resampled along some axes, all where none is named: by `scales`, else by those of the input `given`,
    /// else to the extents of the input behind it.
    Resize { stretch: Stretch, from: Coordinates, axes: Option<Vec<i64>>, scales: Option<Vec<f32>>, given: usize },
    /// Channels moved to pixels, `block`² to a block, or back if `deeper`; the place in a block is the outer part of a
    /// channel's number, or the inner part if `inner`.
    Blocks { block: usize, deeper: bool, inner: bool },
    /// The transposed convolution, which a convolution's gradient is, with filters `[C][K / groups][R][S]`; the places
    /// behind its result, and the extents of it where they are stated.
    ConvTranspose { window: WindowSpec, groups: usize, further: Option<Vec<usize>>, extents: Option<Vec<usize>> },
    /// A tensor surrounded as `mode` says; counts `pads` before each axis, then behind each, else those of input 1.
    Pad { pads: Option<Vec<i64>>, mode: PadMode, value: Option<f32> },
    /// One number for all along `axes`, else those of input 1, else all axes unless `nothing`; they stay with extent 1
    /// if `keep`.
    Reduce { to: Reduction, axes: Option<Vec<i64>>, keep: bool, nothing: bool },
    /// The axes in another order, the reverse one where absent.
    Transpose { order: Option<Vec<i64>> },
    /// Axes of extent 1 taken away, or `more` of them added.
    Squeeze { axes: Option<Vec<i64>>, more: bool },
    /// A tensor repeated to the shape of input 1.
    Expand,
    /// The parts of a tensor at the places of input 1 along as many axes as its last axis is long.
    GatherGrid,
    /// The parts of a tensor at the indices of input 1 along an axis.
    Gather { axis: i64 },
    /// A part along some axes: starts, ends and axes, else inputs 1 to 3, with the steps of input 4.
    Slice(Option<[Vec<i64>; 3]>),
    /// The numbers as another type.
    Cast(CastTo),
    /// Copies side by side.
    Tile,
    /// The extents of a tensor, from the first axis to below the second.
    Shape([i64; 2]),
    /// The number of elements of a tensor.
    Size,
    /// The same number everywhere in a tensor of the shape of input 0.
    ConstantOfShape(ConstantValues),
    /// Whole numbers from input 0 to below input 1, input 2 apart.
    Range,
    /// 1 where a comparison holds, else 0.
    Compare(Comparison),
    /// 1 where a number is 0, else 0.
    Not,
    /// The remainder of whole numbers, with the sign of the divisor, or of the dividend where `truncated`.
    Remainder { truncated: bool },
    /// Numbers of input 1 where input 0 is not 0, else of input 2.
    Where,
    /// Input 1 if input 0, which is known before the network runs, is not 0, else input 2; the other is not computed.
    Choose,
}

/// What becomes of numbers along some axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Reduction {
    Mean,
    Sum,
    Largest,
    Smallest,
    SumOfSizes,
    SumOfSquares,
    /// The root of the sum of squares.
    Length,
    Product,
    LogOfSum,
    /// The logarithm of the sum of e to the powers.
    LogOfPowers,
}

/// What a normalisation sums over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// Neighbouring maps of one of so many groups.
    Maps {
        /// Number of the groups.
        groups: usize,
    },
    /// Neighbouring pixels of a map.
    Pixels,
}

/// Type to which numbers are cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastTo {
    /// 32-bit floats; those of 16 bits are computed as such too.
    Float,
    /// Whole numbers of 32 or 64 bits.
    Integer,
    /// Truth values, 0 and 1.
    Truth,
}

/// Comparison of two numbers or truth values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Differ,
}

/// Why a graph cannot be computed.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum GraphError {
    #[error("{what} {name}: {reason}")]
    Value { what: &'static str, name: String, reason: Refusal },
    #[error("node {node} ({operator}): {reason}")]
    Node { node: String, operator: String, reason: Refusal },
}
