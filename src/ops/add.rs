//! The sum of two maps: what a tower's own layers and the other tower's say about the gradient of the same map.

use crate::kernel::{Args, Case, Fill, Grid, Kernel, Needs, Variant, for_each_chunk, linear_tile, read_map, write_map};
use crate::tensor::Real;
use crate::{params, twin};

params! {
    /// A sum over whole maps.
    pub struct Shape {
        /// Elements, a multiple of 4.
        count: usize,
    }
}

/// y = a + b.
pub static SUM: Kernel = Kernel {
    name: "add.sum",
    doc: "y = a + b; any shape",
    bindings: &[read_map("a"), read_map("b"), write_map("y")],
    variants: &[Variant {
        name: "plain",
        sources: &[include_str!("../../shaders/add.wgsl")],
        entry: "sum",
        tile: linear_tile,
        grid: |p| Grid::Linear(p.get::<usize>("count") / 4),
        needs: Needs::NONE,
    }],
    twin: twin!(sum),
    cases,
    tolerance: 1e-6, // one rounding
    split: None,
    flops: |p| p.get::<usize>("count") as u64,
};

fn cases() -> Vec<Case> {
    let buffers = |count| vec![(count, Fill::Normal(1.0)), (count, Fill::Normal(2.0)), (count, Fill::Output)];
    let case = |(name, count)| Case::new(name, Shape { count }.params(), buffers(count));
    [("one vector", 4), ("ragged", 1036), ("many", 100_000)].map(case).into()
}

/// Elements that one core handles at a time.
const CHUNK: usize = 16 * 1024;

fn sum<T: Real>(mut args: Args<T>) {
    let (a, b, y) = (args.read(), args.read(), args.write());
    for_each_chunk(y, CHUNK, |i, y| {
        let terms = a[i * CHUNK..].iter().zip(&b[i * CHUNK..]);
        y.iter_mut().zip(terms).for_each(|(y, (&a, &b))| *y = a + b);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Arg;

    #[test]
    fn adds() {
        let (a, b): (Vec<f32>, Vec<f32>) = (0..40_000).map(|i| (i as f32, 0.5 * i as f32)).unzip();
        let mut y = vec![f32::NAN; a.len()];
        let params = Shape { count: a.len() }.params();
        sum(Args::new(&params, vec![Arg::Read(&a), Arg::Read(&b), Arg::Write(&mut y)]));
        assert!(y.iter().enumerate().all(|(i, &y)| y == 1.5 * i as f32));
    }
}
