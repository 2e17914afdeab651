//! AlexNet as it was built in 2012, on any GPU that wgpu reaches.

pub mod backend;
pub mod cli;
pub mod data;
pub mod kernel;
pub mod net;
pub mod ops;
pub mod parity;
pub mod program;
pub mod random;
pub mod session;
pub mod tensor;
pub mod wgsl;
