//! Maps half as large for the way between devices: pairs of f16 in words (the released code quantised what its GPUs
//! exchanged to 16 bits, too). A scale brings values into the range of f16, which ends at 65504 and loses digits
//! below 2^-14.

use half::f16;

use crate::kernel::{Args, Case, Fill, Kernel, Variant, for_each_chunk, read, words, write, write_words};
use crate::ops::elementwise::{CHUNK, count};
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// Whole maps in pairs.
    pub struct Shape {
        /// Elements, a multiple of 4.
        count: usize,
        /// Factor of the values on the way: a power of two, so that it costs no digits.
        scale: f32,
    }
}

const SOURCES: &[&str] = &[include_str!("../../shaders/half.wgsl")];

/// packed = f16(scale · x), clamped to the range of f16; what is not finite becomes NaN.
pub static PACK: Kernel = Kernel {
    name: "half.pack",
    doc: "packed[i] = f16(scale x[2i]), f16(scale x[2i+1]), clamped, NaN if not finite; x [count], packed [count/2]",
    bindings: &[read("x"), write_words("packed")],
    variants: &[Variant::linear("pack", SOURCES, count).vectors(4)],
    twin: twin!(pack),
    cases: || {
        let mut cases = cases(|count| vec![(count, Fill::Normal(1.0)), (count / 2, Fill::Output)]);
        cases.extend([
            special("subnormal", 1.0, &[1.0, -6e-8, 2e-8, 3e-5, -6.1e-5, 0.7, 1e-30, -1e-40]),
            special("zeros", 1.0, &[0.0, -0.0, 1.0, -0.0]),
            special("at the end of the range", 1.0, &[65_504.0, -65_519.0, 65_520.0, -65_536.0]),
            special("beyond the range", 1.0, &[1e5, -1e5, f32::MAX, f32::MIN]),
            special("beyond the range, scaled up", 1024.0, &[63.9, -64.0, 1e3, f32::MAX]),
            special("beyond the range, scaled down", 0.125, &[5e5, -524_032.0, 6e5, f32::MIN]),
            special("not a number", 1024.0, &[f32::NAN, 1.0, -2.0, -f32::NAN]),
            special("infinite", 1.0, &[1.0, f32::INFINITY, f32::NEG_INFINITY, -2.0]),
        ]);
        cases
    },
    // A unit in the last place of f16: WGSL leaves open which neighbour is taken. It also lets subnormals be flushed,
    // 2^-14 at most, which is no more of a root mean square of 1/16; those of all cases are greater.
    tolerance: 1.0 / 1024.0,
    flops: |p| count(p) as u64,
    ..Kernel::PLAIN
};

/// y = values of packed / scale.
pub static UNPACK: Kernel = Kernel {
    name: "half.unpack",
    doc: "y[2i], y[2i+1] = the f16 of packed[i] / scale; packed [count/2], y [count]",
    bindings: &[words("packed_saved"), write("y")],
    variants: &[Variant::linear("unpack", SOURCES, count).vectors(4)],
    twin: twin!(unpack),
    cases: || {
        let mut cases = cases(|count| vec![(count / 2, Fill::Random), (count, Fill::Output)]);
        // Those above are mostly large. Both halves of every word are normal numbers here, the upper ones negative.
        let below_one = (0x0400..0x3c00).map(|bits| bits | (0xbfff - bits) << 16).collect::<Vec<u32>>();
        let shape = Shape { count: 2 * below_one.len(), scale: 1024.0 };
        let buffers = vec![(below_one.len(), Fill::Words(below_one)), (shape.count, Fill::Output)];
        cases.push(Case::new("below one", shape.params(), buffers));
        cases
    },
    // Exact, but WGSL lets subnormals be flushed, 2^-14 at most: nothing beside other random f16, whose root mean
    // square is 10^4; the smallest case holds none.
    tolerance: 1e-6,
    flops: |p| count(p) as u64,
    ..Kernel::PLAIN
};

fn cases(buffers: fn(usize) -> Vec<(usize, Fill)>) -> Vec<Case> {
    // The last needs more workgroups than one dispatch holds: the kernel must stride.
    let shapes = [
        ("two vectors", 8, 1.0),
        ("ragged, scaled down", 24, 0.125),
        ("ragged, scaled up", 1000, 1024.0),
        ("strided", 4 * 64 * 65_535 + 8, 1.0),
    ];
    shapes.map(|(name, count, scale)| Case::new(name, Shape { count, scale }.params(), buffers(count))).into()
}

/// A case of `values` over and over.
fn special(name: &str, scale: f32, values: &[f32]) -> Case {
    const COUNT: usize = 120;
    let x = values.iter().copied().cycle().take(COUNT).collect();
    let buffers = vec![(COUNT, Fill::Floats(x)), (COUNT / 2, Fill::Output)];
    Case::new(name, Shape { count: COUNT, scale }.params(), buffers)
}

