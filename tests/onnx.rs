//! Every operator of ONNX that is understood, with every attribute, on the CPU engine and on all adapters: against the
//! operators' definitions in f64.

mod common;

use alexnet::backend::Engine;
use alexnet::interop::onnx::proto::AttributeProto;
use alexnet::tensor::Tensor;
use common::onnx::{File, float, floats, int, integers, ints, random, text};

/// The CPU engine and all adapters.
fn engines() -> Vec<Engine> {
    [vec![Engine::Cpu], common::gpus()].concat()
}

/// Checks the outputs of `file` on all engines; sums of some hundred products in f32 are off by some 1e-6 of the
/// largest.
#[track_caller]
fn gives(file: &File, inputs: &[(&str, &Tensor)], wanted: &[(Vec<usize>, Vec<f64>)]) {
    for engine in engines() {
        let got = file.run(&engine, inputs);
        assert_eq!(got.len(), wanted.len());
        for (got, (dims, values)) in got.iter().zip(wanted) {
            assert_eq!(got.shape(), dims, "on {}", engine.describe());
            let most = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            for (at, (&got, want)) in got.values().iter().zip(values).enumerate() {
                let error = (f64::from(got) - want).abs();
                assert!(error <= 1e-5 * most, "{got} instead of {want} at {at} on {}", engine.describe());
            }
        }
    }
}

/// The one node `op` over `inputs`; those in `constants` are initialisers.
fn single(
    opset: i64,
    op: &str,
    tensors: &[(&str, &Tensor)],
    constants: &[&str],
    attributes: Vec<AttributeProto>,
) -> File {
    let names: Vec<&str> = tensors.iter().map(|(name, _)| *name).collect();
    let mut file = File::new(opset).node(op, &names, &["y"], attributes).outputs(&["y"]);
    for (name, tensor) in tensors {
        let dims: Vec<i64> = tensor.shape().iter().map(|&extent| extent as i64).collect();
        let constant = constants.contains(name);
        file = if constant { file.constant(floats(name, tensor)) } else { file.input(name, &dims) };
    }
    file
}

fn wide(tensor: &Tensor) -> Vec<f64> {
    tensor.values().iter().map(|&value| f64::from(value)).collect()
}

fn exact(tensor: &Tensor) -> (Vec<usize>, Vec<f64>) {
    (tensor.shape().to_vec(), wide(tensor))
}

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
    let pair = |of: fn(&Axis) -> usize| axes.each_ref().map(|axis| of(axis) as i64);
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
}

#[test]
fn local_response_normalisation() {
    let x = random(&[2, 7, 3, 2], 0);
    for (size, alpha, beta, k) in [(3, 0.3, 0.75, 1.0), (5, 0.2, 0.5, 2.0), (1, 0.1, 1.0, 1.0)] {
        let value = |n: usize, c: usize, pixel: usize| f64::from(x.values()[(n * 7 + c) * 6 + pixel]);
        let y = (0..84).map(|i| {
            let (n, c, pixel): (usize, usize, usize) = (i / 42, i / 6 % 7, i % 6);
            let near = c.saturating_sub((size - 1) / 2)..(c + size / 2 + 1).min(7);
            let sum: f64 = near.map(|c| value(n, c, pixel).powi(2)).sum();
            value(n, c, pixel) / (f64::from(k) + f64::from(alpha) / size as f64 * sum).powf(f64::from(beta))
        });
        let settings = vec![int("size", size as i64), float("alpha", alpha), float("beta", beta), float("bias", k)];
        gives(&single(13, "LRN", &[("x", &x)], &[], settings), &[("x", &x)], &[(x.shape().to_vec(), y.collect())]);
    }
}

/// Rows by columns.
fn product(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let entry = |i: usize| (0..k).map(|at| a[i / n * k + at] * b[at * n + i % n]).sum();
    (0..m * n).map(entry).collect()
}

fn transposed(values: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| values[column..].iter().step_by(columns).copied()).collect()
}

