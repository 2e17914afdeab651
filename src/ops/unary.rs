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
    /// The error function, 2/√π ∫ exp −t² from 0 to x.
    Erf = 10,
    /// The logarithm of x to the base e.
    Log = 11,
    /// A smooth ReLU, log(1 + exp x).
    Softplus = 12,
    /// −1, 0 or 1, as x is negative, 0 or positive.
    Sign = 13,
    /// The reciprocal of x, 1 / x.
    Reciprocal = 14,
    /// b x, or b a (exp x − 1) where x < 0.
    Selu = 15,
    /// x, or a (exp(x / a) − 1) where x < 0.
    Celu = 16,
    /// x tanh(log(1 + exp x)).
    Mish = 17,
    /// x (1 + erf(x / √2)) / 2.
    Gelu = 18,
    /// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.
    GeluTanh = 19,
    /// x / (1 + exp −a x).
    Swish = 20,
    /// A sigmoid without exponentials, x / (1 + |x|).
    Softsign = 21,
}

impl Function {
    const ALL: [Self; 22] = [
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
        Self::Erf,
        Self::Log,
        Self::Softplus,
        Self::Sign,
        Self::Reciprocal,
        Self::Selu,
        Self::Celu,
        Self::Mish,
        Self::Gelu,
        Self::GeluTanh,
        Self::Swish,
        Self::Softsign,
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
            Self::Erf => erf(x),
            Self::Log => x.ln(),
            Self::Softplus => x.max(zero) + (-x.abs()).exp().ln_1p(),
            Self::Sign => {
                if x > zero {
                    one
                } else if negative {
                    -one
                } else {
                    x
                }
            }
            Self::Reciprocal => one / x,
            Self::Selu => {
                if negative {
                    b * a * x.exp_m1()
                } else {
                    b * x
                }
            }
            Self::Celu => {
                if negative {
                    a * (x / a).exp_m1()
                } else {
                    x
                }
            }
            Self::Mish => {
                // tanh(log(1 + e)) = (e² + 2e) / (e² + 2e + 2), which is 1 from 20 on.
                let e = x.min(T::of(20.0)).exp();
                let part = e * (e + T::of(2.0));
                x * (part / (part + T::of(2.0)))
            }
            Self::Gelu => x * (T::of(0.5) + T::of(0.5) * erf(x * T::of(std::f64::consts::FRAC_1_SQRT_2))),
            Self::GeluTanh => {
                let inner = T::of(GELU_FACTOR) * (x + T::of(0.044_715) * x * x * x);
                x * (T::of(0.5) + T::of(0.5) * inner.tanh())
            }
            Self::Swish => x / (one + (-a * x).exp()),
            Self::Softsign => x / (one + x.abs()),
        }
    }
}

/// √(2/π), in the hyperbolic form of GELU.
const GELU_FACTOR: f64 = 0.797_884_560_802_865_4;

/// Coefficients of x, x³, … in the numerator of the error function, the highest first.
const ERF_ABOVE: [f64; 7] = [
    -2.726_142_258_013_06e-10,
    2.770_681_424_959_02e-8,
    -2.101_024_020_825_08e-6,
    -5.692_506_394_623_46e-5,
    -7.349_906_303_268_55e-4,
    -2.954_599_808_540_25e-3,
    -1.609_603_332_624_15e-2,
];
/// Coefficients of 1, x², … in its denominator, the highest first.
const ERF_BELOW: [f64; 5] = [
    -1.456_607_184_649_96e-5,
    -2.133_740_552_789_05e-4,
    -1.682_826_974_382_03e-3,
    -7.373_329_167_204_68e-3,
    -1.426_473_905_141_89e-2,
];

/// The error function within 6.5e-8 of its value: a quotient of polynomials, and 1 from 3.9 on, so that GELU vanishes.
#[inline(always)]
fn erf<T: Real>(x: T) -> T {
    if x.abs() > T::of(3.9) {
        return if x < T::zero() { -T::one() } else { T::one() };
    }
    let square = x * x;
    let above = ERF_ABOVE.iter().fold(T::zero(), |sum, &factor| sum * square + T::of(factor));
    let below = ERF_BELOW.iter().fold(T::zero(), |sum, &factor| sum * square + T::of(factor));
    x * above / below
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
    doc: "y = f(x), f = clip, leaky_relu, elu, sigmoid, hard_sigmoid, hard_swish, exp, sqrt, abs, -x, erf, log, \
          softplus, sign, 1/x, selu, celu, mish, gelu, swish, softsign; any shape",
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
            Function::Selu => [1.6, 1.05],
            _ => [0.3, 0.0],
        };
        let fill = match function {
            Function::Sqrt => Fill::Uniform(0.0, 9.0),
            Function::Log | Function::Reciprocal => Fill::Uniform(0.125, 8.0),
            _ => Fill::Normal(2.0),
        };
        let shape = |count| Shape { count, function: function as usize, a, b }.params();
        // The square root of a negative number is NaN on some drivers alone, exp 40 and 1 / 1e-30 are far from all
        // others, the logarithm of 0 and inf / inf are the driver's choice.
        let edges = edges.map(|x: f32| match function {
            _ if x.is_nan() => x,
            Function::Sqrt => x.abs().min(1e4),
            Function::Log => x.abs().clamp(0.5, 1e4),
            Function::Reciprocal => x.abs().clamp(0.5, 1e4).copysign(x),
            Function::Mish | Function::Gelu | Function::GeluTanh | Function::Swish | Function::Softsign => {
                x.clamp(-1e2, 1e2)
            }
            Function::Exp if x == 40.0 => 1.0,
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
            [-0.995_322_265_018_952_7, 0.842_700_792_949_714_9],
            [f64::NAN, 0.0],
            [(-2.0_f64).exp().ln_1p(), 1.0 + (-1.0_f64).exp().ln_1p()],
            [-1.0, 1.0],
            [-0.5, 1.0],
            [-0.1 * 0.3 * (-2.0_f64).exp_m1(), -0.1],
            [0.3 * (-2.0 / 0.3_f64).exp_m1(), 1.0],
            [-2.0 * (-2.0_f64).exp().ln_1p().tanh(), (1.0 + (-1.0_f64).exp().ln_1p()).tanh()],
            [-0.045_500_263_896_358_42, 0.841_344_746_068_542_9],
            [-0.045_402_305_912_224_94, 0.841_191_990_608_276_8],
            [-2.0 / (1.0 + 0.6_f64.exp()), 1.0 / (1.0 + (-0.3_f64).exp())],
            [-2.0 / 3.0, 0.5],
        ];
        for (function, wanted) in Function::ALL.into_iter().zip(wanted) {
            let [a, b] = if function == Function::Clip { [-0.5, 1.0] } else { [0.3, -0.1] };
            // The error function is a quotient of polynomials, 6.5e-8 off at most.
            let off = if matches!(function, Function::Erf | Function::Gelu) { 1.3e-7 } else { 1e-15 };
            for (x, wanted) in [-2.0, 1.0].into_iter().zip(wanted) {
                let y: f64 = function.apply(x, a, b);
                assert!((y - wanted).abs() < off || y.is_nan() && wanted.is_nan(), "{function:?} of {x}: {y}");
            }
        }
    }
}
