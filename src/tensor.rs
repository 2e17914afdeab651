//! Plain tensors on the host, and the float types that twins are generic over.

use num_traits::Float;

/// Label of a place in a batch that holds no image: it contributes nothing to loss, counts or gradients.
pub const NO_LABEL: u32 = u32::MAX;

/// f32 (the CPU engine) or f64 (the oracle of the tests).
pub trait Real: Float + std::ops::AddAssign + Default + Send + Sync + std::fmt::Debug + 'static {
    /// From a parameter or a constant.
    fn of(value: f64) -> Self;
    /// For comparison and reports.
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

/// Values of a tensor with their shape, innermost dimension last; `values.len()` is the product of `shape`.
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
    #[must_use]
    pub fn new(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?}");
        Self { shape, values }
    }

    /// The extents, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in row-major order.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Takes the values out.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}
