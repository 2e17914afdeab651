//! Operators that look through windows, and what runs in their epilogues.

use alexnet::interop::onnx::proto::AttributeProto;
use alexnet::tensor::Tensor;

use super::{gives, single, wide};
use crate::onnx::file::{File, floats, int, ints, random, text};

/// Windows of one axis, by the definition of ONNX.
#[derive(Clone, Copy)]
struct Axis {
    size: usize,
    stride: usize,
    dilation: usize,
    pads: [usize; 2],
}

impl Axis {
    /// How many there are over `extent`, the last of which may hang over if `ceil`.
    fn count(&self, extent: usize, ceil: bool) -> usize {
        let reach = self.dilation * (self.size - 1) + 1;
        let free = (extent + self.pads[0] + self.pads[1] - reach) as f64 / self.stride as f64;
        let count = if ceil { free.ceil() } else { free.floor() } as usize + 1;
        // One that would begin behind the map is none.
        if ceil && (count - 1) * self.stride >= extent + self.pads[0] { count - 1 } else { count }
    }

    /// Where the elements of window `at` are, counted from the map's first.
    fn places(&self, at: usize) -> Vec<i64> {
        (0..self.size).map(|i| (at * self.stride + i * self.dilation) as i64 - self.pads[0] as i64).collect()
    }
}

fn attributes(axes: [Axis; 2]) -> Vec<AttributeProto> {
    let pair = |extent: fn(&Axis) -> usize| axes.each_ref().map(|axis| extent(axis) as i64);
    let [[top, bottom], [left, right]] = axes.map(|axis| axis.pads.map(|pad| pad as i64));
    vec![
        ints("kernel_shape", &pair(|axis| axis.size)),
        ints("strides", &pair(|axis| axis.stride)),
        ints("dilations", &pair(|axis| axis.dilation)),
        ints("pads", &[top, left, bottom, right]),
    ]
}

const fn axis(size: usize, stride: usize, dilation: usize, pads: [usize; 2]) -> Axis {
    Axis { size, stride, dilation, pads }
}

/// Calls `each(output, [(input, element of the window)])` for every window over maps of `dims`.
fn windows(
    dims: [usize; 4],
    axes: [Axis; 2],
    ceil: bool,
    mut each: impl FnMut(usize, &[(usize, usize)]),
) -> Vec<usize> {
    let [n, c, h, w] = dims;
    let [p, q] = [axes[0].count(h, ceil), axes[1].count(w, ceil)];
    for (map, output) in (0..n * c).flat_map(|map| (0..p * q).map(move |output| (map, output))) {
        let mut inside = Vec::new();
        for (r, row) in axes[0].places(output / q).into_iter().enumerate() {
            for (s, column) in axes[1].places(output % q).into_iter().enumerate() {
                if (0..h as i64).contains(&row) && (0..w as i64).contains(&column) {
                    inside.push((map * h * w + row as usize * w + column as usize, r * axes[1].size + s));
                }
            }
        }
        each(map * p * q + output, &inside);
    }
    vec![n, c, p, q]
}

fn convolved(x: &Tensor, w: &Tensor, b: Option<&Tensor>, axes: [Axis; 2], groups: usize) -> (Vec<usize>, Vec<f64>) {
    let (&[n, c, h, width], &[k, part, r, s]) = (x.shape(), w.shape()) else { panic!("four extents") };
    let [p, q] = [axes[0].count(h, false), axes[1].count(width, false)];
    let mut y = vec![0.0; n * k * p * q];
    for filter in 0..k {
        let bias = b.map_or(0.0, |b| f64::from(b.values()[filter]));
        (0..n).for_each(|n| y[(n * k + filter) * p * q..][..p * q].fill(bias));
    }
    windows([n, c, h, width], axes, false, |output, inside| {
        let (image, map, pixel) = (output / (p * q) / c, output / (p * q) % c, output % (p * q));
        for filter in (0..k).filter(|filter| filter / (k / groups) == map / part) {
            for &(input, element) in inside {
                let weight = w.values()[(filter * part + map % part) * r * s + element];
                y[(image * k + filter) * p * q + pixel] += f64::from(weight) * f64::from(x.values()[input]);
            }
        }
    });
    (vec![n, k, p, q], y)
}