#[test]
fn gemm() {
    let (m, k, n) = (3, 5, 4);
    let matrices =
        [("c", vec![n]), ("c", vec![1, n]), ("c", vec![m, 1]), ("c", vec![m, n]), ("c", vec![]), ("", vec![])];
    for (index, (name, c)) in matrices.into_iter().enumerate() {
        let (across_a, across_b) = (index % 2 == 1, index % 3 == 1);
        let (alpha, beta) = if index == 0 { (1.0, 1.0) } else { (0.5, -0.25) };
        let a = random(&if across_a { [k, m] } else { [m, k] }, 0);
        let b = random(&if across_b { [n, k] } else { [k, n] }, 1);
        let c = random(&c, 2);
        let (a64, b64, c64) = (wide(&a), wide(&b), wide(&c));
        let a64 = if across_a { transposed(&a64, m) } else { a64 };
        let b64 = if across_b { transposed(&b64, k) } else { b64 };
        let added = |i: usize| match c.shape() {
            _ if name.is_empty() => 0.0,
            [] => c64[0],
            [rows, 1] if *rows == m => c64[i / n],
            [rows, _] if *rows == m => c64[i],
            _ => c64[i % n],
        };
        let y = product(&a64, &b64, [m, k, n]).into_iter().enumerate();
        let y = y.map(|(i, y)| f64::from(alpha) * y + f64::from(beta) * added(i)).collect();
        let mut settings = vec![float("alpha", alpha), float("beta", beta)];
        settings.extend([int("transA", across_a.into()), int("transB", across_b.into())]);
        let mut tensors = vec![("a", &a), ("b", &b)];
        tensors.extend((!name.is_empty()).then_some((name, &c)));
        let wanted = [(vec![m, n], y)];
        gives(&single(13, "Gemm", &tensors, &[], settings.clone()), &tensors, &wanted);
        gives(&single(13, "Gemm", &tensors, &["b", "c"], settings), &tensors[..1], &wanted);
    }
}

#[test]
fn matmul() {
    for (a, b, y) in [
        (&[3, 5][..], &[5, 4][..], &[3, 4][..]),
        (&[2, 3, 5], &[5, 4], &[2, 3, 4]),
        (&[2, 3, 5], &[2, 5, 4], &[2, 3, 4]),
        (&[2, 1, 3, 5], &[3, 5, 4], &[2, 3, 3, 4]),
        (&[5], &[5, 4], &[4]),
        (&[2, 3, 5], &[5], &[2, 3]),
        (&[5], &[5], &[]),
    ] {
        let (a, b) = (random(a, 0), random(b, 1));
        let (rows, columns) = (if a.shape().len() > 1 { 3 } else { 1 }, if b.shape().len() > 1 { 4 } else { 1 });
        let count = y.iter().product::<usize>() / (rows * columns);
        let mut values = Vec::new();
        for index in 0..count {
            // Batches of the fourth case: 2 × 1 and 3.
            let (of_a, of_b) = if count == 6 { (index / 3, index % 3) } else { (index, index) };
            let part = |tensor: &Tensor, index: usize, size: usize| {
                let all = wide(tensor);
                all[index * size % all.len()..][..size].to_vec()
            };
            let (a, b) = (part(&a, of_a, rows * 5), part(&b, of_b, 5 * columns));
            values.extend(product(&a, &b, [rows, 5, columns]));
        }
        let tensors = [("a", &a), ("b", &b)];
        gives(&single(13, "MatMul", &tensors, &[], vec![]), &tensors, &[(y.to_vec(), values)]);
    }
}

#[test]
fn softmax_along_any_axis() {
    let dims = [3, 4, 5, 2];
    let x = random(&dims, 0);
    for (opset, axis, log) in
        [(13, 0, false), (13, 1, true), (13, 2, false), (13, -1, true), (11, 1, false), (11, 2, true), (11, 0, false)]
    {
        let at = if axis < 0 { dims.len() - 1 } else { axis as usize };
        // What is one behind the other, how often and how far apart: up to version 12 all axes from this one on.
        let inner: usize = if opset < 13 { 1 } else { dims[at + 1..].iter().product() };
        let count: usize = if opset < 13 { dims[at..].iter().product() } else { dims[at] };
        let value = |i: usize| f64::from(x.values()[i]);
        let y = (0..x.values().len()).map(|i| {
            let first = i / (inner * count) * inner * count + i % inner;
            let sum: f64 = (0..count).map(|j| value(first + j * inner).exp()).sum();
            if log { value(i) - sum.ln() } else { value(i).exp() / sum }
        });
        let file =
            single(opset, if log { "LogSoftmax" } else { "Softmax" }, &[("x", &x)], &[], vec![int("axis", axis)]);
        gives(&file, &[("x", &x)], &[(dims.to_vec(), y.collect())]);
    }
    // Far apart, where exponentials alone would leave the range of numbers.
    let far = Tensor::new([2, 3], vec![1000.0, 0.0, -1000.0, 5000.0, 5000.0, 0.0]);
    let wanted = vec![0.0, -1000.0, -2000.0, -(2.0_f64.ln()), -(2.0_f64.ln()), -5000.0 - 2.0_f64.ln()];
    gives(&single(13, "LogSoftmax", &[("x", &far)], &[], vec![]), &[("x", &far)], &[(vec![2, 3], wanted)]);
}

