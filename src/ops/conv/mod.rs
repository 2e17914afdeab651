//! Convolution of one tower's maps (paper, section 3.5): any window, stride and padding, over `[C][H][W][N]` maps with
//! weights `[C][R][S][K]`. A layer that reads both towers runs it twice, the second time accumulating. Where the window
//! is the map, the convolution is a matrix product, that of a fully connected layer: [`Conv::dense`].

mod blocks;
mod cases;
mod dense;
mod grouped;
mod grouped_twins;
mod layer;
mod products;
mod tiles;
mod twins;
mod units;
mod variants;

pub use self::grouped::{Direction, GROUPED, Grouped};
pub use self::layer::{KIND, Settings};
pub(super) use self::variants::SUBGROUP;

use self::blocks::{BackwardFilter, BackwardInput, Forward, variant};
use self::tiles::Outputs;
use self::units::{Matrix, Threads};
use self::variants::{
    ACTIVATION, COLUMN_BLOCKS, COLUMN_LINES, COLUMN_VECTORS, FETCH_PLAIN, FETCH_SUBGROUP, MATRIX, MATRIX8, MATRIX16,
    PARTS, ROW_BLOCKS, ROW_LINES, ROW_VECTORS, SHARE, STEPS, Strategy, THREADS, WHOLE, WIDE_BACKWARD, WIDE_FORWARD,
    WIDE_TILE, plain, plain_part, summing_part,
};
use super::activation::Activation;
use crate::kernel::{Kernel, Needs, Split, Twin, read, read_map, update, update_map};
use crate::params;

params! {
    /// One convolution, in cuDNN's letters: C·H·W maps, K filters, P·Q output pixels, R×S window, N images.
    ///
    /// Only padding above and to the left is named; below and to the right a window may hang over as far as `p` and
    /// `q` say, and pixels outside count as 0.
    pub struct Conv {
        /// C, input maps; spelt out because WGSL has a `C` of its own among matrices.
        maps: usize,
        /// H: rows of an input map.
        h: usize,
        /// W: columns of an input map.
        w: usize,
        /// N: images, a multiple of 8.
        n: usize,
        /// K: filters, which are the output maps.
        k: usize,
        /// P: rows of an output map.
        p: usize,
        /// Q: columns of an output map.
        q: usize,
        /// R: rows of the window.
        r: usize,
        /// S: columns of the window.
        s: usize,
        /// Rows from one window to the next.
        stride_y: usize,
        /// Columns from one window to the next.
        stride_x: usize,
        /// Rows of zeros above.
        pad_y: usize,
        /// Columns of zeros to the left.
        pad_x: usize,
        /// Adds to what is there.
        accumulate: bool,
        /// Adds a bias per filter (forward only).
        bias: bool,
        /// [`super::activation::Activation`] applied last (forward), or which made x and the gradient goes through last
        /// (by input).
        activation: usize,
    }
}

impl Conv {
    /// Multiply-adds of one pass, counting those that meet zeros beyond the edge as the paper does.
    pub fn macs(&self) -> u64 {
        [self.k, self.p, self.q, self.maps, self.r, self.s, self.n].iter().map(|&extent| extent as u64).product()
    }

    /// The fully connected layer of `inputs` and `outputs` features: a window of one pixel over maps of one pixel. Its
    /// operands are matrices, x `[inputs][N]`, w `[inputs][outputs]` and y `[outputs][N]`.
    pub const fn dense(inputs: usize, outputs: usize, images: usize) -> Self {
        Self {
            maps: inputs,
            h: 1,
            w: 1,
            n: images,
            k: outputs,
            p: 1,
            q: 1,
            r: 1,
            s: 1,
            stride_y: 1,
            stride_x: 1,
            pad_y: 0,
            pad_x: 0,
            accumulate: false,
            bias: false,
            activation: Activation::Linear as usize,
        }
    }

    /// Whether the window is the map, so that x is a matrix of C·R·S rows and N columns as it lies.
    fn is_dense(&self) -> bool {
        let Self { h, w, p, q, r, s, pad_y, pad_x, .. } = *self;
        (h, w, p, q, pad_y, pad_x) == (r, s, 1, 1, 0, 0)
    }

    /// Rows of the weights as a matrix of K columns.
    const fn rows(&self) -> usize {
        self.maps * self.r * self.s
    }

    const fn x_count(&self) -> usize {
        self.maps * self.h * self.w * self.n
    }

    const fn w_count(&self) -> usize {
        self.rows() * self.k
    }

