//! Reasons why files of Caffe are refused.

use thiserror::Error;

use crate::interop::wire::WireError;

/// Reason why a file of Caffe is refused.
#[derive(Debug, Error, PartialEq)]
pub enum CaffeError {
    /// Bytes that are no messages of the format.
    #[error("damaged, or not a {format} ({reason})")]
    File {
        /// Extension of the expected format.
        format: &'static str,
        /// What the decoder found.
        reason: WireError,
    },
    /// A line of a `.prototxt` that cannot be read.
    #[error("line {line}: {reason}")]
    Text {
        /// Line, counted from 1.
        line: usize,
        /// What is wrong in it.
        reason: TextError,
    },
    /// A network without layers.
    #[error("found no layers, expected a network of AlexNet's family")]
    NoLayers,
    /// A layer that this program does not have, or whose blobs do not fit.
    #[error("layer {name}: {reason}")]
    Layer {
        /// Name in the file.
        name: String,
        /// What is wrong with it.
        reason: LayerError,
    },
    /// A mean whose numbers cannot be read.
    #[error("mean image: {0}")]
    Mean(#[from] BlobError),
    /// A mean of other extents.
    #[error("found a mean of shape {found:?}, expected an image [3, height, width] or one number per colour [3]")]
    MeanShape {
        /// Its extents.
        found: Vec<usize>,
    },
}

/// Reason why a line of a `.prototxt` cannot be read.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TextError {
    /// A sign where a word belongs.
    #[error("found {0:?}, expected a name or a value")]
    Word(String),
    /// A string without an end, or with escapes.
    #[error("a string does not end on its line, or contains a backslash, which is not supported")]
    String,
    /// A brace too many or too few.
    #[error("braces do not match")]
    Braces,
    /// Messages within messages beyond all use.
    #[error("messages are nested more than {0} deep")]
    Depth(usize),
    /// A name with nothing behind it.
    #[error("found no value of {0}, expected a colon and a value, or a message in braces")]
    NoValue(String),
    /// A value of another type than the field's.
    #[error("{name} cannot be {found}; expected {expected}")]
    Value {
        /// Name of the field.
        name: String,
        /// Text of the value, or `a message`.
        found: String,
        /// Type of the field.
        expected: &'static str,
    },
    /// A word that is not among a field's choices.
    #[error("unknown value {found} of {name}; known are {known}")]
    Choice {
        /// Name of the field.
        name: String,
        /// The word.
        found: String,
        /// Words that are known, with commas between.
        known: String,
    },
}

/// Reason why a layer cannot be imported.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum LayerError {
    /// A type of layer that this program does not have.
    #[error(
        "layers of type {0} are not supported; known are Convolution, InnerProduct, ReLU, TanH, LRN, Pooling, Dropout, \
         Flatten, Softmax and SoftmaxWithLoss"
    )]
    Type(String),
    /// An input that is not the output of the layer before.
    #[error("its input is {found}, expected {expected}: only chains of layers are supported")]
    Chain {
        /// Name of its input.
        found: String,
        /// Name of the output of the layer before.
        expected: String,
    },
    /// A setting with a value that no layer of this program has.
    #[error("its {name} is {found}, expected {expected}")]
    Setting {
        /// Name in the format.
        name: &'static str,
        /// Value in the file.
        found: String,
        /// Values that are supported.
        expected: String,
    },
    /// No blobs where weights belong.
    #[error("it has no weights")]
    NoWeights,
    /// Weights of another shape than the settings say.
    #[error("its weights have shape {found:?}, expected {expected}")]
    Weights {
        /// Extents in the file.
        found: Vec<usize>,
        /// Extents by the settings.
        expected: String,
    },
    /// Biases that are not as many as outputs.
    #[error("found {found} biases, expected one for each of {outputs} outputs")]
    Biases {
        /// Biases in the file.
        found: usize,
        /// Outputs by the settings.
        outputs: usize,
    },
    /// Numbers that cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Reason why the numbers of a blob cannot be read.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum BlobError {
    /// An extent below 0.
    #[error("found a blob of shape {0:?}, expected extents of 0 or more")]
    Extents(Vec<i64>),
    /// Numbers that are not as many as the shape says.
    #[error("found {found} numbers in a blob of shape {shape:?}")]
    Count {
        /// Numbers in the file.
        found: usize,
        /// Extents in the file.
        shape: Vec<usize>,
    },
    /// A 64-bit float with no 32-bit equivalent.
    #[error("a number is beyond the range of 32-bit floats")]
    Range,
    /// Another count of colours than red, green and blue.
    #[error("found {0} colours, expected 3")]
    Colours(usize),
}
