//! Matrix products of the fully connected layers (paper, section 3.5): weights `[inputs][outputs]`, maps
//! `[features][N]`. A layer that reads both towers runs them once for each, accumulating.

mod products;
mod twins;

use crate::kernel::{Case, Fill, Kernel, Params, Split, Tile, Twin, read, read_map, update, update_map};
use crate::ops::contraction::{
    ACTIVATION, CONTRACT, Contraction, FETCH_PLAIN, FETCH_SUBGROUP, MATRIX, MATRIX8, MATRIX8_THREADS, MATRIX16,
    MATRIX16_THREADS, SUBGROUP, Strategy, TILED, VECTOR, WIDE_BACKWARD, WIDE_FORWARD, WIDE_TILE, fills_images,
    fills_wide, plain, plain_part, summing_part, tile_of, tiled_grid, wide_rows, wide_steps,
};
use crate::params;

params! {
    /// One product, in the letters of BLAS: m outputs, k inputs, n images.
    pub struct Gemm {
        /// Outputs of the layer.
        m: usize,
        /// Inputs of the layer.
        k: usize,
        /// Images, a multiple of 8.
        n: usize,
        /// Adds to what is there.
        accumulate: bool,
        /// Adds a bias per output (forward only).
        bias: bool,
        /// [`crate::ops::activation::Activation`] applied last (forward only).
        activation: usize,
        /// Whether the product is the gradient by input, whose rows are inputs.
        by_input: bool,
    }
}

impl Gemm {
    /// Multiply-adds of one product.
    pub fn macs(&self) -> u64 {
        self.m as u64 * self.k as u64 * self.n as u64
    }
}

const SOURCE: &str = include_str!("../../../shaders/gemm.wgsl");
const WEIGHTS_SOURCE: &str = include_str!("../../../shaders/gemm_backward_weights.wgsl");
const WIDE: &str = include_str!("../../../shaders/gemm_wide.wgsl");
const BACKWARD_INPUT_WIDE: &str = include_str!("../../../shaders/gemm_backward_input_wide.wgsl");
const TILES: &str = include_str!("../../../shaders/gemm_tiled.wgsl");
const BACKWARD_INPUT_TILES: &str = include_str!("../../../shaders/gemm_backward_input_tiled.wgsl");
const WEIGHTS_TILES: &str = include_str!("../../../shaders/gemm_backward_weights_tiled.wgsl");
const WEIGHTS_WIDE: &str = include_str!("../../../shaders/gemm_backward_weights_wide.wgsl");

/// y = f(wᵀx + b), or y = f(y + wᵀx + b) where it accumulates.
pub static FORWARD: Kernel = Kernel {
    name: "gemm.forward",
    doc: "y[m][n] = f(sum over k of w[k][m] x[k][n] + b[m])",
    bindings: &[read_map("x"), read_map("w"), read("b"), update_map("y")],
    variants: &Contraction {
        entry: "forward",
        matrix16: &[MATRIX16, CONTRACT, MATRIX, ACTIVATION, TILES],
        matrix8: &[MATRIX8, CONTRACT, MATRIX, ACTIVATION, TILES],
        tiled: &[CONTRACT, TILED, ACTIVATION, TILES],
        wide: &[WIDE_TILE, WIDE_FORWARD, ACTIVATION, WIDE],
        subgroup: &[FETCH_SUBGROUP, ACTIVATION, SOURCE],
        plain: &[FETCH_PLAIN, ACTIVATION, SOURCE],
        tiles: [wide_tile, subgroup_tile, plain_tile],
        grids: [wide_grid, tiles, grid],
        shapes: [wide_shapes, wide_shapes, |p| !wide_shapes(p)],
    }
    .variants(),
    twin: Twin { f32: products::forward, f64: twins::forward },
    cases: || cases(false, |g| vec![fill(g.k * g.n), fill(g.k * g.m), fill(g.m), target(g, g.m * g.n)]),
    tolerance: 3e-6, // sums of some hundred products in f32
    split: Some(Split { along: "k", outermost: &[true, true, false, false], part: summing_part }),
    flops: |p| 2 * Gemm::from(p).macs(),
};

