//! The f64 twins of the convolution kernels, the reference of the tests: a block of filters by a block of images in
//! registers, cores along filters (by input and by filter: along maps).

use super::Conv;
use crate::kernel::{Args, for_each_chunk};
use crate::ops::activation::Activation;

/// Filters (or maps) in a register block.
const ROWS: usize = 8;
/// Images in a register block; N is a multiple of it.
const LANES: usize = 8;

/// A register block: some rows by `LANES` images.
type Block = [[f64; LANES]; ROWS];

/// `block[j][i]` += `weights[j]` · `pixels[i]`.
#[inline(always)]
fn multiply_add(block: &mut Block, weights: [f64; ROWS], pixels: &[f64]) {
    for (row, weight) in block.iter_mut().zip(weights) {
        for (sum, &pixel) in row.iter_mut().zip(&pixels[..LANES]) {
            *sum = weight.mul_add(pixel, *sum);
        }
    }
}

/// Up to `ROWS` values, `stride` apart; what lies beyond `limit` of them is 0.
#[inline(always)]
fn gather(values: &[f64], stride: usize, limit: usize) -> [f64; ROWS] {
    if limit >= ROWS && stride == 1 {
        return std::array::from_fn(|j| values[j]);
    }
    std::array::from_fn(|j| if j < limit { values[j * stride] } else { 0.0 })
}

/// The input coordinate under window element `r` of output `p`, if it is inside.
#[inline(always)]
pub(super) fn inside(p: usize, stride: usize, r: usize, pad: usize, extent: usize) -> Option<usize> {
    (p * stride + r).checked_sub(pad).filter(|&at| at < extent)
}

/// The output whose window element `r` lies on input coordinate `at`, if there is one.
#[inline(always)]
pub(super) fn above(at: usize, stride: usize, r: usize, pad: usize, extent: usize) -> Option<usize> {
    let distance = (at + pad).checked_sub(r)?;
    Some(distance / stride).filter(|&p| distance.is_multiple_of(stride) && p < extent)
}

pub(super) fn forward(mut args: Args<f64>) {
    let conv = Conv::from(args.params);
    let (x, w, b, y) = (args.read(), args.read(), args.read(), args.write());
    let plane = conv.p * conv.q * conv.n;
    for_each_chunk(
        y,
        ROWS * plane,
        #[inline(always)]
        |index, y| {
            let k0 = index * ROWS;
            for at in (0..plane).step_by(LANES) {
                let (pixel, n) = (at / conv.n, at % conv.n);
                let block = output_block(&conv, x, w, k0, (pixel / conv.q, pixel % conv.q), n);
                for (j, row) in block.iter().enumerate().take(conv.k - k0) {
                    finish(&conv, &mut y[j * plane + at..][..LANES], row, if conv.bias { b[k0 + j] } else { 0.0 });
                }
            }
        },
    );
}

/// Filters `k0..`, output pixel `(p, q)`, images `n..`.
#[inline(always)]
fn output_block(conv: &Conv, x: &[f64], w: &[f64], k0: usize, (p, q): (usize, usize), n: usize) -> Block {
    let mut block = [[0.0; LANES]; ROWS];
    for c in 0..conv.maps {
        for r in 0..conv.r {
            let Some(row) = inside(p, conv.stride_y, r, conv.pad_y, conv.h) else { continue };
            for s in 0..conv.s {
                let Some(column) = inside(q, conv.stride_x, s, conv.pad_x, conv.w) else { continue };
                let weights = gather(&w[((c * conv.r + r) * conv.s + s) * conv.k + k0..], 1, conv.k - k0);
                multiply_add(&mut block, weights, &x[((c * conv.h + row) * conv.w + column) * conv.n + n..]);
            }
        }
    }
    block
}

#[inline(always)]
fn finish(conv: &Conv, y: &mut [f64], sums: &[f64; LANES], bias: f64) {
    let activation = Activation::numbered(conv.activation);
    for (y, &sum) in y.iter_mut().zip(sums) {
        let value = sum + bias;
        *y = activation.apply(if conv.accumulate { value + *y } else { value });
    }
}

