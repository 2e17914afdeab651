//! Plain tensors on the host, and the float types that twins are generic over.

use std::ops::Range;

use half::{bf16, f16};
use num_traits::Float;

/// Label of an empty place in a batch, which adds nothing to loss, counts or gradients.
pub const NO_LABEL: u32 = u32::MAX;

/// Images that kernels compute together, and that draw their dropout masks together: batches are padded to whole
/// groups.
pub const IMAGE_GROUP: usize = 8;

/// The most images of a minibatch that one of `ranks` computes: whole groups.
pub fn share_of(minibatch: usize, ranks: usize) -> usize {
    minibatch.div_ceil(ranks.max(1)).next_multiple_of(IMAGE_GROUP).min(minibatch)
}

/// The rows of `rank`, of `rows` that all ranks share out as evenly as they can be.
pub fn share_of_rows(rows: usize, rank: usize, ranks: usize) -> Range<usize> {
    rows * rank / ranks..rows * (rank + 1) / ranks
}

/// A float type of twins: f32 for the CPU engine, f64 for the oracle of the tests.
pub trait Real: Float + std::ops::AddAssign + Default + Send + Sync + std::fmt::Debug + 'static {
    /// The nearest number to `value`, a parameter or a constant.
    fn of(value: f64) -> Self;
    /// The value as f64, exact.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}

/// Float formats of files, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatFormat {
    /// IEEE half: 16 bits, 5 of exponent.
    F16,
    /// bfloat16: 16 bits, 8 of exponent.
    BF16,
    /// IEEE single: 32 bits.
    F32,
    /// IEEE double: 64 bits.
    F64,
}

impl FloatFormat {
    /// Size of a number in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The numbers in `bytes`, whose length is a multiple of their size, rounded to 32 bits; `None` where one is out of
    /// the range of f32.
    pub fn read(self, bytes: &[u8]) -> Option<Vec<f32>> {
        let each = bytes.chunks_exact(self.size());
        let pair = |bytes: &[u8]| [bytes[0], bytes[1]];
        match self {
            Self::F16 => Some(each.map(|bytes| f16::from_le_bytes(pair(bytes)).to_f32()).collect()),
            Self::BF16 => Some(each.map(|bytes| bf16::from_le_bytes(pair(bytes)).to_f32()).collect()),
            Self::F32 => Some(bytemuck::pod_collect_to_vec(bytes)),
            Self::F64 => bytemuck::pod_collect_to_vec::<u8, f64>(bytes).into_iter().map(narrow).collect(),
        }
    }
}

/// The nearest f32 to `value`; infinities and NaN are kept, `None` where a finite number overflows.
fn narrow(value: f64) -> Option<f32> {
    let narrowed = value as f32;
    (narrowed.is_finite() || !value.is_finite()).then_some(narrowed)
}

/// A tensor on the host: values in row-major order, as many as the product of the shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    /// A tensor of `values` in row-major order.
    ///
    /// # Panics
    /// If the number of values is not the product of `shape`; callers check what comes from outside.
    pub fn new(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?}");
        Self { shape, values }
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Converts the tensor to its values in row-major order.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_floats_are_read_as_32_bits() {
        assert_eq!(FloatFormat::F16.read(&[0x00, 0xc1, 0xff, 0x7b]).unwrap(), [-2.5, 65504.0]);
        assert_eq!(FloatFormat::BF16.read(&[0x20, 0xc0]).unwrap(), [-2.5]);
        assert_eq!(FloatFormat::F32.read(&(-2.5_f32).to_le_bytes()).unwrap(), [-2.5]);
        let doubles: Vec<u8> = [0.1, f64::INFINITY].into_iter().flat_map(f64::to_le_bytes).collect();
        assert_eq!(FloatFormat::F64.read(&doubles).unwrap(), [0.1, f32::INFINITY]);
        assert_eq!(FloatFormat::F64.read(&1e39_f64.to_le_bytes()), None);
    }
}