/// dx = w dy.
pub static BACKWARD_INPUT: Kernel = Kernel {
    name: "gemm.backward_input",
    doc: "dx[k][n] = sum over m of w[k][m] dy[m][n]",
    bindings: &[read_map("w"), read_map("dy"), update_map("dx")],
    variants: &Contraction {
        entry: "backward_input",
        matrix16: &[MATRIX16, CONTRACT, MATRIX, BACKWARD_INPUT_TILES],
        matrix8: &[MATRIX8, CONTRACT, MATRIX, BACKWARD_INPUT_TILES],
        tiled: &[CONTRACT, TILED, BACKWARD_INPUT_TILES],
        wide: &[WIDE_TILE, WIDE_BACKWARD, BACKWARD_INPUT_WIDE],
        subgroup: &[FETCH_SUBGROUP, ACTIVATION, SOURCE],
        plain: &[FETCH_PLAIN, ACTIVATION, SOURCE],
        tiles: [backward_input_wide_tile, subgroup_tile, plain_tile],
        grids: [wide_grid, tiles, grid],
        shapes: [wide_shapes, |p| fills_images(p.get("n")), |p| !wide_shapes(p)],
    }
    .variants(),
    twin: Twin { f32: products::backward_input, f64: twins::backward_input },
    cases: || cases(true, |g| vec![fill(g.k * g.m), fill(g.m * g.n), target(g, g.k * g.n)]),
    tolerance: 3e-6, // as forward
    split: Some(Split { along: "k", outermost: &[true, false, true], part: plain_part }),
    flops: |p| 2 * Gemm::from(p).macs(),
};

/// dw = x dyᵀ, summed over the batch.
pub static BACKWARD_WEIGHTS: Kernel = Kernel {
    name: "gemm.backward_weights",
    doc: "dw[k][m] = sum over n of x[k][n] dy[m][n]",
    bindings: &[read_map("x"), read_map("dy"), update("dw")],
    variants: &[
        Strategy::MATRIX16.variant(
            "backward_weights",
            &[MATRIX16, CONTRACT, MATRIX, WEIGHTS_TILES],
            |_| vec![("bm", 64), ("bn", 128), ("threads", MATRIX16_THREADS)],
            weights_tiled_grid,
            quads,
        ),
        Strategy::WIDE.variant("backward_weights", &[WEIGHTS_WIDE], weights_wide_tile, weights_wide_grid, quads),
        Strategy::TILED.variant(
            "backward_weights",
            &[CONTRACT, TILED, WEIGHTS_TILES],
            |_| tile_of(64, 64),
            weights_tiled_grid,
            quads,
        ),
        Strategy::MATRIX8.variant(
            "backward_weights",
            &[MATRIX8, CONTRACT, MATRIX, WEIGHTS_TILES],
            |_| vec![("bm", 32), ("bn", 64), ("threads", MATRIX8_THREADS)],
            weights_tiled_grid,
            quads,
        ),
        plain("backward_weights", &[WEIGHTS_SOURCE], weights_tile, weights_grid),
    ],
    twin: Twin { f32: products::backward_weights, f64: twins::backward_weights },
    cases: || cases(false, |g| vec![fill(g.k * g.n), fill(g.m * g.n), target(g, g.k * g.m)]),
    tolerance: 3e-6, // sums over the batch
    split: Some(Split { along: "k", outermost: &[true, false, true], part: plain_part }),
    flops: |p| 2 * Gemm::from(p).macs(),
};

/// Images (or outputs) a lane takes: as many as leave no lane without.
fn per_lane(extent: usize, lanes: usize) -> usize {
    [4, 2].into_iter().find(|count| extent.is_multiple_of(lanes * count)).unwrap_or(1)
}

impl Gemm {
    /// Features that a run computes: outputs of the layer, or inputs.
    fn features(&self) -> usize {
        if self.by_input { self.k } else { self.m }
    }
}

fn wide_tile(params: &Params) -> Tile {
    let gemm = Gemm::from(params);
    vec![("tm", wide_rows(gemm.m, 8)), ("steps", wide_steps(gemm.k))]
}

fn backward_input_wide_tile(params: &Params) -> Tile {
    vec![("tm", wide_rows(Gemm::from(params).k, SUBGROUP))]
}

fn wide_grid(params: &Params) -> [usize; 3] {
    let gemm = Gemm::from(params);
    [gemm.n / VECTOR, gemm.features().div_ceil(params.get("tm")), 1]
}

fn wide_shapes(params: &Params) -> bool {
    let gemm = Gemm::from(params);
    fills_wide(gemm.n, gemm.m)
}

fn tiles(params: &Params) -> [usize; 3] {
    tiled_grid(params, Gemm::from(params).features(), 1)
}

fn subgroup_tile(params: &Params) -> Tile {
    // A large tile compiles twice as long, which few features are not worth.
    let tm = if Gemm::from(params).features() < 64 { 8 } else { 16 };
    vec![("lanes", SUBGROUP), ("rows", 1), ("tm", tm), ("tn", per_lane(params.get("n"), SUBGROUP))]
}

fn plain_tile(params: &Params) -> Tile {
    let n: usize = params.get("n");
    let lanes = if n.is_multiple_of(16) { 16 } else { 8 };
    vec![("lanes", lanes), ("rows", 64 / lanes), ("tm", 8), ("tn", per_lane(n, lanes))]
}