fn pack<T: Real>(mut args: Args<T>) {
    let scale = T::of(f64::from(Shape::from(args.params).scale));
    let (x, packed) = (args.read(), args.write_words());
    for_each_chunk(packed, CHUNK / 2, |i, packed| {
        let pairs = x[i * CHUNK..].chunks_exact(2);
        let word = |pair: &[T]| narrow(pair[0], scale) | narrow(pair[1], scale) << 16;
        packed.iter_mut().zip(pairs).for_each(|(packed, pair)| *packed = word(pair));
    });
}

/// The bits of the f16 nearest to `scale` v.
fn narrow<T: Real>(v: T, scale: T) -> u32 {
    const MOST: f64 = f16::MAX.to_f64_const();
    let v = if v.is_finite() { (scale * v).to_f64().clamp(-MOST, MOST) } else { f64::NAN };
    f16::from_f32(v as f32).to_bits().into()
}

fn unpack<T: Real>(mut args: Args<T>) {
    let factor = T::of(1.0 / f64::from(Shape::from(args.params).scale));
    let (packed, y) = (args.words(), args.write());
    for_each_chunk(y, CHUNK, |i, y| {
        for (pair, &word) in y.chunks_exact_mut(2).zip(&packed[i * CHUNK / 2..]) {
            pair.copy_from_slice(&[widen(word, factor), widen(word >> 16, factor)]);
        }
    });
}

/// `factor` times the f16 whose bits are the lower ones of `word`.
fn widen<T: Real>(word: u32, factor: T) -> T {
    factor * T::of(f64::from(f16::from_bits(word as u16).to_f32()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;
    use proptest::prelude::*;

    fn packed(x: &[f32], scale: f32) -> Vec<u32> {
        let mut packed = vec![u32::MAX; x.len() / 2];
        let params = Shape { count: x.len(), scale }.params();
        pack(Args::new(&params, vec![Arg::Read(x), Arg::WriteWords(&mut packed)]));
        packed
    }

    /// The numbers of `x` as they arrive on the other device.
    fn sent(x: &[f32], scale: f32) -> Vec<f32> {
        let mut y = vec![f32::NAN; x.len()];
        let params = Shape { count: x.len(), scale }.params();
        unpack(Args::new(&params, vec![Arg::Words(&packed(x, scale)), Arg::Write(&mut y)]));
        y
    }

    #[test]
    fn the_first_of_a_pair_is_the_lower_half() {
        assert_eq!(packed(&[1.0, -2.0, 0.5, 65_504.0], 1.0), [0xc000_3c00, 0x7bff_3800]);
        assert_eq!(packed(&[1.0, -2.0, 0.5, -0.0], 2.0), [0xc400_4000, 0x8000_3c00]);
    }

    #[test]
    fn values_that_f16_has_arrive_as_they_were() {
        let x: Vec<f32> = (0..40_000).map(|i| (i % 2048) as f32 - 1024.0).collect();
        for scale in [0.125, 1.0, 32.0] {
            assert_eq!(sent(&x, scale), x);
        }
        let zeros = sent(&[0.0, -0.0, 0.0, -0.0], 1024.0);
        assert!(zeros.iter().enumerate().all(|(i, zero)| *zero == 0.0 && zero.is_sign_negative() == (i % 2 == 1)));
    }

    #[test]
    fn values_beyond_the_range_are_clamped_and_what_is_not_finite_stays_so() {
        assert_eq!(sent(&[65_520.0, -1e9, f32::MAX, f32::MIN], 1.0), [65_504.0, -65_504.0, 65_504.0, -65_504.0]);
        assert_eq!(sent(&[64.0, -1e9, f32::MAX, f32::MIN], 1024.0), [63.968_75, -63.968_75, 63.968_75, -63.968_75]);
        let ill = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN];
        assert!([0.125, 1.0, 1024.0].iter().all(|&scale| sent(&ill, scale).iter().all(|v| v.is_nan())));
    }

    proptest! {
        /// Half a unit in the last place: 2^-11 of a normal number, 2^-25 of a subnormal one.
        #[test]
        fn an_error_is_at_most_half_a_unit(x in prop::array::uniform4(-1e6_f32..1e6), power in -10..11_i32, tiny in 0..30_i32) {
            let (scale, small) = (2_f32.powi(power), 2_f32.powi(-tiny));
            let x = x.map(|x| x * small);
            for (x, y) in x.into_iter().zip(sent(&x, scale)) {
                let (x, y, scale) = (f64::from(x), f64::from(y), f64::from(scale));
                let wanted = x.clamp(-65_504.0 / scale, 65_504.0 / scale);
                let half_unit = (wanted.abs() * 2_f64.powi(-11)).max(2_f64.powi(-25) / scale);
                prop_assert!((y - wanted).abs() <= half_unit, "{} for {}", y, x);
            }
        }
    }
}
