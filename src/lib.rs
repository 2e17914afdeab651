pub mod data;
pub mod random;
pub mod tensor;
