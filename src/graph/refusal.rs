//! Reasons why a node, an input or an output of a graph cannot be computed.

use thiserror::Error;

use super::GraphError;
use super::contractions::BATCH;
use super::layers::LRN_SIZE;
use super::lower::{COMMANDS, MADE};
use super::resize::MATRIX;
use super::shapes::{AXES, LARGEST, mebibytes};
use super::window;

/// The reason of a [`super::GraphError`]: what was found, and what is supported.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("a tensor of {0:?} is empty, which is not supported")]
    Empty(Vec<usize>),
    #[error("a tensor of {0:?} is too large with {mib} MiB: at most {LARGEST} elements", mib = mebibytes(.0))]
    TooLarge(Vec<usize>),
    #[error("it has {0} axes, of which at most {AXES} are supported")]
    Axes(usize),
    #[error("axis {axis} is out of range for {axes} axes")]
    Axis { axis: i64, axes: usize },
    #[error("shape {want:?} has more than {AXES} axes")]
    ReshapeAxes { want: Vec<i64> },
    #[error("shape {want:?} does not fit a tensor of {have:?}")]
    Reshape { have: Vec<usize>, want: Vec<i64> },
    #[error("tensors of {0:?} and {1:?} do not fit each other")]
    Broadcast(Vec<usize>, Vec<usize>),
    #[error("a tensor of {from:?} cannot be repeated to {to:?}")]
    Repeat { from: Vec<usize>, to: Vec<usize> },
    #[error("{operand}: {reason}")]
    Operand { operand: &'static str, reason: Box<Refusal> },

    #[error("it is not given: say --input {0}=FILE.npy")]
    NotGiven(String),
    #[error("there is none of this name, but {0}")]
    UnknownName(String),
    #[error("it has shape {found:?}, the network needs [{declared}]")]
    InputShape { found: Vec<usize>, declared: String },
    #[error("it has shape {found:?}, the network was set up for {wanted:?}")]
    OtherShape { found: Vec<usize>, wanted: Vec<usize> },
    #[error("floats were given, but it holds whole numbers")]
    FloatsGiven,
    #[error("whole numbers were given, but it holds floats")]
    IntegersGiven,

    #[error("input {0} is missing")]
    MissingInput(usize),
    #[error("it has no input")]
    NoInput,
    #[error("{0} is missing")]
    MissingSetting(&'static str),
    #[error("{0} holds whole numbers; only 32-bit floats are computed with")]
    WholeNumbers(String),
    #[error("{name} is {found}; only 32-bit floats are computed with")]
    NotFloats { name: String, found: String },
    #[error("{0} is written by no node")]
    Unwritten(String),
    #[error("{0} has to be whole numbers that are known before the network runs")]
    NotConstant(String),
    #[error("{0} has to be numbers that are known before the network runs: an initializer")]
    NotKnown(String),

    #[error("{name} has shape {dims:?}; only two-dimensional maps [N, C, H, W] are supported")]
    NotMaps { name: &'static str, dims: Vec<usize> },
    #[error("{name} has shape {dims:?}, not that of a matrix")]
    NotMatrix { name: &'static str, dims: Vec<usize> },
    #[error("matrices of {0:?} and {1:?} cannot be multiplied: the columns of the first are the rows of the second")]
    Inner(Vec<usize>, Vec<usize>),
    #[error("a single number is no matrix")]
    Scalar,
    #[error("a batch of {0} products is not supported: at most {BATCH}")]
    Batch(usize),
    #[error("group {groups}: {filters} filters of {depth} channels do not fit {maps} maps")]
    Groups { groups: usize, filters: usize, depth: usize, maps: usize },
    #[error("B has shape {found:?}, not [{filters}]")]
    ConvBias { found: Vec<usize>, filters: usize },
    #[error("size {0} is not supported: an odd number up to {LRN_SIZE}")]
    LrnSize(usize),
    #[error("axis {0}: B has more axes than A from there on")]
    BinaryAxis(i64),
    #[error("a tensor of {part:?} does not fit behind one of {first:?}")]
    Concat { first: Vec<usize>, part: Vec<usize> },
    #[error("split: an extent of {extent} is not {count} equal parts")]
    SplitUneven { extent: usize, count: usize },
    #[error("split: an extent of {extent} is not {count} parts of {sizes:?}")]
    Split { extent: usize, count: usize, sizes: Vec<usize> },
    #[error("places that are no grid over the first axes are not supported")]
    Grid,
    #[error("whole numbers are reduced along all axes at once")]
    AllAxes,
    #[error("the result is no 64-bit whole number")]
    Reduced,
    #[error("{0} elements are reduced to one, of at most {most}", most = window::LARGEST)]
    ReducedElements(usize),
    #[error("expected one whole number, found {0}")]
    NotSingle(usize),
    #[error("{} and {}: the result is no 64-bit number", .0[0], .0[1])]
    Arithmetic([i64; 2]),
    #[error("a range from {} to {} in steps of {} is none, or too long", .0[0], .0[1], .0[2])]
    Range([i64; 3]),
    #[error("its condition has to be a truth value that is known before the network runs")]
    Condition,
    #[error("a step of 0")]
    Step,
    #[error("{} starts, {} ends, {} axes and {} steps, expected as many of each", .0[0], .0[1], .0[2], .0[3])]
    SliceLists([usize; 4]),
    #[error("{0} indices that do not follow one another are not supported: at most {most}", most = super::moves::PIECES)]
    Pieces(usize),
    #[error("perm {order:?} is no order of {axes} axes")]
    Order { order: Vec<usize>, axes: usize },
    #[error("an extent is negative")]
    Negative,
    #[error("{pads} pads for {axes} axes, expected two for each")]
    PadCount { pads: usize, axes: usize },
    #[error("{before} and {behind} elements around {extent}: expected to leave some, and to add at most {LARGEST}")]
    Padding { before: i64, behind: i64, extent: usize },
    #[error("{counts} numbers of copies for {axes} axes, expected one for each")]
    TileCount { counts: usize, axes: usize },
    #[error("{pads} elements of padding cannot mirror an axis of {extent}: at most one less")]
    Reflected { pads: usize, extent: usize },
    #[error("X has shape {0:?}, expected images and maps: [N, C, ...]")]
    NoMaps(Vec<usize>),
    #[error("{groups} groups of {maps} maps, expected a divisor")]
    Apart { groups: usize, maps: usize },
    #[error("scale or shift of {found:?}, expected {wanted} numbers")]
    Numbers { found: Vec<usize>, wanted: usize },
    #[error("{found} scales or sizes for {axes} axes, expected one for each")]
    Stretches { found: usize, axes: usize },
    #[error("an extent of {from} scaled by {scale}: expected 1 or more lines, at most {MATRIX} / {from}")]
    Stretch { from: usize, scale: String },
    #[error("{} MiB of numbers made for resampling and transposed convolutions so far, of at most {}", .0 >> 18, MADE >> 18)]
    Made(usize),
    #[error("{0} runs of kernels up to this node, of at most {COMMANDS}")]
    Commands(usize),
    #[error("blocks of {block} do not fit a tensor of {dims:?}")]
    Blocks { block: usize, dims: Vec<usize> },
    #[error("{before} and {behind} places of padding of an extent of {full}, expected to leave some")]
    Cropped { before: usize, behind: usize, full: usize },
    #[error("statistics of {found} maps for {maps}")]
    Statistics { found: usize, maps: usize },
    #[error("training_mode is on; networks are only evaluated")]
    Training,

    #[error("{name} {found:?} are not two numbers from 1 to {}", window::LARGEST)]
    Pair { name: &'static str, found: Vec<usize> },
    #[error("kernel_shape {size:?} is not that of the filters, {filters:?}")]
    KernelShape { size: Vec<usize>, filters: [usize; 2] },
    #[error("pads {pads:?} are not four numbers up to {}", window::LARGEST)]
    Pads { pads: Vec<usize> },
    #[error("kernel_shape {size} with dilations {dilation} is too large: at most {} places", window::LARGEST)]
    WindowTooLarge { size: usize, dilation: usize },
    #[error("a window of {reach} (kernel_shape, dilations) is larger than the map of {extent}")]
    WindowBeyondMap { reach: usize, extent: usize },
}

impl Refusal {
    /// The error about the value `name`, which is a `what`.
    pub(super) fn about(self, what: &'static str, name: &str) -> GraphError {
        GraphError::Value { what, name: name.into(), reason: self }
    }
}
