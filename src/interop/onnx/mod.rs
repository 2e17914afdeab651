//! ONNX: networks as graphs of standard operators. [`parse()`] checks all that can be checked of a file without knowing
//! the shapes of its inputs, and touches no device.

mod attributes;
mod error;
mod external;
mod functions;
mod further;
mod operators;
mod parse;
/// Messages of the format, as prost-build generates them from `assets/proto/onnx.proto`.
#[rustfmt::skip]
#[allow(missing_docs, clippy::pedantic, reason = "generated; the text in assets/proto has the comments")]
pub mod proto;
mod resampling;
mod tensor;
mod weights;
mod write;

pub use self::error::{ExternalError, NodeError, OnnxError, ValueError};
pub use self::parse::{parse, read};
pub use self::weights::weights;
pub use self::write::{INPUT, ImageMetadata, OUTPUT, write};

/// Keys of a file's metadata that say how images become inputs and what outputs stand for.
pub mod metadata {
    /// Means of red, green and blue, subtracted from pixels of 0 to 255: three numbers with commas between.
    pub const MEAN: &str = "alexnet.mean";
    /// Factors of red, green and blue, after the means: three numbers with commas between.
    pub const SCALE: &str = "alexnet.scale";
    /// Side in pixels to which images are scaled; the network sees the centre.
    pub const STORED_SIZE: &str = "alexnet.stored_size";
    /// Names of the classes: a JSON list.
    pub const CLASSES: &str = "alexnet.classes";
}