#[test]
fn convolution() {
    let plain = axis(3, 1, 1, [0, 0]);
    let cases = [
        // x, filters, groups, axes, bias, whether the weights are an input.
        ([2, 3, 7, 5], 4, 1, [axis(3, 1, 1, [0, 0]), axis(2, 1, 1, [0, 0])], true, false),
        ([1, 2, 9, 8], 6, 1, [axis(3, 2, 1, [2, 0]), axis(5, 3, 1, [0, 3])], false, false),
        ([3, 2, 9, 9], 5, 1, [axis(3, 1, 2, [1, 2]), axis(2, 2, 3, [0, 1])], true, false),
        ([9, 4, 6, 6], 8, 4, [plain, plain], true, false),
        ([2, 5, 6, 6], 5, 5, [axis(3, 2, 1, [1, 1]), plain], false, false),
        ([2, 4, 6, 5], 6, 2, [plain, axis(2, 1, 2, [1, 0])], true, true),
        // Groups that are convolutions of their own, on views of slots.
        ([2, 16, 5, 5], 32, 2, [axis(3, 1, 1, [1, 1]), axis(3, 1, 1, [1, 1])], true, false),
        ([2, 6, 5, 5], 7, 1, [axis(1, 1, 1, [0, 0]), axis(1, 1, 1, [0, 0])], false, true),
    ];
    for (index, (dims, filters, groups, axes, bias, given)) in cases.into_iter().enumerate() {
        let x = random(&dims, 0);
        let w = random(&[filters, dims[1] / groups, axes[0].size, axes[1].size], 1);
        let b = random(&[filters], 2);
        let mut tensors = vec![("x", &x), ("w", &w)];
        tensors.extend(bias.then_some(("b", &b)));
        let settings = [attributes(axes), vec![int("group", groups as i64)]].concat();
        let file = single(11, "Conv", &tensors, if given { &[] } else { &["w", "b"] }, settings);
        let inputs: Vec<_> = tensors.iter().filter(|(name, _)| given || *name == "x").copied().collect();
        println!("case {index}");
        gives(&file, &inputs, &[convolved(&x, &w, bias.then_some(&b), axes, groups)]);
    }
}

#[test]
fn neurons_in_the_epilogue_and_on_their_own() {
    let (x, w) = (random(&[2, 3, 5, 5], 0), random(&[4, 3, 3, 3], 1));
    let axes = [axis(3, 1, 1, [0, 0]); 2];
    let (dims, z) = convolved(&x, &w, None, axes, 1);
    let after = |f: fn(f64) -> f64| (dims.clone(), z.iter().map(|&z| f(z)).collect::<Vec<f64>>());
    let conv = |file: File| {
        file.input("x", &[-1, 3, 5, 5]).constant(floats("w", &w)).node("Conv", &["x", "w"], &["z"], vec![])
    };
    let relu = conv(File::new(13)).node("Relu", &["z"], &["y"], vec![]).outputs(&["y"]);
    gives(&relu, &[("x", &x)], &[after(|z| z.max(0.0))]);
    // Where others read the value before the neuron, it has to be there.
    let both = conv(File::new(13)).node("Tanh", &["z"], &["y"], vec![]).outputs(&["y", "z"]);
    gives(&both, &[("x", &x)], &[after(f64::tanh), after(|z| z)]);
}