/// What an operator of two numbers gives for them.
type Arithmetic = (&'static str, fn(f64, f64) -> f64);

#[test]
fn arithmetic_with_repetition() {
    // Powers of negative numbers are cases of the kernel.
    let positive = |dims: &[usize], tag| {
        let normal = random(dims, tag);
        Tensor::new(dims, normal.values().iter().map(|value| value.abs() + 0.5).collect::<Vec<_>>())
    };
    let operators: [Arithmetic; 5] = [
        ("Add", |a, b| a + b),
        ("Sub", |a, b| a - b),
        ("Mul", |a, b| a * b),
        ("Div", |a, b| a / b),
        ("Pow", |a, b| a.powf(b)),
    ];
    let whole = positive(&[2, 3, 4, 5], 0);
    for (opset, dims, axis, places) in [
        (14, &[5][..], None, [0, 0, 0, 1]),
        (14, &[2, 3, 4, 5], None, [60, 20, 5, 1]),
        (14, &[3, 1, 1], None, [0, 1, 0, 0]),
        (14, &[], None, [0; 4]),
        (6, &[3, 4], Some(1), [0, 4, 1, 0]),
        (6, &[4, 5], None, [0, 0, 5, 1]),
    ] {
        let part = positive(dims, 1);
        let at =
            |i: usize| places[0] * (i / 60) + places[1] * (i / 20 % 3) + places[2] * (i / 5 % 4) + places[3] * (i % 5);
        let mut settings = if opset < 7 { vec![int("broadcast", 1)] } else { vec![] };
        settings.extend(axis.map(|axis| int("axis", axis)));
        for (operator, apply) in operators {
            let pairs = (0..120).map(|i| (f64::from(whole.values()[i]), f64::from(part.values()[at(i)])));
            let [wanted, other] =
                [pairs.clone().map(|(a, b)| apply(a, b)).collect(), pairs.map(|(a, b)| apply(b, a)).collect()]
                    .map(|values| [(vec![2, 3, 4, 5], values)]);
            let tensors = [("a", &whole), ("b", &part)];
            gives(&single(opset, operator, &tensors, &[], settings.clone()), &tensors, &wanted);
            gives(&single(opset, operator, &tensors, &["b"], settings.clone()), &tensors[..1], &wanted);
            if opset > 6 {
                let turned = [("b", &part), ("a", &whole)];
                gives(&single(opset, operator, &turned, &["b"], settings.clone()), &tensors[..1], &other);
            }
        }
    }
}

#[test]
fn parts_and_shapes() {
    let x = random(&[4, 6, 3, 2], 0);
    let values = wide(&x);
    // Cut along every axis and put together again, other parts first.
    for (axis, extent) in [(0, 4), (1, 6), (2, 3), (-1, 2)] {
        let file = File::new(13)
            .input("x", &[4, 6, 3, 2])
            .constant(integers("sizes", &[1, extent - 1]))
            .node("Split", &["x", "sizes"], &["a", "b"], vec![int("axis", axis)])
            .node("Relu", &["b"], &["c"], vec![])
            .node("Concat", &["c", "a"], &["y"], vec![int("axis", axis)])
            .node("Identity", &["a"], &["z"], vec![])
            .outputs(&["y", "z"]);
        let inner: usize = x.shape()[(axis + 4) as usize % 4 + 1..].iter().product();
        let (row, part) = (inner * extent as usize, inner);
        let cut = values.chunks(row).map(|row| row.split_at(part));
        let turned = cut.clone().flat_map(|(a, b)| [b.iter().map(|b| b.max(0.0)).collect(), a.to_vec()].concat());
        let mut dims = x.shape().to_vec();
        dims[(axis + 4) as usize % 4] = 1;
        let first = cut.flat_map(|(a, _)| a.to_vec()).collect();
        gives(&file, &[("x", &x)], &[(x.shape().to_vec(), turned.collect()), (dims, first)]);
    }
    for (op, settings, shape, dims) in [
        ("Flatten", vec![], None, vec![4, 36]),
        ("Flatten", vec![int("axis", 0)], None, vec![1, 144]),
        ("Flatten", vec![int("axis", -1)], None, vec![72, 2]),
        ("Reshape", vec![], Some([0, -1, 1].as_slice()), vec![4, 36, 1]),
        ("Reshape", vec![], Some(&[12, 2, -1]), vec![12, 2, 6]),
        ("Reshape", vec![], Some(&[144]), vec![144]),
    ] {
        let mut file = File::new(14).input("x", &[4, 6, 3, 2]);
        let mut inputs = vec!["r"];
        if let Some(shape) = shape {
            file = file.constant(integers("shape", shape));
            inputs.push("shape");
        }
        // On maps, which lie otherwise than files have them.
        let file = file.node("Tanh", &["x"], &["r"], vec![]).node(op, &inputs, &["y"], settings).outputs(&["y"]);
        gives(&file, &[("x", &x)], &[(dims, values.iter().map(|x| x.tanh()).collect())]);
    }
    let file = single(13, "Dropout", &[("x", &x)], &[], vec![int("seed", 3)]);
    gives(&file, &[("x", &x)], &[exact(&x)]);
}
