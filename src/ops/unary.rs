//! Functions of one number, y = f(x), as networks of other programs have them; forward only. x, y: maps of any shape.

use crate::kernel::{Args, Case, Fill, Kernel, Variant, read_map, write_map};
use crate::ops::elementwise::{count, map};
use crate::tensor::Real;
use crate::{params, twin};

/// A function of one number, with up to two settings a and b. NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// x, at least a and at most b; b = [`f32::MAX`] is no bound, nor is a = [`f32::MIN`].
    Clip = 0,
    /// x, or a x where x < 0.
    LeakyRelu = 1,
    /// x, or a (exp x − 1) where x < 0.
    Elu = 2,
    /// 1 / (1 + exp −x).
    Sigmoid = 3,
    /// a x + b, at least 0 and at most 1.
    HardSigmoid = 4,
    /// x (x / 6 + 1/2), the factor at least 0 and at most 1.
    HardSwish = 5,
    /// exp x, to the base e.
    Exp = 6,
    /// The square root of x.
    Sqrt = 7,
    /// The absolute value of x.
    Abs = 8,
    /// The negative of x, −x.
    Negate = 9,
}

impl Function {
    const ALL: [Self; 10] = [
        Self::Clip,
        Self::LeakyRelu,
        Self::Elu,
        Self::Sigmoid,
        Self::HardSigmoid,
        Self::HardSwish,
        Self::Exp,
        Self::Sqrt,
        Self::Abs,
        Self::Negate,
    ];

    #[inline(always)]
    fn apply<T: Real>(self, x: T, a: T, b: T) -> T {
        let (zero, one) = (T::zero(), T::one());
        let clip = |x: T, low: T, high: T| {
            let x = if x < low { low } else { x };
            if x > high { high } else { x }
        };
        let negative = x < zero;
        match self {
            Self::Clip => {
                let low = if a == T::of(f64::from(f32::MIN)) { T::neg_infinity() } else { a };
                clip(x, low, if b == T::of(f64::from(f32::MAX)) { T::infinity() } else { b })
            }
            Self::LeakyRelu => {
                if negative {
                    a * x
                } else {
                    x
                }
            }
            Self::Elu => {
                if negative {
                    a * x.exp_m1()
                } else {
                    x
                }
            }
            Self::Sigmoid => one / (one + (-x).exp()),
            Self::HardSigmoid => clip(a * x + b, zero, one),
            Self::HardSwish => x * clip(x / T::of(6.0) + T::of(0.5), zero, one),
            Self::Exp => x.exp(),
            Self::Sqrt => x.sqrt(),
            Self::Abs => x.abs(),
            Self::Negate => -x,
        }
    }
}

params! {
    /// A function over a whole map.
    pub struct Shape {
        /// Elements, a multiple of 4.
        count: usize,
        /// [`Function`] as a number.
        function: usize,
        /// The function's first setting.
        a: f32,
        /// The function's second setting.
        b: f32,
    }
}

/// Applies a [`Function`] to every number of a map.
pub static FORWARD: Kernel = Kernel {
    name: "unary.forward",
    doc: "y = f(x), f = clip, leaky_relu, elu, sigmoid, hard_sigmoid, hard_swish, exp, sqrt, abs, -x; any shape",
    bindings: &[read_map("x"), write_map("y")],
    variants: &[Variant::linear("forward", &[include_str!("../../shaders/unary.wgsl")], count)],
    twin: twin!(forward),
    cases,
    tolerance: 2e-5, // the driver's exp: 3 + 2 |x| units in the last place
    flops: |p| count(p) as u64,
    ..Kernel::PLAIN
};

fn cases() -> Vec<Case> {
    let edges = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-30, 40.0, -40.0, -0.5];
    let case = |function: Function| {
        let [a, b] = match function {
            Function::HardSigmoid => [0.2, 0.5],
            Function::Clip => [-0.5, 1.5],
            _ => [0.3, 0.0],
        };
        let fill = if function == Function::Sqrt { Fill::Uniform(0.0, 9.0) } else { Fill::Normal(2.0) };
        let shape = |count| Shape { count, function: function as usize, a, b }.params();
        // The square root of a negative number is NaN on some drivers alone, exp 40 is far from all others.
        let edges = edges.map(|x: f32| match function {
            Function::Sqrt => {
                if x.is_nan() {
                    x
                } else {
                    x.abs().min(1e4)
                }
            }
            Function::Exp => {
                if x == 40.0 {
                    1.0
                } else {
                    x
                }
            }
            _ => x,
        });
        let named = |name: &str| format!("{function:?}{name}");
        [
            Case::new(named(""), shape(1036), vec![(1036, fill), (1036, Fill::Output)]),
            Case::new(named(", edges"), shape(8), vec![(8, Fill::Floats(edges.into())), (8, Fill::Output)]),
        ]
    };
    let open = Shape { count: 8, function: 0, a: f32::MIN, b: f32::MAX }.params();
    let open = Case::new("Clip without bounds", open, vec![(8, Fill::Floats(edges.into())), (8, Fill::Output)]);
    Function::ALL.into_iter().flat_map(case).chain([open]).collect()
}

fn forward<T: Real>(mut args: Args<T>) {
    let Shape { function, a, b, .. } = Shape::from(args.params);
    let (function, a, b) = (Function::ALL[function], T::of(f64::from(a)), T::of(f64::from(b)));
    let (x, y) = (args.read(), args.write());
    map(y, x, |x| function.apply(x, a, b));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_by_hand() {
        let wanted = [
            [-0.5, 1.0],
            [-0.6, 1.0],
            [0.3 * (-2.0_f64).exp_m1(), 1.0],
            [1.0 / (1.0 + 2.0_f64.exp()), 1.0 / (1.0 + (-1.0_f64).exp())],
            [0.0, 0.3 - 0.1],
            [-2.0 * (1.0 / 6.0), 2.0 / 3.0],
            [(-2.0_f64).exp(), 1.0_f64.exp()],
            [f64::NAN, 1.0],
            [2.0, 1.0],
            [2.0, -1.0],
        ];
        for (function, wanted) in Function::ALL.into_iter().zip(wanted) {
            let [a, b] = if function == Function::Clip { [-0.5, 1.0] } else { [0.3, -0.1] };
            for (x, wanted) in [-2.0, 1.0].into_iter().zip(wanted) {
                let y: f64 = function.apply(x, a, b);
                assert!((y - wanted).abs() < 1e-15 || y.is_nan() && wanted.is_nan(), "{function:?} of {x}: {y}");
            }
        }
    }
}