#[test]
fn padding_by_name() {
    let (x, w) = (random(&[1, 2, 5, 6], 0), random(&[3, 2, 3, 2], 1));
    // 5 rows in strides of 2 take 3 windows of 3, one place more on both sides; 6 columns 3 windows of 2, none.
    let same = [axis(3, 2, 1, [1, 1]), axis(2, 2, 1, [0, 0])];
    let upper = [axis(3, 1, 1, [1, 1]), axis(2, 1, 1, [0, 1])];
    let lower = [axis(3, 1, 1, [1, 1]), axis(2, 1, 1, [1, 0])];
    let valid = [axis(3, 1, 1, [0, 0]), axis(2, 1, 1, [0, 0])];
    for (name, axes) in [("SAME_UPPER", same), ("SAME_UPPER", upper), ("SAME_LOWER", lower), ("VALID", valid)] {
        let strides = axes.map(|axis| axis.stride as i64);
        let settings = vec![text("auto_pad", name), ints("strides", &strides)];
        let file = single(11, "Conv", &[("x", &x), ("w", &w)], &["w"], settings);
        gives(&file, &[("x", &x)], &[convolved(&x, &w, None, axes, 1)]);
    }
}

#[test]
fn pooling() {
    let plain = axis(3, 2, 1, [0, 0]);
    let cases = [
        ([2, 3, 7, 6], [plain, axis(2, 2, 1, [0, 0])], false),
        ([1, 2, 6, 6], [plain, plain], true),
        ([3, 2, 9, 9], [axis(3, 1, 2, [1, 2]), axis(2, 3, 1, [1, 0])], false),
        ([1, 1, 2, 2], [axis(1, 2, 1, [0, 0]), axis(1, 2, 1, [0, 0])], true),
        ([9, 2, 5, 5], [axis(5, 1, 1, [2, 2]), axis(5, 1, 1, [2, 2])], false),
        ([2, 1, 8, 8], [axis(3, 3, 2, [1, 1]), axis(3, 2, 1, [0, 2])], true),
    ];
    for (dims, axes, ceil) in cases {
        let x = random(&dims, 0);
        let at = |i: usize| f64::from(x.values()[i]);
        let settings = [attributes(axes), vec![int("ceil_mode", ceil.into())]].concat();
        let mut maxima = Vec::new();
        let shape = windows(dims, axes, ceil, |_, inside| {
            maxima.push(inside.iter().map(|&(i, _)| at(i)).fold(f64::NEG_INFINITY, f64::max));
        });
        gives(&single(19, "MaxPool", &[("x", &x)], &[], settings.clone()), &[("x", &x)], &[(shape.clone(), maxima)]);
        for padding in [false, true] {
            let [_, _, h, w] = dims;
            let mut means = Vec::new();
            windows(dims, axes, ceil, |output, inside| {
                let sum: f64 = inside.iter().map(|&(i, _)| at(i)).sum();
                let pixel = output % (shape[2] * shape[3]);
                // Of a window that hangs over the padding, what hangs over does not count.
                let counted = |axis: Axis, at: usize, extent: usize| {
                    let end = (extent + axis.pads[1]) as i64;
                    axis.places(at).into_iter().filter(|&place| place < end).count()
                };
                let all = counted(axes[0], pixel / shape[3], h) * counted(axes[1], pixel % shape[3], w);
                means.push(sum / if padding { all } else { inside.len() } as f64);
            });
            let settings = [settings.clone(), vec![int("count_include_pad", padding.into())]].concat();
            let file = single(19, "AveragePool", &[("x", &x)], &[], settings);
            gives(&file, &[("x", &x)], &[(shape.clone(), means)]);
        }
    }
    let x = random(&[3, 2, 4, 5], 0);
    let means = wide(&x).chunks(20).map(|map| map.iter().sum::<f64>() / 20.0).collect();
    gives(&single(1, "GlobalAveragePool", &[("x", &x)], &[], vec![]), &[("x", &x)], &[(vec![3, 2, 1, 1], means)]);
    let largest = wide(&x).chunks(20).map(|map| map.iter().copied().fold(f64::NEG_INFINITY, f64::max)).collect();
    gives(&single(1, "GlobalMaxPool", &[("x", &x)], &[], vec![]), &[("x", &x)], &[(vec![3, 2, 1, 1], largest)]);
}
