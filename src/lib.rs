pub mod backend;
pub mod kernel;
pub mod ops;
pub mod parity;
pub mod program;
pub mod random;
pub mod tensor;
pub mod wgsl;
