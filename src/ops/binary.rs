//! Arithmetic on two maps of one shape, y = a ∘ b number by number: sums of the two towers' gradients of one map, and
//! the arithmetic of networks from other programs.

use crate::kernel::{Args, Case, Fill, Kernel, Variant, read_map, write_map};
use crate::ops::elementwise::{COUNTS, count, zip};
use crate::tensor::Real;
use crate::{params, twin};

/// Operation on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// y = a + b.
    Add = 0,
    /// y = a − b.
    Subtract = 1,
    /// y = a · b.
    Multiply = 2,
    /// y = a / b.
    Divide = 3,
    /// y = a to the power of b, as C has it: of a negative number for whole b alone.
    Power = 4,
    /// y = a, or a · b where a < 0.
    Leak = 5,
    /// y = the larger of a and b, NaN where one of them is.
    Maximum = 6,
    /// y = the smaller of a and b, NaN where one of them is.
    Minimum = 7,
    /// y = 1 where a < b, else 0.
    Less = 8,
    /// y = 1 where a ≤ b, else 0.
    AtMost = 9,
    /// y = 1 where a = b, else 0.
    Equal = 10,
    /// y = a where b is not 0, else 0.
    Keep = 11,
}

impl Operation {
    const ALL: [Self; 12] = [
        Self::Add,
        Self::Subtract,
        Self::Multiply,
        Self::Divide,
        Self::Power,
        Self::Leak,
        Self::Maximum,
        Self::Minimum,
        Self::Less,
        Self::AtMost,
        Self::Equal,
        Self::Keep,
    ];

    #[inline(always)]
    fn apply<T: Real>(self, a: T, b: T) -> T {
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Power => a.powf(b),
            Self::Leak if a < T::zero() => a * b,
            Self::Maximum if b > a || b.is_nan() => b,
            Self::Minimum if b < a || b.is_nan() => b,
            Self::Less if a < b => T::one(),
            Self::AtMost if a <= b => T::one(),
            Self::Equal if a == b => T::one(),
            Self::Keep if b == T::zero() => T::zero(),
            Self::Less | Self::AtMost | Self::Equal => T::zero(),
            Self::Leak | Self::Maximum | Self::Minimum | Self::Keep => a,
        }
    }
}

params! {
    /// An operation on whole maps.
    pub struct Shape {
        /// Elements, a multiple of 4.
        count: usize,
        /// [`Operation`] as a number.
        operation: usize,
    }
}

impl Shape {
    /// The parameters of a sum of two maps.
    pub fn sum(count: usize) -> crate::kernel::Params {
        Self { count, operation: Operation::Add as usize }.params()
    }
}

/// y = a ∘ b.
pub static FORWARD: Kernel = Kernel {
    name: "binary.forward",
    doc: "y = a + b, a - b, a b, a / b, a^b, a < 0 ? a b : a, max(a, b), min(a, b), a < b, a <= b, a = b or b ? a : 0, \
          number by number; any shape",
    bindings: &[read_map("a"), read_map("b"), write_map("y")],
    variants: &[Variant::linear("forward", &[include_str!("../../shaders/binary.wgsl")], count).vectors(4)],
    twin: twin!(forward),
    cases,
    tolerance: 1e-5, // the driver's logarithm, times an exponent of up to 3; the others round once or twice
    flops: |p| count(p) as u64,
    ..Kernel::PLAIN
};

fn cases() -> Vec<Case> {
    let case = |name: &str, operation, a: Fill, b: Fill, count| {
        let params = Shape { count, operation: operation as usize }.params();
        Case::new(name, params, vec![(count, a), (count, b), (count, Fill::Output)])
    };
    let normal = Fill::Normal;
    // Every pair of numbers that are special to powers: 0^0, and a negative number to half a power, among them.
    let edges = [-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0, f32::NAN, -1.5];
    let (bases, exponents) = edges.iter().flat_map(|&a| edges.map(|b| (a, b))).chain([(2.0, 2.0); 3]).unzip();
    let mut cases: Vec<Case> =
        COUNTS.map(|(name, count)| case(name, Operation::Add, normal(1.0), normal(2.0), count)).into();
    cases.push(case("difference", Operation::Subtract, normal(1.0), normal(2.0), 1036));
    cases.push(case("product", Operation::Multiply, normal(1.0), normal(2.0), 1036));
    cases.push(case("quotient", Operation::Divide, normal(1.0), Fill::Uniform(0.5, 8.0), 1036));
    cases.push(case("power", Operation::Power, Fill::Uniform(0.25, 4.0), Fill::Uniform(-3.0, 3.0), 1036));
    cases.push(case("leak", Operation::Leak, normal(1.0), normal(1.0), 1036));
    let special = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY, -2.0, 0.5];
    let [a, b] = [1, 6].map(|run| Fill::Floats((0..1036).map(|i| special[i / run % 6]).collect()));
    for operation in [Operation::Maximum, Operation::Minimum] {
        cases.push(case(&format!("{operation:?}"), operation, normal(1.0), normal(1.0), 1036));
        cases.push(case(&format!("special {operation:?}"), operation, a.clone(), b.clone(), 1036));
    }
    // Pairs that are equal among them.
    let [a, b] =
        [0, 1].map(|first| Fill::Floats((0..1036).map(|i| [-1.0, 0.0, 2.5][(i + i / 7 * first) % 3]).collect()));
    for operation in [Operation::Less, Operation::AtMost, Operation::Equal, Operation::Keep] {
        cases.push(case(&format!("{operation:?}"), operation, a.clone(), b.clone(), 1036));
    }
    cases.push(case("special powers", Operation::Power, Fill::Floats(bases), Fill::Floats(exponents), 84));
    cases
}

fn forward<T: Real>(mut args: Args<T>) {
    let operation = Operation::ALL[Shape::from(args.params).operation];
    let (a, b, y) = (args.read(), args.read(), args.write());
    zip(y, a, b, |a, b| operation.apply(a, b));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;
    use crate::ops::elementwise::CHUNK;

    #[test]
    fn every_operation_by_hand() {
        // More than one core takes at a time.
        let count = 2 * CHUNK + 4;
        let (a, b) = (vec![-2.0_f32; count], vec![3.0; count]);
        for (operation, wanted) in
            Operation::ALL.into_iter().zip([1.0, -5.0, -6.0, -2.0 / 3.0, -8.0, -6.0, 3.0, -2.0, 1.0, 1.0, 0.0, -2.0])
        {
            let mut y = vec![f32::NAN; count];
            let params = Shape { count, operation: operation as usize }.params();
            forward(Args::new(&params, vec![Arg::Read(&a), Arg::Read(&b), Arg::Write(&mut y)]));
            assert!(y.iter().all(|&y| y == wanted), "{operation:?}");
        }
    }
}
