//! Buffers as matrices and their products, for the CPU engine.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

/// Products that are best summed at once: as many as the crate behind [`multiply`] sums in one pass.
pub(super) const DEPTH: usize = 256;

/// `values` as a matrix of `rows` rows.
///
/// # Panics
/// When they are not whole rows: buffers have the size that an op gave them.
pub(super) fn matrix(values: &[f32], rows: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((rows, values.len() / rows), values).expect("whole rows")
}

/// As [`matrix`], to be written.
pub(super) fn matrix_mut(values: &mut [f32], rows: usize) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((rows, values.len() / rows), values).expect("whole rows")
}

/// `out` = a·b, or `out` + a·b where it accumulates; on the calling thread.
pub(super) fn multiply(a: &ArrayView2<f32>, b: &ArrayView2<f32>, accumulate: bool, out: &mut ArrayViewMut2<f32>) {
    // What is there is not even read where the factor is 0.
    let kept = if accumulate { 1.0 } else { 0.0 };
    general_mat_mul(1.0, a, b, kept, out);
}
