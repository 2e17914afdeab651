//! Operators that multiply matrices: Gemm, and MatMul over stacks of them.

use alexnet::tensor::Tensor;

use super::{gives, single, wide};
use crate::onnx::file::{float, int, random};

/// The product of `a`, m by k, and `b`, k by n, in rows.
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
