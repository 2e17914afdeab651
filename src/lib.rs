//! AlexNet as it was built in 2012, on any GPU that wgpu reaches.

pub mod random;
pub mod tensor;
pub mod kernel;
pub mod program;
pub mod wgsl;
pub mod ops;
pub mod net;
pub mod backend;
pub mod parity;
pub mod capacity;
pub mod describe;
pub mod data;
pub mod checkpoint;
pub mod session;
pub mod train;
pub mod eval;
pub mod cli;
