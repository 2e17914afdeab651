//! The CPU twins of the kernels that compute all groups of a convolution at once.

use std::sync::atomic::Ordering;

use super::grouped::Grouped;
use super::twins::{above, inside};
use crate::kernel::{Args, for_each_chunk};
use crate::ops::activation::Activation;
use crate::tensor::Real;

/// Sums side by side; N is a multiple of it.
const LANES: usize = 8;

/// Input coordinate under element `r` of the window of output row `p`.
#[inline(always)]
fn row(shape: &Grouped, p: usize, r: usize) -> Option<usize> {
    inside(p, shape.stride_y, r * shape.dilation_y, shape.pad_y, shape.h)
}

/// Input coordinate under element `s` of the window of output column `q`.
#[inline(always)]
fn column(shape: &Grouped, q: usize, s: usize) -> Option<usize> {
    inside(q, shape.stride_x, s * shape.dilation_x, shape.pad_x, shape.w)
}

pub(super) fn forward<T: Real>(mut args: Args<T>) {
    let shape = Grouped::from(args.params);
    let Grouped { maps, h, w: width, n, k, p, q, r, s, groups, .. } = shape;
    let (x, w, b, y) = (args.read(), args.read(), args.read(), args.write());
    let (own, activation) = (k / groups, Activation::numbered(shape.activation));
    for_each_chunk(y, p * q * n, |k, y| {
        for (at, y) in y.chunks_exact_mut(n).enumerate() {
            if args.stop.load(Ordering::Relaxed) {
                return;
            }
            y.fill(if shape.bias { b[k] } else { T::zero() });
            for c in k / own * maps..(k / own + 1) * maps {
                for r_ in 0..r {
                    let Some(row) = row(&shape, at / q, r_) else { continue };
                    for s_ in 0..s {
                        let Some(column) = column(&shape, at % q, s_) else { continue };
                        let weight = w[((c * r + r_) * s + s_) * own + k % own];
                        let pixels = &x[((c * h + row) * width + column) * n..][..n];
                        y.iter_mut().zip(pixels).for_each(|(y, &x)| *y = weight.mul_add(x, *y));
                    }
                }
            }
            for y in y {
                *y = activation.apply(*y);
            }
        }
    });
}

pub(super) fn backward_input<T: Real>(mut args: Args<T>) {
    let shape = Grouped::from(args.params);
    let Grouped { maps, h, w: width, n, p, q, r, s, stride_y, stride_x, dilation_y, dilation_x, pad_y, pad_x, .. } =
        shape;
    let (w, dy, x, dx) = (args.read(), args.read(), args.read(), args.write());
    let (own, activation) = (shape.own(), Activation::numbered(shape.activation));
    for_each_chunk(dx, h * width * n, |c, dx| {
        for (at, dx) in dx.chunks_exact_mut(n).enumerate() {
            if args.stop.load(Ordering::Relaxed) {
                return;
            }
            dx.fill(T::zero());
            for r_ in 0..r {
                let Some(row) = above(at / width, stride_y, r_ * dilation_y, pad_y, p) else { continue };
                for s_ in 0..s {
                    let Some(column) = above(at % width, stride_x, s_ * dilation_x, pad_x, q) else { continue };
                    for k in 0..own {
                        let weight = w[((c * r + r_) * s + s_) * own + k];
                        let gradients = &dy[(((c / maps * own + k) * p + row) * q + column) * n..][..n];
                        dx.iter_mut().zip(gradients).for_each(|(dx, &dy)| *dx = weight.mul_add(dy, *dx));
                    }
                }
            }
            let x = &x[(c * h * width + at) * n..];
            dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = activation.gradient(*dx, x));
        }
    });
}

pub(super) fn backward_filter<T: Real>(mut args: Args<T>) {
    let shape = Grouped::from(args.params);
    let Grouped { maps, h, w: width, n, p, q, r, s, .. } = shape;
    let (x, dy, dw) = (args.read(), args.read(), args.write());
    let own = shape.own();
    // One chunk: the filters of a group for one element of the window over one map.
    for_each_chunk(dw, own, |index, dw| {
        let (c, r_, s_) = (index / (r * s), index / s % r, index % s);
        for (k, dw) in dw.iter_mut().enumerate() {
            if args.stop.load(Ordering::Relaxed) {
                return;
            }
            let mut sums = [T::zero(); LANES];
            for at in 0..p * q {
                let Some(row) = row(&shape, at / q, r_) else { continue };
                let Some(column) = column(&shape, at % q, s_) else { continue };
                let pixels = &x[((c * h + row) * width + column) * n..][..n];
                let gradients = &dy[((c / maps * own + k) * p * q + at) * n..][..n];
                for (pixels, gradients) in pixels.as_chunks::<LANES>().0.iter().zip(gradients.as_chunks::<LANES>().0) {
                    for ((sum, &x), &dy) in sums.iter_mut().zip(pixels).zip(gradients) {
                        *sum = x.mul_add(dy, *sum);
                    }
                }
            }
            let sum = sums.into_iter().fold(T::zero(), |sum, lane| sum + lane);
            *dw = if shape.accumulate { sum + *dw } else { sum };
        }
    });
}
