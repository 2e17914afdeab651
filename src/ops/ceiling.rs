//! What bounds every kernel of a device: multiply-adds that wait for nothing, and the copy of memory. Networks do not
//! run these; `bench kernels` measures them beside the kernels that they do.

use crate::kernel::{Args, Case, Fill, Grid, Kernel, Needs, Variant, for_each_chunk, linear_tile, read, write};
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// A copy.
    pub struct Copy {
        /// Elements, a multiple of 4.
        count: usize,
    }
}

params! {
    /// Chains of multiply-adds.
    pub struct Chains {
        /// Elements, a multiple of 4.
        count: usize,
        /// Links of every chain: a power of two, 16 at least, so that the factor is exact.
        rounds: usize,
    }
}

/// Chains of every element.
const CHAINS: [f64; 3] = [0.25, 0.5, 2.0];

/// y = sum over three chains of c, c = factor c + x, again and again.
pub static FMA: Kernel = Kernel {
    name: "ceiling.fma",
    doc: "y = sum of c over 3 chains from x/4, x/2, 2x; rounds times c = (1/rounds - 1) c + x; any shape",
    bindings: &[read("x"), write("y")],
    variants: &[Variant {
        name: "plain",
        sources: &[include_str!("../../shaders/ceiling_fma.wgsl")],
        entry: "multiply_add",
        tile: linear_tile,
        grid: |p| Grid::Linear(p.get::<usize>("count") / 4),
        needs: Needs::NONE,
    }],
    twin: twin!(multiply_add),
    cases: || {
        let case = |(name, count, rounds)| Case::new(name, Chains { count, rounds }.params(), buffers(count));
        [("one vector", 4, 16), ("ragged", 1036, 64), ("long", 260, 512)].map(case).into()
    },
    // 512 links, each rounded once or twice by half a unit in the last place, 6e-8, mostly to both sides.
    tolerance: 2e-5,
    split: None,
    flops: |p| {
        let Chains { count, rounds } = Chains::of(p);
        2 * (CHAINS.len() * count * rounds) as u64
    },
};

/// y = x.
pub static COPY: Kernel = Kernel {
    name: "ceiling.copy",
    doc: "y = x; any shape",
    bindings: &[read("x"), write("y")],
    variants: &[Variant {
        name: "plain",
        sources: &[include_str!("../../shaders/ceiling_copy.wgsl")],
        entry: "copy",
        tile: linear_tile,
        grid: |p| Grid::Linear(p.get::<usize>("count") / 4),
        needs: Needs::NONE,
    }],
    twin: twin!(copy),
    cases: || {
        let case = |(name, count)| Case::new(name, Copy { count }.params(), buffers(count));
        [("one vector", 4), ("ragged", 1036), ("many", 100_000)].map(case).into()
    },
    tolerance: 0.0,
    split: None,
    flops: |_| 0,
};

fn buffers(count: usize) -> Vec<(usize, Fill)> {
    vec![(count, Fill::Normal(1.0)), (count, Fill::Output)]
}

/// Elements whose chains fit the registers of one core.
const TOGETHER: usize = 32;

/// Elements that one core handles at a time.
const CHUNK: usize = 32 * TOGETHER;

fn multiply_add<T: Real>(mut args: Args<T>) {
    let Chains { rounds, .. } = Chains::of(args.params);
    let factor = T::of(1.0 / rounds as f64 - 1.0);
    let (x, y) = (args.read(), args.write());
    for_each_chunk(
        y,
        CHUNK,
        #[inline(always)]
        |i, y| {
            let x = &x[i * CHUNK..][..y.len()];
            for (x, y) in x.chunks(TOGETHER).zip(y.chunks_mut(TOGETHER)) {
                chains(x, y, factor, rounds);
            }
        },
    );
}

/// The chains of up to [`TOGETHER`] elements, one beside the other.
#[inline(always)]
fn chains<T: Real>(x: &[T], y: &mut [T], factor: T, rounds: usize) {
    let mut addend = [T::zero(); TOGETHER];
    addend[..x.len()].copy_from_slice(x);
    let mut chains = CHAINS.map(|start| addend.map(|x| T::of(start) * x));
    for _ in 0..rounds {
        for chain in &mut chains {
            chain.iter_mut().zip(&addend).for_each(|(c, &x)| *c = factor.mul_add(*c, x));
        }
    }
    let [a, b, c] = chains;
    y.iter_mut().enumerate().for_each(|(i, y)| *y = a[i] + b[i] + c[i]);
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
        multiply_add(Args::new(&params, vec![Arg::Read(&x), Arg::Write(&mut y)]));
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