    const fn y_count(&self) -> usize {
        self.k * self.p * self.q * self.n
    }
}

/// Output extent of a window moved over `input` pixels: 1 + ceil((2·pad + input − window) / stride), the rule of the
/// released code (layer.py:1004), by which 224 pixels, window 11 and stride 4 give 55. `None` when the window is
/// larger than the padded input.
pub fn extent(input: usize, window: usize, stride: usize, pad: usize) -> Option<usize> {
    Some(1 + (2 * pad + input).checked_sub(window)?.div_ceil(stride))
}

/// The rule of later libraries: 1 + floor((2·pad + input − window) / stride).
pub fn floor_extent(input: usize, window: usize, stride: usize, pad: usize) -> Option<usize> {
    Some(1 + (2 * pad + input).checked_sub(window)? / stride)
}

const FORWARD_SOURCE: &str = include_str!("../../../shaders/conv.wgsl");
const BACKWARD_INPUT_SOURCE: &str = include_str!("../../../shaders/conv_backward_input.wgsl");
const BACKWARD_FILTER_SOURCE: &str = include_str!("../../../shaders/conv_backward_filter.wgsl");
const WIDE: &str = include_str!("../../../shaders/conv_wide.wgsl");
const BACKWARD_INPUT_WIDE: &str = include_str!("../../../shaders/conv_backward_input_wide.wgsl");
const BACKWARD_FILTER_WIDE: &str = include_str!("../../../shaders/conv_backward_filter_wide.wgsl");
const FORWARD_STEPS: &str = include_str!("../../../shaders/conv_steps.wgsl");
const BACKWARD_INPUT_STEPS: &str = include_str!("../../../shaders/conv_backward_input_steps.wgsl");
const BACKWARD_FILTER_STEPS: &str = include_str!("../../../shaders/conv_backward_filter_steps.wgsl");

/// Sources by tiles in workgroup memory: whole sums, and parts of them.
type TileSources = [&'static [&'static str]; 2];

/// Sources that whole sums and parts of them share, made those of both.
macro_rules! tiles {
    ($($source:ident),+) => {
        [&[$($source,)+ WHOLE], &[$($source,)+ PARTS]]
    };
}

const FORWARD_BLOCKS: TileSources =
    tiles!(STEPS, THREADS, SHARE, ROW_VECTORS, COLUMN_VECTORS, ACTIVATION, FORWARD_STEPS);
const BACKWARD_INPUT_BLOCKS: TileSources =
    tiles!(STEPS, THREADS, SHARE, ROW_BLOCKS, COLUMN_VECTORS, ACTIVATION, BACKWARD_INPUT_STEPS);
const BACKWARD_FILTER_BLOCKS: TileSources =
    tiles!(STEPS, THREADS, SHARE, ROW_BLOCKS, COLUMN_BLOCKS, BACKWARD_FILTER_STEPS);
const FORWARD_MATRIX16: TileSources =
    tiles!(MATRIX16, STEPS, MATRIX, SHARE, ROW_VECTORS, COLUMN_VECTORS, ACTIVATION, FORWARD_STEPS);
const FORWARD_MATRIX8: TileSources =
    tiles!(MATRIX8, STEPS, MATRIX, SHARE, ROW_VECTORS, COLUMN_VECTORS, ACTIVATION, FORWARD_STEPS);
const BACKWARD_INPUT_MATRIX16: TileSources =
    tiles!(MATRIX16, STEPS, MATRIX, SHARE, ROW_LINES, COLUMN_VECTORS, ACTIVATION, BACKWARD_INPUT_STEPS);
const BACKWARD_INPUT_MATRIX8: TileSources =
    tiles!(MATRIX8, STEPS, MATRIX, SHARE, ROW_LINES, COLUMN_VECTORS, ACTIVATION, BACKWARD_INPUT_STEPS);
const BACKWARD_FILTER_MATRIX16: TileSources =
    tiles!(MATRIX16, STEPS, MATRIX, SHARE, ROW_LINES, COLUMN_LINES, BACKWARD_FILTER_STEPS);
const BACKWARD_FILTER_MATRIX8: TileSources =
    tiles!(MATRIX8, STEPS, MATRIX, SHARE, ROW_LINES, COLUMN_LINES, BACKWARD_FILTER_STEPS);

/// Error of sums of products in f32 beside what their length brings: the first terms, bias and activation.
const TOLERANCE: f64 = 6.0 * f32::EPSILON as f64;

