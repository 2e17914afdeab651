//! Reasons why ONNX files are refused.

use std::fmt::Display;

use thiserror::Error;

use crate::interop::wire::WireError;

/// Reason why an ONNX file is refused.
#[derive(Debug, Error, PartialEq)]
pub enum OnnxError {
    /// Bytes that are no messages of the format.
    #[error("not an ONNX file, or a damaged one ({0})")]
    File(#[from] WireError),
    /// A file with nothing to compute.
    #[error("found a file without a graph, expected a model")]
    NoGraph,
    /// A graph that computes nothing.
    #[error("found a graph without outputs, expected at least one")]
    NoOutputs,
    /// A file that does not say which operators it means.
    #[error("found no opset_import of ONNX's own operators, expected one")]
    NoVersion,
    /// A version of the operators that is not known.
    #[error("opset {found} is not supported; known are {first} to {last}: export the model for one of these")]
    Version {
        /// Version in the file.
        found: i64,
        /// First version that is known.
        first: i64,
        /// Last version that is known.
        last: i64,
    },
    /// An initializer, an input or an output.
    #[error("{what} {name}: {reason}")]
    Value {
        /// Sort of value.
        what: &'static str,
        /// Name in the file.
        name: String,
        /// What is wrong with it.
        reason: ValueError,
    },
    /// A node.
    #[error("node {node} ({operator}): {reason}")]
    Node {
        /// Name in the file, or that of its first output.
        node: String,
        /// Name of the operator.
        operator: String,
        /// What is wrong with it.
        reason: NodeError,
    },
}

/// Reason why an initializer, an input or an output is refused.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ValueError {
    /// An empty name.
    #[error("it has no name")]
    Unnamed,
    /// A name that another value has.
    #[error("there are two values of this name")]
    Defined,
    /// An output that is listed twice.
    #[error("it is listed twice")]
    Listed,
    /// An output that nothing computes.
    #[error("it is no input, no initializer and no output of a node")]
    Undefined,
    /// A sparse initializer.
    #[error("sparse initializers are not supported: save the model with dense ones")]
    Sparse,
    /// Elements in another file.
    #[error("its data is in another file (external data), which is not supported: save the model as one file")]
    External,
    /// Elements that are not as many as the shape says.
    #[error("it has {found} elements, and its shape wants {expected}")]
    Count {
        /// Elements in the file.
        found: usize,
        /// Product of the extents.
        expected: usize,
    },
    /// A shape of more elements than can be counted.
    #[error("its shape {0:?} is too large")]
    Large(Vec<i64>),
    /// A shape with an extent below 0.
    #[error("found a shape of {0:?}, expected extents of 0 or more")]
    Extents(Vec<i64>),
}

/// Reason why a node is refused.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum NodeError {
    /// An operator of somebody else.
    #[error("operators of domain {0} are not supported; known are those of ai.onnx")]
    Domain(String),
    /// An operator that this program does not have.
    #[error("this operator is not supported; known are {0}")]
    Operator(String),
    /// A node that computes nothing.
    #[error("it has no output, expected at least one")]
    NoOutput,
    /// Too few or too many inputs or outputs.
    #[error("expected {inputs} and {outputs}, found {} and {}", found[0], found[1])]
    Arity {
        /// Counts of inputs that the operator has, in words.
        inputs: String,
        /// Counts of outputs that the operator has, in words.
        outputs: String,
        /// Inputs and outputs of the node.
        found: [usize; 2],
    },
    /// An input that a later node computes.
    #[error("it reads {0}, which is written only later: the nodes are in a circle, or not in their order")]
    Later(String),
    /// An input that nothing computes.
    #[error("it reads {0}, which is no input, no initializer and no output of a node")]
    Undefined(String),
    /// Two attributes of one name.
    #[error("attribute {0} is there twice")]
    Repeated(String),
    /// An attribute that stands for one of a function around it.
    #[error("attribute {0} refers to one of a function, which is not supported: inline the model's functions")]
    Reference(String),
    /// An attribute that the operator does not have.
    #[error("attribute {0} is not supported")]
    Attribute(String),
    /// An attribute that the operator cannot do without.
    #[error("attribute {0} is missing")]
    Missing(&'static str),
    /// An attribute of another type.
    #[error("attribute {name} is of type {found}, expected {expected}")]
    Type {
        /// Name of the attribute.
        name: &'static str,
        /// Type in the file.
        found: &'static str,
        /// Type that the operator asks for.
        expected: &'static str,
    },
    /// An attribute with a value that is not supported.
    #[error("attribute {name} is {found}, expected {expected}")]
    Value {
        /// Name of the attribute.
        name: &'static str,
        /// Value in the file.
        found: String,
        /// Values that are supported.
        expected: String,
    },
    /// A word that is not among an attribute's choices.
    #[error("unknown value {found} of attribute {name}; known are {known}")]
    Choice {
        /// Name of the attribute.
        name: &'static str,
        /// Word in the file.
        found: String,
        /// Words that are known.
        known: &'static str,
    },
    /// The tensor of a Constant.
    #[error(transparent)]
    Constant(#[from] ValueError),
    /// A Constant without a value.
    #[error("expected an attribute value, value_float, value_floats, value_int or value_ints, found none of them")]
    NoValue,
}

impl NodeError {
    /// Refusal of the value `found` of attribute `name`.
    pub(super) fn value(name: &'static str, found: &dyn Display, expected: &dyn Display) -> Self {
        Self::Value { name, found: found.to_string(), expected: expected.to_string() }
    }
}
