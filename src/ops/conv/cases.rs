//! Shapes on which the convolution kernels are compared with their twins.

use super::{Conv, extent, floor_extent};
use crate::kernel::{Case, Fill};

/// Fully connected layers, as inputs, outputs and images: ragged, whole tiles, several blocks on the CPU.
const DENSE: [(&str, [usize; 3]); 7] = [
    ("fc: one unit", [1, 1, 8]),
    ("fc6, ragged", [230, 67, 24]),
    ("fc6, ragged, 32 images", [70, 100, 32]),
    ("fc7, whole tiles", [128, 64, 32]),
    ("fc8: 10 classes", [96, 10, 128]),
    ("fc, many images", [41, 33, 160]),
    ("fc, several blocks on the CPU", [300, 150, 8]),
];

/// A square convolution by the released code's size rule.
pub(super) fn square(c: usize, size: usize, k: usize, window: usize, stride: usize, pad: usize, n: usize) -> Conv {
    let p = extent(size, window, stride, pad).unwrap_or(0);
    Conv {
        h: size,
        w: size,
        p,
        q: p,
        r: window,
        s: window,
        stride_y: stride,
        stride_x: stride,
        pad_y: pad,
        pad_x: pad,
        bias: true,
        ..Conv::dense(c, k, n)
    }
}

/// Ragged extents, AlexNet's own windows in the small, and maps that can be bound one by one; every second one
/// accumulates.
fn shapes() -> Vec<(&'static str, Conv)> {
    let mut oblong = square(3, 9, 5, 3, 1, 1, 24);
    (oblong.h, oblong.p, oblong.r) = (7, 8, 2);
    (oblong.stride_x, oblong.q, oblong.pad_x) = (2, 5, 0);
    let mut left_out = square(4, 10, 6, 3, 4, 0, 8);
    left_out.p = floor_extent(10, 3, 4, 0).unwrap_or(0);
    left_out.q = left_out.p;
    let mut shapes = vec![
        ("one pixel", square(1, 1, 1, 1, 1, 0, 8)),
        ("conv1: 11/4, hangs over", square(3, 36, 24, 11, 4, 0, 16)),
        ("conv2: 5 pad 2", square(6, 13, 20, 5, 1, 2, 32)),
        ("conv3: 3 pad 1", square(20, 7, 18, 3, 1, 1, 8)),
        ("conv4: 32 images a workgroup", square(40, 6, 36, 3, 1, 1, 64)),
        ("1x1, many maps", square(37, 5, 33, 1, 1, 0, 40)),
        ("stride over the window", square(5, 11, 9, 2, 3, 0, 8)),
        ("window as large as the map", square(9, 4, 17, 4, 1, 0, 16)),
        ("oblong", oblong),
        ("pixels left out", left_out),
        ("maps on their own", square(20, 4, 16, 2, 2, 0, 8)),
        ("maps on their own, added", square(11, 4, 16, 2, 2, 0, 8)),
        ("more images than a block on the CPU", square(30, 2, 34, 3, 1, 1, 264)),
    ];
    shapes.extend(DENSE.map(|(name, [inputs, outputs, images])| (name, Conv::dense(inputs, outputs, images))));
    shapes.extend([
        ("conv1, lines of the window", square(3, 20, 48, 11, 4, 0, 32)),
        ("conv3, terms by sixteens", square(32, 5, 64, 3, 1, 1, 64)),
        ("conv2, 48 maps", square(48, 4, 80, 5, 1, 2, 32)),
        ("strided, terms by sixteens", square(16, 9, 48, 3, 2, 1, 32)),
        ("fc7, parts of sums", Conv::dense(256, 112, 64)),
        ("fc8, parts of sums", Conv::dense(512, 72, 32)),
    ]);
    for (index, (_, conv)) in shapes.iter_mut().enumerate() {
        conv.accumulate = index % 2 == 1;
        conv.bias = index % 3 != 2;
        conv.activation = index % 3;
    }
    shapes
}

/// Content of a buffer that is written or added to.
fn target(conv: &Conv) -> Fill {
    if conv.accumulate { Fill::Normal(1.0) } else { Fill::Output }
}

fn cases(case: fn(&str, &Conv) -> Case) -> Vec<Case> {
    shapes().iter().map(|(name, conv)| case(name, conv)).collect()
}

pub(super) fn forward() -> Vec<Case> {
    cases(forward_of)
}

pub(super) fn backward_input() -> Vec<Case> {
    cases(backward_input_of)
}

pub(super) fn backward_filter() -> Vec<Case> {
    cases(backward_filter_of)
}

pub(super) fn forward_of(name: &str, c: &Conv) -> Case {
    let (x, w) = ((c.x_count(), Fill::Normal(1.0)), (c.w_count(), Fill::Normal(0.1)));
    Case::new(name, c.params(), vec![x, w, (c.k, Fill::Normal(1.0)), (c.y_count(), target(c))])
}

pub(super) fn backward_input_of(name: &str, c: &Conv) -> Case {
    let (w, dy) = ((c.w_count(), Fill::Normal(0.1)), (c.y_count(), Fill::Normal(1.0)));
    let x = (c.x_count(), Fill::Normal(1.0));
    Case::new(name, c.params(), vec![w, dy, x, (c.x_count(), target(c))])
}

pub(super) fn backward_filter_of(name: &str, c: &Conv) -> Case {
    let (x, dy) = ((c.x_count(), Fill::Normal(1.0)), (c.y_count(), Fill::Normal(1.0)));
    Case::new(name, c.params(), vec![x, dy, (c.w_count(), target(c))])
}