/// y = f(w ∗ x + b), or y = f(y + w ∗ x + b) where it accumulates.
pub static FORWARD: Kernel = Kernel {
    name: "conv.forward",
    doc: "y[k][p][q][n] = f(sum over c, r, s of w[c][r][s][k] x[c][p·stride+r-pad][q·stride+s-pad][n] + b[k])",
    bindings: &[read_map("x"), read_map("w"), read("b"), update_map("y")],
    variants: &[
        variant::<Forward, Matrix<16, 32>, 16, false>("matrix16", FORWARD_MATRIX16[0]),
        variant::<Forward, Matrix<16, 32>, 16, true>("sliced_matrix16", FORWARD_MATRIX16[1]),
        variant::<Forward, Matrix<16, 64>, 16, false>("matrix16_lanes64", FORWARD_MATRIX16[0]),
        variant::<Forward, Matrix<16, 64>, 16, true>("sliced_matrix16_lanes64", FORWARD_MATRIX16[1]),
        Strategy::WIDE.variant(
            "forward",
            &[WIDE_TILE, WIDE_FORWARD, ACTIVATION, WIDE],
            tiles::forward_wide,
            |p| Outputs::of_y(p).wide_grid(p),
            tiles::wide_shapes,
        ),
        Strategy::SUBGROUP.variant(
            "forward",
            &[FETCH_SUBGROUP, ACTIVATION, FORWARD_SOURCE],
            |p| Outputs::of_y(p).subgroup(),
            |p| Outputs::of_y(p).grid(p),
            |p| !tiles::wide_shapes(p),
        ),
        variant::<Forward, Threads<16>, 16, false>("tile16", FORWARD_BLOCKS[0]),
        variant::<Forward, Threads<8>, 8, false>("tile8", FORWARD_BLOCKS[0]),
        variant::<Forward, Threads<16>, 16, true>("split16", FORWARD_BLOCKS[1]),
        variant::<Forward, Threads<8>, 8, true>("split8", FORWARD_BLOCKS[1]),
        variant::<Forward, Matrix<8, 8>, 16, false>("matrix8", FORWARD_MATRIX8[0]),
        variant::<Forward, Matrix<8, 8>, 16, true>("sliced_matrix8", FORWARD_MATRIX8[1]),
        plain(
            "forward",
            &[FETCH_PLAIN, ACTIVATION, FORWARD_SOURCE],
            |p| Outputs::of_y(p).plain(),
            |p| Outputs::of_y(p).grid(p),
        ),
    ],
    twin: Twin { f32: products::forward, f64: twins::forward },
    cases: cases::forward,
    tolerance: TOLERANCE,
    terms: |p| Conv::from(p).rows(),
    split: Some(Split { along: "maps", outermost: &[true, true, false, false], part: summing_part }),
    flops: |p| 2 * Conv::from(p).macs(),
};

