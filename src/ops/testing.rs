//! Helpers of the unit tests: twins run on plain numbers, and gradients by finite differences.

use crate::kernel::{Access, Arg, Args, Kernel, Params};
use crate::random::{Purpose, Stream};

/// Standard normal numbers; another tag gives others.
pub(super) fn numbers(count: usize, tag: u32) -> Vec<f64> {
    Stream::new(2012, Purpose::Test, tag).normal_vec(count, 1.0).into_iter().map(f64::from).collect()
}

/// The output of a kernel's f64 twin for `inputs`; it has as many elements as the first of them.
pub(super) fn run(kernel: &Kernel, params: &Params, inputs: &[&[f64]]) -> Vec<f64> {
    run_into(kernel, params, inputs, inputs[0].len())
}

/// The output of a kernel's f64 twin for `inputs`, of `count` elements.
pub(super) fn run_into(kernel: &Kernel, params: &Params, inputs: &[&[f64]], count: usize) -> Vec<f64> {
    assert!(kernel.bindings[inputs.len()].access == Access::Write && kernel.bindings.len() == inputs.len() + 1);
    let mut output = vec![f64::NAN; count];
    let mut buffers: Vec<Arg<f64>> = inputs.iter().map(|values| Arg::Read(values)).collect();
    buffers.push(Arg::Write(&mut output));
    (kernel.twin.f64)(Args::new(params, buffers));
    output
}

/// Asserts that every number is as wanted, to `tolerance` of itself plus the root mean square of all.
pub(super) fn assert_close(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    let rms = rms(want);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * (want.abs() + rms), "[{i}]: {got} instead of {want}");
    }
}

/// Largest error of `dx`, the gradient of Σ dy y(x), against central differences.
pub(super) fn gradient_error(x: &[f64], dy: &[f64], dx: &[f64], y: impl Fn(&[f64]) -> Vec<f64>) -> f64 {
    const H: f64 = 1e-5;
    let mut moved = x.to_vec();
    let mut slope = |i: usize| {
        let mut at = |x: f64| {
            moved[i] = x;
            y(&moved)
        };
        let (above, below) = (at(x[i] + H), at(x[i] - H));
        moved[i] = x[i];
        let rise = above.iter().zip(&below).zip(dy).map(|((a, b), dy)| (a - b) * dy);
        rise.sum::<f64>() / (2.0 * H)
    };
    let rms = rms(dx);
    // A NaN must fail the test, and f64::max would drop it.
    let worse = |worst: f64, error: f64| if error <= worst { worst } else { error };
    (0..x.len()).map(|i| (slope(i) - dx[i]).abs() / (dx[i].abs() + rms)).fold(0.0, worse)
}

fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / values.len().max(1) as f64).sqrt()
}
