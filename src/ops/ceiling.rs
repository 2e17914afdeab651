//! Bounds of every kernel on a device: multiply-adds that wait for nothing, and the copy of memory. Networks do not
//! run these; `bench kernels` measures them beside the kernels that they do.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::kernel::{Args, Case, Fill, Kernel, Twin, Variant, for_each_chunk, read, write};
use crate::ops::elementwise::{COUNTS, count};
use crate::ops::product::ARCH;
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// A copy of memory, y = x.
    pub struct Copy {
        /// Elements, a multiple of 4.
        count: usize,
    }
}

params! {
    /// Three chains of multiply-adds for every element, which wait for nothing.
    pub struct Chains {
        /// Elements, a multiple of 4.
        count: usize,
        /// Links of every chain: a power of two, 16 at least, so that the factor is exact.
        rounds: usize,
    }
}

/// Starts of the chains of an element x, as factors of x.
const CHAINS: [f64; 3] = [0.25, 0.5, 2.0];

/// y = sum over three chains of c, c = factor c + x, again and again.
pub static FMA: Kernel = Kernel {
    name: "ceiling.fma",
    doc: "y = sum of c over 3 chains from x/4, x/2, 2x; rounds times c = (1/rounds - 1) c + x; any shape",
    bindings: &[read("x"), write("y")],
    variants: &[Variant::linear("multiply_add", &[include_str!("../../shaders/ceiling_fma.wgsl")], count).vectors(4)],
    twin: Twin { f32: multiply_add, f64: multiply_add_f64 },
    cases: || {
        let case = |(name, count, rounds)| Case::new(name, Chains { count, rounds }.params(), buffers(count));
        [("one vector", 4, 16), ("ragged", 1036, 64), ("long", 260, 512)].map(case).into()
    },
    // 512 links, each rounded once or twice by half a unit in the last place, 6e-8, mostly to both sides.
    tolerance: 2e-5,
    flops: |p| {
        let Chains { count, rounds } = Chains::from(p);
        2 * (CHAINS.len() * count * rounds) as u64
    },
    ..Kernel::PLAIN
};

/// y = x: as fast as memory is copied.
pub static COPY: Kernel = Kernel {
    name: "ceiling.copy",
    doc: "y = x; any shape",
    bindings: &[read("x"), write("y")],
    variants: &[Variant::linear("copy", &[include_str!("../../shaders/ceiling_copy.wgsl")], count).vectors(4)],
    twin: twin!(copy),
    cases: || {
        let case = |(name, count)| Case::new(name, Copy { count }.params(), buffers(count));
        COUNTS.map(case).into()
    },
    tolerance: 0.0,
    flops: |_| 0,
    ..Kernel::PLAIN
};

fn buffers(count: usize) -> Vec<(usize, Fill)> {
    vec![(count, Fill::Normal(1.0)), (count, Fill::Output)]
}

/// Vectors of elements whose chains one core computes side by side: with these and the factor they fit its registers,
/// and there are enough of them that none waits for itself.
const TOGETHER: usize = 3;
/// Elements whose chains one core computes before it takes others.
const CHAINED: usize = 1024;

fn multiply_add(mut args: Args<f32>) {
    let Chains { rounds, .. } = Chains::from(args.params);
    let (x, y) = (args.read(), args.write());
    let chunks = x.par_chunks(CHAINED).zip(y.par_chunks_mut(CHAINED));
    chunks.for_each(|(x, y)| ARCH.dispatch(Chained { x, y, rounds }));
}

/// Chains of some elements, in vectors by name: what a compiler makes of loops over elements is no ceiling.
struct Chained<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    rounds: usize,
}

impl WithSimd for Chained<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let ((x, x_rest), (y, y_rest)) = (S::as_simd_f32s(self.x), S::as_mut_simd_f32s(self.y));
        let ((x, x_behind), (y, y_behind)) = (x.as_chunks::<TOGETHER>(), y.as_chunks_mut::<TOGETHER>());
        for (&x, y) in x.iter().zip(y) {
            *y = chains(simd, x, self.rounds);
        }
        for (&x, y) in x_behind.iter().zip(y_behind) {
            [*y] = chains(simd, [x], self.rounds);
        }
        if !x_rest.is_empty() {
            let [sum] = chains(simd, [simd.partial_load_f32s(x_rest)], self.rounds);
            simd.partial_store_f32s(y_rest, sum);
        }
    }
}

/// Sums of the chains of some vectors of elements.
#[inline(always)]
fn chains<S: Simd, const V: usize>(simd: S, x: [S::f32s; V], rounds: usize) -> [S::f32s; V] {
    let factor = simd.splat_f32s(factor(rounds) as f32);
    let mut chains = [x; CHAINS.len()];
    for (chain, start) in chains.iter_mut().zip(CHAINS) {
        for c in chain {
            *c = simd.mul_f32s(simd.splat_f32s(start as f32), *c);
        }
    }
    for _ in 0..rounds {
        for chain in &mut chains {
            for (c, &x) in chain.iter_mut().zip(&x) {
                *c = simd.mul_add_e_f32s(factor, *c, x);
            }
        }
    }
    let [mut sums, second, third] = chains;
    for ((sum, b), c) in sums.iter_mut().zip(second).zip(third) {
        *sum = simd.add_f32s(simd.add_f32s(*sum, b), c);
    }
    sums
}

fn factor(rounds: usize) -> f64 {
    1.0 / rounds as f64 - 1.0
}

fn multiply_add_f64(mut args: Args<f64>) {
    let Chains { rounds, .. } = Chains::from(args.params);
    let (factor, x, y) = (factor(rounds), args.read(), args.write());
    for (&x, y) in x.iter().zip(y) {
        let chain = |start| (0..rounds).fold(start * x, |c, _| factor.mul_add(c, x));
        *y = CHAINS.map(chain).iter().sum();
    }
}

/// Elements that one core copies at a time: a MiB of them, for which the fastest way is taken.
const COPIED: usize = 256 * 1024;

fn copy<T: Real>(mut args: Args<T>) {
    let (x, y) = (args.read(), args.write());
    for_each_chunk(y, COPIED, |i, y| y.copy_from_slice(&x[i * COPIED..][..y.len()]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;

    /// c = f c + x has the closed form c = x/(1-f) + f^n (c - x/(1-f)).
    #[test]
    fn chains_are_as_long_as_they_say() {
        let (x, rounds) = ([1.0, -3.0, 0.5, 0.0, 7.0], 64);
        let mut y = [f64::NAN; 5];
        let params = Chains { count: 5, rounds }.params();
        multiply_add_f64(Args::new(&params, vec![Arg::Read(&x), Arg::Write(&mut y)]));
        let factor = 1.0 / 64.0 - 1.0_f64;
        for (x, y) in x.into_iter().zip(y) {
            let rest = x / (1.0 - factor);
            let wanted: f64 = CHAINS.iter().map(|start| rest + factor.powi(64) * (start * x - rest)).sum();
            assert!((y - wanted).abs() < 1e-12, "{y} for {wanted}");
        }
    }

    #[test]
    fn copies_whole_chunks_and_the_rest() {
        let x: Vec<f32> = (0..COPIED + 3).map(|i| i as f32).collect();
        let mut y = vec![f32::NAN; x.len()];
        copy(Args::new(&Copy { count: x.len() }.params(), vec![Arg::Read(&x), Arg::Write(&mut y)]));
        assert!(y == x);
    }
}
