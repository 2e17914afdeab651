//! Reasons why files of Caffe are refused.

use thiserror::Error;

use crate::interop::wire::WireError;
use crate::ops::layer::{Chw, LayerError};

/// Reason why a file of Caffe is refused.
#[derive(Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CaffeError {
    #[error("damaged, or not a {format} ({reason})")]
    File { format: &'static str, reason: WireError },
    #[error("line {line}: {reason}")]
    Text { line: usize, reason: TextError },
    #[error("found no layers, expected a network of AlexNet's family")]
    NoLayers,
    #[error("layer {name}: {reason}")]
    Layer { name: String, reason: ImportError },
    #[error("its data layer says force_gray, expected images in colours, which this program reads")]
    Grey,
    #[error("its data layer has {0} mean values, expected one, or one per colour")]
    Means(usize),
    #[error("mean image: {0}")]
    Mean(#[from] BlobError),
    #[error("found a mean of shape {found:?}, expected an image [3, height, width] or one number per colour [3]")]
    MeanShape { found: Vec<usize> },
}

impl CaffeError {
    /// Wraps the reason why layer `name` is refused.
    pub(super) fn layer(name: &str) -> impl Fn(ImportError) -> Self {
        move |reason| Self::Layer { name: name.into(), reason }
    }
}

/// Reason why a line of a `.prototxt` cannot be read.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TextError {
    #[error("found {0:?}, expected a name or a value")]
    Word(String),
    #[error("a string does not end on its line, or contains a backslash, which is not supported")]
    String,
    #[error("braces do not match")]
    Braces,
    #[error("messages are nested more than {0} deep")]
    Depth(usize),
    #[error("found no value of {0}, expected a colon and a value, or a message in braces")]
    NoValue(String),
    #[error("{name} cannot be {found}; expected {expected}")]
    Value { name: String, found: String, expected: &'static str },
    #[error("unknown value {found} of {name}; known are {known}")]
    Choice { name: String, found: String, known: String },
}

/// Reason why a layer cannot be imported.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ImportError {
    #[error(
        "layers of type {0} are not supported; known are Convolution, InnerProduct, ReLU, TanH, LRN, Pooling, Dropout, \
         Flatten, Softmax and SoftmaxWithLoss"
    )]
    Type(String),
    #[error("its input is {found}, expected {expected}: only chains of layers are supported")]
    Chain { found: String, expected: String },
    #[error("its {name} is {found}, expected {expected}")]
    Setting { name: &'static str, found: String, expected: String },
    #[error("it has no weights")]
    NoWeights,
    #[error("its weights have shape {found:?}, expected {expected}")]
    Weights { found: Vec<usize>, expected: String },
    #[error("found {found} biases, expected one for each of {outputs} outputs")]
    Biases { found: usize, outputs: usize },
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Reason why the numbers of a blob cannot be read.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BlobError {
    #[error("found a blob of shape {0:?}, expected extents of 0 or more")]
    Extents(Vec<i64>),
    #[error("found {found} numbers in a blob of shape {shape:?}")]
    Count { found: usize, shape: Vec<usize> },
    #[error("a number is beyond the range of 32-bit floats")]
    Range,
    #[error("found {0} colours, expected 3")]
    Colours(usize),
}

/// First difference between a network of Caffe and a model file.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ModelMismatch {
    #[error("it reads images of {found} pixels, the model of {expected}")]
    Size { found: usize, expected: usize },
    #[error("its layer {number} is {found}, where the model has {expected}")]
    Layer { number: usize, found: String, expected: String },
    #[error(
        "its layer {number} is {layer} and gives {found}, where the model's gives {expected}; rounding: Caffe rounds \
         extents of convolutions down (floor = true in a model file) and those of pools up"
    )]
    Output { number: usize, layer: String, found: Chw, expected: Chw },
    #[error("layer {layer}: {reason}")]
    Settings { layer: String, reason: LayerError },
}
