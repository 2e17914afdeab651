//! What is done number by number or along an axis, and what only moves numbers.

use alexnet::tensor::Tensor;

use super::{exact, gives, single, wide};
use crate::onnx::file::{File, float, int, integers, random};

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
    // Scores of -inf are probabilities of 0, unless all are; NaN and +inf make everything NaN.
    let (low, nan, ill) = (f32::NEG_INFINITY, f32::NAN, f32::INFINITY);
    let x = Tensor::new([5, 3], vec![low, 0.0, 1.0, 2.0, low, low, low, low, low, nan, 0.0, low, ill, 1.0, low]);
    for engine in super::engines() {
        for (op, zero) in [("Softmax", 0.0), ("LogSoftmax", low)] {
            let y = single(13, op, &[("x", &x)], &[], vec![]).run(&engine, &[("x", &x)]).remove(0);
            let y = y.values();
            assert!(y[0] == zero && y[4] == zero && y[5] == zero, "{y:?}");
            assert!(y[6..].iter().all(|y| y.is_nan()) && y[1..4].iter().all(|y| y.is_finite()), "{y:?}");
        }
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
