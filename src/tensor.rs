//! A named-nothing, plain tensor on the host: shape and values, innermost dimension last.

/// Values of a tensor with their shape; `values.len()` is the product of `shape`.
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
