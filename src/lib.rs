pub mod random;
pub mod tensor;
