//! The CPU engine's fully connected layers: matrix products of blocks of rows on all cores. Blocks depend on the shape
//! alone, so results do not depend on the cores.

use ndarray::parallel::prelude::*;
use ndarray::{Axis, s};

use super::Gemm;
use crate::kernel::Args;
use crate::ops::activation::Activation;
use crate::ops::product::{DEPTH, matrix, matrix_mut, multiply};

/// Rows that one core computes at once.
const ROWS: usize = 128;

pub(super) fn forward(mut args: Args<f32>) {
    let gemm = Gemm::from(args.params);
    let (x, w, b, y) = (args.read(), args.read(), args.read(), args.write());
    let activation = Activation::numbered(gemm.activation);
    let (x, mut y) = (matrix(x, gemm.k), matrix_mut(y, gemm.m));
    let parts = y.axis_chunks_iter_mut(Axis(0), ROWS).into_par_iter().enumerate();
    parts.for_each_init(Vec::new, |scratch, (index, mut y)| {
        let m = index * ROWS..index * ROWS + y.nrows();
        // Columns of the weights lie far apart, often by a power of two, for which caches have few places: they are
        // brought together first.
        for (block, rows) in w.chunks(DEPTH * gemm.m).enumerate() {
            scratch.clear();
            rows.chunks_exact(gemm.m).for_each(|row| scratch.extend_from_slice(&row[m.clone()]));
            let k = block * DEPTH..block * DEPTH + rows.len() / gemm.m;
            let weights = matrix(scratch, k.len()).reversed_axes();
            multiply(&weights, &x.slice(s![k, ..]), gemm.accumulate || block > 0, &mut y);
        }
        for (m, mut y) in m.zip(y.outer_iter_mut()) {
            let bias = if gemm.bias { b[m] } else { 0.0 };
            y.mapv_inplace(|y| activation.apply(y + bias));
        }
    });
}

pub(super) fn backward_input(mut args: Args<f32>) {
    let gemm = Gemm::from(args.params);
    let (w, dy, dx) = (args.read(), args.read(), args.write());
    let (w, dy, mut dx) = (matrix(w, gemm.k), matrix(dy, gemm.m), matrix_mut(dx, gemm.k));
    let parts = dx.axis_chunks_iter_mut(Axis(0), ROWS).into_par_iter();
    parts.zip(w.axis_chunks_iter(Axis(0), ROWS)).for_each(|(mut dx, w)| multiply(&w, &dy, gemm.accumulate, &mut dx));
}

pub(super) fn backward_weights(mut args: Args<f32>) {
    let gemm = Gemm::from(args.params);
    let (x, dy, dw) = (args.read(), args.read(), args.write());
    let (x, dy, mut dw) = (matrix(x, gemm.k), matrix(dy, gemm.m).reversed_axes(), matrix_mut(dw, gemm.k));
    let parts = dw.axis_chunks_iter_mut(Axis(0), ROWS).into_par_iter();
    parts.zip(x.axis_chunks_iter(Axis(0), ROWS)).for_each(|(mut dw, x)| multiply(&x, &dy, gemm.accumulate, &mut dw));
}
