//! Reasons why ONNX files are refused.

use std::fmt::Display;

use thiserror::Error;

use crate::interop::wire::WireError;

/// Reason why an ONNX file is refused.
#[derive(Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OnnxError {
    #[error("not an ONNX file, or a damaged one ({0})")]
    File(#[from] WireError),
    #[error("found a file without a graph, expected a model")]
    NoGraph,
    #[error("found a graph without outputs, expected at least one")]
    NoOutputs,
    #[error("found no opset_import of ONNX's own operators, expected one")]
    NoVersion,
    #[error("opset {found} is not supported; known are {first} to {last}: export the model for one of these")]
    Version { found: i64, first: i64, last: i64 },
    #[error("{what} {name}: {reason}")]
    Value { what: &'static str, name: String, reason: ValueError },
    #[error("node {node} ({operator}): {reason}")]
    Node { node: String, operator: String, reason: NodeError },
}

/// Reason why an initializer, an input or an output is refused.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ValueError {
    #[error("it has no name")]
    Unnamed,
    #[error("there are two values of this name")]
    Defined,
    #[error("it is listed twice")]
    Listed,
    #[error("it is no input, no initializer and no output of a node")]
    Undefined,
    #[error("sparse initializers are not supported: save the model with dense ones")]
    Sparse,
    #[error("its data is in {location:?} (external data): {reason}")]
    External { location: String, reason: ExternalError },
    #[error("it has {found} elements, and its shape wants {expected}")]
    Count { found: usize, expected: usize },
    #[error("its shape {0:?} is too large")]
    Large(Vec<i64>),
    #[error("found a shape of {0:?}, expected extents of 0 or more")]
    Extents(Vec<i64>),
}

/// Reason why the elements of a tensor cannot be read from the file that holds them.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ExternalError {
    #[error("this graph comes without a folder")]
    NoFolder,
    #[error("{key} {found:?} is no number")]
    Number { key: &'static str, found: String },
    #[error("expected a file in the folder of the graph")]
    Outside,
    #[error("a link leads out of the folder of the graph")]
    Link,
    #[error("it is not a file")]
    NotAFile,
    #[error(
        "expected {length} bytes{} from {offset} on, it has {all} in all",
        stated.map_or_else(String::new, |stated| format!(" (stated: {stated})"))
    )]
    Length { length: u64, stated: Option<u64>, offset: u64, all: u64 },
    #[error("its tensors take it more than {0} times")]
    Repeated(u64),
    /// As the operating system says it.
    #[error("{0}")]
    System(String),
}

/// Reason why a node is refused.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum NodeError {
    #[error("operators of domain {0} are not supported; known are those of ai.onnx")]
    Domain(String),
    #[error(
        "this operator is not supported; known are {0}: export the network without it, or cut the graph before it \
         (onnx.utils.extract_model)"
    )]
    Operator(String),
    #[error("quantised networks are not supported: export the network in floats, without QuantizeLinear and the like")]
    Quantised,
    #[error("expected two branches with {0} outputs each, found others")]
    Branches(usize),
    #[error("it has no output, expected at least one")]
    NoOutput,
    #[error("expected {inputs} and {outputs}, found {} and {}", found[0], found[1])]
    Arity { inputs: String, outputs: String, found: [usize; 2] },
    #[error("it reads {0}, which is written only later: the nodes are in a circle, or not in their order")]
    Later(String),
    #[error("it reads {0}, which is no input, no initializer and no output of a node")]
    Undefined(String),
    #[error("attribute {0} is there twice")]
    Repeated(String),
    #[error("attribute {0} refers to one of a function, outside of which it stands")]
    Reference(String),
    #[error("functions call one another more than {0} deep")]
    Deep(usize),
    #[error("the functions that it calls, inlined, take more than {0} MiB, far more than the file")]
    Inlined(u64),
    #[error("attribute {0} is not supported")]
    Attribute(String),
    #[error("attribute {0} is missing")]
    Missing(&'static str),
    #[error("attribute {name} is of type {found}, expected {expected}")]
    Type { name: &'static str, found: &'static str, expected: &'static str },
    #[error("attribute {name} is {found}, expected {expected}")]
    Value { name: &'static str, found: String, expected: String },
    #[error("unknown value {found} of attribute {name}; known are {known}")]
    Choice { name: &'static str, found: String, known: String },
    #[error(transparent)]
    Constant(#[from] ValueError),
    #[error("expected an attribute value, value_float, value_floats, value_int or value_ints, found none of them")]
    NoValue,
}

impl NodeError {
    /// Refusal of the value `found` of attribute `name`.
    pub(super) fn value(name: &'static str, found: &dyn Display, expected: &dyn Display) -> Self {
        Self::Value { name, found: found.to_string(), expected: expected.to_string() }
    }
}