fn grid(params: &Params) -> [usize; 3] {
    let gemm = Gemm::from(params);
    [gemm.n / params.get::<usize>("tn"), gemm.features().div_ceil(params.get("tm")), 1]
}

fn weights_wide_tile(_: &Params) -> Tile {
    vec![("tm", 16)]
}

fn weights_wide_grid(params: &Params) -> [usize; 3] {
    let gemm = Gemm::from(params);
    [(gemm.m / VECTOR).next_multiple_of(SUBGROUP), gemm.k.div_ceil(params.get("tm")), 1]
}

/// A workgroup a tile of inputs by outputs.
fn weights_tiled_grid(params: &Params) -> [usize; 3] {
    let [bm, bn, threads] = ["bm", "bn", "threads"].map(|name| params.get::<usize>(name));
    let gemm = Gemm::from(params);
    [threads * gemm.m.div_ceil(bn), gemm.k.div_ceil(bm), 1]
}

/// Whether four outputs of a row of weights are one vector.
fn quads(params: &Params) -> bool {
    Gemm::from(params).m.is_multiple_of(VECTOR)
}

fn weights_tile(params: &Params) -> Tile {
    let lanes = 32;
    vec![("lanes", lanes), ("rows", 2), ("tk", 8), ("tg", Gemm::from(params).m.div_ceil(lanes).min(4))]
}

fn weights_grid(params: &Params) -> [usize; 3] {
    let gemm = Gemm::from(params);
    let (lanes, outputs): (usize, usize) = (params.get("lanes"), params.get("tg"));
    [gemm.m.div_ceil(lanes * outputs) * lanes, gemm.k.div_ceil(params.get("tk")), 1]
}

fn fill(count: usize) -> (usize, Fill) {
    (count, Fill::Normal(0.3))
}

fn target(gemm: &Gemm, count: usize) -> (usize, Fill) {
    (count, if gemm.accumulate { Fill::Normal(1.0) } else { Fill::Output })
}

fn cases(by_input: bool, buffers: fn(&Gemm) -> Vec<(usize, Fill)>) -> Vec<Case> {
    let shapes = [
        ("one unit", (1, 1, 8)),
        ("fc6, ragged", (67, 230, 24)),
        ("fc6, ragged, 32 images", (100, 70, 32)),
        ("fc7, whole tiles", (64, 128, 32)),
        ("fc8: 10 classes", (10, 96, 128)),
        ("many images", (33, 41, 160)),
        ("several blocks on the CPU", (150, 300, 8)),
    ];
    let case = |(index, (name, (m, k, n))): (usize, (&str, (usize, usize, usize)))| {
        let (accumulate, bias) = (index % 2 == 1, index % 3 != 2);
        let gemm = Gemm { m, k, n, accumulate, bias, activation: index % 3, by_input };
        Case::new(name, gemm.params(), buffers(&gemm))
    };
    shapes.into_iter().enumerate().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Arg, Args};

    fn run(kernel: &Kernel, params: &Params, inputs: &[&[f64]], count: usize) -> Vec<f64> {
        let mut out = vec![f64::NAN; count];
        let mut buffers: Vec<Arg<f64>> = inputs.iter().map(|values| Arg::Read(values)).collect();
        buffers.push(Arg::Write(&mut out));
        (kernel.twin.f64)(Args::new(params, buffers));
        out
    }

    /// 2 inputs, 2 outputs, 8 images that are all alike: the products by hand.
    #[test]
    fn three_forms_by_hand() {
        let gemm = |by_input| Gemm { m: 2, k: 2, n: 8, accumulate: false, bias: true, activation: 0, by_input };
        let rows = |a: f64, b: f64| [[a; 8], [b; 8]].concat();
        let (w, x, dy) = ([1.0, 2.0, 3.0, 4.0], rows(5.0, 6.0), rows(0.5, -1.0));
        let p = gemm(false).params();
        let y = run(&FORWARD, &p, &[&x, &w, &[10.0, 20.0]], 16);
        assert_eq!(y, rows(1.0 * 5.0 + 3.0 * 6.0 + 10.0, 2.0 * 5.0 + 4.0 * 6.0 + 20.0));
        let dx = run(&BACKWARD_INPUT, &gemm(true).params(), &[&w, &dy], 16);
        assert_eq!(dx, rows(0.5 - 2.0, 1.5 - 4.0));
        let dw = run(&BACKWARD_WEIGHTS, &p, &[&x, &dy], 4);
        assert_eq!(dw, [8.0 * 2.5, 8.0 * -5.0, 8.0 * 3.0, 8.0 * -6.0]);
    }
}
