//! The f64 twins of the matrix products: the reference of the tests.

use super::Gemm;
use crate::kernel::{Args, for_each_chunk};
use crate::ops::activation::Activation;

/// `out[i]` += factor · `row[i]`.
#[inline(always)]
fn axpy(out: &mut [f64], factor: f64, row: &[f64]) {
    for (out, &value) in out.iter_mut().zip(row) {
        *out = factor.mul_add(value, *out);
    }
}

/// Rows that are computed side by side, so that each row of the other operand is read once for all of them.
const ROWS: usize = 16;

pub(super) fn forward(mut args: Args<f64>) {
    let gemm = Gemm::from(args.params);
    let (x, w, b, y) = (args.read(), args.read(), args.read(), args.write());
    let activation = Activation::numbered(gemm.activation);
    for_each_chunk(
        y,
        ROWS * gemm.n,
        #[inline(always)]
        |index, y| {
            let m0 = index * ROWS;
            if !gemm.accumulate {
                y.fill(0.0);
            }
            for (k, x) in x.chunks_exact(gemm.n).enumerate() {
                for (j, y) in y.chunks_exact_mut(gemm.n).enumerate() {
                    axpy(y, w[k * gemm.m + m0 + j], x);
                }
            }
            for (j, y) in y.chunks_exact_mut(gemm.n).enumerate() {
                let bias = if gemm.bias { b[m0 + j] } else { 0.0 };
                for y in y.iter_mut() {
                    *y = activation.apply(*y + bias);
                }
            }
        },
    );
}

pub(super) fn backward_input(mut args: Args<f64>) {
    let gemm = Gemm::from(args.params);
    let (w, dy, dx) = (args.read(), args.read(), args.write());
    for_each_chunk(
        dx,
        ROWS * gemm.n,
        #[inline(always)]
        |index, dx| {
            let k0 = index * ROWS;
            if !gemm.accumulate {
                dx.fill(0.0);
            }
            for (m, dy) in dy.chunks_exact(gemm.n).enumerate() {
                for (j, dx) in dx.chunks_exact_mut(gemm.n).enumerate() {
                    axpy(dx, w[(k0 + j) * gemm.m + m], dy);
                }
            }
        },
    );
}

pub(super) fn backward_weights(mut args: Args<f64>) {
    let gemm = Gemm::from(args.params);
    let (x, dy, dw) = (args.read(), args.read(), args.write());
    // One chunk: all outputs of some inputs, so that each gradient row is read once for all of them.
    for_each_chunk(
        dw,
        ROWS * gemm.m,
        #[inline(always)]
        |index, dw| {
            for (m, dy) in dy.chunks_exact(gemm.n).enumerate() {
                for (j, dw) in dw.chunks_exact_mut(gemm.m).enumerate() {
                    let sum = dot(&x[(index * ROWS + j) * gemm.n..][..gemm.n], dy);
                    dw[m] = if gemm.accumulate { sum + dw[m] } else { sum };
                }
            }
        },
    );
}

/// Sum of products in 8 lanes, then over the lanes in order.
#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = a.mul_add(b, *lane);
        }
    }
    lanes.into_iter().fold(0.0, |a, b| a + b)
}
