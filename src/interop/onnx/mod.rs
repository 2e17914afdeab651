//! ONNX: networks as graphs of standard operators.

/// The messages of the format: what prost-build makes of `assets/proto/onnx.proto`.
#[rustfmt::skip]
#[allow(clippy::pedantic, reason = "generated")]
pub mod proto;