pub(super) fn backward_input(mut args: Args<f64>) {
    let conv = Conv::from(args.params);
    let (w, dy, x, dx) = (args.read(), args.read(), args.read(), args.write());
    let activation = Activation::numbered(conv.activation);
    let plane = conv.h * conv.w * conv.n;
    for_each_chunk(
        dx,
        ROWS * plane,
        #[inline(always)]
        |index, dx| {
            let c0 = index * ROWS;
            for at in (0..plane).step_by(LANES) {
                let (pixel, n) = (at / conv.n, at % conv.n);
                let block = input_block(&conv, w, dy, c0, (pixel / conv.w, pixel % conv.w), n);
                for (j, row) in block.iter().enumerate().take(conv.maps - c0) {
                    let (dx, x) = (&mut dx[j * plane + at..][..LANES], &x[(c0 + j) * plane + at..]);
                    store(dx, row, conv.accumulate);
                    dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = activation.gradient(*dx, x));
                }
            }
        },
    );
}

/// Maps `c0..`, input pixel `(row, column)`, images `n..`.
#[inline(always)]
fn input_block(conv: &Conv, w: &[f64], dy: &[f64], c0: usize, (row, column): (usize, usize), n: usize) -> Block {
    let mut block = [[0.0; LANES]; ROWS];
    let window = conv.r * conv.s * conv.k;
    for r in 0..conv.r {
        let Some(p) = above(row, conv.stride_y, r, conv.pad_y, conv.p) else { continue };
        for s in 0..conv.s {
            let Some(q) = above(column, conv.stride_x, s, conv.pad_x, conv.q) else { continue };
            for k in 0..conv.k {
                let weights = gather(&w[c0 * window + (r * conv.s + s) * conv.k + k..], window, conv.maps - c0);
                multiply_add(&mut block, weights, &dy[((k * conv.p + p) * conv.q + q) * conv.n + n..]);
            }
        }
    }
    block
}

fn store(out: &mut [f64], sums: &[f64], accumulate: bool) {
    for (out, &sum) in out.iter_mut().zip(sums) {
        *out = if accumulate { sum + *out } else { sum };
    }
}

pub(super) fn backward_filter(mut args: Args<f64>) {
    let conv = Conv::from(args.params);
    let (x, dy, dw) = (args.read(), args.read(), args.write());
    // One chunk: all filters for one row of the window over one map.
    for_each_chunk(
        dw,
        conv.s * conv.k,
        #[inline(always)]
        |index, dw| {
            let (c, r) = (index / conv.r, index % conv.r);
            for s in 0..conv.s {
                for k0 in (0..conv.k).step_by(ROWS) {
                    let sums = filter_block(&conv, x, dy, (c, r, s), k0);
                    let live = ROWS.min(conv.k - k0);
                    store(&mut dw[s * conv.k + k0..][..live], &sums, conv.accumulate);
                }
            }
        },
    );
}

