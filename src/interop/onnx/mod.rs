//! ONNX: networks as graphs of standard operators. [`parse()`] checks all that can be checked of a file without knowing
//! the shapes of its inputs, and touches no device.

mod attributes;
mod operators;
mod parse;
/// The messages of the format: what prost-build makes of `assets/proto/onnx.proto`.
#[rustfmt::skip]
#[allow(clippy::pedantic, reason = "generated")]
pub mod proto;
mod tensor;
mod write;

pub use self::parse::parse;
pub use self::write::{Facts, INPUT, OUTPUT, write};

/// Metadata of a file that say how images become inputs and what outputs stand for, where this program wrote it.
pub mod metadata {
    /// Means of red, green and blue that are taken from pixels of 0 to 255: three numbers with commas between.
    pub const MEAN: &str = "alexnet.mean";
    /// What red, green and blue are multiplied with then: three numbers with commas between.
    pub const SCALE: &str = "alexnet.scale";
    /// Pixels of a side to which images are scaled, of which the network sees the centre.
    pub const STORED_SIZE: &str = "alexnet.stored_size";
    /// Names of the classes: a JSON list.
    pub const CLASSES: &str = "alexnet.classes";
}