/// dx = gradient of the loss by the input, or by that of the activation f which made the input.
pub static BACKWARD_INPUT: Kernel = Kernel {
    name: "conv.backward_input",
    doc: "dx[c][h][w][n] = f' of x = f(·), times the sum over k, r, s of w[c][r][s][k] dy[k][p][q][n], \
        p·stride+r-pad = h, q·stride+s-pad = w",
    bindings: &[read_map("w"), read_map("dy"), read_map("x"), update_map("dx")],
    variants: &[
        variant::<BackwardInput, Matrix<16, 32>, 16, false>("matrix16", BACKWARD_INPUT_MATRIX16[0]),
        variant::<BackwardInput, Matrix<16, 32>, 16, true>("sliced_matrix16", BACKWARD_INPUT_MATRIX16[1]),
        variant::<BackwardInput, Matrix<16, 64>, 16, false>("matrix16_lanes64", BACKWARD_INPUT_MATRIX16[0]),
        variant::<BackwardInput, Matrix<16, 64>, 16, true>("sliced_matrix16_lanes64", BACKWARD_INPUT_MATRIX16[1]),
        Strategy::WIDE.variant(
            "backward_input",
            &[WIDE_TILE, WIDE_BACKWARD, ACTIVATION, BACKWARD_INPUT_WIDE],
            tiles::backward_input_wide,
            |p| Outputs::of_dx(p).wide_grid(p),
            tiles::wide_shapes,
        ),
        Strategy::SUBGROUP.variant(
            "backward_input",
            &[FETCH_SUBGROUP, ACTIVATION, BACKWARD_INPUT_SOURCE],
            |p| Outputs::of_dx(p).subgroup(),
            |p| Outputs::of_dx(p).grid(p),
            |p| !tiles::wide_shapes(p),
        ),
        variant::<BackwardInput, Threads<16>, 16, false>("tile16", BACKWARD_INPUT_BLOCKS[0]),
        variant::<BackwardInput, Threads<8>, 8, false>("tile8", BACKWARD_INPUT_BLOCKS[0]),
        variant::<BackwardInput, Threads<16>, 16, true>("split16", BACKWARD_INPUT_BLOCKS[1]),
        variant::<BackwardInput, Threads<8>, 8, true>("split8", BACKWARD_INPUT_BLOCKS[1]),
        variant::<BackwardInput, Matrix<8, 8>, 16, false>("matrix8", BACKWARD_INPUT_MATRIX8[0]),
        variant::<BackwardInput, Matrix<8, 8>, 16, true>("sliced_matrix8", BACKWARD_INPUT_MATRIX8[1]),
        plain(
            "backward_input",
            &[FETCH_PLAIN, ACTIVATION, BACKWARD_INPUT_SOURCE],
            |p| Outputs::of_dx(p).plain(),
            |p| Outputs::of_dx(p).grid(p),
        ),
    ],
    twin: Twin { f32: products::backward_input, f64: twins::backward_input },
    cases: cases::backward_input,
    tolerance: TOLERANCE,
    terms: |p| {
        let Conv { k, r, s, stride_y, stride_x, .. } = Conv::from(p);
        k * r.div_ceil(stride_y) * s.div_ceil(stride_x)
    },
    split: Some(Split { along: "maps", outermost: &[true, false, true, true], part: plain_part }),
    flops: |p| 2 * Conv::from(p).macs(),
};

/// dw = gradient of the loss by the filters, summed over the batch.
pub static BACKWARD_FILTER: Kernel = Kernel {
    name: "conv.backward_filter",
    doc: "dw[c][r][s][k] = sum over p, q, n of x[c][p·stride+r-pad][q·stride+s-pad][n] dy[k][p][q][n]",
    bindings: &[read_map("x"), read_map("dy"), update("dw")],
    variants: &[
        variant::<BackwardFilter, Matrix<16, 32>, 16, false>("matrix16", BACKWARD_FILTER_MATRIX16[0]),
        variant::<BackwardFilter, Matrix<16, 32>, 16, true>("sliced_matrix16", BACKWARD_FILTER_MATRIX16[1]),
        variant::<BackwardFilter, Matrix<16, 64>, 16, false>("matrix16_lanes64", BACKWARD_FILTER_MATRIX16[0]),
        variant::<BackwardFilter, Matrix<16, 64>, 16, true>("sliced_matrix16_lanes64", BACKWARD_FILTER_MATRIX16[1]),
        Strategy::WIDE.variant(
            "backward_filter",
            &[BACKWARD_FILTER_WIDE],
            tiles::backward_filter_wide,
            tiles::backward_filter_wide_grid,
            Needs::NONE.shapes,
        ),
        variant::<BackwardFilter, Threads<16>, 16, false>("tile16", BACKWARD_FILTER_BLOCKS[0]),
        variant::<BackwardFilter, Threads<8>, 8, false>("tile8", BACKWARD_FILTER_BLOCKS[0]),
        variant::<BackwardFilter, Threads<16>, 16, true>("split16", BACKWARD_FILTER_BLOCKS[1]),
        variant::<BackwardFilter, Threads<8>, 8, true>("split8", BACKWARD_FILTER_BLOCKS[1]),
        variant::<BackwardFilter, Matrix<8, 8>, 16, false>("matrix8", BACKWARD_FILTER_MATRIX8[0]),
        variant::<BackwardFilter, Matrix<8, 8>, 16, true>("sliced_matrix8", BACKWARD_FILTER_MATRIX8[1]),
        plain(
            "backward_filter",
            &[BACKWARD_FILTER_SOURCE],
            tiles::backward_filter_plain,
            tiles::backward_filter_plain_grid,
        ),
    ],
    twin: Twin { f32: products::backward_filter, f64: twins::backward_filter },
    cases: cases::backward_filter,
    tolerance: TOLERANCE,
    terms: |p| {
        let Conv { p, q, n, .. } = Conv::from(p);
        p * q * n
    },
    split: Some(Split { along: "maps", outermost: &[true, false, true], part: plain_part }),
    flops: |p| 2 * Conv::from(p).macs(),
};