/// Filters `k0..` at window element `(c, r, s)`, summed over all pixels and images.
#[inline(always)]
fn filter_block(conv: &Conv, x: &[f64], dy: &[f64], (c, r, s): (usize, usize, usize), k0: usize) -> [f64; ROWS] {
    let mut block = [[0.0; LANES]; ROWS];
    let plane = conv.p * conv.q * conv.n;
    for p in 0..conv.p {
        let Some(row) = inside(p, conv.stride_y, r, conv.pad_y, conv.h) else { continue };
        for q in 0..conv.q {
            let Some(column) = inside(q, conv.stride_x, s, conv.pad_x, conv.w) else { continue };
            let pixels = &x[((c * conv.h + row) * conv.w + column) * conv.n..][..conv.n];
            let gradients = &dy[k0 * plane + (p * conv.q + q) * conv.n..];
            for n in (0..conv.n).step_by(LANES) {
                for (j, sums) in block.iter_mut().enumerate().take(conv.k - k0) {
                    let gradient = &gradients[j * plane + n..][..LANES];
                    for ((sum, &g), &pixel) in sums.iter_mut().zip(gradient).zip(&pixels[n..n + LANES]) {
                        *sum = g.mul_add(pixel, *sum);
                    }
                }
            }
        }
    }
    block.map(|lanes| lanes.into_iter().fold(0.0, |a, b| a + b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BACKWARD_FILTER, BACKWARD_INPUT, FORWARD, cases::square};
    use super::*;
    use crate::kernel::Arg;
    use crate::random::{Purpose, Stream};

    fn random(count: usize, tag: u32) -> Vec<f64> {
        Stream::new(5, Purpose::Test, tag).normal_vec(count, 1.0).into_iter().map(f64::from).collect()
    }

    /// The definition, with no blocking: calls `visit(x index, w index, y index)` for every product.
    fn products(conv: &Conv, mut visit: impl FnMut(usize, usize, usize)) {
        let Conv { maps: c, h, w, n, k, p, q, r, s, .. } = *conv;
        for (c, r, s) in (0..c).flat_map(|c| (0..r).flat_map(move |r| (0..s).map(move |s| (c, r, s)))) {
            for (p, q) in (0..p).flat_map(|p| (0..q).map(move |q| (p, q))) {
                let row = (p * conv.stride_y + r) as isize - conv.pad_y as isize;
                let column = (q * conv.stride_x + s) as isize - conv.pad_x as isize;
                if (0..h as isize).contains(&row) && (0..w as isize).contains(&column) {
                    for (k, n_) in (0..k).flat_map(|k| (0..n).map(move |n| (k, n))) {
                        visit(
                            ((c * h + row as usize) * w + column as usize) * n + n_,
                            ((c * conv.r + r) * conv.s + s) * conv.k + k,
                            ((k * conv.p + p) * conv.q + q) * n + n_,
                        );
                    }
                }
            }
        }
    }

    fn close(got: &[f64], want: &[f64]) -> bool {
        got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-9 * (1.0 + w.abs()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// All three twins against the definition, for any shape.
        #[test]
        fn twins_match_the_definition(
            c in 1_usize..5, size in 1_usize..8, k in 1_usize..11, window in 1_usize..5, stride in 1_usize..4,
            pad in 0_usize..3,
        ) {
            prop_assume!(window <= size + 2 * pad && pad < window);
            let mut conv = square(c, size, k, window, stride, pad, 8);
            conv.bias = false;
            let (x, w, dy) = (random(conv.x_count(), 0), random(conv.w_count(), 1), random(conv.y_count(), 2));
            let b = vec![0.0; k];
            let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
            products(&conv, |xi, wi, yi| {
                y[yi] += w[wi] * x[xi];
                dx[xi] += w[wi] * dy[yi];
                dw[wi] += x[xi] * dy[yi];
            });
            let params = conv.params();
            let mut got = vec![f64::NAN; y.len()];
            let args = vec![Arg::Read(&x[..]), Arg::Read(&w), Arg::Read(&b), Arg::Write(&mut got)];
            (FORWARD.twin.f64)(Args::new(&params, args));
            prop_assert!(close(&got, &y));
            let mut got = vec![f64::NAN; x.len()];
            (BACKWARD_INPUT.twin.f64)(Args::new(&params, vec![Arg::Read(&w), Arg::Read(&dy), Arg::Read(&x), Arg::Write(&mut got)]));
            prop_assert!(close(&got, &dx));
            let mut got = vec![f64::NAN; w.len()];
            (BACKWARD_FILTER.twin.f64)(Args::new(&params, vec![Arg::Read(&x), Arg::Read(&dy), Arg::Write(&mut got)]));
            prop_assert!(close(&got, &dw));
        }
    }

    #[test]
    fn sizes_follow_the_ceil_rule() {
        assert_eq!(super::super::extent(224, 11, 4, 0), Some(55));
        assert_eq!(super::super::extent(27, 5, 1, 2), Some(27));
        assert_eq!(super::super::extent(4, 5, 1, 0), None);
    }
}
