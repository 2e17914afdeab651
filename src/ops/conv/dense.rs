//! The CPU engine's convolutions whose window is the map, fully connected layers: nothing is gathered, the operands are
//! matrices as they lie, multiplied by blocks of rows on all cores. Blocks depend on the shape alone, so results do not
//! depend on the cores.

use std::sync::atomic::Ordering;

use ndarray::parallel::prelude::*;
use ndarray::{Axis, s};

use super::Conv;
use super::products::InputEnd;
use crate::kernel::Args;
use crate::ops::activation::Activation;
use crate::ops::product::{DEPTH, matrix, matrix_mut, multiply};

/// Rows that one core computes at once.
const ROWS: usize = 128;

pub(super) fn forward(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    let (x, w, b, y) = (args.read(), args.read(), args.read(), args.write());
    let activation = Activation::numbered(conv.activation);
    let (x, mut y) = (matrix(x, conv.rows()), matrix_mut(y, conv.k));
    let parts = y.axis_chunks_iter_mut(Axis(0), ROWS).into_par_iter().enumerate();
    parts.for_each_init(Vec::new, |scratch, (index, mut y)| {
        let filters = index * ROWS..index * ROWS + y.nrows();
        // Columns of the weights lie far apart, often by a power of two, for which caches have few places: they are
        // brought together first.
        for (block, rows) in w.chunks(DEPTH * conv.k).enumerate() {
            if args.stop.load(Ordering::Relaxed) {
                return;
            }
            scratch.clear();
            rows.chunks_exact(conv.k).for_each(|row| scratch.extend_from_slice(&row[filters.clone()]));
            let inputs = block * DEPTH..block * DEPTH + rows.len() / conv.k;
            let weights = matrix(scratch, inputs.len()).reversed_axes();
            multiply(&weights, &x.slice(s![inputs, ..]), conv.accumulate || block > 0, &mut y);
        }
        for (k, mut y) in filters.zip(y.outer_iter_mut()) {
            let bias = if conv.bias { b[k] } else { 0.0 };
            y.mapv_inplace(|y| activation.apply(y + bias));
        }
    });
}

pub(super) fn backward_input(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    let (w, dy, x, dx) = (args.read(), args.read(), args.read(), args.write());
    let end = InputEnd::new(&conv, x, dx, conv.n);
    let (w, dy, mut dx) = (matrix(w, conv.rows()), matrix(dy, conv.k), matrix_mut(dx, conv.rows()));
    let parts = dx.axis_chunks_iter_mut(Axis(0), ROWS).into_par_iter().enumerate();
    parts.zip(w.axis_chunks_iter(Axis(0), ROWS)).for_each(|((index, mut dx), w)| {
        if !args.stop.load(Ordering::Relaxed) {
            multiply(&w, &dy, false, &mut dx);
            end.apply([index * ROWS, 0], dx);
        }
    });
}

pub(super) fn backward_filter(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    let (x, dy, dw) = (args.read(), args.read(), args.write());
    let (x, dy, mut dw) = (matrix(x, conv.rows()), matrix(dy, conv.k).reversed_axes(), matrix_mut(dw, conv.rows()));
    let parts = dw.axis_chunks_iter_mut(Axis(0), ROWS).into_par_iter();
    parts.zip(x.axis_chunks_iter(Axis(0), ROWS)).for_each(|(mut dw, x)| {
        if !args.stop.load(Ordering::Relaxed) {
            multiply(&x, &dy, conv.accumulate, &mut dw);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::{BACKWARD_FILTER, BACKWARD_INPUT, FORWARD};
    use super::*;
    use crate::kernel::{Arg, Args, Kernel, Params};

    fn run(kernel: &Kernel, params: &Params, inputs: &[&[f64]], count: usize) -> Vec<f64> {
        let mut out = vec![f64::NAN; count];
        let mut buffers: Vec<Arg<f64>> = inputs.iter().map(|values| Arg::Read(values)).collect();
        buffers.push(Arg::Write(&mut out));
        (kernel.twin.f64)(Args::new(params, buffers));
        out
    }

    /// 2 inputs, 2 outputs, 8 images that are all alike: the products by hand.
    #[test]
    fn three_forms_by_hand() {
        let p = Conv { bias: true, ..Conv::dense(2, 2, 8) }.params();
        let rows = |a: f64, b: f64| [[a; 8], [b; 8]].concat();
        let (w, x, dy) = ([1.0, 2.0, 3.0, 4.0], rows(5.0, 6.0), rows(0.5, -1.0));
        let y = run(&FORWARD, &p, &[&x, &w, &[10.0, 20.0]], 16);
        assert_eq!(y, rows(1.0 * 5.0 + 3.0 * 6.0 + 10.0, 2.0 * 5.0 + 4.0 * 6.0 + 20.0));
        let dx = run(&BACKWARD_INPUT, &p, &[&w, &dy, &x], 16);
        assert_eq!(dx, rows(0.5 - 2.0, 1.5 - 4.0));
        let dw = run(&BACKWARD_FILTER, &p, &[&x, &dy], 4);
        assert_eq!(dw, [8.0 * 2.5, 8.0 * -5.0, 8.0 * 3.0, 8.0 * -6.0]);
    }
}
