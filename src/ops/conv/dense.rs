//! The CPU engine's convolutions whose window is the map, fully connected layers: nothing is gathered, the operands are
//! matrices as they lie, multiplied by blocks of rows on all cores. Blocks depend on the shape alone, so results do not
//! depend on the cores.

use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::Conv;
use super::products::InputEnd;
use crate::kernel::Args;
use crate::ops::activation::Activation;
use crate::ops::product::{Columns, DEPTH, Panels, Rows, Terms, multiply};

/// Rows of the result that one core computes at once.
const ROWS: usize = 128;
/// Rows of the gradient by filter whose inputs stay in a core's first cache.
const FILTER_ROWS: usize = 12;

pub(super) fn forward(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    let (x, w, b, y) = (args.read(), args.read(), args.read(), args.write());
    let activation = Activation::numbered(conv.activation);
    let blocks = blocks(x, conv.n);
    let parts = y.par_chunks_mut(ROWS * conv.n).enumerate();
    parts.for_each_init(Vec::new, |weights, (index, y)| {
        let (first, filters) = (index * ROWS, y.len() / conv.n);
        for (block, (terms, panels)) in w.chunks(DEPTH * conv.k).zip(&blocks).enumerate() {
            if args.stop.load(Ordering::Relaxed) {
                return;
            }
            let left = Terms::apart(Rows { values: &terms[first..], stride: conv.k }, filters, weights);
            for (panel, n, count) in panels.iter() {
                let out = Columns { values: &mut y[n..], stride: conv.n, count };
                multiply(left, filters, panel, out, conv.accumulate || block > 0);
            }
        }
        for (k, y) in y.chunks_exact_mut(conv.n).enumerate() {
            let bias = if conv.bias { b[first + k] } else { 0.0 };
            activation.finish(y, bias);
        }
    });
}

/// A matrix of `images` columns and one row a term, by `DEPTH` terms.
fn blocks(matrix: &[f32], images: usize) -> Vec<Panels> {
    let panels = |terms: &[f32]| Panels::of(Rows { values: terms, stride: images }, images, terms.len() / images);
    matrix.par_chunks(DEPTH * images).map(panels).collect()
}

pub(super) fn backward_input(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    let (w, dy, x, dx) = (args.read(), args.read(), args.read(), args.write());
    let end = InputEnd::new(&conv, x, dx, conv.n);
    let blocks = blocks(dy, conv.n);
    dx.par_chunks_mut(ROWS * conv.n).zip(w.par_chunks(ROWS * conv.k)).enumerate().for_each(|(index, (dx, w))| {
        if args.stop.load(Ordering::Relaxed) {
            return;
        }
        let left = Rows { values: w, stride: conv.k };
        for (start, panels) in (0..).step_by(DEPTH).zip(&blocks) {
            for (panel, n, count) in panels.iter() {
                let out = Columns { values: &mut dx[n..], stride: conv.n, count };
                multiply(left.skip(start), w.len() / conv.k, panel, out, start > 0);
            }
        }
        dx.chunks_exact_mut(conv.n).zip(index * ROWS..).for_each(|(dx, row)| end.apply(row, 0, dx));
    });
}

pub(super) fn backward_filter(mut args: Args<f32>) {
    let conv = Conv::from(args.params);
    let (x, dy, dw) = (args.read(), args.read(), args.write());
    let gradients = |start: usize| {
        let mut panels = Panels::default();
        panels.lay_turned(Rows { values: &dy[start..], stride: conv.n }, conv.k, DEPTH.min(conv.n - start));
        panels
    };
    let blocks: Vec<Panels> = (0..conv.n).step_by(DEPTH).map(gradients).collect();
    let parts = dw.par_chunks_mut(FILTER_ROWS * conv.k).zip(x.par_chunks(FILTER_ROWS * conv.n));
    parts.for_each(|(dw, x)| {
        if args.stop.load(Ordering::Relaxed) {
            return;
        }
        let left = Rows { values: x, stride: conv.n };
        for (start, panels) in (0..).step_by(DEPTH).zip(&blocks) {
            for (panel, k, count) in panels.iter() {
                let out = Columns { values: &mut dw[k..], stride: conv.k, count };
                multiply(left.skip(start), x.len() / conv.n, panel, out, conv.accumulate || start > 0);
            }
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
